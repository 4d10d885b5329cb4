/* The blocks of a user's message. What the provider would not take is found out before it is part of
 * the conversation, where it would have every later request refused. */
#ifndef INTERPFS_BASE_CONTENT_H
#define INTERPFS_BASE_CONTENT_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "base/error.h"

/* The blocks that a message of n bytes is, where it is a JSON array of objects; NULL where it is a
 * text. Owned. */
cJSON *content_parse(const char *text, size_t n);

/* content: an array of text, image and document blocks as the Messages API has them. -1 with a
 * sentence about the first that is not in order. */
int content_check(const cJSON *content, struct error *err);

#endif
