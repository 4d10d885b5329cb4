/* A growing array of bytes with a limit that must be given: bytes from outside never grow a
 * buffer past what its owner allowed. data is always followed by a NUL that length does not
 * count, so that text can be read as a string. */
#ifndef INTERPFS_BASE_BUFFER_H
#define INTERPFS_BASE_BUFFER_H

#include <stddef.h>

struct buffer {
	char *data;      /* NULL while nothing was put in */
	size_t length;   /* bytes in use */
	size_t capacity; /* bytes allocated, less the NUL */
	size_t limit;    /* length never passes this */
};

#define BUFFER(max) ((struct buffer){ .limit = (max) })

/* All return 0, or -1 with errno ENOMEM or EFBIG and the buffer as it was. */
int buffer_reserve(struct buffer *b, size_t more);      /* room for more bytes behind length */
int buffer_append(struct buffer *b, const void *data, size_t n);
int buffer_text(struct buffer *b, const char *text);
int buffer_format(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, and when the limit is reached its first bytes go. */
int buffer_append_last(struct buffer *b, const void *data, size_t n);

void buffer_consume(struct buffer *b, size_t n);        /* drops the first n bytes; n <= length */
void buffer_clear(struct buffer *b);                    /* length 0, memory kept */
void buffer_free(struct buffer *b);                     /* memory given back, limit kept */
/* Of a text: takes the newlines at its end away. Its last line, borrowed; "" when there is none. */
const char *buffer_last_line(struct buffer *b);

#define cleanup_buffer __attribute__((cleanup(buffer_free)))

#endif
