/* What `interpfs mcp PATH` and `interpfs exec PATH` speak to: an object's folder in the state
 * directory, found once from a path in a mount or from the folder's own path. What is held is a
 * descriptor of the folder, so a mount that ends, or a rename, changes nothing. */
#ifndef INTERPFS_MCP_TARGET_H
#define INTERPFS_MCP_TARGET_H

#include "base/error.h"
#include "base/talk.h"
#include "fs/state.h"

#define TARGET_MS 10000 /* how long one waits for a runner that is about to come */
#define TARGET_LOOK_MS 25

struct target {
	enum object_kind kind;
	int folder;   /* -1 when closed */
	unsigned interface; /* the number of one of the sandbox's interfaces; 0: the object itself */
};

/* ENOENT, ENOTDIR …; EINVAL when it is neither. */
int target_open(struct target *target, const char *path, struct error *err);
void target_close(struct target *target);

/* Connects to its runner. EAGAIN when none runs yet but is wanted: try again, for TARGET_MS at most;
 * ENOTCONN with what there is to do when none is. */
int target_connect(const struct target *target, struct talk *talk, struct error *err);

#endif
