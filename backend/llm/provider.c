#include "backend/llm/provider.h"

#include <string.h>

static const struct provider *const providers[] = { &claude_provider, &replay_provider };

const struct provider *provider_find(const char *name)
{
	for (size_t i = 0; i < sizeof providers / sizeof *providers; i++)
		if (!strcmp(providers[i]->name, name))
			return providers[i];
	return NULL;
}
