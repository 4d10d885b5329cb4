/* The tools of `interpfs mcp`, as rows; and a call of one, which is a conversation with the
 * object's runner. A new tool is a row with two functions. */
#ifndef INTERPFS_MCP_TOOLS_H
#define INTERPFS_MCP_TOOLS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/talk.h"
#include "mcp/target.h"
#include "mcp/text.h"

#define TOOL_TEXT_MAX (32u << 10)     /* bytes of text in a result; head and tail are kept */
extern size_t tool_text_max;          /* the same for what programs print: `interpfs mcp --text BYTES` */
#define TOOL_DOCUMENT_MAX (64u << 20) /* bytes of an answer that is needed whole */
#define TOOL_PICTURES_MAX 20
#define TOOL_PICTURES_BYTES (20u << 20) /* of the base64 of all: an answer is one line, and lines have their limit */

struct tool_call;

struct tool {
	const char *name;        /* NULL ends a table */
	const char *title;
	const char *description;
	const char *schema;      /* of the arguments, JSON; schema.h says what it may use */
	bool reads_only;         /* changes nothing */
	bool ends_with_client;   /* given up: what it began is ended; else it goes on */
	bool judges;             /* whoever runs it judges the arguments, not the schema here */
	enum { TOOL_EXCERPT, TOOL_WHOLE } answer; /* how channel 1 is kept: call->out or call->whole */
	/* Begins: queues the first CALL or COMMAND (tool_ask). The arguments fit the schema. */
	int (*begin)(struct tool_call *call, struct error *err);
	/* What was said before a failure (a timeout) is told with it. NULL: nothing is. */
	int (*describe)(struct tool_call *call, struct buffer *text);
	/* The runner's END has come, without an errno: puts the content of the result together, or
	 * asks again (write_file's next piece) and returns 1. 0 when the result is complete. */
	int (*finish)(struct tool_call *call, int exit, struct error *err);
};

extern const struct tool notebook_tools[];
extern const struct tool sandbox_tools[];

/* The functions of the target's interface as a table that the caller frees with interface_tools_free; what
 * they are for goes into doc. ENOTCONN …: why there are none. */
int interface_tools(const struct target *target, struct tool **tools, struct buffer *doc, struct error *err);
void interface_tools_free(struct tool *tools);

struct tool_call {
	const struct tool *tool;
	const struct target *target; /* borrowed */
	int64_t waits_until;    /* ms: for a runner that is about to come; 0: for none */
	cJSON *arguments;       /* owned */
	struct talk talk;
	struct excerpt out, err; /* channels 1 and 2 */
	struct buffer whole;    /* channel 1 of TOOL_WHOLE */
	size_t at;              /* the tool's own count */
	int pictures;           /* in content */
	size_t picture_bytes;   /* of their base64 */
	size_t received;        /* bytes of both channels */
	cJSON *content;         /* the result; owned */
	bool is_error;
};

/* Starts a call; takes the arguments over, also on failure, which is then the result. */
int tool_call_start(struct tool_call *call, const struct tool *tool, const struct target *target, cJSON *arguments,
		    int64_t now_ms, struct error *err);
int tool_call_fd(const struct tool_call *call); /* -1 while it waits for a runner */
short tool_call_events(const struct tool_call *call);
/* Goes on as far as possible without blocking; one that waits wants it every TARGET_LOOK_MS. 1: content and is_error are the result; 0: later;
 * -1: err is the result (tool_call_failed). */
int tool_call_step(struct tool_call *call, int64_t now_ms, struct error *err);
/* Makes a failure the call's content: what the tool had said so far, and the sentence. */
int tool_call_failed(struct tool_call *call, const struct error *failure, struct error *err);
/* Says CLOSE where the tool ends with its client, and frees. Safe at any time after the start. */
void tool_call_end(struct tool_call *call);

/* For the tools. tool_ask connects anew; request may be NULL (a COMMAND). */
int tool_ask(struct tool_call *call, const char *name, const char *request, size_t n, struct error *err);
int tool_command(struct tool_call *call, const char *line, struct error *err);
const char *tool_string(const struct tool_call *call, const char *name); /* NULL when absent */
double tool_number(const struct tool_call *call, const char *name, double fallback);
int tool_add_text(struct tool_call *call, const char *text, struct error *err);
/* data is base64, without newlines. */
int tool_add_picture(struct tool_call *call, const char *type, const char *data, struct error *err);

#endif
