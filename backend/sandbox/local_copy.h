/* The snapshot of a local sandbox that runs: a copy of what it has written becomes the part. */
#ifndef INTERPFS_BACKEND_SANDBOX_LOCAL_COPY_H
#define INTERPFS_BACKEND_SANDBOX_LOCAL_COPY_H

#include "backend/sandbox/backend.h"
#include "backend/sandbox/box.h"
#include "backend/sandbox/freeze.h"
#include "base/error.h"

/* Whether the sandbox rests, and is held there by *lock until that is closed (a runner that starts waits for
 * it for a moment); or is ready; or is on its way to something. */
enum local_rest { LOCAL_RESTS, LOCAL_RUNS, LOCAL_MOVES };

int local_hold_rest(struct sandbox *s, int *lock, enum local_rest *rest, struct error *err);

/* The files of / that are no folders, into a part. */
int local_keep_files(const struct box *box, int into, struct error *err);

/* Copies until the copy is the sandbox as it was at one moment; then it is the part. Works for one that rests,
 * too. freeze: by which it is held still. */
int local_copy(struct sandbox *s, struct box *box, struct sandbox_snapshot *snapshot, const char *part, struct freeze *freeze,
	       struct error *err);

/* What a copy that was given up has left. */
int local_forget_copy(const struct sandbox *s, const struct sandbox_snapshot *snapshot, struct error *err);

#endif
