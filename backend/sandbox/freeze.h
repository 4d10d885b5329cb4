/* Holding a local sandbox still for a moment: root's by its control group, a user's by stopping each of its
 * processes. A process of its own does it, the guard: whatever happens to the one for whom it holds the sandbox,
 * the guard sees that one's end and lets go. It is begun outside of the namespace of ids.h, where whoever began
 * a sandbox may stop all of its processes, whosever they are inside. */
#ifndef INTERPFS_BACKEND_SANDBOX_FREEZE_H
#define INTERPFS_BACKEND_SANDBOX_FREEZE_H

#include <sys/types.h>

#include "base/error.h"

struct freeze {
	pid_t guard;
	int talk; /* closed: the guard lets go, and ends */
	const char *id;
	pid_t first;
};

/* Begins the guard. id: the box's; lock: a descriptor that the guard keeps until it has let go. */
int freeze_open(struct freeze *freeze, const char *id, int lock, struct error *err);
void freeze_close(struct freeze *freeze);

/* first: its first process as this machine sees it. When it returns 0, nothing inside runs. */
int freeze_begin(struct freeze *freeze, pid_t first, struct error *err);
void freeze_end(struct freeze *freeze);

/* Lets go of what a holder has left of whom nothing lives, its guard included. */
void freeze_release(const char *id, pid_t first);

#endif
