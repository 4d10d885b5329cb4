/* Conversations with a runner: the client's side of the socket run/sock in an object's folder.
 * Used by the mount (without blocking), by `interpfs exec` and `interpfs mcp`, and by runners
 * that need one another. One conversation is one connection; the kernel's socket buffers are its
 * flow control. docs/state.md describes the protocol; the server's side is backend/runner.c.
 *
 *   client -> runner                              runner -> client
 *   WATCH   {"secrets":{NAME:VALUE}}              NOTICE  "PATH SIZE MTIME_NS" (to watchers only)
 *   POKE    (want or a document has changed)      DATA    channel byte, bytes
 *   COMMAND "interrupt"                           END     {"errno":0,"text":"","exit":0}
 *   CALL    "exec"                                (END closes a COMMAND or a CALL; a descriptor
 *   DATA    a piece of the call's request          may ride on a DATA frame by SCM_RIGHTS)
 *   GO      (the request is complete; "log": nobody reads)
 *   CLOSE   (the client gives up: end it)
 *
 * A connection that is lost without CLOSE ends nothing: the mount may have been killed. The
 * runner then lets the call run and puts what it prints into the object's log. */
#ifndef INTERPFS_BASE_TALK_H
#define INTERPFS_BASE_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/frame.h"

enum talk_type {
	TALK_WATCH = 'W',
	TALK_POKE = 'P',
	TALK_COMMAND = 'C',
	TALK_CALL = 'A',
	TALK_DATA = 'D',
	TALK_GO = 'G',
	TALK_CLOSE = 'X',
	TALK_NOTICE = 'N',
	TALK_END = 'E',
};

#define TALK_UNREAD "log" /* GO's payload where nobody reads the answer */

enum talk_channel { TALK_STDOUT = 1, TALK_STDERR = 2 };

struct talk {
	int fd;              /* -1 when closed */
	struct buffer in;    /* bytes received and not yet taken */
	struct buffer out;   /* bytes not yet sent */
	size_t taken;        /* bytes at in's front that the last message lent out */
	int passed;          /* a descriptor that came with a frame, -1 without; owned until taken */
};

struct talk_message {
	enum talk_type type;
	enum talk_channel channel;  /* of DATA */
	const char *data;           /* DATA: bytes; NOTICE: text; lent until the next talk_take */
	size_t length;
	int code;                   /* END: errno, 0 when it went well */
	int exit;                   /* END: the command's exit status */
	char text[ERROR_TEXT_SIZE]; /* END: the sentence, "" without one */
};

/* Connects to run/sock in the object's folder (a descriptor; the length of its path does not
 * matter). The socket is non-blocking. ENOTCONN when no runner listens. */
int talk_connect(struct talk *talk, int folder, struct error *err);
/* The same over a connected stream socket, which it takes and makes non-blocking. */
int talk_attach(struct talk *talk, int fd, struct error *err);
void talk_close(struct talk *talk); /* closes the connection without saying CLOSE */

/* Queue a frame and try to send. Return 0, or -1 (EPIPE, ENOMEM). talk_put takes any length and
 * cuts it into DATA frames. */
int talk_send(struct talk *talk, enum talk_type type, const void *payload, size_t n, struct error *err);
int talk_put(struct talk *talk, const void *data, size_t n, struct error *err);
/* The whole beginning of a call, in one piece: CALL, its request, GO. */
int talk_ask(struct talk *talk, const char *name, const void *request, size_t n, struct error *err);
/* The same where nobody will read the answer: the output goes into the object's log. */
int talk_ask_unread(struct talk *talk, const char *name, const void *request, size_t n, struct error *err);
int talk_flush(struct talk *talk, struct error *err); /* 1: all sent, 0: more later, -1 */

/* Takes the next message that has come. 1: *message is filled in; 0: none yet; -1: the peer is
 * gone (ECONNRESET) or sent nonsense (EPROTO). A peer that sends faster than its messages are taken keeps
 * whoever takes all of them for ever: talk_take_kept() takes what was received already, and receives nothing. */
int talk_take(struct talk *talk, struct talk_message *message, struct error *err);
int talk_take_kept(struct talk *talk, struct talk_message *message, struct error *err);

/* For clients that may block: waits at most timeout_ms (-1: for ever; ETIMEDOUT). 1 or -1. */
int talk_wait(struct talk *talk, int timeout_ms, struct talk_message *message, struct error *err);

/* A whole call that may block: CALL name, the request, GO; the answer's channel 1 is appended to
 * `out` until END. passed (may be NULL) receives a descriptor that came along, else -1.
 * Returns 0 and *exit, or -1 with the runner's errno and sentence. */
int talk_call(int folder, const char *name, const void *request, size_t n, int timeout_ms,
	      struct buffer *out, int *exit, int *passed, struct error *err);

/* A whole command that may block. */
int talk_command(int folder, const char *line, int timeout_ms, struct error *err);

#endif
