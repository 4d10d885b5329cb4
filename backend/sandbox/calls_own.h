/* What calls.c and calls_jupyter.c share. */
#ifndef INTERPFS_BACKEND_SANDBOX_CALLS_OWN_H
#define INTERPFS_BACKEND_SANDBOX_CALLS_OWN_H

#include "backend/sandbox/callers.h"
#include "backend/sandbox/calls.h"
#include "backend/sandbox/interfaces.h"
#include "backend/sandbox/ports.h"
#include "backend/sandbox/relay.h"
#include "backend/sandbox/repos.h"
#include "base/buffer.h"

enum jupyter_state {
	JUPYTER_UNKNOWN,  /* an earlier runner may have started it: ask before starting another */
	JUPYTER_NONE,
	JUPYTER_MAKING,   /* the story's backend makes it available */
	JUPYTER_STARTING, /* it was started and does not answer yet */
	JUPYTER_RUNNING,
};

#define JUPYTER_TOKEN_SIZE 49

struct jupyter {
	enum jupyter_state state;
	char token[JUPYTER_TOKEN_SIZE]; /* "" before the first start */
	int port;                       /* on the host's loopback, 0 before the first start */
	struct guest_operation *server; /* ours, NULL when an earlier runner started it */
	struct guest_operation *probe_connect;
	int probe;                      /* the connection on which GET /api is asked, -1 */
	struct buffer answer;           /* to it */
	double since, again;            /* boot seconds; again 0: no try is due */
	struct buffer said;             /* the server's last words */
	struct relay *relay;
};

struct call {
	struct call *next;
	struct calls *calls;
	struct conversation *conversation;
	char *name, *request;           /* owned */
	size_t length;
	struct guest_operation *operation; /* NULL: waits for the guest, or is a `jupyter` call */
	bool jupyter, use;
	enum { LIBRARIES_NONE, LIBRARIES_ASKED, LIBRARIES_TAKEN } libraries;
	bool gone;                      /* the client's connection was lost: the output goes to the log */
	bool given_up;                  /* the client said CLOSE: the output goes nowhere */
	bool timed_out;
	size_t held;                    /* bytes whose credit waits for the client to read */
	double deadline;                /* boot seconds, 0 for none */
	int passed;                     /* -1, or what the guest passed out */
	struct function_call *function; /* of an interface: it is that */
	const void *waits;              /* NULL, or until this interface or repository is ready */
	const char *late;               /* what is said where that takes too long; lasts as long as the program */
};

struct calls {
	struct runner *runner;
	struct guest *guest;            /* NULL: not (yet) there */
	struct call *list;
	struct jupyter jupyter;
	struct ports *ports;            /* NULL: none, or no guest */
	struct repos *repos;            /* NULL: none, or no guest */
	struct interfaces *interfaces;
	struct callers *callers;        /* NULL: none, or no guest */
	int timer;                      /* a timerfd for everything that is due */
};

double calls_now(void);                 /* boot seconds */
void calls_set_timer(struct calls *calls);
/* The sandbox's secrets as NAME=VALUE after `extra` (may be NULL); NULL-terminated, freed by the
 * caller with calls_free_environment. NULL without memory. */
char **calls_environment(struct calls *calls, const cJSON *extra);
void calls_free_environment(char **environment);

void jupyter_open(struct calls *calls);
void jupyter_attach(struct calls *calls);
void jupyter_detach(struct calls *calls);
void jupyter_close(struct calls *calls);
void jupyter_asked(struct calls *calls);          /* a call waits for it */
bool jupyter_descriptor(struct calls *calls, int fd, short revents);
double jupyter_due(const struct calls *calls);    /* boot seconds, 0: nothing */
void jupyter_timer(struct calls *calls);

/* It waits for something, for so many seconds at most ("": as long as it takes); whoever's that is ends it. */
int call_wait(struct call *call, const void *what, const char *late, const char *seconds, struct error *err);
int call_take_number(const char *what, const char *text, double least, double most, double *number, struct error *err);

/* Ends a call and forgets it. */
void call_end(struct call *call, int code, int exit_status, const char *text);

#endif
