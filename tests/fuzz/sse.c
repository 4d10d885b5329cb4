/* SSE parser and the assembly of Claude's answers. The first byte says how the rest is cut into
 * pieces; however it is cut, the same events must come out. An answer's content is a line of JSON,
 * and what its tools get is what goes back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backend/llm/claude_stream.h"
#include "backend/llm/sse.h"
#include "mcp/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* By their text: cJSON_Compare() takes an object with a name twice for different from itself. */
static bool same(const cJSON *a, const cJSON *b)
{
	char *text = cJSON_PrintUnformatted(a), *other = cJSON_PrintUnformatted(b);
	bool equal = text && other && !strcmp(text, other);

	free(text);
	free(other);
	return equal;
}

static void check(const struct answer *a)
{
	cJSON *content = cJSON_Parse(a->content), *again;
	const cJSON *block;
	size_t i = 0;

	if (!cJSON_IsArray(content) || strpbrk(a->content, "\n\r") || !text_is_utf8(a->content, strlen(a->content)))
		abort();
	cJSON_ArrayForEach(block, content) {
		const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(block, "type"));
		const cJSON *input = cJSON_GetObjectItemCaseSensitive(block, "input");

		if (!type || strcmp(type, "tool_use") != 0)
			continue;
		again = a->calls[i].arguments;
		if (i++ >= a->count || !cJSON_IsObject(input) || (again && !same(input, again)))
			abort();
	}
	cJSON_Delete(content);
}

static uint64_t run(const uint8_t *data, size_t size, size_t piece)
{
	struct sse sse;
	struct claude_stream stream = { 0 };
	struct sse_event event;
	struct piece p;
	struct error err;
	uint64_t sum = 14695981039346656037u;
	size_t at = 0;
	int got;

	sse_init(&sse, 1 << 20);
	for (;;) {
		size_t n = size - at < piece ? size - at : piece;

		if (sse_put(&sse, data + at, n, &err) < 0)
			break;
		at += n;
		while ((got = sse_take(&sse, at == size, &event, &err)) > 0) {
			for (size_t i = 0; i <= event.length; i++)
				sum = (sum ^ (uint8_t)event.data[i]) * 1099511628211u;
			if (claude_stream_event(&stream, event.data, event.length, &p) == PIECE_ANSWER) {
				check(&p.answer);
				answer_free(&p.answer);
			} else if (p.kind == PIECE_TROUBLE) {
				cJSON_Delete(p.usage);
			}
#ifdef PLANTED
			if (stream.count > 1 && stream.stop_reason[0])
				__builtin_trap();
#endif
		}
		if (got < 0 || at == size)
			break;
	}
	claude_stream_free(&stream);
	sse_free(&sse);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (run(data + 1, size - 1, (size_t)data[0] + 1) != run(data + 1, size - 1, size))
		abort();
	return 0;
}
