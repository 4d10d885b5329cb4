/* The folder that is mounted on. */
#ifndef INTERPFS_FS_MOUNTPOINT_H
#define INTERPFS_FS_MOUNTPOINT_H

#include <stdbool.h>

#include "base/error.h"

/* The folder's path without links, as the table of mounts has it; also where a dead mount lies on
 * it. The caller's, NULL when it is none. */
char *mountpoint_resolve(const char *folder, struct error *err);

/* Whether a mount of interpfs, alive or dead, lies on this path (resolved). */
bool mountpoint_taken(const char *path);

/* Takes a dead one away, which a killed daemon left. */
void mountpoint_clean(const char *path);

/* Refuses a state directory that the mount would hide: runners go there by its path. */
int mountpoint_refuse_inside(const char *path, const char *state, struct error *err);

/* Calls gone() in the loop when the mount that lies there now is no longer in this process's mount
 * namespace, though /dev/fuse says nothing: it was unmounted lazily, or a namespace that was made
 * while it was mounted has a copy of it. */
int mountpoint_watch(const char *path, void (*gone)(void), struct error *err);
void mountpoint_unwatch(void);

#endif
