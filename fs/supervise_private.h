/* What the files of the mount's supervision share. Users include fs/supervise.h alone. */
#ifndef INTERPFS_FS_SUPERVISE_PRIVATE_H
#define INTERPFS_FS_SUPERVISE_PRIVATE_H

#include <cjson/cJSON.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/talk.h"
#include "fs/supervise.h"

#define BUCKETS 8192
#define DEATHS 3
#define DEATHS_WITHIN_MS 60000

enum source_type { SOURCE_OUTPUT, SOURCE_PROCESS, SOURCE_WATCH, SOURCE_CALL, SOURCE_TIMER };

/* What an epoll event points to; it lies in its owner. */
struct source {
	enum source_type type;
	int fd; /* -1 when it is not watched */
	void *owner;
};

enum phase {
	PHASE_REST,      /* no runner */
	PHASE_SPAWNING,  /* started; `output` closes when it listens or has ended */
	PHASE_WAITING,   /* a runner lives but does not listen (it begins or ends): try again at retry_at */
	PHASE_CONNECTED, /* `watch` is its connection */
};

/* A runner that is or was; only while there is one. */
struct link {
	struct source output, watch;
	struct talk talk;
	bool synced;      /* the first notice came: none is missed from now on */
	bool poked;       /* something changed while it began */
	int64_t retry_at; /* ms */
	int64_t retry_pause;
};

struct object {
	enum object_kind kind;
	uint64_t serial;
	struct object *next;         /* in its bucket */
	struct want want;
	struct status status;
	enum phase phase;
	uint64_t spawned_for;        /* the generation that was wanted when its runner was started */
	bool named, looked;          /* by the scan */
	bool died;                   /* its runner ended, and nobody asked yet whether it should have */
	bool driving, again;
	unsigned int expected;       /* changes of want on their way to the disk: calls wait for them */
	struct link *link;           /* NULL at rest */
	int64_t deaths[DEATHS];      /* ms; the oldest is overwritten */
	struct supervise_call *calls;
};

struct supervise_call {
	struct supervisor *supervisor;
	struct object *object;       /* NULL when it is gone */
	struct supervise_call *next; /* of its object */
	struct supervise_call *next_ready;
	struct source source;
	struct talk talk;
	char *name;
	struct buffer request;       /* until it was sent */
	bool command, begun, paused, listed, released;
	bool finished;               /* `ended` has to be called with: */
	int code;
	char text[256];
	struct supervise_call_callbacks callbacks;
	void *context;
};

/* A child that must be waited for. */
struct child {
	struct source source;
	struct child *next;
	pid_t pid;
};

struct supervisor {
	struct state *state;
	struct supervise_callbacks callbacks;
	void *context;
	int epoll;
	struct source timer;
	struct object *buckets[BUCKETS];
	struct child *children;
	struct supervise_call *ready;   /* calls to look at in the next step */
	struct supervise_call *current; /* whose callback runs; NULL when it was released inside */
	cJSON *environment;             /* of the env_file */
	size_t waiting;                 /* objects in PHASE_WAITING */
	unsigned forgotten;             /* counts objects that went */
};

int supervise_source(struct supervisor *s, struct source *source, int fd, uint32_t events);
void supervise_unsource(struct supervisor *s, struct source *source);
void supervise_wake(struct supervisor *s); /* lets supervise_step be called soon */
void supervise_log(struct supervisor *s, const struct object *o, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void supervise_arm(struct supervisor *s, int64_t in_ms);
struct link *supervise_need_link(struct object *o);       /* NULL without memory */
void supervise_drop_link(struct supervisor *s, struct object *o);
void supervise_forget(struct supervisor *s, struct object *o); /* frees it; says gone */
void supervise_wait_for_child(struct supervisor *s, pid_t pid);

/* supervise_drive.c */
void supervise_set_status(struct supervisor *s, struct object *o, const struct status *status);
void supervise_say_changed(struct supervisor *s, struct object *o, const char *path, int64_t size,
			   int64_t mtime_ns);
/* Decides; callbacks inside may ask for the same object again. The object may be gone after it. */
void supervise_drive(struct supervisor *s, struct object *o);
/* Whether its runner was killed at what it does when the object is at rest already: a snapshot's size. */
bool supervise_left_undone(const struct object *o, int folder);
/* Tries to connect to a runner: 0, or -1. */
int supervise_attach(struct supervisor *s, struct object *o, int folder, struct error *err);
void supervise_wait_longer(struct supervisor *s, struct object *o);

/* supervise_spawn.c: starts a runner. *output is read until end of file; *pid is waited for. */
int supervise_spawn(struct supervisor *s, const struct object *o, int folder, int *output, pid_t *pid,
		    struct error *err);
/* {"secrets":{…}} with what the object's spec names; owned by the caller, NULL without memory. */
char *supervise_watch_text(struct supervisor *s, const struct object *o, int folder);

/* supervise_call.c */
/* Whether a runner is there that has spoken: one that is dying can still be connected to. */
bool supervise_answers(const struct object *o);
void supervise_begin_calls(struct supervisor *s, struct object *o);
void supervise_fail_calls(struct supervisor *s, struct object *o, int code, const char *text);
void supervise_call_event(struct supervise_call *call);
void supervise_ready_calls(struct supervisor *s);
void supervise_forget_object(struct object *o); /* its calls go on without it */
void supervise_drop_calls(struct supervisor *s, struct object *o); /* NULL: those of no object */

/* supervise.c */
/* Ends the calls to an object at rest, with the reason from its folder (-1: without). */
void supervise_refuse_calls(struct supervisor *s, struct object *o, int folder);
/* Takes what the runner has said. */
void supervise_take_notices(struct supervisor *s, struct object *o);
void supervise_lost(struct supervisor *s, struct object *o); /* its runner has ended, or let go of us */
struct object *supervise_object(struct supervisor *s, enum object_kind kind, uint64_t serial);
struct object *supervise_make_object(struct supervisor *s, enum object_kind kind, uint64_t serial);

#endif
