#include "backend/llm/sse.h"

#include <errno.h>
#include <string.h>

void sse_init(struct sse *sse, size_t limit)
{
	memset(sse, 0, sizeof *sse);
	sse->in = BUFFER(limit);
	sse->data = BUFFER(limit);
}

void sse_free(struct sse *sse)
{
	buffer_free(&sse->in);
	buffer_free(&sse->data);
}

static int too_big(struct error *err)
{
	return error_set(err, errno, errno == EFBIG ? "a server-sent event is too long" : "out of memory");
}

int sse_put(struct sse *sse, const void *bytes, size_t n, struct error *err)
{
	buffer_consume(&sse->in, sse->taken);
	sse->taken = 0;
	return buffer_append(&sse->in, bytes, n) < 0 ? too_big(err) : 0;
}

/* One whole line without its end: 1 when it is the empty line that ends an event. */
static int take_line(struct sse *sse, const char *line, size_t n, struct error *err)
{
	const char *colon, *value;
	size_t field, length;

	if (!n)
		return 1;
	colon = memchr(line, ':', n);
	field = colon ? (size_t)(colon - line) : n;
	value = colon ? colon + 1 : line + n;
	length = n - (size_t)(value - line);
	if (length && *value == ' ') {
		value++;
		length--;
	}
	if (field == 4 && !memcmp(line, "data", 4)) {
		if ((sse->any && buffer_append(&sse->data, "\n", 1) < 0) ||
		    buffer_append(&sse->data, value, length) < 0)
			return too_big(err);
		sse->any = true;
	} else if (field == 5 && !memcmp(line, "event", 5)) {
		if (length >= SSE_NAME_SIZE)
			length = SSE_NAME_SIZE - 1;
		memcpy(sse->name, value, length);
		sse->name[length] = '\0';
	} /* id, retry, comments (an empty field name) and unknown fields mean nothing to us */
	return 0;
}

static bool finish(struct sse *sse, struct sse_event *event)
{
	if (!sse->any) { /* an event without data is none */
		sse->name[0] = '\0';
		return false;
	}
	event->name = sse->name[0] ? sse->name : "message";
	event->data = sse->data.data ? sse->data.data : "";
	event->length = sse->data.length;
	sse->lent = true;
	return true;
}

static const char *line_end(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (text[i] == '\n' || text[i] == '\r')
			return text + i;
	return NULL;
}

int sse_take(struct sse *sse, bool at_end, struct sse_event *event, struct error *err)
{
	if (sse->lent) {
		buffer_clear(&sse->data);
		sse->name[0] = '\0';
		sse->lent = sse->any = false;
	}
	for (;;) {
		const char *start = sse->in.data ? sse->in.data + sse->taken : "";
		size_t n = sse->in.length - sse->taken;
		const char *end;
		int last;

		if (!sse->begun && n) {
			static const char bom[] = "\xef\xbb\xbf";

			if (n < 3 && !memcmp(start, bom, n) && !at_end)
				return 0;
			if (n >= 3 && !memcmp(start, bom, 3))
				sse->taken += 3;
			sse->begun = true;
			continue;
		}
		if (sse->after_cr && n) {
			sse->after_cr = false;
			if (*start == '\n') {
				sse->taken++;
				continue;
			}
		}
		end = line_end(start + sse->scanned, n - sse->scanned);
		if (!end && !at_end) {
			sse->scanned = n;
			return 0;
		}
		sse->scanned = 0;
		if (!end) {
			last = n ? take_line(sse, start, n, err) : 0;
			sse->taken += n;
			return last < 0 ? -1 : finish(sse, event);
		}
		last = take_line(sse, start, (size_t)(end - start), err);
		sse->after_cr = *end == '\r';
		sse->taken += (size_t)(end - start) + 1;
		if (last < 0)
			return -1;
		if (last && finish(sse, event))
			return 1;
	}
}
