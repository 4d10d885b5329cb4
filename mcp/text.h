/* Text for models out of bytes from programs: valid UTF-8, without terminal escapes, bounded by
 * keeping head and tail. */
#ifndef INTERPFS_MCP_TEXT_H
#define INTERPFS_MCP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

bool text_is_utf8(const char *text, size_t n);

/* Makes UTF-8 of what is none: each byte that belongs to no character becomes a question mark. */
void text_make_utf8(char *text, size_t n);

/* At most `at` of the text's n bytes, so that no character is cut apart. */
size_t text_cut(const char *text, size_t n, size_t at);

/* The first \u0000 in the text of some JSON, NULL without one. cJSON ends a string there and loses
 * what follows. */
const char *text_escaped_nul(const char *json, size_t n);
/* Makes each of them \ufffd. */
void text_replace_escaped_nuls(char *json, size_t n);

/* Appends the bytes as text: ANSI escapes and control characters (but newline and tab) go, a
 * carriage return overwrites its line as a terminal would, bytes that are no UTF-8 become
 * U+FFFD. 0, or -1 with errno (ENOMEM, EFBIG). */
int text_clean(struct buffer *out, const char *data, size_t n);

/* Bytes of which, past a limit, only the beginning and the end are kept. */
struct excerpt {
	struct buffer head;
	char *ring;       /* the last `half` bytes behind the head */
	size_t half;      /* of the limit: what each side may hold */
	size_t at;        /* where the next byte goes in the ring */
	size_t total;     /* bytes seen */
};

void excerpt_init(struct excerpt *e, size_t limit);
int excerpt_add(struct excerpt *e, const void *data, size_t n); /* 0, or -1 with errno ENOMEM */
/* Appends the cleaned text; where bytes are missing "[… N bytes left out …]" on a line of its
 * own. 0, or -1 with errno. */
int excerpt_text(const struct excerpt *e, struct buffer *out);
void excerpt_free(struct excerpt *e);

#endif
