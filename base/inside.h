/* Opening what others may have made: a path below a root that never leads out of it, whatever links and
 * `..` are on the way. */
#ifndef INTERPFS_BASE_INSIDE_H
#define INTERPFS_BASE_INSIDE_H

#include <sys/types.h>

enum inside_links {
	INSIDE_NO_LINKS, /* ELOOP at the first */
	INSIDE_LINKS,    /* each leads where it leads for whoever has the root as his */
	INSIDE_AT_ONCE,  /* no links; EAGAIN where the kernel does not have the names in memory, or they lead into another mount */
};

/* openat(2) with the root as "/". A descriptor that is closed on exec, or -1 with errno. */
int inside_open(int root, const char *path, int flags, mode_t mode, enum inside_links links);

#endif
