/* Brings files that were written to the disk while their writer does other work. */
#ifndef INTERPFS_BASE_SYNCING_H
#define INTERPFS_BASE_SYNCING_H

#include <pthread.h>
#include <stdbool.h>

#include "base/error.h"

#define SYNCING_FILES 4

struct syncing {
	pthread_t thread;
	bool running;
	int folder;
	const char *names[SYNCING_FILES + 1]; /* in the folder; ends with NULL */
	struct error err;
	int result;
};

/* Begins to sync the files named (one that is not there is an error), then the folder, which stays
 * open until the end. What cannot be done beside is done now. */
void syncing_begin(struct syncing *syncing);
/* Waits until it is done, and says how that went. Also where nothing was begun. */
int syncing_end(struct syncing *syncing, struct error *err);

#endif
