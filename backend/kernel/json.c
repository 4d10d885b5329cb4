#include "backend/kernel/json.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && is_space(*p))
		p++;
	return p;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#define EACH(byte) (0x0101010101010101u * (byte))

static uint64_t load8(const char *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof w);
	return w;
}

/* Not 0 if a byte of w is 0. */
static uint64_t has_zero(uint64_t w)
{
	return (w - EACH(1)) & ~w & EACH(0x80);
}

/* Behind the characters of a string that need no look: none that is '"', '\' or below a space.
 * Eight at a time, since a cell may print megabytes. */
static const char *skip_plain(const char *p, const char *end)
{
	while (end - p >= 8) {
		uint64_t w = load8(p);

		if (has_zero(w ^ EACH('"')) | has_zero(w ^ EACH('\\')) | ((w - EACH(0x20)) & ~w & EACH(0x80)))
			break;
		p += 8;
	}
	while (p < end && (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\')
		p++;
	return p;
}

/* Each skip_X returns the byte behind the X that starts at p, or NULL where there is none. */
static const char *skip_string(const char *p, const char *end)
{
	if (p >= end || *p++ != '"')
		return NULL;
	for (;;) {
		p = skip_plain(p, end);
		if (p >= end || (unsigned char)*p < 0x20)
			return NULL;
		if (*p++ == '"')
			return p;
		if (p >= end)
			return NULL;
		if (*p == 'u') {
			if (end - p < 5)
				return NULL;
			for (int i = 1; i <= 4; i++)
				if (hex_digit(p[i]) < 0)
					return NULL;
			p += 5;
		} else if (memchr("\"\\/bfnrt", *p, 8)) {
			p++;
		} else {
			return NULL;
		}
	}
}

static const char *skip_digits(const char *p, const char *end)
{
	const char *start = p;

	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p > start ? p : NULL;
}

static const char *skip_number(const char *p, const char *end)
{
	if (p < end && *p == '-')
		p++;
	if (p < end && *p == '0')
		p++;
	else if (!(p = skip_digits(p, end)))
		return NULL;
	if (p < end && *p == '.' && !(p = skip_digits(p + 1, end)))
		return NULL;
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		if (!(p = skip_digits(p, end)))
			return NULL;
	}
	return p;
}

static const char *skip_word(const char *p, const char *end)
{
	static const char *const words[] = { "true", "false", "null" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		size_t n = strlen(words[i]);

		if ((size_t)(end - p) >= n && !memcmp(p, words[i], n))
			return p + n;
	}
	return NULL;
}

static const char *skip_value(const char *p, const char *end, int depth);

/* One member of an object or array and the ',' or white space around it; *last says that the
 * closing bracket was passed. p stands behind the opening bracket or the comma. */
static const char *skip_member(const char *p, const char *end, bool object, int depth, struct json *key,
			       struct json *value, bool *last)
{
	const char *start;

	p = skip_space(p, end);
	*key = JSON_NONE;
	if (object) {
		start = p;
		if (!(p = skip_string(p, end)))
			return NULL;
		*key = (struct json){ start, (size_t)(p - start) };
		p = skip_space(p, end);
		if (p >= end || *p++ != ':')
			return NULL;
		p = skip_space(p, end);
	}
	start = p;
	if (!(p = skip_value(p, end, depth)))
		return NULL;
	*value = (struct json){ start, (size_t)(p - start) };
	p = skip_space(p, end);
	if (p >= end || (*p != ',' && *p != (object ? '}' : ']')))
		return NULL;
	*last = *p != ',';
	return p + 1;
}

static const char *skip_value(const char *p, const char *end, int depth)
{
	struct json key, value;
	bool object, last = false;

	if (p >= end || depth > JSON_DEPTH)
		return NULL;
	if (*p == '"')
		return skip_string(p, end);
	if (*p == '-' || (*p >= '0' && *p <= '9'))
		return skip_number(p, end);
	if (*p != '{' && *p != '[')
		return skip_word(p, end);
	object = *p == '{';
	p = skip_space(p + 1, end);
	if (p < end && *p == (object ? '}' : ']'))
		return p + 1;
	while (p && !last)
		p = skip_member(p, end, object, depth + 1, &key, &value, &last);
	return p;
}

enum json_kind json_kind(struct json value)
{
	const char *p;

	if (!value.data)
		return JSON_INVALID;
	p = skip_space(value.data, value.data + value.length);
	if (p == value.data + value.length)
		return JSON_INVALID;
	switch (*p) {
	case '{': return JSON_OBJECT;
	case '[': return JSON_ARRAY;
	case '"': return JSON_STRING;
	case 't': case 'f': case 'n': return JSON_WORD;
	default: return *p == '-' || (*p >= '0' && *p <= '9') ? JSON_NUMBER : JSON_INVALID;
	}
}

bool json_valid(struct json value)
{
	const char *end, *p;

	if (!value.data)
		return false;
	end = value.data + value.length;
	p = skip_value(skip_space(value.data, end), end, 0);
	return p && skip_space(p, end) == end;
}

bool json_next(struct json inside, size_t *at, struct json *key, struct json *value)
{
	const char *p, *end;
	bool object, last;

	if (!inside.data || *at > inside.length)
		return false;
	end = inside.data + inside.length;
	p = skip_space(inside.data, end);
	if (p >= end || (*p != '{' && *p != '['))
		return false;
	object = *p == '{';
	if (!*at) {
		p = skip_space(p + 1, end);
		if (p < end && *p == (object ? '}' : ']'))
			return false;
	} else {
		p = inside.data + *at;
	}
	p = skip_member(p, end, object, 1, key, value, &last);
	if (!p)
		return false;
	*at = last ? inside.length + 1 : (size_t)(p - inside.data);
	return true;
}

struct json json_get(struct json object, const char *name)
{
	struct json key, value;
	size_t at = 0, n = strlen(name);

	while (json_next(object, &at, &key, &value))
		if (key.length == n + 2 && !memcmp(key.data + 1, name, n))
			return value;
	return JSON_NONE;
}

bool json_is(struct json value, const char *text)
{
	size_t n = strlen(text);

	return value.data && value.length == n + 2 && value.data[0] == '"' &&
	       value.data[n + 1] == '"' && !memcmp(value.data + 1, text, n);
}

long json_integer(struct json value, long otherwise)
{
	bool negative = value.length && value.data[0] == '-';
	long n = 0;

	if (json_kind(value) != JSON_NUMBER || value.length - negative > 18)
		return otherwise;
	for (size_t i = negative; i < value.length; i++) {
		if (value.data[i] < '0' || value.data[i] > '9')
			return otherwise;
		n = n * 10 + (value.data[i] - '0');
	}
	return negative ? -n : n;
}

/* Appends bytes with those that are no UTF-8 replaced. */
static int append_utf8(struct buffer *out, const char *p, size_t n)
{
	size_t clean = 0, length;

	while (clean < n) {
		if (n - clean >= 8 && !(load8(p + clean) & EACH(0x80))) {
			clean += 8;
			continue;
		}
		if (!((unsigned char)p[clean] & 0x80)) {
			clean++;
			continue;
		}
		length = utf8_length(p + clean, n - clean);
		if (length) {
			clean += length;
			continue;
		}
		if (buffer_append(out, p, clean) < 0 || buffer_text(out, "\xef\xbf\xbd") < 0)
			return -1;
		p += clean + 1;
		n -= clean + 1;
		clean = 0;
	}
	return buffer_append(out, p, clean);
}

int json_copy(struct buffer *out, struct json value)
{
	const char *p = value.data, *end, *start;

	if (!json_valid(value)) {
		errno = EINVAL;
		return -1;
	}
	end = p + value.length;
	while (p < end) {
		p = skip_space(p, end);
		start = p;
		while (p < end && !is_space(*p))
			p = *p == '"' ? skip_string(p, end) : p + 1;
		if (append_utf8(out, start, (size_t)(p - start)) < 0)
			return -1;
	}
	return 0;
}

static unsigned int hex4(const char *p)
{
	unsigned int v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 4 | (unsigned int)hex_digit(p[i]);
	return v;
}

static int append_character(struct buffer *out, uint32_t c)
{
	char s[4];

	if (c < 0x80) {
		s[0] = (char)c;
		return buffer_append(out, s, 1);
	}
	if (c < 0x800) {
		s[0] = (char)(0xc0 | c >> 6);
		s[1] = (char)(0x80 | (c & 0x3f));
		return buffer_append(out, s, 2);
	}
	if (c < 0x10000) {
		s[0] = (char)(0xe0 | c >> 12);
		s[1] = (char)(0x80 | (c >> 6 & 0x3f));
		s[2] = (char)(0x80 | (c & 0x3f));
		return buffer_append(out, s, 3);
	}
	s[0] = (char)(0xf0 | c >> 18);
	s[1] = (char)(0x80 | (c >> 12 & 0x3f));
	s[2] = (char)(0x80 | (c >> 6 & 0x3f));
	s[3] = (char)(0x80 | (c & 0x3f));
	return buffer_append(out, s, 4);
}

/* The character that the escape behind a backslash stands for; moves *p behind it. */
static uint32_t take_escape(const char **p, const char *end)
{
	uint32_t c, low;

	switch (*(*p)++) {
	case 'b': return '\b';
	case 'f': return '\f';
	case 'n': return '\n';
	case 'r': return '\r';
	case 't': return '\t';
	case 'u': break;
	default: return (uint32_t)(unsigned char)(*p)[-1];
	}
	c = hex4(*p);
	*p += 4;
	if (c < 0xd800 || c > 0xdfff)
		return c;
	if (c <= 0xdbff && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
		low = hex4(*p + 2);
		if (low >= 0xdc00 && low <= 0xdfff) {
			*p += 6;
			return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
		}
	}
	return 0xfffd;
}

int json_text(struct buffer *out, struct json string)
{
	const char *p = string.data, *end, *start;

	if (json_kind(string) != JSON_STRING || !json_valid(string)) {
		errno = EINVAL;
		return -1;
	}
	end = p + string.length;
	p = skip_space(p, end) + 1;
	if (buffer_reserve(out, string.length) < 0)
		return -1;
	for (;;) {
		start = p;
		p = skip_plain(p, end);
		if (append_utf8(out, start, (size_t)(p - start)) < 0)
			return -1;
		if (*p++ == '"')
			return 0;
		if (append_character(out, take_escape(&p, end)) < 0)
			return -1;
	}
}

int json_quote(struct buffer *out, const char *text, size_t n)
{
	static const char names[] = "\bb\ff\nn\rr\tt\"\"\\\\";
	const char *p = text, *end = text + n, *start, *name;

	if (buffer_reserve(out, n + 2) < 0 || buffer_text(out, "\"") < 0)
		return -1;
	while (p < end) {
		start = p;
		p = skip_plain(p, end);
		if (append_utf8(out, start, (size_t)(p - start)) < 0)
			return -1;
		if (p >= end)
			break;
		for (name = names; *name && *name != *p; name += 2)
			;
		if (*name ? buffer_append(out, (char[]){ '\\', name[1] }, 2)
			  : buffer_format(out, "\\u%04x", (unsigned int)(unsigned char)*p))
			return -1;
		p++;
	}
	return buffer_text(out, "\"");
}
