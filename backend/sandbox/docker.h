/* What the files of the backend `docker` share:
 *
 *      docker.c            the backend: start, adopt, end
 *      docker_run.c        one container's start, link and end
 *      docker_container.c  what a container is made of, and what the engine says of it
 *      docker_change.c     a container that is there already, and a config that has changed
 *      docker_adopted.c    a container that somebody else has started, and that stays theirs
 *      docker_files.c      the user's files that are copied in
 *      docker_gpu.c        its GPUs
 *      docker_root.c       its root as a folder of this machine
 *      docker_image.c      finding and fetching an image
 *      docker_build.c      a container in which something is made
 *      docker_layers.c     setup and packages as images above the config's
 *      docker_models.c     models that are bound
 *      docker_libraries.c  what its workspace has pip install
 *      docker_snapshot.c   a container's files as an image, and a container of that
 *      docker_jupyter.c    Jupyter Server
 *      docker_things.c     what exists on the engines, and removing what was left behind
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
 *      io.interpfs.kind    sandbox, build, store
 *      io.interpfs.serial  of the sandbox
 *      io.interpfs.name    the sandbox's, when its container was made
 *      io.interpfs.image   the image as the config named it
 *      io.interpfs.layers  the hash of its packages and setup
 *      io.interpfs.base    the id of the image below them
 *      io.interpfs.config  the hash of what else its container was made from
 *      io.interpfs.files   "kept": its container was made of another's files, and is never thrown away */
#ifndef INTERPFS_BACKEND_SANDBOX_DOCKER_H
#define INTERPFS_BACKEND_SANDBOX_DOCKER_H

#include "backend/sandbox/backend.h"
#include "backend/sandbox/commands.h"
#include "backend/sandbox/engine.h"
#include "backend/sandbox/making.h"
#include "backend/sandbox/models.h"

#define DOCKER_STATE "io.interpfs.state"
#define DOCKER_KIND "io.interpfs.kind"
#define DOCKER_SERIAL "io.interpfs.serial"
#define DOCKER_NAME "io.interpfs.name"
#define DOCKER_IMAGE "io.interpfs.image"
#define DOCKER_LAYERS "io.interpfs.layers"
#define DOCKER_BASE "io.interpfs.base"
#define DOCKER_CONFIG "io.interpfs.config"
#define DOCKER_FILES "io.interpfs.files"
#define DOCKER_STORE "/opt/interpfs"     /* where the volume is inside */

#define DOCKER_RECORD "engine"           /* in a sandbox's or snapshot's folder: the address at which it is */

/* New: it was never started, and holds nothing. */
enum docker_state { DOCKER_ABSENT, DOCKER_NEW, DOCKER_RUNNING, DOCKER_ENDED };

struct docker_found {
	enum docker_state state;
	bool removing;                 /* somebody is at it */
	bool out_of_memory;
	int exit;
	char config[MAKING_HASH_SIZE]; /* its label */
	char guest[256];               /* the program that is its process 1 */
	cJSON *json;                   /* all that the engine says; owned */
};

struct docker {
	struct engine *engine;        /* NULL until it is needed */
	char image_name[64];          /* the image's name, where the config has none */
	char *base;                   /* the id of the config's image; after docker_find_image */
	char *image;                  /* the id of the image that it is made of; after docker_layers */
	char *guest;                  /* the guest's program inside; after docker_fill_store */
	struct docker_found started;  /* what the engine said of it when it had started, until it is described */
	char no_root[GUEST_NO_ROOT_SIZE]; /* why fs/ is refused, "" where it is not; after docker_lead_to_root */
	struct sandbox_models models; /* after docker_find_models */
	cJSON *gpus;                  /* models of those that it has; NULL without; after docker_add_gpus */
};

struct docker *docker_own(const struct sandbox *s);

/* A request without bytes. body is freed, also on failure; NULL with `expected` true is a failure to
 * make it. */
int docker_call(const struct sandbox *s, const char *method, const char *path, cJSON *body,
		struct engine_answer *answer, struct error *err);

/* Where it is, durably: before anything of it is there. */
int docker_record_engine(struct sandbox *s, struct error *err);
/* Opens the engine on which the sandbox's container is, whatever DOCKER_HOST says later. */
int docker_find_engine(struct sandbox *s, struct error *err);

