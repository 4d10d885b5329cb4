/* What a start hides of the host's folders (mask.h), found by a thread beside the start's other
 * work: looking through /etc and the like is some 4 ms of reading and nothing else. */
#ifndef INTERPFS_BACKEND_SANDBOX_MASKS_H
#define INTERPFS_BACKEND_SANDBOX_MASKS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

#define MASKS 3

extern const char *const masks_folders[MASKS]; /* usr etc opt: directly in the host's / */

struct masks {
	char *state;         /* the state directory, owned */
	char *etc;           /* what stands for the host's /etc, with nothing to hide; NULL: itself. Owned */
	pthread_t thread;
	bool running;
	int64_t since;       /* ms: when all was found */
	struct masks_found {
		struct buffer list;  /* as mask_make takes it */
		bool failed;
		struct error err;
	} found[MASKS];
};

int masks_begin(struct masks *masks, const char *state, struct error *err);

/* What is to be hidden of masks_folders[i]; lent until masks_end. NULL with err. What was found too
 * long ago to be true of this start is found again. */
const struct buffer *masks_take(struct masks *masks, int i, struct error *err);
/* After that: what is shown of the folder, "/usr" or what stands for it. Lent like the list. */
const char *masks_shown(const struct masks *masks, int i);

void masks_end(struct masks *masks); /* all zeros will do */

#endif
