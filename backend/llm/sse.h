/* Server-sent events, pulled one at a time out of bytes as they come.
 *
 * Lines end in LF, CR or CRLF; a line that begins with ':' is a comment; an event ends at an
 * empty line; several data lines are joined by LF. Bytes may be cut anywhere, also inside a
 * character of several bytes. What does not fit into the limits is an error, never a growth. */
#ifndef INTERPFS_BACKEND_LLM_SSE_H
#define INTERPFS_BACKEND_LLM_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

#define SSE_NAME_SIZE 64

struct sse {
	struct buffer in;   /* bytes that were put and are not used yet */
	size_t taken;       /* bytes of `in` that are used */
	size_t scanned;     /* bytes behind `taken` that hold no line end */
	struct buffer data; /* data of the event that is being gathered, or was lent out */
	bool lent;          /* data was lent by the last sse_take */
	bool any;           /* a data line has come */
	bool after_cr;      /* a LF that comes now belongs to the CR before it */
	bool begun;         /* the byte order mark, if any, is past */
	char name[SSE_NAME_SIZE]; /* of the event: "message" by default; cut if it is longer */
};

struct sse_event {
	const char *name; /* lent until the next sse_take */
	const char *data; /* lent likewise, followed by a NUL */
	size_t length;
};

/* limit: the most bytes that a line, an event or the bytes in waiting may have. */
void sse_init(struct sse *sse, size_t limit);
void sse_free(struct sse *sse);

/* Adds bytes. -1 EFBIG past the limit, ENOMEM. */
int sse_put(struct sse *sse, const void *bytes, size_t n, struct error *err);

/* 1: *event is the next one; 0: more bytes are needed; -1 EFBIG, ENOMEM.
 * at_end: no more bytes will come, so a last event without its empty line counts too. */
int sse_take(struct sse *sse, bool at_end, struct sse_event *event, struct error *err);

#endif
