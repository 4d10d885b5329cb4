/* A bundle in the making: what a box shall see and be, gathered piece by piece, with the memory
 * of all its strings. The same for a sandbox and for the box in which its layers are built. */
#ifndef INTERPFS_BACKEND_SANDBOX_PLAN_H
#define INTERPFS_BACKEND_SANDBOX_PLAN_H

#include <stddef.h>

#include "backend/sandbox/box.h"
#include "backend/sandbox/bundle.h"
#include "backend/sandbox/masks.h"
#include "backend/sandbox/python.h"
#include "backend/sandbox/uplink.h"
#include "base/error.h"
#include "fs/state.h"

#define PLAN_LAYERS "/opt/interpfs"            /* the layers' overlay inside */
#define PLAN_VENV PLAN_LAYERS "/venv"
#define PLAN_PACKAGES "/workspace/.packages"   /* what the workspace has pip install (libraries.h) */
#define PLAN_JUPYTER "/run/interpfs/jupyter"

struct image;

struct plan {
	struct box *box;
	const char *image;          /* image.h: a folder between the system below and the box; NULL without. Borrowed */
	const char *base;           /* the / below, in place of the host's; NULL: the host's. Kept */
	const char *path;           /* PATH, but for what is before it */
	char *const *parts;         /* parts.h: folders between that and the box, topmost first; NULL without. Borrowed */
	struct masks *masks;        /* begun; needed by plan_system. Borrowed */
	struct bundle bundle;       /* complete after plan_finish; points into what follows */
	struct bundle_overlay *overlays;
	struct bundle_bind *binds;
	char **env;
	char **strings;             /* everything owned */
	size_t overlay_count, bind_count, env_count, string_count;
};

/* The system: /usr, /etc, /opt (and what apt needs) with fresh masks, the network's files, the
 * environment that every sandbox has. The box is made. */
int plan_system(struct plan *plan, const struct state *state, struct box *box, const struct image *image,
		const char *hostname, const struct uplink *uplink, struct error *err);

/* Layers, topmost first, NULL-terminated host folders; and the venv in them first on the PATH. */
int plan_layers(struct plan *plan, const char *const *layers, struct error *err);
/* What the interpreter needs that is not in /usr or /opt. */
int plan_python(struct plan *plan, const struct python *python, struct error *err);

int plan_env(struct plan *plan, const char *name, const char *value, struct error *err); /* replaces */
int plan_bind(struct plan *plan, const char *source, const char *destination, bool writable, struct error *err);
int plan_device(struct plan *plan, const char *source, const char *destination, struct error *err);
/* lowers is copied. What parts have of it lies above them. */
int plan_overlay(struct plan *plan, const char *destination, const char *name, const char *const *lowers,
		 struct error *err);

int plan_start(struct plan *plan, const char *runtime, struct uplink *uplink, int cpus,
	       struct guest **guest, struct error *err);
void plan_free(struct plan *plan);

#endif