/* docker_run.c: a container by its name. */
/* "/containers/NAME" + rest. Owned; NULL without memory. */
char *docker_path(const char *container, const char *rest);
/* Starts it; the guest has answered when it returns. A store that somebody removed is filled again. */
int docker_run_guest(struct sandbox *s, const char *container, struct guest **guest, struct error *err);
/* One that runs: has the engine run words there (NULL-terminated), as root in / where root is true, else as the
 * container's own user where that one begins. *id is the caller's; nothing runs before its link is made. */
int docker_make_exec(struct sandbox *s, const char *container, const char *const words[], bool root, char **id,
		     struct error *err);
/* Starts it: its input and output become a link, and a guest has answered. quiet: what it says of errors is not for
 * the log. */
int docker_link_exec(struct sandbox *s, const char *id, bool quiet, struct guest **guest, struct error *err);
/* Starts it, and nobody hears of it. */
int docker_run_exec(struct sandbox *s, const char *id, struct error *err);
/* Both, of `program connect`. */
int docker_connect_guest(struct sandbox *s, const char *container, const char *program, struct guest **guest,
			 struct error *err);
/* The id in an answer: owned by the caller, NULL where there is none. */
char *docker_id(const cJSON *answer);
/* Its files as an image, "interpfs-STATE:TAG", of kind build, sandbox or snapshot (while it may run); *id is the
 * caller's. */
int docker_commit(struct sandbox *s, const char *container, const char *tag, const char *kind, char **id, struct error *err);
/* These wait whatever the sandbox is wanted to be; a container that is not there is fine. */
int docker_await(struct sandbox *s, const char *container, const char *what, int timeout_ms, struct error *err);
int docker_kill(struct sandbox *s, const char *container, struct error *err);
int docker_delete(struct sandbox *s, const char *container, struct error *err);

/* docker_container.c */
int docker_inspect(const struct sandbox *s, bool uncancelled, struct docker_found *found, struct error *err);
void docker_found_free(struct docker_found *found);
#define cleanup_found __attribute__((cleanup(docker_found_free)))

/* A label's text, "" without it; borrowed. */
const char *docker_label(const struct docker_found *found, const char *label);
/* object[a][b], or object[a] without b; NULL where there is none. */
const cJSON *docker_member(const cJSON *object, const char *a, const char *b);

/* A container with the guest as process 1, its rights, its mounts (taken) and its labels (taken): what every one
 * of ours has. NULL with err. */
cJSON *docker_guest_body(const struct sandbox *s, cJSON *mounts, cJSON *labels, struct error *err);
/* A folder or file of the engine's machine as a mount, read-only. NULL without memory. */
cJSON *docker_bind_mount(const char *source, const char *target);
/* docker_gpu.c: what the config's GPUs need, claimed for the sandbox. */
int docker_add_gpus(cJSON *body, const struct sandbox *s, struct error *err);
/* What a container for the config is made of, but its image; and the hash of what of that cannot change.
 * The store is there. Owned by the caller; NULL with err. */
cJSON *docker_body(const struct sandbox *s, char config[MAKING_HASH_SIZE], struct error *err);
/* Makes the container; body is freed. */
int docker_create(struct sandbox *s, cJSON *body, const char *image, struct error *err);
int docker_describe(struct sandbox *s, cJSON *info, struct error *err);
/* Labels for something that is made: kind is "sandbox" or "store". NULL without memory. */
cJSON *docker_labels(const struct sandbox *s, const char *kind);

/* docker_change.c */
/* What a runner that was killed in docker_change left: the container is as it was before. */
int docker_recover(struct sandbox *s, struct error *err);
/* A container that is there becomes what the config wants, with all its files. */
int docker_change(struct sandbox *s, const struct docker_found *found, struct error *err);
/* docker_adopted.c: what backend.h says of each, where the config has `adopt`. */
bool docker_is_adopted(const struct sandbox *s);
int docker_adopted_prepare(struct sandbox *s, struct error *err);
int docker_adopted_start(struct sandbox *s, struct guest **guest, struct error *err);
int docker_adopted_find(struct sandbox *s, struct guest **guest, struct error *err);
int docker_adopted_end(struct sandbox *s, int timeout_ms, enum sandbox_end_kind *kind, char why[256], struct error *err);
int docker_adopted_describe(struct sandbox *s, cJSON *info, struct error *err);
/* -1: what only a container of our own has. */
int docker_adopted_lacks(const char *what, struct error *err);
/* It is none any more; it was ended. */
void docker_adopted_forget(struct sandbox *s);

/* docker_files.c: local_files and local_dirs go into a container that was just made. */
int docker_copy_files(struct sandbox *s, struct error *err);
/* What is trusted inside, where the proxy speaks for hosts (gate.h): before each start. */
int docker_copy_trusted(struct sandbox *s, struct error *err);

