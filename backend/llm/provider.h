/* Who answers: a provider turns the conversation into a request and what comes back into pieces.
 *
 * A provider is a struct of functions and never blocks: the agent loop (session.c) sends a
 * request, then waits with runner_next() for commands and the provider's descriptors at once and
 * takes pieces until the answer or the trouble has come:
 *
 *      request -> send -> { ready | timeout } -> take … PIECE_TEXT … -> PIECE_ANSWER
 *                                                                    -> PIECE_TROUBLE (retry.h)
 *
 * A new provider is one file that fills one struct, and a line in provider.c. */
#ifndef INTERPFS_BACKEND_LLM_PROVIDER_H
#define INTERPFS_BACKEND_LLM_PROVIDER_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "backend/llm/dialogue.h"
#include "backend/llm/models.h"
#include "base/buffer.h"
#include "base/error.h"

struct runner;

/* A tool that the model asks for. */
struct tool_call {
	char *id;
	char *name;
	cJSON *arguments; /* an object; NULL when what the model wrote is none */
	char *raw;        /* what the model wrote, where arguments is NULL */
};

enum answer_stop {
	STOP_DONE,    /* it has said what it had to say */
	STOP_CALLS,   /* it wants tools to be run */
	STOP_PAUSED,  /* it wants to be asked again, with what it has said so far */
	STOP_CUT,     /* its output reached the limit: no tool of it may be run */
	STOP_FULL,    /* the context window is full */
	STOP_REFUSED, /* it will not answer; detail says why */
	STOP_UNKNOWN, /* stop_reason is none that we know */
};

/* As the journal names them; STOP_UNKNOWN for a word that is none. */
extern const char *const answer_stop_words[];
enum answer_stop answer_stop_find(const char *word);

struct answer {
	enum answer_stop stop;
	char stop_reason[64];   /* the provider's own word */
	char detail[512];       /* more about stop, "" without */
	char *content;          /* JSON array: the provider's own items, to be sent back byte for byte */
	char *text;             /* what it says to people */
	cJSON *usage;           /* the names of usage.h */
	char model[128], id[128], request_id[128];
	struct tool_call *calls;
	size_t count;
	bool hollow;            /* nothing in it but thinking: no server takes that back */
};

void answer_free(struct answer *answer);

struct trouble {
	bool retry;           /* asking again may help */
	bool stalled;         /* nothing came for too long */
	int status;           /* HTTP status, 0 for a broken connection or stream */
	double delay;         /* seconds that the server asks to wait; -1 when it says nothing */
	char request_id[128];
	char reason[600];     /* a sentence */
};

enum piece_kind {
	PIECE_NONE,
	PIECE_TEXT,     /* text, as it comes */
	PIECE_THINKING, /* likewise */
	PIECE_CALL,     /* a tool call begins; text is its name */
	PIECE_ANSWER,   /* complete; the receiver owns answer */
	PIECE_TROUBLE,  /* over, without an answer */
};

struct piece {
	enum piece_kind kind;
	const char *text;      /* lent until the next take */
	size_t length;
	struct answer answer;
	struct trouble trouble;
	cJSON *usage;          /* of PIECE_TROUBLE: what it cost as far as is known; owned by the receiver */
};

struct provider {
	const char *name;

	/* Makes *self. May fail with a sentence that says what to set or write (a missing key, a
	 * recording that cannot be read). fields: the session's config; both lent while self lives. */
	int (*open)(struct runner *runner, const cJSON *fields, const struct models *models, void **self,
		    struct error *err);
	void (*close)(void *self);

	/* The request for the conversation as it is, exactly as it will be sent, into body. Must be
	 * the same bytes for the same conversation, and an extension of the request before. */
	int (*request)(void *self, const struct dialogue *dialogue, struct buffer *body, struct error *err);

	/* Starts asking. body is lent until the answer or the trouble has come, or abandon.
	 * Network errors are no errors here, they come as PIECE_TROUBLE. */
	int (*send)(void *self, const struct buffer *body, struct error *err);

	/* A descriptor that it watches through runner_watch is ready. */
	void (*ready)(void *self, int fd, short revents);

	/* Milliseconds until it wants to be asked by take at the latest; -1: only after ready. */
	int (*timeout)(void *self);

	/* 1 and the next piece, 0 when nothing has come; -1 when the provider itself is broken. */
	int (*take)(void *self, struct piece *piece, struct error *err);

	/* Gives the request up. Afterwards send may be called again. Returns the usage as far as is
	 * known (owned by the caller) or NULL. */
	cJSON *(*abandon)(void *self);

	/* Whether its answers cost money: a limit in usd then needs a price. */
	bool paid;
};

extern const struct provider claude_provider, replay_provider;

/* NULL for a name that is none. */
const struct provider *provider_find(const char *name);

#endif
