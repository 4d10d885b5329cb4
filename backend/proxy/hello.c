#include "backend/proxy/hello.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

/* What is left to read; never past its end. */
struct span {
	const uint8_t *at;
	size_t left;
};

/* A number of so many bytes. */
static bool take(struct span *s, size_t bytes, size_t *value)
{
	if (s->left < bytes)
		return false;
	*value = 0;
	for (size_t i = 0; i < bytes; i++)
		*value = *value << 8 | s->at[i];
	s->at += bytes;
	s->left -= bytes;
	return true;
}

/* What a length of so many bytes says, as a span of its own. */
static bool take_span(struct span *s, size_t bytes, struct span *inner)
{
	size_t length;

	if (!take(s, bytes, &length) || length > s->left)
		return false;
	*inner = (struct span){ s->at, length };
	s->at += length;
	s->left -= length;
	return true;
}

static enum hello take_name(struct span extension, char name[HOST_SIZE])
{
	struct span names, text;
	size_t kind;

	if (!take_span(&extension, 2, &names) || extension.left || !take(&names, 1, &kind) || kind != 0 ||
	    !take_span(&names, 2, &text) || names.left || !text.left || text.left >= HOST_SIZE ||
	    memchr(text.at, '\0', text.left))
		return HELLO_OTHER;
	for (size_t i = 0; i < text.left; i++)
		name[i] = (char)tolower(text.at[i]);
	name[text.left] = '\0';
	return HELLO_NAMED;
}

static enum hello take_hello(struct span hello, char name[HOST_SIZE])
{
	struct span ignored, extensions, extension;
	enum hello found = HELLO_NONE;
	size_t number;

	if (!take(&hello, 2, &number) || hello.left < 32)
		return HELLO_OTHER;
	hello.at += 32; /* random */
	hello.left -= 32;
	if (!take_span(&hello, 1, &ignored) || !take_span(&hello, 2, &ignored) || !take_span(&hello, 1, &ignored))
		return HELLO_OTHER; /* session, ciphers, compressions */
	if (!hello.left)
		return HELLO_NONE;
	if (!take_span(&hello, 2, &extensions) || hello.left)
		return HELLO_OTHER;
	while (extensions.left) {
		if (!take(&extensions, 2, &number) || !take_span(&extensions, 2, &extension))
			return HELLO_OTHER;
		if (number != 0) /* server_name */
			continue;
		if (found != HELLO_NONE)
			return HELLO_OTHER;
		found = take_name(extension, name);
		if (found != HELLO_NAMED)
			return found;
	}
	return found;
}

enum hello hello_read(const uint8_t *data, size_t n, char name[HOST_SIZE])
{
	struct span record = { data, n }, body, hello;
	size_t kind, version, length;

	/* Judged as early as can be: others than TLS may wait for an answer after a few bytes. */
	if ((n > 0 && data[0] != 22) || (n > 1 && data[1] != 3) || (n > 5 && data[5] != 1))
		return HELLO_OTHER;
	if (n < 6)
		return HELLO_MORE;
	(void)take(&record, 1, &kind);
	(void)take(&record, 2, &version);
	length = (size_t)data[3] << 8 | data[4];
	if (length + 5 > HELLO_MAX || length < 4)
		return HELLO_OTHER;
	if (n < length + 5)
		return HELLO_MORE;
	if (!take_span(&record, 2, &body) || !take(&body, 1, &kind) || !take_span(&body, 3, &hello) || body.left)
		return HELLO_OTHER;
	return take_hello(hello, name);
}
