/* What exists of a state directory's on its engines: sandboxes and builds that run or lie there, and what
 * a crash left behind. Each thing belongs to an object that lives, or it is a stray, which
 * `interpfs doctor --reap` removes. What others started is never among them: a thing is known by the
 * state directory's id in its name or label, or by lying in the state directory. */
#ifndef INTERPFS_BACKEND_SANDBOX_THINGS_H
#define INTERPFS_BACKEND_SANDBOX_THINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"
#include "fs/state.h"

struct sandbox_backend;

enum thing_kind {
	THING_SANDBOX,
	THING_BUILD,   /* in which layers, Jupyter or an image are made */
	THING_PROBE,   /* of a runtime */
	THING_STORE,   /* what interpfs itself puts into every container */
	THING_IMAGE,
	THING_NETWORK, /* the process that joins a sandbox to the outside */
	THING_MOUNT,
	THING_KINDS
};

extern const char *const thing_kinds[THING_KINDS];

struct thing {
	const struct sandbox_backend *backend;
	enum thing_kind kind;
	char name[256];    /* of the sandbox, "" when it is not known */
	char id[128];      /* as the backend calls it */
	char state[24];    /* running, stopped, left, or the engine's own word */
	double since;      /* seconds since 1970, 0: not known */
	char owner[300];   /* "sandboxes/lab", "cache" …; "": it is a stray */
	char stray[160];   /* why it is one */
	/* the backend's own, for its reap() */
	char *where;       /* an engine's address, a path; owned */
	pid_t pid;
	uint64_t serial;   /* of the sandbox that it is named by; 0: none */
};

struct things {
	struct thing *list;
	size_t count, room;
};

void things_free(struct things *things);
#define cleanup_things __attribute__((cleanup(things_free)))
/* The next one, empty, to be filled in; NULL without memory. `where` is copied, may be NULL. */
struct thing *things_add(struct things *things, const struct sandbox_backend *backend, enum thing_kind kind,
			 const char *id, const char *where);

/* Fills in owner or stray, and the name, of a sandbox's thing. runs: it is what a sandbox at rest has
 * not. Any object that a runner is at owns its things. */
void things_judge(const struct state *state, uint64_t serial, bool runs, struct thing *thing);

/* The name of a sandbox; false, and "", where it has none any more. */
bool things_name(const struct state *state, uint64_t serial, char name[256]);

/* The number that ends an id of this state directory, "interpfs-STATE-7"; 0 for others. */
uint64_t things_serial(const struct state *state, const char *id);

/* All that exists on all backends, in a few seconds at most. A backend that cannot be asked is told to
 * `silent` (may be NULL) and left out; the return value is how many were. -1 without memory. */
int things_find(struct state *state, struct things *things,
		void (*silent)(void *context, const char *backend, const struct error *err), void *context,
		struct error *err);
size_t things_strays(const struct things *things);

/* Removes a stray, unless it has become an object's own meanwhile (1). */
int things_reap(struct state *state, struct thing *thing, struct error *err);

/* A line a thing, in columns: name, backend, kind, id, state, since, owner. -1 without memory. */
int things_render(const struct things *things, const struct sandbox_backend *only, bool header, struct buffer *out);

/* Takes "-o state=DIR" at the front of arguments: how many it took. *path is the caller's; the usual one
 * without the option, NULL without a home. */
int things_take_state(int argc, char **argv, char **path);
/* The state directory at a path, for those who only look: ENOENT where there is none, nothing is made. */
int things_open_state(struct state *state, const char *path, struct error *err);

#endif
