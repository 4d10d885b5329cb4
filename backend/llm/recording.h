/* A recording: the assistant's turns of a session that has been, one after the other. */
#ifndef INTERPFS_BACKEND_LLM_RECORDING_H
#define INTERPFS_BACKEND_LLM_RECORDING_H

#include "backend/llm/provider.h"

struct recording {
	char **turns; /* JSON arrays of content blocks, as the Messages API has them */
	size_t count;
};

/* text: lines of JSON, n bytes. Those that are an assistant's turn, {"type" or "role":"assistant",
 * "content":[…]}, are taken, others (of a messages.jsonl) passed over. `name` is for sentences. */
int recording_parse(struct recording *recording, const char *name, const char *text, size_t n,
		    struct error *err);
void recording_free(struct recording *recording);

/* What a turn comes to: text, calls and how it stops. */
int recording_answer(const char *turn, struct answer *answer, struct error *err);

#endif
