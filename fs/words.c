/* Words: the nearest known one, names of variables, paths, and values as sentences repeat them. */
#include "fs/judge.h"

#include <errno.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"

const char *judge_shown(const char *text, char out[JUDGE_SHOWN])
{
	size_t n = 0, length;

	for (; *text; text += length) {
		length = utf8_length(text, strnlen(text, 4));
		if (n + (length ? length : 1) > JUDGE_SHOWN - 4) {
			memcpy(out + n, "...", 4);
			return out;
		}
		if (!length || (unsigned char)*text < ' ' || *text == 127) {
			out[n++] = length ? ' ' : '?';
			length = 1;
			continue;
		}
		memcpy(out + n, text, length);
		n += length;
	}
	out[n] = '\0';
	return out;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Insertions, deletions, replacements and swaps of neighbours that make b of a. */
static size_t distance(const char *a, const char *b)
{
	enum { LONGEST = 40 };
	size_t rows[3][LONGEST + 1], la = strlen(a), lb = strlen(b);

	if (la > LONGEST || lb > LONGEST)
		return SIZE_MAX;
	for (size_t j = 0; j <= lb; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			now[j] = least(least(before[j] + 1, now[j - 1] + 1), before[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = least(now[j], earlier[j - 2] + 1);
		}
	}
	return rows[la % 3][lb];
}

const char *judge_nearest(const char *word, const char *const *known, size_t n)
{
	const char *best = NULL;
	size_t near = strlen(word) / 3 + 2;

	for (size_t i = 0; i < n; i++) {
		size_t d = distance(word, known[i]);

		/* Nothing in common is no likeness, however short the words are. */
		if (d < near && d < strlen(known[i]) && d < strlen(word)) {
			near = d;
			best = known[i];
		}
	}
	return best;
}

bool judge_is_variable(const char *text)
{
	if (!*text || (*text >= '0' && *text <= '9'))
		return false;
	return text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] == '\0';
}

char *judge_path(const char *path, struct error *err)
{
	char out[JUDGE_SHOWN], *expanded = NULL;
	const char *home;

	if (*path == '/') {
		expanded = strdup(path);
	} else if (path[0] == '~' && (path[1] == '/' || !path[1])) {
		home = getenv("HOME");
		if (!home || *home != '/') {
			const struct passwd *user = getpwuid(getuid());

			home = user ? user->pw_dir : "/";
		}
		if (asprintf(&expanded, "%s%s", home, path + 1) < 0)
			expanded = NULL;
	} else {
		(void)error_set(err, EINVAL, "'%s' is a relative path; write it from / or ~/", judge_shown(path, out));
		return NULL;
	}
	if (!expanded)
		(void)error_memory(err);
	return expanded;
}
