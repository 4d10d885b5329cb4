/* A client of one MCP server that is spawned and spoken to over its stdin and stdout.
 *
 * Nothing here blocks (client_start waits for the exec, client_close for at most its grace): the
 * owner polls client_fd() for POLLIN and calls client_step(), in which all callbacks run. A
 * runner gives client_fd() to runner_watch(). Time limits are the owner's: client_ready() tells
 * when the server has answered `initialize` and given its whole list of tools; a call that takes
 * too long is given up with client_cancel().
 *
 * It speaks 2025-11-25 and what older servers answer to that, and 2026-07-28 with a server that
 * knows no `initialize`. Pings are answered; what else a server asks of its client is refused.
 * Lines that are no JSON-RPC go to the same bounded tail as its standard error. The process that
 * uses it ignores SIGPIPE. */
#ifndef INTERPFS_MCP_CLIENT_H
#define INTERPFS_MCP_CLIENT_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct client;

struct client_server {
	const char *name;         /* for sentences; copied */
	const char *const *argv;  /* NULL-terminated; argv[0] is a path or searched in PATH */
	const char *const *env;   /* NULL-terminated, the whole environment; NULL: this process's */
	const char *cwd;          /* NULL: this process's */
};

/* Spawns the server, in a process group of its own that dies with its parent, and queues
 * `initialize`. -1 when it cannot be executed (ENOENT …). */
int client_start(struct client **client, const struct client_server *server, struct error *err);

int client_fd(const struct client *client); /* an epoll descriptor, the same for life; poll for POLLIN */

/* Sends and receives what can be without blocking. -1 when the server is gone or speaks nonsense
 * (the sentence has its last words): every call under way has then ended with that error, and
 * only client_stderr and client_close make sense. Not to be called from a callback. */
int client_step(struct client *client, struct error *err);

bool client_ready(const struct client *client);
/* The tools, sorted by name: an array of objects as the server gave them, each with "name",
 * "inputSchema", perhaps "description". Lent for the client's life; NULL until it is ready. */
const cJSON *client_tools(const struct client *client);
const cJSON *client_tool(const struct client *client, const char *name); /* NULL: there is none */
const char *client_instructions(const struct client *client); /* "" without; lent */
pid_t client_pid(const struct client *client);
/* The end of what it wrote to standard error (4 KiB at most), as clean text; lent until the next step. */
const char *client_stderr(const struct client *client);

struct client_callbacks {
	/* How far it is; `text` may be "". May be NULL. */
	void (*progress)(void *context, double done, double total, const char *text);
	/* The end, exactly once unless it was cancelled. result: the answer's object, with "content"
	 * (an array) and perhaps "isError", lent; NULL when there is none, and then failure says why
	 * (EINVAL: the server refused the call, ECONNRESET: it is gone, EPROTO: nonsense). New calls
	 * may be made from here. */
	void (*done)(void *context, const cJSON *result, const struct error *failure);
};

/* Calls a tool. Arguments are copied; NULL is {}. Returns the call's id, or 0 with err (ENOMEM,
 * ENOTCONN before the server is ready or after its end). Many calls may be under way at once. */
uint64_t client_call(struct client *client, const char *tool, const cJSON *arguments,
		     const struct client_callbacks *callbacks, void *context, struct error *err);

/* Stops waiting for a call: the server is told (notifications/cancelled), nothing is called back,
 * a late answer is ignored. What the tool had begun may go on: a notebook's cell does, until its
 * tool `interrupt` is called. An id that is over is ignored. */
void client_cancel(struct client *client, uint64_t id, const char *reason);

/* Closes its stdin, waits at most grace_ms for its end, then TERM to its group, then KILL; reaps
 * it and frees. Calls under way are not called back. NULL is allowed. */
void client_close(struct client *client, int grace_ms);

#endif
