/* Which container runtime this machine can use: the first of crun and runc that really starts a
 * container, or the one that the mount's `runtime=` names. Found once a boot. */
#ifndef INTERPFS_BACKEND_SANDBOX_RUNTIME_H
#define INTERPFS_BACKEND_SANDBOX_RUNTIME_H

#include "base/error.h"
#include "fs/state.h"

/* The program's path, owned by the caller. NULL with why none works and what would mend it. The
 * choice is INTERPFS_RUNTIME's, else "runtime" in STATE/options.json, else the first that works.
 * passed_over (or NULL): of one that would have been preferred, what it said when it was tried just
 * now; code 0: of none. */
char *runtime_find(const struct state *state, struct error *passed_over, struct error *err);

/* Whether the file system of an open folder can hold sandboxes' files; path is what the sentence
 * calls it. 0, or -1 with ENOTSUP. */
int runtime_disk(int folder, const char *path, struct error *err);

#endif
