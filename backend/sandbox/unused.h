/* Systems (roots/HASH, of `image`) and images (images/HASH, of `system_packages` and `setup`) on which nothing
 * stands any more. Whatever does has a record of it, "ASKED HASH" (making.h), from the time when it found it:
 *
 *      sandboxes/N/box/ctl/root image      a sandbox, whatever its state is
 *      snapshots/N/root image              a snapshot, and who begins from it
 *      STATE/layers/.using                 held (shared) while one is found or made and no record says so yet;
 *                                          held alone while those that have no record are put aside
 *      STATE/roots/.gone-HASH              put aside, until its files are removed: nobody finds it any more
 *
 * When a folder was found the last time is its own mtime. */
#ifndef INTERPFS_BACKEND_SANDBOX_UNUSED_H
#define INTERPFS_BACKEND_SANDBOX_UNUSED_H

#include "base/error.h"
#include "fs/state.h"

#define UNUSED_KEPT_S (7 * 24 * 3600.0) /* for a sandbox that asks for it again */

/* Whoever finds one holds this until it has written its record; the caller closes it. STATE/layers is there. */
int unused_hold(const struct state *state, struct error *err);
void unused_touch(const char *folder);

/* Removes those that nobody has found for so many seconds, and what a sweep that died has left; none while one is
 * being made. `told` (may be NULL) hears of each. */
int unused_sweep(const struct state *state, double seconds, void (*told)(const char *path), struct error *err);

#endif
