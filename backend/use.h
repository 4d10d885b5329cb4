/* Saying that a sandbox is used though nothing happens inside: its idle_timeout does not count while
 * a cell sleeps or a session's model thinks. A `use` call of the sandbox's runner, open for as long. */
#ifndef INTERPFS_BACKEND_USE_H
#define INTERPFS_BACKEND_USE_H

#include <stdbool.h>

#include "base/talk.h"

struct use {
	struct talk talk;
	bool held;
};

/* From now on, unless it is held already. folder: the sandbox's. Best effort: where no runner
 * answers, there is nothing to hold; called now and then, it is taken again after the runner's death. */
void use_hold(struct use *use, int folder);
void use_release(struct use *use);

#endif
