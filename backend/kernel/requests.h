/* What the parts of a notebook's requests share: requests.c (the queue and its way to the kernel),
 * messages.c (what the kernel answers), answers.c (what clients get), calls.c (what clients ask for). */
#ifndef INTERPFS_BACKEND_KERNEL_REQUESTS_H
#define INTERPFS_BACKEND_KERNEL_REQUESTS_H

#include "backend/kernel/story.h"

enum request_kind {
	REQUEST_EXEC,   /* text as it comes */
	REQUEST_RUN,    /* one JSON document at the end */
	REQUEST_HIDDEN, /* the story's own: set-up, init.py */
};

/* Code to run. It is finished when its reply and its idle have both come: they come in any order. */
struct request {
	struct request *next;
	enum request_kind kind;
	struct conversation *conversation; /* NULL: nobody waits for it (any more) */
	bool lost;               /* its client's connection was lost: log what it prints */
	uint64_t number;         /* part of the message id; 0: sent by a runner before this one */
	char *code;              /* owned; freed once sent */
	size_t length;
	bool silent;
	double timeout;          /* seconds from when it is sent, 0 for none */
	double deadline;         /* of story_now(), 0 for none or once it has passed */
	struct cell cell;        /* number 0: not in the notebook */
	bool sent, replied, idle, finished;
	bool late;               /* its deadline has passed */
	double end_due;          /* when the other of its ends should have come, once one has; 0 before */
	bool asked_for;          /* a probe was sent after it: when that is answered, nothing of it is to come */
	bool resumes;            /* it ran when the connection was lost, and nothing of it has come over the new one */
	enum outcome outcome;
	unsigned int clears;     /* cell.clears at the last look */
	off_t told;              /* how much of the cell's output its client has */
	struct buffer answer;    /* of REQUEST_RUN */
	size_t answered;
};

const char *outcome_name(enum outcome outcome);

/* requests.c */
struct request *request_new(struct story *s, enum request_kind kind, const char *code, size_t n); /* NULL: no memory */
void request_free(struct request *r);
void request_append(struct story *s, struct request *r);
void request_prepend(struct story *s, struct request *r); /* before all that wait */
/* Both of its ends have come; it leaves the queue, and is freed when its client has all. */
void request_finish(struct story *s, struct request *r);
/* Ends a request that no kernel will end. */
void request_fail(struct story *s, struct request *r, enum outcome outcome, const char *name, const char *text);
/* The notebook could not be written: the story ends with it. */
void requests_trouble(struct story *s, const struct error *err);

/* answers.c */
/* Gives a client what its cell has printed since the last time; force: even if it takes nothing now. */
void answer_tell(struct request *r, bool force);
/* Whether its client has all of it; then the conversation is ended. */
bool answer_given(struct request *r, bool force);
/* The document of REQUEST_RUN. */
int answer_make(struct request *r, struct error *err);
/* Puts what a client that was lost did not see of code without a cell into the log. */
void answer_log(struct story *s, struct request *r);

#endif
