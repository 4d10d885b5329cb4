/* JSON-RPC 2.0 as MCP's stdio transport uses it: one message a line, UTF-8, no batches. Every
 * byte that comes is from outside: lines are bounded, a message is exactly one of request,
 * notification, result and error, and nothing else passes. */
#ifndef INTERPFS_MCP_JSONRPC_H
#define INTERPFS_MCP_JSONRPC_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

#define JSONRPC_LINE_MAX (32u << 20) /* bytes; pictures travel as base64 */

enum jsonrpc_code {
	JSONRPC_PARSE_ERROR = -32700,
	JSONRPC_INVALID_REQUEST = -32600,
	JSONRPC_METHOD_NOT_FOUND = -32601,
	JSONRPC_INVALID_PARAMS = -32602,
	JSONRPC_INTERNAL_ERROR = -32603,
};

/* Lines out of a stream of bytes. A line past the limit is skipped to its end and told once. */
struct jsonrpc_reader {
	struct buffer in;
	size_t start;   /* where the next line begins in `in` */
	size_t scanned; /* up to where no newline is */
	bool skipping;  /* in the middle of a line that was too long */
};

#define JSONRPC_READER ((struct jsonrpc_reader){ .in = { .limit = JSONRPC_LINE_MAX + 65536u } })

/* Takes bytes, at most 65536 at once. Invalidates lines lent before. -1 (ENOMEM). */
int jsonrpc_feed(struct jsonrpc_reader *reader, const void *data, size_t n, struct error *err);
/* 1: *line (lent until the next feed, changeable, NUL behind it, newline and CR cut); 0: none yet;
 * -1 EMSGSIZE: a line was longer than JSONRPC_LINE_MAX and is left out. Empty lines are skipped. */
int jsonrpc_line(struct jsonrpc_reader *reader, char **line, size_t *n, struct error *err);
void jsonrpc_reader_free(struct jsonrpc_reader *reader);

enum jsonrpc_kind { JSONRPC_REQUEST, JSONRPC_NOTIFICATION, JSONRPC_RESULT, JSONRPC_ERROR };

struct jsonrpc_message {
	enum jsonrpc_kind kind;
	cJSON *document;      /* owned; all that follows is lent from it */
	const cJSON *id;      /* a string or a whole number; NULL for a notification, and for an
	                         ERROR that answers something that could not be read */
	const char *method;
	const cJSON *params;  /* an object, or NULL */
	const cJSON *result;
	int code;             /* of ERROR */
	const char *text;     /* of ERROR; never NULL there */
	const cJSON *data;    /* of ERROR, or NULL */
	bool nul;             /* an escaped NUL was replaced */
};

/* Parses one line. Changes it: an escaped NUL, which C strings cannot hold, becomes U+FFFD.
 * -1: *reply is JSONRPC_PARSE_ERROR or JSONRPC_INVALID_REQUEST and message->id, where it could
 * be found out, what to answer it to. The message must be freed in either case. */
int jsonrpc_parse(char *line, size_t n, struct jsonrpc_message *message, int *reply, struct error *err);
void jsonrpc_message_free(struct jsonrpc_message *message);

#define cleanup_jsonrpc_message __attribute__((cleanup(jsonrpc_message_free)))

/* Append a message as a line. Each takes result, params or data over, also on failure (NULL:
 * absent; a NULL result is out of memory). id is copied; NULL is null. Return 0 or -1. */
int jsonrpc_put_request(struct buffer *out, double id, const char *method, cJSON *params, struct error *err);
int jsonrpc_put_notification(struct buffer *out, const char *method, cJSON *params, struct error *err);
int jsonrpc_put_result(struct buffer *out, const cJSON *id, cJSON *result, struct error *err);
int jsonrpc_put_error(struct buffer *out, const cJSON *id, int code, const char *text, cJSON *data,
		      struct error *err);

#endif
