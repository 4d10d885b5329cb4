/* What the files of the backend `docker` share:
 *
 *      docker.c            the backend: start, adopt, end
 *      docker_container.c  what a container is made of, and what the engine says of it
 *      docker_image.c      finding and fetching an image
 *      docker_store.c      what interpfs itself puts into every container: the guest
 *
 * A sandbox is the container that is named by its id, "interpfs-STATE-SERIAL". The guest is its process
 * 1, a program in a volume that all containers of a state directory have read-only; whoever starts it is
 * attached to its standard input and output (engine_hijack.c), whoever finds it later has the engine run
 * `guest connect` in it (backend/guest/engine.c). Stopped, the container keeps the files.
 *
 * Everything made on an engine has labels, by which it is found again and never mistaken:
 *
 *      io.interpfs.state   the state directory's id
 *      io.interpfs.kind    sandbox, store
 *      io.interpfs.serial  of the sandbox
 *      io.interpfs.config  the hash of what its container was made from */
#ifndef INTERPFS_BACKEND_SANDBOX_DOCKER_H
#define INTERPFS_BACKEND_SANDBOX_DOCKER_H

#include "backend/sandbox/backend.h"
#include "backend/sandbox/engine.h"

#define DOCKER_STATE "io.interpfs.state"
#define DOCKER_KIND "io.interpfs.kind"
#define DOCKER_SERIAL "io.interpfs.serial"
#define DOCKER_CONFIG "io.interpfs.config"
#define DOCKER_STORE "/opt/interpfs"     /* where the volume is inside */
#define DOCKER_IMAGE "python:3.12-slim"  /* when the config names none */

#define DOCKER_HASH_SIZE 33

struct docker {
	struct engine *engine;        /* NULL until it is needed */
	char *image;                  /* its id; after docker_find_image */
	char *guest;                  /* the guest's program inside; after docker_fill_store */
};

struct docker *docker_own(const struct sandbox *s);

/* A request without bytes. body is freed, also on failure; NULL with `expected` true is a failure to
 * make it. */
int docker_call(const struct sandbox *s, const char *method, const char *path, cJSON *body,
		struct engine_answer *answer, struct error *err);

/* A path of the sandbox's container: "/containers/NAME" + rest. Owned; NULL without memory. */
char *docker_path(const struct sandbox *s, const char *rest);

/* docker_container.c */
enum docker_state { DOCKER_ABSENT, DOCKER_NEW, DOCKER_RUNNING, DOCKER_ENDED };

struct docker_found {
	enum docker_state state;
	bool removing;                 /* somebody is at it */
	bool out_of_memory;
	int exit;
	char config[DOCKER_HASH_SIZE]; /* its label */
	char guest[256];               /* the program that is its process 1 */
	cJSON *json;                   /* all that the engine says; owned */
};

int docker_inspect(const struct sandbox *s, bool uncancelled, struct docker_found *found, struct error *err);
void docker_found_free(struct docker_found *found);
#define cleanup_found __attribute__((cleanup(docker_found_free)))

/* Makes it, anew where an earlier one was never started. The image and the store are there. */
int docker_create(struct sandbox *s, struct error *err);
int docker_describe(struct sandbox *s, cJSON *info, struct error *err);
/* Labels for something that is made: kind is "sandbox" or "store". NULL without memory. */
cJSON *docker_labels(const struct sandbox *s, const char *kind);

/* docker_image.c: the config's image, fetched with progress in the log when it is not there. */
int docker_find_image(struct sandbox *s, struct error *err);

/* docker_store.c: the volume with the guest in it. again: it was there once, and is not any more. */
int docker_fill_store(struct sandbox *s, bool again, struct error *err);
/* The volume as one of a container's mounts. NULL without memory. */
cJSON *docker_store_mount(const struct sandbox *s, bool writable);
int docker_remove_store(const struct sandbox *s, struct error *err);

/* SHA-256, its first half in hexadecimal. */
int docker_hash(const void *data, size_t n, char out[DOCKER_HASH_SIZE], struct error *err);

#endif
