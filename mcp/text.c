/* Text for models out of bytes from programs: see text.h. */
#include "mcp/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

bool text_is_utf8(const char *text, size_t n)
{
	while (n) {
		size_t length = utf8_length(text, n);

		if (!length)
			return false;
		text += length;
		n -= length;
	}
	return true;
}

void text_make_utf8(char *text, size_t n)
{
	for (size_t i = 0, length; i < n; i += length) {
		length = utf8_length(text + i, n - i);
		if (!length) {
			text[i] = '?';
			length = 1;
		}
	}
}

size_t text_cut(const char *text, size_t n, size_t at)
{
	if (at >= n)
		return n;
	while (at && ((unsigned char)text[at] & 0xc0) == 0x80)
		at--;
	return at;
}

const char *text_escaped_nul(const char *json, size_t n)
{
	for (size_t i = 0; i + 1 < n; i++) {
		if (json[i] != '\\')
			continue;
		if (i + 6 <= n && !memcmp(json + i + 1, "u0000", 5))
			return json + i;
		i++; /* what is escaped is no backslash that escapes */
	}
	return NULL;
}

void text_replace_escaped_nuls(char *json, size_t n)
{
	char *end = json + n, *at = json;

	while ((at = (char *)text_escaped_nul(at, (size_t)(end - at)))) {
		memcpy(at + 2, "fffd", 4);
		at += 6;
	}
}

/* The length of the escape sequence at p, where an ESC stands: CSI (ESC [ … final), OSC and the
 * other strings (ESC ] … BEL or ESC \), or two bytes with intermediates between. */
static size_t escape_length(const unsigned char *p, size_t n)
{
	size_t i = 2;

	if (n < 2)
		return n;
	if (p[1] == '[') {
		while (i < n && p[i] >= 0x20 && p[i] <= 0x3f)
			i++;
		return i < n && p[i] >= 0x40 && p[i] <= 0x7e ? i + 1 : i;
	}
	if (p[1] == ']' || p[1] == 'P' || p[1] == 'X' || p[1] == '^' || p[1] == '_') {
		for (; i < n && p[i] != '\n'; i++) {
			if (p[i] == '\a')
				return i + 1;
			if (p[i] == 0x1b)
				return i + 1 < n && p[i + 1] == '\\' ? i + 2 : i;
		}
		return i;
	}
	i = 1;
	while (i < n && p[i] >= 0x20 && p[i] <= 0x2f)
		i++;
	return i < n && p[i] >= 0x30 && p[i] <= 0x7e ? i + 1 : i;
}

int text_clean(struct buffer *out, const char *data, size_t n)
{
	const unsigned char *p = (const unsigned char *)data, *end = p + n;
	size_t line = out->length; /* where the line being written begins */
	bool returned = false;     /* a carriage return: what comes replaces the line */

	while (p < end) {
		size_t left = (size_t)(end - p), length;

		if (*p == 0x1b) {
			p += escape_length(p, left);
			continue;
		}
		if (*p == '\r') {
			returned = true;
			p++;
			continue;
		}
		if (*p == '\n') {
			if (buffer_append(out, "\n", 1) < 0)
				return -1;
			line = out->length;
			returned = false;
			p++;
			continue;
		}
		if (*p == '\b') {
			while (out->length > line && ((unsigned char)out->data[--out->length] & 0xc0) == 0x80)
				;
			p++;
			continue;
		}
		if ((*p < 0x20 && *p != '\t') || *p == 0x7f) {
			p++;
			continue;
		}
		if (returned) {
			out->length = line;
			returned = false;
		}
		length = utf8_length((const char *)p, left);
		if (buffer_append(out, length ? (const char *)p : "\xef\xbf\xbd", length ? length : 3) < 0)
			return -1;
		p += length ? length : 1;
	}
	if (out->data)
		out->data[out->length] = '\0';
	return 0;
}

void excerpt_init(struct excerpt *e, size_t limit)
{
	memset(e, 0, sizeof *e);
	e->half = limit / 2 ? limit / 2 : 1;
	e->head.limit = e->half;
}

int excerpt_add(struct excerpt *e, const void *data, size_t n)
{
	const char *p = data;
	size_t room = e->half - e->head.length, take = n < room ? n : room;

	if (take) {
		if (buffer_append(&e->head, p, take) < 0)
			return -1;
		e->total += take;
		p += take;
		n -= take;
	}
	if (!n)
		return 0;
	if (!e->ring) {
		e->ring = malloc(e->half);
		if (!e->ring)
			return -1;
	}
	e->total += n;
	if (n > e->half) {
		e->at = (e->at + (n - e->half)) % e->half;
		p += n - e->half;
		n = e->half;
	}
	take = n < e->half - e->at ? n : e->half - e->at;
	memcpy(e->ring + e->at, p, take);
	memcpy(e->ring, p + take, n - take);
	e->at = (e->at + n) % e->half;
	return 0;
}

int excerpt_text(const struct excerpt *e, struct buffer *out)
{
	struct buffer all cleanup_buffer = BUFFER(e->half * 2 + 1);
	size_t behind = e->total - e->head.length, cut = behind > e->half ? behind - e->half : 0;

	if (buffer_append(&all, e->head.data, e->head.length) < 0)
		return -1;
	if (cut) {
		if (text_clean(out, all.data, all.length) < 0 ||
		    buffer_format(out, "\n[\xe2\x80\xa6 %zu bytes left out \xe2\x80\xa6]\n", cut) < 0)
			return -1;
		buffer_clear(&all);
	}
	if (behind) {
		size_t kept = behind < e->half ? behind : e->half;
		size_t from = (e->at + e->half - kept) % e->half;
		size_t first = kept < e->half - from ? kept : e->half - from;
		const char *ring = e->ring + from;

		/* The cut may have gone through a character: begin with a whole one. */
		while (cut && first && ((unsigned char)*ring & 0xc0) == 0x80) {
			ring++;
			first--;
			kept--;
		}
		if (buffer_append(&all, ring, first) < 0 ||
		    buffer_append(&all, e->ring, kept - first) < 0)
			return -1;
	}
	return text_clean(out, all.data, all.length);
}

void excerpt_free(struct excerpt *e)
{
	buffer_free(&e->head);
	free(e->ring);
	e->ring = NULL;
}
