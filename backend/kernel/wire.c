#include "backend/kernel/wire.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { PART_CHANNEL, PART_HEADER, PART_PARENT, PART_METADATA, PART_CONTENT, PARTS };

static uint64_t get64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static void put64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static enum wire_type find_type(struct json name)
{
	static const struct {
		const char *name;
		enum wire_type type;
	} types[] = {
		{ "status", WIRE_STATUS },
		{ "stream", WIRE_STREAM },
		{ "execute_input", WIRE_EXECUTE_INPUT },
		{ "execute_reply", WIRE_EXECUTE_REPLY },
		{ "execute_result", WIRE_EXECUTE_RESULT },
		{ "display_data", WIRE_DISPLAY_DATA },
		{ "update_display_data", WIRE_UPDATE_DISPLAY_DATA },
		{ "error", WIRE_ERROR },
		{ "clear_output", WIRE_CLEAR_OUTPUT },
		{ "kernel_info_reply", WIRE_KERNEL_INFO_REPLY },
		{ "interpfs_held", WIRE_HELD },
	};

	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (json_is(name, types[i].name))
			return types[i].type;
	return WIRE_OTHER;
}

/* The number at the end of a message's id. */
static uint64_t read_count(struct json id)
{
	uint64_t count = 0, unit = 1;

	if (json_kind(id) != JSON_STRING)
		return 0;
	for (size_t i = id.length - 2; i > 0 && unit <= 1000000000000000u; i--, unit *= 10) {
		if (id.data[i] == '_')
			return count;
		if (id.data[i] < '0' || id.data[i] > '9')
			return 0;
		count += unit * (uint64_t)(id.data[i] - '0');
	}
	return 0;
}

int wire_parse(const void *data, size_t n, struct wire_message *message, struct error *err)
{
	const uint8_t *p = data;
	struct json part[PARTS], id;
	uint64_t count, start, end;

	if (n < 8)
		return error_set(err, EPROTO, "a kernel message of %zu bytes", n);
	count = get64(p);
	/* The division cannot overflow where 8 * (count + 1) could. */
	if (count < PARTS + 1 || count > n / 8 - 1)
		return error_set(err, EPROTO, "a kernel message that claims %llu parts in %zu bytes",
				 (unsigned long long)count, n);
	start = get64(p + 8);
	if (start != 8 * (count + 1))
		return error_set(err, EPROTO, "a kernel message whose first part starts at %llu, not %llu",
				 (unsigned long long)start, (unsigned long long)(8 * (count + 1)));
	for (uint64_t i = 1; i < count; i++) {
		end = get64(p + 8 * (i + 1));
		if (end < start || end > n)
			return error_set(err, EPROTO, "a kernel message whose part %llu ends at %llu of %zu",
					 (unsigned long long)i, (unsigned long long)end, n);
		if (i <= PARTS)
			part[i - 1] = (struct json){ (const char *)p + start, (size_t)(end - start) };
		start = end;
	}
	if (start != n)
		return error_set(err, EPROTO, "a kernel message of %zu bytes that ends at %llu", n,
				 (unsigned long long)start);
	*message = (struct wire_message){ .channel = part[PART_CHANNEL], .content = part[PART_CONTENT] };
	message->type = find_type(json_get(part[PART_HEADER], "msg_type"));
	message->count = read_count(json_get(part[PART_HEADER], "msg_id"));
	id = json_get(part[PART_PARENT], "msg_id");
	/* Ours hold no escapes; others' ids need not be understood. */
	if (json_kind(id) == JSON_STRING && id.length - 2 < sizeof message->parent)
		memcpy(message->parent, id.data + 1, id.length - 2);
	return 0;
}

int wire_request(struct buffer *out, const char *type, const char *session, const char *id,
		 struct json content, struct error *err)
{
	cleanup_buffer struct buffer header = BUFFER(4096);
	struct json part[PARTS] = { JSON("shell"), JSON_NONE, JSON("{}"), JSON("{}"), content };
	uint8_t word[8];
	uint64_t offset = 8 * (PARTS + 2);
	struct timespec now;
	struct tm utc;
	char date[32] = "";

	if (clock_gettime(CLOCK_REALTIME, &now) == 0 && gmtime_r(&now.tv_sec, &utc))
		(void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
	if (buffer_format(&header,
			  "{\"msg_id\":\"%s\",\"session\":\"%s\",\"username\":\"interpfs\",\"date\":\"%s\","
			  "\"msg_type\":\"%s\",\"version\":\"5.3\"}", id, session, date, type) < 0)
		return error_errno(err, "a request's header");
	part[PART_HEADER] = (struct json){ header.data, header.length };
	put64(word, PARTS + 1);
	if (buffer_append(out, word, sizeof word) < 0)
		return error_errno(err, "a request");
	for (int i = 0; i <= PARTS; i++) {
		put64(word, offset);
		if (buffer_append(out, word, sizeof word) < 0)
			return error_errno(err, "a request");
		if (i < PARTS)
			offset += part[i].length;
	}
	for (int i = 0; i < PARTS; i++)
		if (buffer_append(out, part[i].data, part[i].length) < 0)
			return error_errno(err, "a request");
	return 0;
}

int wire_execute_request(struct buffer *out, const char *session, const char *id,
			 const struct wire_execute *execute, struct error *err)
{
	cleanup_buffer struct buffer content = BUFFER(out->limit);

	if (buffer_text(&content, "{\"code\":") < 0 ||
	    json_quote(&content, execute->code, execute->length) < 0 ||
	    buffer_format(&content, ",\"silent\":%s,\"store_history\":%s,\"user_expressions\":{},"
			  "\"allow_stdin\":false,\"stop_on_error\":false}",
			  execute->silent ? "true" : "false", execute->store_history ? "true" : "false") < 0)
		return error_errno(err, "a cell of %zu bytes", execute->length);
	return wire_request(out, "execute_request", session, id,
			    (struct json){ content.data, content.length }, err);
}
