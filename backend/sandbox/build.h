/* A build: a box with network in which commands are run, whose output goes to a sandbox's log as
 * it comes. Used by layers.c. */
#ifndef INTERPFS_BACKEND_SANDBOX_BUILD_H
#define INTERPFS_BACKEND_SANDBOX_BUILD_H

#include "backend/sandbox/backend.h"
#include "backend/sandbox/box.h"
#include "backend/sandbox/network.h"
#include "backend/sandbox/plan.h"
#include "base/buffer.h"
#include "base/error.h"

#define BUILD_PRINTED_MAX 65536

struct build {
	struct sandbox *sandbox;     /* for whom: its log, its story */
	struct box box;
	struct plan plan;
	struct network network;
	struct uplink uplink;
	struct guest *guest;
	struct buffer printed;       /* the last command's output, its last 64 KiB */
	/* the command under way */
	struct guest_operation *operation;
	bool ended, lost;
	int code, exit;
};

/* Names a box at `path` with container id `id`, removes what an earlier build there left, and
 * makes it anew above an image (NULL: none; image.h). Then the plan can be added to. */
int build_open(struct build *build, struct sandbox *sandbox, const char *path, const char *id, const char *image,
	       struct error *err);

/* Starts the box. */
int build_start(struct build *build, const char *runtime, struct error *err);

/* Runs a command to its end; 0 whatever its exit status, which is in *exit. The package
 * manager's settings of the user's environment (indexes, proxies, certificates) are passed on. */
int build_run(struct build *build, const char *const argv[], int *exit, struct error *err);

/* Stops the box; its files stay. */
int build_stop(struct build *build, struct error *err);

/* Whatever state it is in: nothing of it is left but what was renamed away. */
void build_close(struct build *build);

#endif
