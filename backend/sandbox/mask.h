/* Hiding what other people on this machine could not read either.
 *
 * /usr, /etc and /opt come from the host as the lower layers of overlays. Root inside is the
 * host's root as far as reading goes, so /etc/shadow, private keys and the like would be open to
 * it. A mask is a layer above the host's that has a whiteout (a character device 0:0) for each
 * file and folder that "others" may not read. For an ordinary user it hides the user's own.
 *
 * A mask is made for one sandbox, anew at each start: what became secret meanwhile is hidden. What
 * becomes so while it runs is not; etc.h is about that. */
#ifndef INTERPFS_BACKEND_SANDBOX_MASK_H
#define INTERPFS_BACKEND_SANDBOX_MASK_H

#include "base/buffer.h"
#include "base/error.h"

/* Appends what others may not read below `host` (an absolute folder; nothing when there is none):
 * paths relative to it, each with `prefix` before it and a NUL behind. `skip` (may be NULL) is a
 * name directly in host that is left out. */
int mask_find(const char *host, const char *prefix, const char *skip, struct buffer *list, struct error *err);

/* The same, kept in the file `cache` (absolute) while none of host's folders changes: for trees
 * that are too large to be looked at in whole at each start. A file that was public and becomes
 * private stays visible until its folder changes; what is made private is hidden at once. */
int mask_find_cached(const char *host, const char *prefix, const char *skip, const char *cache,
		     struct buffer *list, struct error *err);

/* The same for /usr without /usr/local, which has 15,000 folders that only the package manager
 * changes: found again after a boot and when that has changed something. */
int mask_find_usr(const char *cache, struct buffer *list, struct error *err);

/* Makes the mask of `host` in the folder `into` (absolute), which is emptied first. */
int mask_make(const char *host, const struct buffer *list, const char *into, struct error *err);

#endif
