/* The body of a request to the Messages API, made of the conversation. */
#ifndef INTERPFS_BACKEND_LLM_CLAUDE_REQUEST_H
#define INTERPFS_BACKEND_LLM_CLAUDE_REQUEST_H

#include "backend/llm/dialogue.h"
#include "backend/llm/models.h"
#include "base/buffer.h"

/* Options that would break the conversation (messages, tools, system, stream, model) are refused. */
int claude_check_options(const cJSON *options, struct error *err);

/* Appends the body. Two markers let the API cache the prefix: on the last block of the system
 * prompt and on the last block that the user's side said. options may be NULL. */
int claude_request(const struct dialogue *dialogue, const struct models *models, const cJSON *options,
		   struct buffer *body, struct error *err);

#endif
