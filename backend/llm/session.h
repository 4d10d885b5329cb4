/* The agent loop's own state, shared by its files: session.c (the story), turn.c (asking and
 * retrying), calls.c (tools), prepare.c (what must be there before the first request), events.c
 * (what is written), outputs.c (files out of the sandbox). Others include none of it. */
#ifndef INTERPFS_BACKEND_LLM_SESSION_H
#define INTERPFS_BACKEND_LLM_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/llm/dialogue.h"
#include "backend/llm/journal.h"
#include "backend/llm/provider.h"
#include "backend/llm/usage.h"
#include "backend/runner.h"
#include "backend/use.h"
#include "base/buffer.h"
#include "mcp/client.h"

#define LINE_MAX_BYTES (96u << 20)
#define WAITING_MAX 16

enum saying { SAYING_NOTHING, SAYING_TEXT, SAYING_THINKING };

struct pictures { /* those of the conversation */
	unsigned count;
	size_t bytes; /* of their base64 */
	bool large;   /* one has more pixels than many together may have */
};

struct session {
	struct runner *runner;
	struct models models;

	/* What the journal says; kept up to date by session_event. */
	struct journal journal;
	struct dialogue dialogue;
	struct usage usage;
	struct pictures pictures;
	cJSON *pending;         /* calls of the last answer without results: [{"id","name","call"}] */
	bool begun;             /* system prompt and tools are frozen */
	bool open;              /* a turn has begun and not ended */
	bool advanced;          /* the open turn has sent a request */
	bool asked;             /* a request has neither answer nor end */
	bool answered;          /* the conversation ends with an answer that nothing was made of yet */
	enum answer_stop last_stop; /* how that one, or the last before it, stopped */
	char last_reason[64];
	double asked_at;        /* size of `messages` when it was sent */
	unsigned calls, requests;
	char ended[STATUS_STATE_SIZE]; /* the state in which the last turn ended, "" before */
	char ended_text[ERROR_TEXT_SIZE];
	char taken[128];        /* the inbox file that was taken last, with its time */

	/* This turn. */
	const struct provider *provider;
	void *self;             /* the provider's */
	cJSON *fields;          /* the config that it was started with */
	struct client *client;  /* NULL without tools */
	bool client_gone;
	struct error client_error;
	struct use use;         /* of the sandbox that it works in */
	int root;               /* O_PATH of the sandbox's root, -1 when it is not known */
	int asking_fd;          /* of the conversation in which it is asked for, -1 without */
	double started;         /* monotonic seconds */

	/* What commands ask for. */
	bool interrupt, stop, quit;
	struct conversation *waiting[WAITING_MAX];
	size_t n_waiting;

	/* The transcript for people. */
	enum saying saying;
	bool in_line;           /* its last byte is no newline */
	struct buffer said;     /* the answer that is coming, as text */
	struct buffer unsaid;   /* what may be the beginning of a secret */

	struct buffer line, body;
};

/* How a turn ends. state NULL: it does not, this process does (SIGTERM, removal). */
struct ending {
	const char *state;
	char text[ERROR_TEXT_SIZE];
};

/* session.c: waits for one event at most timeout_ms and deals with it. */
int session_next(struct session *s, int timeout_ms, struct error *err);
bool session_halted(const struct session *s); /* interrupt, stop or quit */

/* events.c. Takes the event, an object of its own members (NULL: out of memory). */
int session_load(struct session *s, struct error *err);
int session_event(struct session *s, const char *type, cJSON *event, struct error *err);
int session_sync(struct session *s, struct error *err); /* before each effect outside */
/* A user's event made of one text. note: not the user, interpfs says it. inbox may be NULL. */
int session_user_text(struct session *s, const char *text, bool note, const char *inbox, struct error *err);
int session_show_usage(struct session *s, struct error *err);
/* A file of that text, without secrets, a newline at its end. */
int session_set_file(struct session *s, const char *path, const char *text, struct error *err);
int session_heading(struct session *s, struct error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int session_say(struct session *s, const char *text, size_t n, struct error *err);
/* A piece of a text that comes in pieces: its last bytes may be written with what is said next. */
int session_stream(struct session *s, const char *text, size_t n, struct error *err);
int session_say_line(struct session *s, struct error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* prepare.c: provider, references, tools, system prompt. -1 with why; halted: 0 and nothing done. */
int session_prepare(struct session *s, struct error *why, struct error *err);
/* The tool server, started again if it is gone. */
int session_client(struct session *s, struct error *why, struct error *err);
void session_release(struct session *s); /* all of a turn: provider, tool server, root */

/* turn.c */
int session_turn(struct session *s, struct ending *ending, struct error *err);

/* calls.c: the answer's calls, each with its result, in their order. */
int session_calls(struct session *s, const struct answer *answer, struct error *err);
int session_result(struct session *s, unsigned number, const char *id, const char *name, cJSON *content,
		   bool is_error, const char *state, double seconds, struct error *err);

/* pictures.c. Counts those of an event's content. */
void session_count_pictures(struct session *s, const cJSON *content);
/* A user's content, with a text in place of a picture that goes past the limits. Owned; NULL without memory. */
cJSON *session_fit_pictures(struct session *s, const cJSON *content);
/* Adds a tool's picture to content, or why it cannot be shown; outputs/NAME.png is it for people. tally counts on. */
int session_keep_picture(struct session *s, struct pictures *tally, const char *name, const cJSON *image, cJSON *content,
			 struct error *err);

/* outputs.c */
uint64_t session_sandbox(struct session *s); /* its serial, 0 without one */
int session_root(struct session *s); /* s->root, asked for if need be; -1 without */
/* Copies /workspace/outputs into outputs/. What cannot be copied is logged. */
void session_collect(struct session *s);
/* Writes a file into /workspace/outputs; path (size bytes) becomes where it is inside. */
int session_leave(struct session *s, const char *name, const void *data, size_t n, char *path, size_t size);

#endif
