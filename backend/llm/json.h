/* A member of a JSON object as the very bytes that stand in the text: parsing and printing it
 * again could change a number or an escape, and what is signed must come back unchanged. */
#ifndef INTERPFS_BACKEND_LLM_JSON_H
#define INTERPFS_BACKEND_LLM_JSON_H

#include <stddef.h>

/* The value of the outermost object's member `name` (without escapes in it) in text, which is
 * valid JSON of n bytes. NULL when there is none. Borrowed from text; *length is its size. */
const char *json_member(const char *text, size_t n, const char *name, size_t *length);

#endif
