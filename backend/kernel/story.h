/* What the parts of a notebook's story share: story.c (its life: sandbox, kernel, connection),
 * kernel.c (REST and WebSocket), calls.c (what clients ask for), requests.c (it is done, one after
 * another) and messages.c (what the kernel says to it). All of it is one thread; every wait goes
 * through story_step, which also takes commands, calls and the kernel's messages, so nothing is
 * deaf while something else is waited for. */
#ifndef INTERPFS_BACKEND_KERNEL_STORY_H
#define INTERPFS_BACKEND_KERNEL_STORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "backend/kernel/rest.h"
#include "backend/kernel/notebook.h"
#include "backend/kernel/socket.h"
#include "backend/runner.h"
#include "backend/use.h"
#include "base/talk.h"

enum outcome { OUTCOME_OK, OUTCOME_ERROR, OUTCOME_INTERRUPTED, OUTCOME_DIED };

struct request;

#define RECENT 64
#define INTERRUPTERS 16

struct story {
	struct runner *runner;
	uint64_t generation;      /* of the want that is being acted on */
	struct notebook notebook;

	/* The sandbox and the Jupyter Server in it. */
	uint64_t sandbox;         /* serial */
	char sandbox_name[256];
	int sandbox_folder;       /* -1 before it is opened */
	int socket_folder;        /* where jupyter.sock lies, -1 before it is known */
	char socket_path[64];     /* through /proc/self/fd, since a state directory's path may be long */
	char inside[108];         /* the server's address in the sandbox, to be connected to there; "" where the
	                             engine passes no descriptors */
	char *token, *url;        /* owned */
	struct use use;           /* of the sandbox, while a cell runs for long */
	double busy_since;        /* 0: it is not busy */
	struct talk talk;         /* while the sandbox is asked; fd -1 otherwise */

	struct rest *rest;
	int rest_fd;              /* as watched, -1 */
	short rest_events;
	int rest_result;          /* 0 while a request is under way */
	struct error rest_error;

	/* The kernel. */
	char kernel[64], kernel_name[64], session[64]; /* Jupyter's ids; "" before they are known */
	char client[33];          /* our session id at the WebSocket; kept over reconnections */
	struct socket *socket;
	int socket_fd;            /* as watched, -1 */
	short socket_events;
	unsigned long nonsense;   /* messages that could not be understood */
	bool synchronized;        /* the probe after connecting was answered: nothing is owed any more */
	uint64_t probe;
	bool probe_replied, probe_idle;
	uint64_t *seen;           /* run/seen, mapped: the last of the kernel's messages that was taken. It is
	                             there for the next runner when this one is killed */
	uint64_t resumed_after;   /* what it was when the connection was made */
	bool dead;                /* the kernel is gone; `death` says why */
	struct error death;

	/* Requests. */
	struct request *first, *last; /* the first one is with the kernel, or next */
	struct request *draining;      /* finished, their clients have not read all yet */
	uint64_t number;               /* the last request's */
	bool ready;                    /* the kernel is set up: clients' requests may run */
	bool unprepared;               /* the next cell's files are still to be made, when there is time */
	struct {
		uint64_t number;
		unsigned int cell;
	} recent[RECENT];              /* for outputs that come after idle (threads) */
	bool interrupt;                /* the kernel should be interrupted */
	struct conversation *interrupters[INTERRUPTERS];
	size_t interrupter_count;
	double interrupt_deadline;

	bool turned;              /* want has changed: what is under way is given up */
	bool ended;               /* SIGTERM */
	double release_deadline;  /* while the kernel is let go, which nothing but time interrupts */
	struct error trouble;     /* the notebook cannot be written; code 0 while it can */
};

double story_now(void); /* CLOCK_MONOTONIC, seconds */

/* Waits for one event, at most timeout_ms, and handles it. -1 when the story cannot go on:
 * ECANCELED when want has changed or the process is to end, else what runner_next or the
 * notebook's files said. */
int story_step(struct story *s, int timeout_ms, struct error *err);

/* calls.c */
void requests_take_call(struct story *s, struct conversation *c, const char *name, const char *data, size_t n);

/* messages.c */
void requests_message(struct story *s, const struct wire_message *message);

/* requests.c */
void requests_interrupt(struct story *s, struct conversation *c); /* c: who asked, answered at the end */
void requests_closed(struct story *s, struct conversation *c, bool gone);
void requests_drained(struct story *s, struct conversation *c);
/* Sends the next request if the kernel is free, lets followers catch up, looks at deadlines. */
void requests_go_on(struct story *s);
int requests_timeout(const struct story *s); /* ms until a deadline, -1 without one */
/* Ends all that wait: the one that runs as `outcome` with an error of this name and text; those
 * that were not sent as interrupted, their clients get ENOTCONN. */
void requests_fail_all(struct story *s, enum outcome outcome, const char *name, const char *text);
/* Cells that an earlier runner left: the one that ran is taken up again (if the kernel lives),
 * or ended as `outcome`; those that waited are interrupted. */
int requests_recover(struct story *s, bool kernel_lives, struct error *err);
/* Runs code that belongs to no client and waits. 0, or -1 (EPROTO with the exception's text). */
int requests_run_hidden(struct story *s, const char *code, size_t n, bool silent, struct error *err);
bool requests_waiting(const struct story *s); /* whether any client's request is unfinished */
void requests_free(struct story *s);

/* kernel.c */
int kernel_find_server(struct story *s, struct error *err); /* asks the sandbox; waits while it starts */
int kernel_call(struct story *s, const char *method, const char *path, const char *body, long *status,
		struct error *err);
int kernel_start(struct story *s, struct error *err);       /* POST /api/sessions */
/* Whether the recorded kernel still runs: 1, 0, -1. */
int kernel_lives(struct story *s, struct error *err);
int kernel_connect(struct story *s, struct error *err);     /* WebSocket, probe */
/* Asks something harmless. The kernel answers requests in the order in which they came: when it has
 * answered this one, nothing that was asked before it is owed any more, except what got lost. */
int kernel_probe(struct story *s, struct error *err);
void kernel_disconnect(struct story *s);
void kernel_release(struct story *s);                       /* DELETE /api/sessions/ID, best effort */
void kernel_forget_server(struct story *s);
int kernel_send(struct story *s, const struct buffer *message, struct error *err);
/* Watches what rest and socket want watched now. */
int kernel_watch(struct story *s, struct error *err);
/* A descriptor is ready, or (-1) some time has passed. */
void kernel_ready(struct story *s, int fd);
int kernel_timeout(struct story *s);

/* What a kernel says that it holds of libraries that were changed: hostile, and for `installed` of the
 * workspace. JSON_NONE: there is no kernel. */
void story_held(struct story *s, struct json held);

/* models.c: the sandbox's models, loaded out of sight; and model_info.md. */
int models_in_kernel(struct story *s, struct error *err);

/* setup.c: the hidden first cell. */
extern const char setup_code[];

#endif
