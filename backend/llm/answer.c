/* An answer: why it stopped, in the journal's words; what it owns, given back in one place. */
#include <stdlib.h>
#include <string.h>

#include "backend/llm/provider.h"

const char *const answer_stop_words[] = {
	[STOP_DONE] = "done", [STOP_CALLS] = "calls",     [STOP_PAUSED] = "paused",   [STOP_CUT] = "cut",
	[STOP_FULL] = "full", [STOP_REFUSED] = "refused", [STOP_UNKNOWN] = "unknown",
};

enum answer_stop answer_stop_find(const char *word)
{
	for (int i = 0; i < STOP_UNKNOWN; i++)
		if (!strcmp(answer_stop_words[i], word))
			return (enum answer_stop)i;
	return STOP_UNKNOWN;
}

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
