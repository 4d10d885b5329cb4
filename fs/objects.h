/* The mount's memory of its objects: names, serials, what is wanted and what they are.
 *
 * The state directory is the truth; this is a copy of the part that every stat needs, loaded at
 * the mount and kept right by the mount's own changes and by runners' notices. 10,000 objects
 * cost about 2 MB and no descriptors: folders are opened when asked for, and a few stay open.
 * From the loop only. */
#ifndef INTERPFS_FS_OBJECTS_H
#define INTERPFS_FS_OBJECTS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"
#include "fs/state.h"

struct object {
	/* What a listing of all needs comes first, within two lines of the processor's cache. */
	enum object_kind kind;
	bool removed;           /* rmdir was accepted: it has no name any more and goes away */
	uint32_t pins;          /* descriptors, parked requests and storage jobs that point here */
	uint32_t deciding;      /* of its configs, on their way to the disk: info.json waits for them */
	uint32_t texts;         /* of inboxes, on their way to its runner: a wait waits for them too */
	uint64_t serial;
	char *name;             /* owned; the last name when removed */
	struct timespec changed;/* when anything of it last changed */
	uint64_t known;         /* rows whose attributes the kernel may have: bit row->bit */
	struct object *next_name, *next_serial; /* hash chains */
	uint64_t cached;        /* rows whose bytes the kernel may have */
	struct want want;       /* as decided; it may be on its way to the disk */
	struct status status;   /* as last announced */
	bool call_refused;      /* its refusal is of a call: the next one that ends well takes it back */
	char *unstored;         /* a refusal that the disk did not take; NULL without one */
	char *sha;              /* of the text in force, 64 digits; NULL while it was not asked for */
	uint64_t workspace;     /* whose number its spec.json names (workspaces.c); 0 while it was not asked for */
	int folder;             /* -1 while not open: use object_folder_fd() */
	struct timespec made;   /* when mkdir made it; 0: not asked for yet */
	struct timespec wanted; /* when a run of it was last decided */
	int64_t texts_until;    /* clock_ms(): who reads what they change waits for them no longer than this */
	struct timespec told;   /* when `error` last became another; 0: not since the mount */
	uint32_t used;          /* when folder was last asked for */
};

/* Loads every name of every kind. */
int objects_load(struct state *state, struct error *err);
struct state *objects_state(void);

struct object *objects_find(enum object_kind kind, const char *name);   /* NULL when there is none */
struct object *objects_by_serial(uint64_t serial);                      /* removed ones too */
/* Counts the objects that were ever freed: while it stands, a pointer to one is good. */
uint64_t objects_freed(void);
uint32_t objects_count(enum object_kind kind);

/* Calls visit for each named object of the kind in order of serial; it may not add or remove. */
int objects_each(enum object_kind kind, int (*visit)(void *context, struct object *object), void *context);

struct timespec objects_changed(enum object_kind kind); /* when one last came, went or was renamed */

/* The newest, NULL without one. */
struct object *objects_latest(enum object_kind kind);

/* The state directory has it already; these follow. NULL or -1 without memory. */
struct object *objects_add(enum object_kind kind, const char *name, uint64_t serial);
int objects_rename(struct object *object, const char *name);
void objects_remove(struct object *object);                              /* sets `removed` */

void object_pin(struct object *object);
void object_unpin(struct object *object); /* frees a removed one with its last pin */

/* Its folder's descriptor, borrowed until the loop's next turn. -1 with errno. */
int object_folder_fd(struct object *object);

/* A file of its as JSON, owned by the caller; NULL when it is none, or not there. spec: what is in force. */
cJSON *object_json(struct object *object, const char *path);
cJSON *object_spec(struct object *object);

/* Reads want and status again. */
void object_refresh(struct object *object);

/* When mkdir made it: the time of what never changes in it. */
struct timespec object_made(struct object *object);

/* What `state` says: the last that was announced, or "starting" where a start was decided that no
 * runner has taken up yet. */
const char *object_state(const struct object *object);

bool object_at_rest(const struct object *object);  /* status has caught up with want and rests */
bool object_settled(const struct object *object);  /* the same, or it is ready: `wait` ends */

/* Whether others that live refer to it; their names go into err ("notebooks/probe, sessions/3"). */
bool object_in_use(struct object *object, struct error *err);

#endif
