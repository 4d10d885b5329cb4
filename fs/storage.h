/* The storage thread: every write that must be synced, one after the other in the order in which
 * the loop asked for it. The loop never waits for a disk; it replies when a job is done. */
#ifndef INTERPFS_FS_STORAGE_H
#define INTERPFS_FS_STORAGE_H

#include "base/error.h"

int storage_start(struct error *err);
/* Runs work(data) in the storage thread, then finish(data, result, error) in the loop. 0, or -1
 * without memory: then finish is never called. */
int in_storage(int (*work)(void *data, struct error *err),
	       void (*finish)(void *data, int result, const struct error *error), void *data);
/* Finishes what was submitted, and what that asks for; finish is called of all of it. */
void storage_stop(void);

#endif
