/* What the files of the backend local share: local.c the struct of functions, local_plan.c what a sandbox
 * sees of this machine. */
#ifndef INTERPFS_BACKEND_SANDBOX_LOCAL_OWN_H
#define INTERPFS_BACKEND_SANDBOX_LOCAL_OWN_H

#include "backend/sandbox/backend.h"
#include "backend/sandbox/box.h"
#include "backend/sandbox/image.h"
#include "backend/sandbox/layers.h"
#include "backend/sandbox/libraries.h"
#include "backend/sandbox/masks.h"
#include "backend/sandbox/models.h"
#include "backend/sandbox/network.h"
#include "backend/sandbox/parts.h"
#include "backend/sandbox/plan.h"
#include "backend/sandbox/python.h"
#include "backend/sandbox/uplink.h"

struct local {
	struct box box;
	/* found by prepare (or by jupyter, for a sandbox that was adopted) */
	char *runtime;
	struct network network;
	struct uplink uplink;
	struct masks masks;
	struct python python;       /* exe NULL: there is none */
	cJSON *gpus;                /* models of those that it has; NULL or empty without */
	struct image image;
	struct parts parts;         /* below its own files */
	struct layer_chain layers;
	struct sandbox_models models;
};

static inline struct libraries local_libraries_of(struct sandbox *s, const struct local *l)
{
	return (struct libraries){ .sandbox = s, .make = libraries_make_in_box, .runtime = l->runtime, .python = &l->python, .image = &l->image, .chain = &l->layers };
}

/* All of a prepared sandbox: its system, packages, GPUs, workspace, folders, variables and limits. */
int local_plan(struct plan *plan, struct sandbox *s, struct local *l, struct error *err);

#endif
