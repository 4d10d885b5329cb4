/* Holding a local sandbox still for a moment: root's by its control group, a user's by stopping each of its
 * processes. Whatever happens to the one who holds it, it goes on: a process of its own, the guard,
 * waits for the holder's end and lets it go. */
#ifndef INTERPFS_BACKEND_SANDBOX_FREEZE_H
#define INTERPFS_BACKEND_SANDBOX_FREEZE_H

#include <sys/types.h>

#include "base/error.h"

struct freeze {
	pid_t guard;
	int hold; /* closed: the guard lets go */
	const char *id;
	pid_t first;
};

/* id: the box's; first: its first process as this machine sees it; lock: a descriptor that the guard keeps until
 * it has let go. When it returns 0, nothing inside runs. */
int freeze_begin(struct freeze *freeze, const char *id, pid_t first, int lock, struct error *err);
void freeze_end(struct freeze *freeze);

/* Lets go of what a holder has left of whom nothing lives, its guard included. */
void freeze_release(const char *id, pid_t first);

#endif
