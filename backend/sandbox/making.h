/* Making what many sandboxes share, once: a folder named by the hash of what it is made of. Whoever
 * needs it first makes it in a box, under a lock, and publishes it by rename; the others wait, and a
 * maker that died leaves nothing but a box to sweep.
 *
 *      STATE/layers/.build-HASH/      the box in which it is being made
 *      STATE/layers/.lock-HASH        held by the one who makes it */
#ifndef INTERPFS_BACKEND_SANDBOX_MAKING_H
#define INTERPFS_BACKEND_SANDBOX_MAKING_H

#include "backend/sandbox/backend.h"
#include "backend/sandbox/build.h"
#include "base/error.h"

struct image;

#define MAKING_HASH_SIZE 33 /* 32 hex digits and a NUL */

struct making {
	char hash[MAKING_HASH_SIZE];
	const char *name; /* its name when it is made; NULL: the hash */
	char *final;      /* where it will be, owned */
	char *lock_path;  /* owned */
	int lock;
	/* While another one makes it: what the log says of that (NULL: packages), and what is done meanwhile. */
	const char *waits;
	void (*waiting)(void *context);
	void *context;
};

#define MAKING ((struct making){ .lock = -1 })

/* The hash of a text that says all that it is made of. */
void making_hash(const char *text, size_t n, char out[MAKING_HASH_SIZE]);

/* folder/HASH, for m->hash. 0: it is there. 1: it is not, and it is this process's to make. -1
 * (ECANCELED: the sandbox is wanted otherwise). Living goes on meanwhile (sandbox_host). */
int making_claim(struct making *m, struct sandbox *s, const char *folder, struct error *err);
/* A file in a sandbox's own folder `kept`, "ASKED HASH": what it was made of when it asked for that before.
 * Whether there is one of which folder/HASH is still there, which is m->hash then. */
bool making_recall(struct making *m, int kept, const char *record, const char *folder, const char *asked);
int making_remember(const struct making *m, int kept, const char *record, const char *asked, struct error *err);
/* The box to make it in, above an image (NULL: none). The caller closes it, also after a failure. */
int making_open(const struct making *m, struct build *build, struct sandbox *s, const struct image *image, struct error *err);
/* Makes a finished folder the final one, durably. */
int making_publish(const struct making *m, const char *from, struct error *err);
void making_done(struct making *m);

/* Removes what builds that died have left, unless somebody is at them. */
void making_sweep(const struct state *state);

#endif
