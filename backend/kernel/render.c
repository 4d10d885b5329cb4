#include "backend/kernel/render.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define FILE_MAX (256u << 20)

static const struct {
	const char *type;
	const char *extension;
	bool base64;
	bool picture;
} types[] = {
	{ "image/png", "png", true, true },
	{ "image/jpeg", "jpg", true, true },
	{ "image/gif", "gif", true, true },
	{ "image/webp", "webp", true, true },
	{ "image/svg+xml", "svg", false, true },
	{ "application/pdf", "pdf", true, false },
	{ "text/html", "html", false, false },
	{ "text/markdown", "md", false, false },
	{ "text/latex", "tex", false, false },
	{ "application/javascript", "js", false, false },
};

static bool is_json_type(struct json key)
{
	return json_is(key, "application/json") ||
	       (key.length > 7 && !memcmp(key.data + key.length - 6, "+json\"", 6));
}

/* A string, or an array of strings: what nbformat calls a multiline string. */
static bool is_multiline(struct json value)
{
	struct json key, line;
	size_t at = 0;

	if (json_kind(value) == JSON_STRING)
		return true;
	if (json_kind(value) != JSON_ARRAY)
		return false;
	while (json_next(value, &at, &key, &line))
		if (json_kind(line) != JSON_STRING)
			return false;
	return true;
}

static int multiline_text(struct buffer *out, struct json value)
{
	struct json key, line;
	size_t at = 0;

	if (json_kind(value) == JSON_STRING)
		return json_text(out, value);
	while (json_next(value, &at, &key, &line))
		if (json_text(out, line) < 0)
			return -1;
	return 0;
}

static int render_bundle(struct buffer *out, struct json data)
{
	struct json key, value;
	size_t at = 0;
	bool first = true;

	if (buffer_text(out, "{") < 0)
		return -1;
	while (json_next(data, &at, &key, &value)) {
		if (!is_json_type(key) && !is_multiline(value))
			continue;
		if ((!first && buffer_text(out, ",") < 0) || json_copy(out, key) < 0 ||
		    buffer_text(out, ":") < 0 || json_copy(out, value) < 0)
			return -1;
		first = false;
	}
	return buffer_text(out, "}");
}

int render_data(struct buffer *out, const char *type, struct json count, struct json content)
{
	struct json metadata = json_get(content, "metadata");

	if (buffer_format(out, "{\"output_type\":\"%s\"", type) < 0 ||
	    (count.data && (buffer_text(out, ",\"execution_count\":") < 0 || json_copy(out, count) < 0)) ||
	    buffer_text(out, ",\"data\":") < 0 || render_bundle(out, json_get(content, "data")) < 0 ||
	    buffer_text(out, ",\"metadata\":") < 0)
		return -1;
	if (json_kind(metadata) != JSON_OBJECT)
		metadata = JSON("{}");
	return json_copy(out, metadata) < 0 ? -1 : buffer_text(out, "}");
}

static int render_string(struct buffer *out, struct json value)
{
	return json_copy(out, json_kind(value) == JSON_STRING ? value : JSON("\"\""));
}

int render_error(struct buffer *out, struct json content)
{
	struct json traceback = json_get(content, "traceback"), key, line;
	size_t at = 0;
	bool first = true;

	if (buffer_text(out, "{\"output_type\":\"error\",\"ename\":") < 0 ||
	    render_string(out, json_get(content, "ename")) < 0 || buffer_text(out, ",\"evalue\":") < 0 ||
	    render_string(out, json_get(content, "evalue")) < 0 || buffer_text(out, ",\"traceback\":[") < 0)
		return -1;
	if (json_kind(traceback) != JSON_ARRAY)
		traceback = JSON_NONE;
	for (; json_next(traceback, &at, &key, &line); first = false)
		if ((!first && buffer_text(out, ",") < 0) || render_string(out, line) < 0)
			return -1;
	return buffer_text(out, "]}");
}

int render_lines(struct buffer *out, const char *text, size_t n)
{
	const char *end = text + n, *newline, *next;

	/* An editor's or echo's last newline ends the text, it begins no empty line. */
	if (n && end[-1] == '\n')
		end--;
	for (const char *p = text; p < end; p = next) {
		newline = memchr(p, '\n', (size_t)(end - p));
		next = newline ? newline + 1 : end;
		if ((p > text && buffer_text(out, ",") < 0) || json_quote(out, p, (size_t)(next - p)) < 0)
			return -1;
	}
	return 0;
}

int render_plain(struct buffer *out, const char *text, size_t n)
{
	const char *p = text, *end = text + n, *escape;

	while (p < end) {
		escape = memchr(p, '\033', (size_t)(end - p));
		if (!escape)
			return buffer_append(out, p, (size_t)(end - p));
		if (buffer_append(out, p, (size_t)(escape - p)) < 0)
			return -1;
		p = escape + 1;
		if (p >= end || *p != '[')
			continue;
		/* ECMA-48: parameters and intermediates up to 0x3f, then one final byte. */
		for (p++; p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p <= 0x3f; p++)
			;
		if (p < end)
			p++;
	}
	return 0;
}

int render_bundle_text(struct buffer *out, struct json data)
{
	static const char *const names[] = { "text/plain", "text/markdown", "text/latex" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct json value = json_get(data, names[i]);

		if (value.data && is_multiline(value))
			return multiline_text(out, value);
	}
	return 0;
}

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes in place. Whatever is no digit is left out, as MIME says. */
static void decode_base64(struct buffer *b)
{
	uint32_t bits = 0;
	unsigned int have = 0;
	size_t n = 0;

	for (size_t i = 0; i < b->length; i++) {
		int digit = base64_digit(b->data[i]);

		if (digit < 0)
			continue;
		bits = (bits << 6 | (uint32_t)digit) & 0xffffff;
		have += 6;
		if (have >= 8) {
			have -= 8;
			b->data[n++] = (char)(bits >> have & 0xff);
		}
	}
	b->length = n;
}

int render_next_file(struct json data, size_t *at, struct render_file *file)
{
	struct json key, value;

	while (json_next(data, at, &key, &value)) {
		size_t i = 0, count = sizeof types / sizeof *types;

		while (i < count && !json_is(key, types[i].type))
			i++;
		if (i == count && !is_json_type(key))
			continue;
		if (i < count && !is_multiline(value))
			continue;
		*file = (struct render_file){ .extension = i < count ? types[i].extension : "json",
					      .picture = i < count && types[i].picture,
					      .bytes = BUFFER(FILE_MAX) };
		if (i < count ? multiline_text(&file->bytes, value) < 0
			      : json_copy(&file->bytes, value) < 0 || buffer_text(&file->bytes, "\n") < 0) {
			buffer_free(&file->bytes);
			return -1;
		}
		if (i < count && types[i].base64)
			decode_base64(&file->bytes);
		return 1;
	}
	return 0;
}
