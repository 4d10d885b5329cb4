/* The server's side of MCP in both its eras, without I/O: a line goes in, lines come out, calls
 * of tools are begun and given up.
 *
 *   legacy (2024-11-05 … 2025-11-25): `initialize` opens the process's one session.
 *   modern (2026-07-28): every request says its version in _meta; nothing is opened. */
#ifndef INTERPFS_MCP_PROTOCOL_H
#define INTERPFS_MCP_PROTOCOL_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "mcp/tools.h"

#define CALLS_MAX 64 /* under way at once */

/* A tools/call that has not been answered. */
struct server_call {
	struct server_call *next;
	cJSON *id;               /* owned */
	cJSON *progress_token;   /* owned; NULL: no progress is told */
	bool modern;             /* the era of the answer */
	int64_t begun_ms, told_ms;
	struct tool_call tool;
};

struct server {
	const struct target *target; /* borrowed */
	const struct tool *tools;
	char *instructions;      /* owned */
	bool opened;             /* legacy: initialize has been answered */
	struct server_call *calls;
	int calls_count;
	struct buffer out;       /* lines to send */
};

/* tools: a table, or NULL for none. instructions are taken over. */
void server_init(struct server *s, const struct target *target, const struct tool *tools, char *instructions);
void server_free(struct server *s); /* gives up every call */

/* Takes one line. -1 only when the server cannot go on (ENOMEM). */
int server_take_line(struct server *s, char *line, size_t n, int64_t now_ms, struct error *err);
/* Answers a line that was too long to be read. */
int server_refuse_line(struct server *s, const char *text, struct error *err);

/* Lets a call go on; answers and frees it when it is done (then it is in the list no more). */
int server_step_call(struct server *s, struct server_call *call, int64_t now_ms, struct error *err);
/* Tells the progress of calls that asked for it, each every two seconds. Returns the ms until
 * there is something to tell again, -1 for never. */
int server_tell_progress(struct server *s, int64_t now_ms);

#endif
