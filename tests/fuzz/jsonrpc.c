/* Fuzzes the line reader and the parser of JSON-RPC. The first byte says in how large pieces the
 * bytes arrive; what is parsed is printed and must parse again to the same kind. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mcp/jsonrpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct jsonrpc_message *m)
{
	struct buffer out cleanup_buffer = BUFFER(JSONRPC_LINE_MAX);
	struct jsonrpc_message again;
	struct error err;
	cJSON *copy;
	int reply;

	if (m->kind == JSONRPC_REQUEST || m->kind == JSONRPC_NOTIFICATION) {
		copy = m->params ? cJSON_Duplicate(m->params, true) : NULL;
		if (m->kind == JSONRPC_REQUEST)
			(void)jsonrpc_put_request(&out, 1, m->method, copy, &err);
		else
			(void)jsonrpc_put_notification(&out, m->method, copy, &err);
	} else if (m->kind == JSONRPC_RESULT) {
		(void)jsonrpc_put_result(&out, m->id, cJSON_Duplicate(m->result, true), &err);
	} else {
		(void)jsonrpc_put_error(&out, m->id, m->code, m->text, NULL, &err);
	}
	if (!out.length)
		return;
	if (out.data[out.length - 1] != '\n' || memchr(out.data, '\n', out.length - 1))
		abort();
	if (jsonrpc_parse(out.data, out.length - 1, &again, &reply, &err) < 0 || again.kind != m->kind)
		abort();
	jsonrpc_message_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct jsonrpc_reader reader = JSONRPC_READER;
	struct error err;
	size_t piece, n;
	char *line;
	int got;

	if (!size)
		return 0;
	piece = (size_t)data[0] + 1;
	for (size_t at = 1; at < size; at += piece) {
		size_t take = size - at < piece ? size - at : piece;

		if (jsonrpc_feed(&reader, data + at, take, &err) < 0)
			break;
		while ((got = jsonrpc_line(&reader, &line, &n, &err)) != 0) {
			struct jsonrpc_message m;
			int reply;

			if (got < 0)
				continue;
			if (line[n] != '\0' || memchr(line, '\n', n))
				abort();
			if (jsonrpc_parse(line, n, &m, &reply, &err) == 0)
				check_again(&m);
#ifdef PLANTED
			if (m.kind == JSONRPC_ERROR && m.text && m.data && m.code != -32700)
				__builtin_trap();
#endif
			jsonrpc_message_free(&m);
		}
	}
	jsonrpc_reader_free(&reader);
	return 0;
}
