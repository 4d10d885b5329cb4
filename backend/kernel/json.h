/* JSON without a tree: values stay where they are, as spans of the text that they came in, and
 * are copied only into what is written. A kernel's outputs can be megabytes and hold anything
 * (numbers wider than a double, "\u0000", bytes that are no UTF-8), so they are passed through
 * rather than parsed and printed again; and since the code in a kernel is nobody's friend, what
 * is passed through is checked byte by byte first.
 *
 * Every function takes any bytes. Depth is limited to JSON_DEPTH. */
#ifndef INTERPFS_BACKEND_KERNEL_JSON_H
#define INTERPFS_BACKEND_KERNEL_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

#define JSON_DEPTH 64

struct json {
	const char *data; /* borrowed; NULL when there is no such value */
	size_t length;
};

#define JSON_NONE ((struct json){ 0 })
/* For string literals. */
#define JSON(text) ((struct json){ text, sizeof(text) - 1 })

enum json_kind { JSON_INVALID, JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_NUMBER, JSON_WORD };

/* What the value begins as; says nothing about whether it is whole. */
enum json_kind json_kind(struct json value);

/* Whether the span is exactly one valid value with nothing but white space around it. */
bool json_valid(struct json value);

/* Walks an object's or array's members: `inside` starts as the value itself, with *at 0. Each
 * call fills in the next member's value (key is JSON_NONE in an array); false at the end or at
 * the first byte that is no JSON. Each member given out is valid. */
bool json_next(struct json inside, size_t *at, struct json *key, struct json *value);

/* The member of an object, by a key written without escapes; JSON_NONE when there is none. */
struct json json_get(struct json object, const char *key);

/* Whether the value is the string `text`, written without escapes. */
bool json_is(struct json value, const char *text);

/* An integer within long's range, else `otherwise`. */
long json_integer(struct json value, long otherwise);

/* Append. 0, or -1 with errno (ENOMEM, EFBIG; EINVAL when the value is not what it should be).
 * json_copy appends a valid value without white space outside strings, with bytes that are no
 * UTF-8 replaced by U+FFFD: one line, valid. json_text appends a string's characters. json_quote
 * appends text as a string. */
int json_copy(struct buffer *out, struct json value);
int json_text(struct buffer *out, struct json string);
int json_quote(struct buffer *out, const char *text, size_t n);

#endif
