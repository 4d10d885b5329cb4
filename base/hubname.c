#include "base/hubname.h"

static int put(char *out, size_t *n, const char *text)
{
	for (; *text; text++) {
		size_t more = *text == '/' ? 2 : 1;

		if (*n + more >= HUBNAME_MAX)
			return -1;
		out[(*n)++] = *text == '/' ? '-' : *text;
		if (more == 2)
			out[(*n)++] = '-';
	}
	out[*n] = '\0';
	return 0;
}

int hubname(char out[HUBNAME_MAX], const char *name, const char *revision)
{
	size_t n = 0;

	if (put(out, &n, name))
		return -1;
	return revision && (put(out, &n, "@") || put(out, &n, revision)) ? -1 : 0;
}
