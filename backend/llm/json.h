/* JSON as the very bytes that stand in a text: parsing and printing it again could change a number or
 * an escape, and what is signed must come back unchanged. */
#ifndef INTERPFS_BACKEND_LLM_JSON_H
#define INTERPFS_BACKEND_LLM_JSON_H

#include <stddef.h>

#include "base/buffer.h"

/* The value of the outermost object's member `name` (without escapes in it) in text, which is
 * valid JSON of n bytes. NULL when there is none. Borrowed from text; *length is its size. */
const char *json_member(const char *text, size_t n, const char *name, size_t *length);

/* Appends text, n bytes that cJSON could parse, without the white space between its tokens and with
 * the control characters that cJSON lets through in strings escaped: one line. -1 with errno EINVAL
 * when it is not what a stricter parser takes (numbers such as 01 and 1.), else as buffer_append. */
int json_compact(const char *text, size_t n, struct buffer *out);

#endif
