/* Where sandboxes run. A backend is a struct of functions; adding one is one file and one row of
 * sandbox_backends[]. Whatever a guest can do (commands, files, connections, deadlines) is written
 * once over its stream and is no backend's business. */
#ifndef INTERPFS_BACKEND_SANDBOX_BACKEND_H
#define INTERPFS_BACKEND_SANDBOX_BACKEND_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/sandbox/guest.h"
#include "backend/sandbox/things.h"
#include "base/error.h"
#include "fs/state.h"

/* What a backend may ask of the one who tells the sandbox's story, while something takes long. */
struct sandbox_host {
	void *context;
	/* Goes on living for at most timeout_ms: commands, calls and watched descriptors are served.
	 * -1 ECANCELED when the sandbox is wanted otherwise: give up, leave nothing, return it. */
	int (*pump)(void *context, int timeout_ms, struct error *err);
	/* Calls ready (from inside pump) whenever poll(2) says events of fd; again to change them. */
	int (*watch)(void *context, int fd, short events, void (*ready)(void *context, short revents),
		     void *ready_context, struct error *err);
	void (*unwatch)(void *context, int fd);
	/* Appends to the sandbox's log as it comes. */
	void (*log)(void *context, const void *data, size_t n);
	/* Records a value of the sandbox, for the tree; best effort. text NULL: the path has changed. */
	void (*value)(void *context, const char *path, const char *text);
	/* A secret that its config names or needs, NULL when it is not known; borrowed. May take seconds. */
	const char *(*secret)(void *context, const char *name);
	/* Says what takes so long: the state `building`. */
	int (*building)(void *context, struct error *err);
};

/* One sandbox. The story fills it in; everything is borrowed. */
struct sandbox {
	struct state *state;
	int folder;               /* its folder in the state directory */
	const char *folder_path;  /* absolute */
	const char *name;         /* for its hostname */
	uint64_t serial;
	const char *id;           /* interpfs-STATEID-SERIAL */
	const cJSON *fields;      /* every field of the config */
	const cJSON *references;
	const struct sandbox_host *host;
	void *own;                /* the backend's, from open to close */
};

enum sandbox_end_kind {
	SANDBOX_STOPPED,  /* it was told to */
	SANDBOX_TIMEOUT,  /* its deadline came */
	SANDBOX_IDLE,     /* nothing used it for its idle_timeout */
	SANDBOX_DIED,     /* nobody asked */
};

/* A snapshot that is being made. What belongs to it is named by its serial. */
struct sandbox_snapshot {
	int folder;               /* its folder in the state directory */
	uint64_t serial;
	uint64_t size;            /* the room that it takes, in bytes; filled in by measure, 0 where that is not known */
	double pause;             /* seconds for which the sandbox stood still, -1: unknown; filled in by snapshot */
	/* Goes on living for at most timeout_ms. -1 ECANCELED when it is not wanted any more. */
	int (*pump)(void *context, int timeout_ms, struct error *err);
	void *context;
};

struct sandbox_jupyter {
	char *python;     /* inside: the interpreter that runs Jupyter Server, owned */
	char *serve;      /* inside: the program that starts it, owned; NULL: -m jupyter_server */
	char *data;       /* inside: JUPYTER_PATH, with the kernel that runs the agent's Python, owned */
};

struct sandbox_backend {
	const char *name; /* as `backend:` says it */
	bool distant;     /* the guest's link may break while the sandbox runs, and whether it does may be
			     untold for a while: adopt() is asked until it knows */

	/* Whether it can be used here at all, in a few seconds at most. -1 with the reason and the one thing
	 * that would mend it. Adds to info what it has: versions, GPUs, limits; also after -1. */
	int (*probe)(struct state *state, cJSON *info, struct error *err);

	/* Names what belongs to the sandbox; makes nothing. */
	int (*open)(struct sandbox *s, struct error *err);
	void (*close)(struct sandbox *s); /* what runs goes on */

	/* Finds or makes what the sandbox consists of (images, layers, its own folders): whatever can
	 * be refused for the machine's or the config's sake is refused here. May take minutes. What an
	 * earlier attempt left is used or removed. */
	int (*prepare)(struct sandbox *s, struct error *err);

	/* Starts it after prepare. The guest has answered when it returns; *guest is the caller's. On
	 * failure nothing of it runs or is left. */
	int (*start)(struct sandbox *s, struct guest **guest, struct error *err);

