/* A build: a box with network in which commands are run (commands.h). Used by layers.c and image.c. */
#ifndef INTERPFS_BACKEND_SANDBOX_BUILD_H
#define INTERPFS_BACKEND_SANDBOX_BUILD_H

#include "backend/sandbox/backend.h"
#include "backend/sandbox/box.h"
#include "backend/sandbox/commands.h"
#include "backend/sandbox/network.h"
#include "backend/sandbox/plan.h"
#include "base/error.h"

struct image;

struct build {
	struct commands commands;    /* for whom, and what runs in it */
	struct box box;
	struct masks masks;
	struct plan plan;
	struct network network;
	struct uplink uplink;
};

/* Names a box at `path` with container id `id`, removes what an earlier build there left, and
 * makes it anew above an image (NULL: none; image.h). Then the plan can be added to. */
int build_open(struct build *build, struct sandbox *sandbox, const char *path, const char *id, const struct image *image,
	       struct error *err);

/* Starts the box. */
int build_start(struct build *build, const char *runtime, struct error *err);

/* Stops the box; its files stay. */
int build_stop(struct build *build, struct error *err);

/* Whatever state it is in: nothing of it is left but what was renamed away. */
void build_close(struct build *build);

#endif
