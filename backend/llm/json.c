#include "backend/llm/json.h"

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