	/* Finds it running, as an earlier runner left it: 1 with its guest, 0 when it does not run. -1
	 * where that cannot be told. */
	int (*adopt)(struct sandbox *s, struct guest **guest, struct error *err);

	/* A descriptor that is readable once it has ended; -1 without one. Borrowed. */
	int (*ended)(const struct sandbox *s);

	/* Makes sure that it has ended within timeout_ms (the caller has asked its guest to) and gives
	 * back what it held; its files stay. Also tells how it ended, and when it was not asked to:
	 * a sentence in why (may be ""). Used too for what a killed runner left behind. */
	int (*end)(struct sandbox *s, int timeout_ms, enum sandbox_end_kind *kind, char why[256], struct error *err);

	/* Removes its files. It does not run. */
	int (*remove)(struct sandbox *s, struct error *err);

	/* Adds to info.json what is in force, read back from the kernel: memory, cpu, network … */
	int (*describe)(struct sandbox *s, cJSON *info, struct error *err);

	/* Tells all of the state directory's that exists here, ours and left behind (things.h), in a few
	 * seconds at most. -1 where that cannot be told: what was told stays. */
	int (*list)(struct state *state, struct things *things, struct error *err);
	/* Removes a stray that list told; 0 too when it has gone. */
	int (*reap)(struct state *state, const struct thing *thing, struct error *err);

	/* Makes Jupyter Server available inside the running sandbox. May take minutes. */
	int (*jupyter)(struct sandbox *s, struct sandbox_jupyter *jupyter, struct error *err);

	/* Has what its workspace wants installed by pip in the running sandbox (libraries.h): what came of each
	 * in *result, the caller's. May take minutes. -1 when none of it could be tried. */
	int (*libraries)(struct sandbox *s, cJSON **result, struct error *err);

	/* The three that follow are called by the snapshot's runner, beside the sandbox's own, or where it
	 * has none; s->host is NULL, s->folder the sandbox's, of the last two the snapshot's.
	 * Takes one of the sandbox, running or not, durably. What an earlier attempt left is used or removed. On
	 * failure the caller says drop. */
	int (*snapshot)(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err);
	/* Fills in snapshot->size. May take a while. NULL: snapshot has done it. */
	int (*measure)(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err);
	/* Removes what is outside of the snapshot's folder, as far as nothing stands on it. */
	int (*drop)(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err);
};

extern const struct sandbox_backend *const sandbox_backends[]; /* NULL-terminated */
extern const struct sandbox_backend sandbox_local, sandbox_docker;

const struct sandbox_backend *sandbox_backend_find(const char *name, struct error *err);

/* Shorthands for fields: NULL or the fallback when null or absent. Strings are borrowed. */
const char *sandbox_text(const struct sandbox *s, const char *field);
double sandbox_number(const struct sandbox *s, const char *field, double fallback);
const cJSON *sandbox_field(const struct sandbox *s, const char *field); /* NULL for null */

/* The snapshot that it begins from; 0 without. */
uint64_t sandbox_snapshot_serial(const struct sandbox *s);
/* Whether that snapshot was taken of a sandbox with the same value of a field; false without one. */
int sandbox_keeps(const struct sandbox *s, const char *field, bool *same, struct error *err);

/* What backends do alike. A name as a host's name may be written. */
void sandbox_hostname(const char *name, char out[64]);
/* A folder of its workspace, made where it is not there yet (one that comes later could not be bound
 * then): 1 with its path (owned by the caller) and where it belongs inside, 0 without a workspace, -1. */
#define SANDBOX_WORKSPACE_PARTS 4
int sandbox_workspace(const struct sandbox *s, size_t part, char **path, const char **inside, struct error *err);
/* A path on this machine: "~/x" is in the user's home, anything else must be absolute. Owned. */
char *sandbox_host_path(const char *path, struct error *err);
/* A line of its log. */
void sandbox_say(const struct sandbox *s, const char *line);
/* A limit in info.json: what was asked and what is in force (0: nothing), and how; -1 without memory. */
int sandbox_add_limit(cJSON *info, const char *name, double asked, double in_force, const char *how);
/* Enforced: in force is a limit no laxer than what was asked (the kernel rounds to pages). */
const char *sandbox_judge_limit(double asked, double in_force);

#endif
