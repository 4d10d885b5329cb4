#include "backend/llm/json.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static size_t skip_string(const char *text, size_t n, size_t i)
{
	for (i++; i < n && text[i] != '"'; i++)
		if (text[i] == '\\')
			i++;
	return i < n ? i + 1 : n;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

const char *json_member(const char *text, size_t n, const char *name, size_t *length)
{
	size_t i = 0, depth = 0, size = strlen(name);

	while (i < n) {
		size_t start = i, end;
		bool match;

		if (text[i] == '{' || text[i] == '[') {
			depth++;
			i++;
			continue;
		}
		if (text[i] == '}' || text[i] == ']') {
			if (depth-- <= 1)
				return NULL;
			i++;
			continue;
		}
		if (text[i] != '"') {
			i++;
			continue;
		}
		i = skip_string(text, n, i);
		if (depth != 1)
			continue;
		/* At depth 1 a string is a key if a colon follows, else a value. */
		match = i - start == size + 2 && !memcmp(text + start + 1, name, size);
		while (i < n && blank(text[i]))
			i++;
		if (i >= n || text[i] != ':')
			continue;
		for (i++; i < n && blank(text[i]); i++)
			;
		if (!match)
			continue;
		start = i;
		for (depth = 0; i < n; i++) {
			if (text[i] == '"')
				i = skip_string(text, n, i) - 1;
			else if (text[i] == '{' || text[i] == '[')
				depth++;
			else if (text[i] == '}' || text[i] == ']') {
				if (!depth)
					break;
				if (!--depth) {
					i++;
					break;
				}
			} else if (text[i] == ',' && !depth)
				break;
		}
		for (end = i; end > start && blank(text[end - 1]); end--)
			;
		*length = end - start;
		return text + start;
	}
	return NULL;
}

static size_t digits(const char *text, size_t n)
{
	size_t i = 0;

	while (i < n && text[i] >= '0' && text[i] <= '9')
		i++;
	return i;
}

/* The length of the number at text as JSON has numbers; 0 when there is none. */
static size_t number(const char *text, size_t n)
{
	size_t i = n && *text == '-', whole = digits(text + i, n - i), more;

	if (!whole || (text[i] == '0' && whole > 1))
		return 0;
	i += whole;
	if (i < n && text[i] == '.') {
		more = digits(text + i + 1, n - i - 1);
		if (!more)
			return 0;
		i += 1 + more;
	}
	if (i < n && (text[i] == 'e' || text[i] == 'E')) {
		i++;
		if (i < n && (text[i] == '+' || text[i] == '-'))
			i++;
		more = digits(text + i, n - i);
		if (!more)
			return 0;
		i += more;
	}
	return i;
}

static int put_string(const char *text, size_t n, struct buffer *out)
{
	size_t plain = 0;

	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)text[i] >= ' ')
			continue;
		if (buffer_append(out, text + plain, i - plain) < 0 ||
		    buffer_format(out, "\\u%04x", (unsigned)text[i]) < 0)
			return -1;
		plain = i + 1;
	}
	return buffer_append(out, text + plain, n - plain);
}

int json_compact(const char *text, size_t n, struct buffer *out)
{
	for (size_t i = 0, length; i < n; i += length) {
		length = 1;
		if (blank(text[i]))
			continue;
		if (text[i] == '"') {
			length = skip_string(text, n, i) - i;
			if (put_string(text + i, length, out) < 0)
				return -1;
			continue;
		}
		if (text[i] == '-' || (text[i] >= '0' && text[i] <= '9'))
			length = number(text + i, n - i);
		else if (!memchr("{}[]:,truefalsn", text[i], 15)) /* the words were right for cJSON */
			length = 0;
		if (!length) {
			errno = EINVAL;
			return -1;
		}
		if (buffer_append(out, text + i, length) < 0)
			return -1;
	}
	return 0;
}
