/* What `interpfs mcp PATH` and `interpfs exec PATH` speak to: an object's folder in the state
 * directory, found once from a path in a mount or from the folder's own path. What is held is a
 * descriptor of the folder, so a mount that ends, or a rename, changes nothing. */
#ifndef INTERPFS_MCP_TARGET_H
#define INTERPFS_MCP_TARGET_H

#include "base/error.h"
#include "fs/state.h"

struct target {
	enum object_kind kind;
	int folder;   /* -1 when closed */
	char *name;   /* as it was called when it was found; owned */
};

/* ENOENT, ENOTDIR …; EINVAL when it is neither. */
int target_open(struct target *target, const char *path, struct error *err);
void target_close(struct target *target);

#endif
