#include "base/fragment.h"

#include <string.h>

size_t fragment_whole(const void *data, size_t n)
{
	const char *newline = n ? memrchr(data, '\n', n) : NULL;

	return newline ? (size_t)(newline - (const char *)data) + 1 : 0;
}

const char *fragment_closing(const void *data, size_t whole)
{
	const char *p = data;

	return whole >= 2 && p[whole - 2] == '"' ? "]}]}" : "]}\n\n";
}
