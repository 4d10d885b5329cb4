/* What the files of a sandbox's story share: story.c its life from step to step, life_events.c what
 * comes to it while it waits, life_guest.c the guest while there is one. */
#ifndef INTERPFS_BACKEND_SANDBOX_LIFE_H
#define INTERPFS_BACKEND_SANDBOX_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/runner.h"
#include "backend/sandbox/backend.h"
#include "backend/sandbox/calls.h"
#include "backend/sandbox/gate.h"
#include "base/buffer.h"

#define LIFE_SAMPLE_MS 5000
#define LIFE_WATCHERS 12
#define LIFE_ID_SIZE 64

struct watcher {
	int fd; /* -1: free */
	void (*ready)(void *context, short revents);
	void *context;
};

/* A value that the guest is asked for now and then. */
struct sample {
	struct life *life;
	const char *value;                 /* the file */
	struct buffer text;
	struct guest_operation *operation; /* while it is asked */
};

struct life {
	struct runner *runner;
	struct sandbox sandbox;
	struct sandbox_host host;
	const struct sandbox_backend *backend;
	struct calls *calls;
	struct guest *guest;       /* while it runs */
	struct gate *gate;         /* its way out, NULL without one */
	cJSON *fields, *references;/* what is acted on: copies, since a poke reads spec.json again */
	uint64_t acting;           /* the generation that is acted on */
	bool lost;                 /* the guest's link has ended */
	double attached;           /* when it was last there, CLOCK_BOOTTIME */
	int breaks;                /* how often it ended soon after */
	bool signalled;            /* SIGTERM: leave everything as it is */
	double sampled;            /* CLOCK_BOOTTIME of the last samples */
	struct sample processes, gpu;
	double started, deadline;  /* CLOCK_BOOTTIME; deadline 0: none */
	struct watcher watchers[LIFE_WATCHERS];
	char id[LIFE_ID_SIZE];
	char *name;
};

/* life_events.c */
void life_open_events(struct life *s);  /* fills in s->host; nothing is watched */
void life_unwatch(struct life *s, int fd);
/* Whether what is acted on is no longer wanted. */
bool life_overtaken(const struct life *s);
/* Waits at most timeout_ms (-1: for ever) for one event and handles it. -1 ECANCELED: overtaken. */
int life_pump(struct life *s, int timeout_ms, struct error *err);

/* life_guest.c */
double life_now(void);                   /* CLOCK_BOOTTIME */
double life_real(double at);             /* the same moment on CLOCK_REALTIME */
extern const struct guest_callbacks life_quiet; /* for requests whose answer nobody needs */
int life_attach(struct life *s, struct guest *guest, struct error *err);
void life_detach(struct life *s, int code, const char *reason);
/* After anything that asked something of the guest: it has to be sent. */
int life_watch_guest(struct life *s, struct error *err);
/* When it started and ends, on the disk for the runner that comes after this one. */
int life_keep_deadline(struct life *s, struct error *err);
void life_read_deadline(struct life *s);
/* Gives the guest a new deadline. 0: none. */
int life_set_deadline(struct life *s, double deadline, struct error *err);
/* What the backend tells of it, and the deadline, as info.json. */
int life_write_info(struct life *s, struct error *err);
/* Puts the deadline into info.json. */
int life_tell_deadline(struct life *s, struct error *err);
void life_open_samples(struct life *s);
void life_close_samples(struct life *s);
/* Gives the guest the idle_timeout of the config in force. */
int life_set_idle(struct life *s, struct error *err);
/* What runs inside, into `processes`, and what its GPUs do, into `gpu`, when the last samples are old
 * enough. One that fails is left out. */
void life_sample(struct life *s);
/* It has ended: both are empty. */
int life_clear_samples(struct life *s, struct error *err);

#endif
