/* What the files of interfaces/ share: interfaces.c which there are and what is asked of them,
 * interface_server.c their processes, interface_calls.c the calls, interface_files.c what is told of them. */
#ifndef INTERPFS_BACKEND_SANDBOX_INTERFACES_OWN_H
#define INTERPFS_BACKEND_SANDBOX_INTERFACES_OWN_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/sandbox/calls_own.h"
#include "backend/sandbox/interfaces.h"
#include "base/buffer.h"
#include "base/sha256.h"
#include "base/talk.h"

#define INTERFACE_PATH 512
#define INTERFACE_SOCKET 64
#define INTERFACE_INSIDE "/run/interpfs/interfaces"

enum interface_state { INTERFACE_DRAFT, INTERFACE_LOADING, INTERFACE_READY, INTERFACE_FAILED };

/* One process that serves, or served until its text was replaced. */
struct served {
	struct served *next;
	struct interface *interface;
	unsigned generation;
	char socket[INTERFACE_SOCKET];     /* where it listens inside */
	struct guest_operation *process;   /* NULL: an earlier runner started it */
	int running;                       /* calls that are under way on it */
	bool retired;                      /* ends when they have */
	bool ending;
	struct buffer control;             /* of its standard output: `ready`, `failed WHY` */
	struct buffer said;                /* its last words */
};

struct interface {
	struct interface *next;
	struct interfaces *all;
	unsigned number;
	char *name;
	bool seen;                         /* by the look that is under way */
	enum interface_state state;
	char failure[ERROR_TEXT_SIZE];
	uint64_t stamp;                    /* of the files, for a look that need not read them */
	char sha[SHA256_HEX_SIZE];         /* of what is or was to be served; "" for nothing */
	unsigned generation;               /* of the last process */
	struct served *servers;            /* the present one is `server` */
	struct served *server;
	bool starts;                       /* another process is started once the old one is gone */
	int parallel;
	double timeout;                    /* seconds; 0: none */
	double died[3];                    /* when a process last ended by itself */
	struct function_call *functions;   /* the oldest first */
};

enum function_kind { FUNCTION_CALL, FUNCTION_DESCRIBE, FUNCTION_PING, FUNCTION_QUIT };

struct function_call {
	struct function_call *next;
	struct interface *interface;
	enum function_kind kind;
	struct call *call;                 /* NULL of what is our own */
	char *name, *who;                  /* the function's, and who calls it */
	struct served *server;             /* NULL: it waits for its turn */
	struct guest_operation *connecting;
	struct talk talk;
	double began, due;                 /* boot seconds; due 0: never */
	bool again;                        /* it connects again, in a moment */
	int tries;                         /* to connect to one process */
	bool begun;                        /* it said that it runs the function */
	int lost;                          /* processes that were lost before they said so */
	bool full;                         /* its reader does not keep up */
	size_t came;                       /* bytes of the answer */
	struct buffer kept;                /* its beginning; the whole of our own */
};

struct interfaces {
	struct calls *calls;
	struct runner *runner;
	struct guest *guest;               /* NULL: there is none */
	struct interface *list;
};

/* interfaces.c */
const char *interface_path(const struct interface *it, const char *name, char path[INTERFACE_PATH]);
/* A record of one of its logs: the name, and what it is called when it is full and the next begins. */
#define INTERFACE_LOG "log", "log.1"
#define INTERFACE_CALLS "calls.jsonl", "calls.1.jsonl"
void interface_write(const struct interface *it, const char *name, const char *older, const void *data, size_t n);
void interface_log(const struct interface *it, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Shows the state, and answers who waits for it. why: of a failure. */
void interface_set_state(struct interface *it, enum interface_state state, const char *why);
/* What is served from now on is what lies there: {"files":{…}} for the process; NULL with err. */
cJSON *interface_read(const struct interface *it, struct error *err);
void interface_hash(const cJSON *source, char sha[SHA256_HEX_SIZE]); /* by which it is known; "" without memory */

/* interface_server.c */
void interface_serve(struct interface *it);        /* loads what `sha` stands for, or nothing */
void interface_adopt(struct interface *it);        /* finds the process of an earlier runner, or serves */
void server_retire(struct served *server);         /* it ends, once the calls on it have */
void server_kill(struct served *server, const char *why); /* at once; the interface is served again */
void server_call_ended(struct served *server);
void server_described(struct served *server, const char *text, size_t n); /* NULL: it does not answer */
void servers_forget(struct interface *it);         /* the guest is gone, and they are */

/* interface_calls.c */
struct function_call *function_make(struct interface *it, enum function_kind kind, struct call *call, const char *name,
				    const char *who);
void function_begin(struct function_call *f, struct served *server);
void functions_begin(struct interface *it);        /* those that wait, as far as they may */
void functions_refuse(struct interface *it, int code, const char *why); /* … end */
void functions_lost(struct served *server);        /* those on a process that is gone */

/* interface_files.c: functions/, schema.json, library/, prompt.md … */
int interface_tell(struct interface *it, const cJSON *described, struct error *err);
void interface_untell(struct interface *it);

#endif
