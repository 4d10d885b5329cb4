/* The state directory: the truth of which the mount is a view (docs/state.md).
 *
 *   STATE/version            "1"
 *         id                 16 hex digits, made once; part of every container's name
 *         lock               flock held by the one mount; holds its pid and mount point
 *         serial             the next serials (taken from the file 64 at a time)
 *         log error          the root's
 *         models/            models of the hub (backend/sandbox/models.h)
 *         layers/ empty/     Python layers (backend/sandbox/)
 *         backends/          what was last found out of them (backend/backends.c)
 *         sandboxes/names/lab -> ../7        a name is a link, so renaming is rename(2)
 *         sandboxes/7/       an object's folder: 0700, named by its serial, never used again
 *            config          document as last written (mount)
 *            refusal         why the last write was refused, one line, absent if it was not (mount)
 *            spec.json       {"generation","text_sha256","fields":{every field},"references":{..}} (mount)
 *            want            "GENERATION run|stopped|removed" (mount)
 *            status          "GENERATION STATE SINCE" (runner)
 *            failure         why it failed, one line (runner)
 *            log …           whatever the kind has (runner)
 *            run/            sock, pid ("PID STARTTIME BOOTID"), lock
 *         workspaces/ notebooks/ sessions/ snapshots/   the same
 *
 * Who writes what never changes: the mount writes documents, spec.json and want; the runner
 * writes everything else. That is why no lock is needed between them. */
#ifndef INTERPFS_FS_STATE_H
#define INTERPFS_FS_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum object_kind { OBJECT_SANDBOX, OBJECT_WORKSPACE, OBJECT_NOTEBOOK, OBJECT_SESSION, OBJECT_SNAPSHOT, OBJECT_KINDS };

extern const char *const object_folder[OBJECT_KINDS]; /* "sandboxes" … */
extern const char *const object_noun[OBJECT_KINDS];   /* "sandbox" … */

struct state {
	char *path;   /* absolute, owned */
	int fd;       /* the folder */
	int lock;     /* held by a mount, else -1 */
	char id[17];
	uint64_t serial_next, serial_end; /* reserved on disk, not given out yet */
};

/* Where the state is when nobody says: $XDG_STATE_HOME/interpfs, ~/.local/state/interpfs, or
 * /var/lib/interpfs for root. Owned by the caller; NULL without a home or memory. */
char *state_default_path(void);

/* Opens, making it first where it is not there (0700). ENOTSUP for a newer layout; EACCES when
 * others own it; ENOSPC … with the sentence of the step that failed. */
int state_open(struct state *state, const char *path, struct error *err);
void state_close(struct state *state);

/* The mount's lock. EBUSY names the process and mount point that hold it. */
int state_lock(struct state *state, const char *mount_point, struct error *err);

/* Makes an object: its folder, `want` 0 and status draft, then its name; durable when it returns.
 * EEXIST when the name is taken, EINVAL for a name that is none (empty, over 255 bytes, '/',
 * a control character, a leading dot), no UTF-8. */
int state_add(struct state *state, enum object_kind kind, const char *name, uint64_t *serial,
	      struct error *err);
int state_check_name(const char *name, struct error *err);
/* The same in two steps, for what is shown only when it is complete: a folder that nobody sees, and which
 * the next mount removes; and its name. Both durable. */
int state_make(struct state *state, enum object_kind kind, uint64_t *serial, struct error *err);
int state_name(struct state *state, enum object_kind kind, const char *name, uint64_t serial, struct error *err);
int state_rename(struct state *state, enum object_kind kind, const char *from, const char *to,
		 struct error *err);                   /* durable */
int state_forget_name(struct state *state, enum object_kind kind, const char *name,
		      struct error *err);              /* durable; the folder stays */

/* ENOENT when there is none. */
int state_find(struct state *state, enum object_kind kind, const char *name, uint64_t *serial,
	       struct error *err);

/* Calls visit for each name (any order) until it returns non-zero; returns that, 0, or -1. */
int state_each_name(struct state *state, enum object_kind kind,
		    int (*visit)(void *context, const char *name, uint64_t serial), void *context,
		    struct error *err);
/* Calls visit for each serial whose folder exists, named or not. */
int state_each_serial(struct state *state, enum object_kind kind,
		      int (*visit)(void *context, uint64_t serial), void *context, struct error *err);

/* The object's folder with all that is in it; 0 too when it is gone. */
int object_delete(const struct state *state, enum object_kind kind, uint64_t serial, struct error *err);

/* In a sandbox's folder: the name of the snapshot that the mount has to take of it (snapshot_on_timeout). */
#define SNAPSHOT_DUE "due"

/* A descriptor of the object's folder that the caller closes, or -1. */
int object_open(const struct state *state, enum object_kind kind, uint64_t serial, struct error *err);

enum want_what { WANT_NOTHING, WANT_RUN, WANT_STOPPED, WANT_REMOVED };

struct want {
	uint64_t generation; /* 0: nothing was ever wanted */
	enum want_what what;
};

int want_read(int folder, struct want *want, struct error *err);
int want_write(int folder, const struct want *want, bool durable, struct error *err);

#define STATUS_STATE_SIZE 16

struct status {
	uint64_t generation;           /* of the want that was acted on */
	char state[STATUS_STATE_SIZE]; /* draft building starting ready … as tree.md lists them */
	double since;                  /* seconds since 1970 */
};

int status_read(int folder, struct status *status, struct error *err);
int status_write(int folder, const struct status *status, bool durable, struct error *err);

/* Whether a state is one in which an object rests: it has no process and waits end there.
 * sandbox: draft stopped failed died; notebook: the same; session: draft idle … (the table in
 * state.c). A sandbox that is ready is not resting, but `wait` ends there too: status_settled. */
bool status_resting(enum object_kind kind, const char *state);

/* What whoever wants something of an object at rest is told: "the sandbox is stopped: WHY", why as
 * `failure` in its folder has it, if there is one (folder -1: not looked for). */
void status_sentence(enum object_kind kind, const struct status *status, int folder, char *text, size_t size);
bool status_settled(enum object_kind kind, const char *state);

/* Which process is an object's runner, from run/pid: "PID STARTTIME BOOTID". The file stays when
 * the process has ended; all three together can never mean another process. */
struct runner_record {
	int pid;
	uint64_t start;  /* field 22 of /proc/PID/stat */
	char boot[40];   /* /proc/sys/kernel/random/boot_id */
};

int runner_record_read(int folder, struct runner_record *record, struct error *err); /* ENOENT, EBADMSG */
int runner_record_self(struct runner_record *record, struct error *err);
int runner_record_write(int folder, const struct runner_record *record, struct error *err);

/* Whether the recorded process lives still, and its pid (may be NULL). */
bool runner_alive(int folder, int *pid);
/* Whether the recorded process belonged to an earlier boot of the machine, or to none. */
bool runner_of_earlier_boot(int folder);

#endif
