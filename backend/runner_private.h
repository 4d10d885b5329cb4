/* What the files of the runner's skeleton share (runner.c, runner_socket.c, runner_files.c).
 * Stories include backend/runner.h alone. */
#ifndef INTERPFS_BACKEND_RUNNER_PRIVATE_H
#define INTERPFS_BACKEND_RUNNER_PRIVATE_H

#include <poll.h>

#include "backend/runner.h"
#include "base/buffer.h"

#define OPEN_LOGS 8

enum conversation_role { ROLE_NEW, ROLE_WATCHER, ROLE_COMMAND, ROLE_CALL };

struct passing {
	size_t at; /* the offset in `out` of the frame with which it goes */
	int fd;
};

struct conversation {
	struct runner *runner;
	struct conversation *next;
	enum conversation_role role;
	int fd;                 /* -1 once the connection is gone */
	struct buffer in, out;  /* out begins with a whole frame */
	size_t sent;            /* of out's first frame */
	struct buffer request;
	char *name;             /* the command's line or the call's name */
	bool complete;          /* all of the request is here */
	bool told;              /* the story knows of it */
	bool closed;            /* CLOSE was said */
	bool lost;              /* the connection is gone without CLOSE */
	bool closed_told;
	bool ended;             /* END is in `out`; the story has let go of it */
	bool was_full;
	struct passing passing[4];
	size_t n_passing;
	char **stale;           /* a watcher's: paths whose notice found no room, each once */
	size_t n_stale;
	int64_t stuck_since;    /* a watcher's: ms, 0 when it is not */
	void *data;
};

struct open_log {
	char *path;
	int fd;
	bool made;              /* its folder has to be synced with it */
	unsigned used;
};

struct watched {
	int fd;
	short events;
};

struct runner {
	struct state state;
	enum object_kind kind;
	uint64_t serial;
	int folder, lock, listener, signals;
	char *path;
	struct want want;
	struct status status;
	cJSON *spec;
	cJSON *secrets;
	bool told;                    /* the mount has said which it has */
	struct conversation *conversations;
	struct watched *watched;
	size_t n_watched, turn;
	struct pollfd *polled;
	size_t polled_size;
	struct open_log logs[OPEN_LOGS];
	unsigned log_clock;
	bool poked, terminated, deaf; /* deaf: no descriptor for another client now */
	bool holding;                 /* new calls wait */
	bool rebooted;
	int64_t looked;               /* ms, when its folder was seen */
	int64_t busy;                 /* ms, when it last had something to do */
	bool resting;                 /* and it has let go of memory since */
	bool corked;                  /* notices and answers wait for the next runner_next */
	bool removed;                 /* the folder is gone: nothing may be written any more */
};


/* runner_conversation.c */
bool runner_notices_wait(const struct runner *r);         /* some notice found no room */
bool runner_add_notice(struct conversation *c, const char *path, long long size, long long mtime_ns);
void runner_flush(struct conversation *c);
void runner_flush_watcher(struct conversation *c);
void runner_uncork(struct runner *r);                     /* sends what was gathered */
void runner_hang_up(struct conversation *c);              /* closes the connection */
void runner_lose(struct conversation *c);                 /* it has ended without CLOSE */
void runner_free_conversation(struct conversation *c);

/* runner_socket.c */
int runner_listen(struct runner *r, struct error *err);
/* One poll(2) of everything; serves clients. *ready (may be NULL) becomes the index in r->watched
 * of a descriptor that is ready and *revents its events, or -1. */
int runner_pump(struct runner *r, int64_t timeout_ms, long *ready, short *revents, struct error *err);
void runner_notice(struct runner *r, const char *path, long long size, long long mtime_ns);
void runner_end_all(struct runner *r, int code, const char *text);
/* Sends what is queued, for at most timeout_ms. */
void runner_drain(struct runner *r, int timeout_ms);
void runner_close_all(struct runner *r);

/* runner_secrets.c */
void runner_take_secrets(struct runner *r, const void *text, size_t n); /* {"secrets": {NAME: VALUE}} */

/* runner_files.c */
void runner_close_logs(struct runner *r);
bool runner_ends_with(const char *text, const char *end);

#endif
