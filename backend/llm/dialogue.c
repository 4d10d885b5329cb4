#include "backend/llm/dialogue.h"

#include <stdlib.h>
#include <string.h>

int dialogue_add(struct dialogue *d, enum item_kind kind, const char *json, size_t n, struct error *err)
{
	char *copy = NULL;

	if (d->count == d->capacity) {
		size_t capacity = d->capacity ? d->capacity * 2 : 32;
		struct item *items = reallocarray(d->items, capacity, sizeof *items);

		if (!items)
			return error_memory(err);
		d->items = items;
		d->capacity = capacity;
	}
	if (json && !(copy = strndup(json, n)))
		return error_memory(err);
	d->items[d->count++] = (struct item){ kind, copy };
	return 0;
}

void dialogue_free(struct dialogue *d)
{
	for (size_t i = 0; i < d->count; i++)
		free(d->items[i].json);
	free(d->items);
	free(d->model);
	free(d->system);
	cJSON_Delete(d->tools);
	*d = (struct dialogue){ .folder = -1 };
}
