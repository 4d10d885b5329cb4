/* Snapshots of the backend `local` (parts.h): a stopped sandbox's own files become a part by a rename;
 * a running one's are copied while it goes on, then for a moment without it, until the copy is as it is. */
#ifndef INTERPFS_BACKEND_SANDBOX_LOCAL_SNAPSHOT_H
#define INTERPFS_BACKEND_SANDBOX_LOCAL_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/sandbox/backend.h"
#include "backend/sandbox/box.h"
#include "base/error.h"

int local_snapshot(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err);
int local_measure(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err);
int local_drop(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err);

/* A box that is new is put above a snapshot's parts, with what it needs beside them. */
int local_begin_from(struct sandbox *s, struct box *box, uint64_t snapshot, struct error *err);
/* The sandbox's box, which is removed next, stands on nothing any more; *parts: whether it did, so that there
 * may be something to sweep. */
int local_leave_parts(const struct sandbox *s, bool *parts, struct error *err);

#endif
