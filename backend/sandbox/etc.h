/* The host's /etc for sandboxes of root: a copy of what others may read, as it is at their start.
 *
 * Root inside reads with root's rights, and a lower layer shows what is made in it later: a key or a
 * password file that the host got while a sandbox runs would be open to it, and no mask can be put
 * over a layer in use. /etc is small, so it is copied. The copies are named by what is in them and
 * shared: STATE/etc/HASH. */
#ifndef INTERPFS_BACKEND_SANDBOX_ETC_H
#define INTERPFS_BACKEND_SANDBOX_ETC_H

#include "base/error.h"

/* The copy of the folder `host` (absolute), made if need be: its path, owned. It is kept for an hour
 * at least, and as long as a box says that it uses it. NULL without err when there is too much to be
 * copied (the host's folder has to do, below a mask); NULL with err->code set. */
char *etc_take(const char *state, const char *host, struct error *err);

/* Says so, in ctl/etc of a box (a descriptor of its ctl). */
int etc_use(int ctl, const char *copy, struct error *err);

#endif
