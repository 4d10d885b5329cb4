#include "base/buffer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int buffer_reserve(struct buffer *b, size_t more)
{
	size_t need, capacity;
	char *data;

	if (more > b->limit || b->length > b->limit - more) {
		errno = EFBIG;
		return -1;
	}
	need = b->length + more;
	if (b->data && need <= b->capacity)
		return 0;
	capacity = b->capacity < 64 ? 64 : b->capacity;
	while (capacity < need)
		capacity = capacity > b->limit / 2 ? b->limit : capacity * 2;
	data = realloc(b->data, capacity + 1);
	if (!data)
		return -1;
	b->data = data;
	b->capacity = capacity;
	b->data[b->length] = '\0';
	return 0;
}

int buffer_append(struct buffer *b, const void *data, size_t n)
{
	if (buffer_reserve(b, n) < 0)
		return -1;
	if (n)
		memcpy(b->data + b->length, data, n);
	b->length += n;
	b->data[b->length] = '\0';
	return 0;
}

int buffer_text(struct buffer *b, const char *text)
{
	return buffer_append(b, text, strlen(text));
}

int buffer_format(struct buffer *b, const char *format, ...)
{
	va_list args, again;
	int n;

	va_start(args, format);
	va_copy(again, args);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0 || buffer_reserve(b, (size_t)n) < 0) {
		va_end(again);
		return -1;
	}
	(void)vsnprintf(b->data + b->length, (size_t)n + 1, format, again);
	va_end(again);
	b->length += (size_t)n;
	return 0;
}

void buffer_consume(struct buffer *b, size_t n)
{
	if (!n)
		return;
	memmove(b->data, b->data + n, b->length - n);
	b->length -= n;
	b->data[b->length] = '\0';
}

void buffer_clear(struct buffer *b)
{
	b->length = 0;
	if (b->data)
		b->data[0] = '\0';
}

void buffer_free(struct buffer *b)
{
	free(b->data);
	b->data = NULL;
	b->length = b->capacity = 0;
}

int buffer_append_last(struct buffer *b, const void *data, size_t n)
{
	if (n > b->limit) {
		data = (const char *)data + (n - b->limit);
		n = b->limit;
	}
	if (b->length > b->limit - n)
		buffer_consume(b, b->length - (b->limit - n));
	return buffer_append(b, data, n);
}

const char *buffer_last_line(struct buffer *b)
{
	const char *line;

	while (b->length && b->data[b->length - 1] == '\n')
		b->data[--b->length] = '\0';
	line = b->length ? strrchr(b->data, '\n') : NULL;
	return line ? line + 1 : b->length ? b->data : "";
}