/* Images that were made of the sandbox. */
int docker_remove_images(const struct sandbox *s, struct error *err);

/* docker_build.c: a container that is there only while something is made in it. */
struct docker_build {
	struct sandbox *sandbox;
	char name[96];
	struct commands commands;
};
/* Makes it of an image and starts it; `hash` is of what is made, and what an earlier one of the same name left
 * is removed. writable: the store is. mounts: more of them (taken), NULL: none. The caller closes it, also after a failure. */
int docker_build_open(struct docker_build *b, struct sandbox *s, const char *hash, const char *image, bool writable,
		      cJSON *mounts, struct error *err);
/* Ends it and makes an image of it, "interpfs-STATE:TAG"; *id is the caller's. */
int docker_build_commit(struct docker_build *b, const char *tag, char **id, struct error *err);
void docker_build_close(struct docker_build *b);
/* Held by whoever makes that; waits for another. A descriptor, or -1. */
int docker_lock(struct sandbox *s, const char *hash, struct error *err);

/* docker_layers.c: own->image becomes the image with the config's packages and setup in it. */
int docker_layers(struct sandbox *s, struct error *err);
/* The hash of what docker_layers would make, whatever the image; "" when nothing. */
int docker_layers_hash(const struct sandbox *s, char out[MAKING_HASH_SIZE], struct error *err);
/* The same above an image that is nobody else's: *image (owned) is replaced. */
int docker_layers_above(struct sandbox *s, char **image, struct error *err);

/* docker_jupyter.c */
int docker_jupyter(struct sandbox *s, struct sandbox_jupyter *jupyter, struct error *err);

/* docker_root.c: has the guest's link lead to the root of the container that was found running, or says in
 * own->no_root why that cannot be. */
void docker_lead_to_root(struct sandbox *s, const struct docker_found *found, struct guest *guest);

/* docker_models.c: what the config names, downloaded where it is not there. May take hours. */
int docker_find_models(struct sandbox *s, struct error *err);
int docker_bind_models(const struct sandbox *s, cJSON *mounts, struct error *err);
/* load_VAR.py for an agent with a shell: before each start. */
int docker_copy_loaders(struct sandbox *s, struct error *err);

/* docker_libraries.c: brings what is installed for the sandbox's workspace to what is wanted (backend.h). */
int docker_libraries(struct sandbox *s, cJSON **result, struct error *err);
/* The same before the first command: what fails of it is said, and the sandbox goes on. */
int docker_install_libraries(struct sandbox *s, struct error *err);
int docker_bind_packages(const struct sandbox *s, cJSON *mounts, struct error *err);
/* Where they are inside, for Python's path and for PATH; the caller's. */
int docker_find_packages(const struct docker_found *found, char **current, char **bin, struct error *err);
/* docker_layers.c: that there is one, made where the image's Python can. */
int docker_find_pip(struct commands *c, struct error *err);

/* docker_snapshot.c */
int docker_snapshot(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err);
int docker_measure(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err);
int docker_drop(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err);
/* The config's snapshot as what the container is made of: base and image. */
int docker_find_snapshot(struct sandbox *s, struct error *err);
/* The sandbox, which came from a snapshot, is gone: so is the image, where the snapshot is gone, too. */
int docker_leave_snapshot(struct sandbox *s, struct error *err);

/* docker_image.c: the config's image, fetched with progress in the log when it is not there. */
int docker_find_image(struct sandbox *s, struct error *err);
const char *docker_image_name(const struct sandbox *s); /* borrowed */
/* The image that a container was made of; where that is not there any more, what it is made of now. */
int docker_use_base(struct sandbox *s, const struct docker_found *found, struct error *err);
/* The id of what the engine calls by a name, owned by the caller; NULL with err, ENOENT when there is none. */
char *docker_image_id(const struct sandbox *s, const char *name, struct error *err);

/* docker_store.c: the volume with the guest in it. again: it was there once, and is not any more. */
int docker_fill_store(struct sandbox *s, bool again, struct error *err);
/* The volume as one of a container's mounts. NULL without memory. */
cJSON *docker_store_mount(const struct sandbox *s, bool writable);

/* docker_things.c: probe(), list() and reap(); and removing builds that died, unless somebody is at them. */
void docker_sweep(const struct sandbox *s);
int docker_probe(struct state *state, cJSON *info, struct error *err);
int docker_list(struct state *state, struct things *things, struct error *err);
int docker_reap(struct state *state, const struct thing *thing, struct error *err);

#endif
