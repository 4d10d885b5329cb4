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

#endif
