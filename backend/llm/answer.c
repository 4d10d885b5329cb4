/* What an answer owns, given back in one place. */
#include <stdlib.h>
#include <string.h>

#include "backend/llm/provider.h"

void answer_free(struct answer *a)
{
	for (size_t i = 0; i < a->count; i++) {
		free(a->calls[i].id);
		free(a->calls[i].name);
		free(a->calls[i].raw);
		cJSON_Delete(a->calls[i].arguments);
	}
	free(a->calls);
	free(a->content);
	free(a->text);
	cJSON_Delete(a->usage);
	memset(a, 0, sizeof *a);
}
