/* The download of one model into its folder (models.h): huggingface_hub, in a box of its own. */
#ifndef INTERPFS_BACKEND_SANDBOX_FETCH_H
#define INTERPFS_BACKEND_SANDBOX_FETCH_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/sandbox/backend.h"
#include "base/error.h"

struct fetch_of {
	struct sandbox *sandbox;
	const char *runtime;
	const char *name, *revision;  /* revision NULL: the newest */
	void (*progress)(void *context, const char *text); /* "DONE TOTAL PERCENT%\n" */
	void (*waiting)(void *context);                    /* again and again, while another sandbox downloads it */
	void *context;
};

/* Makes sure that the model is whole in `folder`. What a download that was cut has left is gone on from; ten
 * that ask at once download it once. -1 with the hub's sentence; ECANCELED. */
int fetch_model(const struct fetch_of *of, const char *folder, struct error *err);

/* Exposed for tests: whether an address is of this machine's loopback; the same by number, and "HOST:PORT". */
bool fetch_on_loopback(const char *endpoint, char *address, char *host, size_t size);

#endif
