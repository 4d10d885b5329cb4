/* The mount itself: what there is one of. */
#ifndef INTERPFS_FS_MOUNT_H
#define INTERPFS_FS_MOUNT_H

#include <time.h>

struct supervisor;

struct supervisor *mount_supervisor(void);
const char *mount_point(void); /* absolute; for mcp.json and help */

struct timespec mount_began(void); /* the time of what has none of its own */

/* A line with the time in the root's log. */
void mount_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
