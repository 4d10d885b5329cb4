#include "backend/sandbox/backend.h"

#include <errno.h>
#include <string.h>

const struct sandbox_backend *const sandbox_backends[] = { &sandbox_local, NULL };

const struct sandbox_backend *sandbox_backend_find(const char *name, struct error *err)
{
	for (size_t i = 0; sandbox_backends[i]; i++)
		if (!strcmp(sandbox_backends[i]->name, name))
			return sandbox_backends[i];
	(void)error_set(err, ENOTSUP, "backend '%s' is not supported by this version", name);
	return NULL;
}

const cJSON *sandbox_field(const struct sandbox *s, const char *field)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(s->fields, field);

	return cJSON_IsNull(value) ? NULL : value;
}

const char *sandbox_text(const struct sandbox *s, const char *field)
{
	return cJSON_GetStringValue(sandbox_field(s, field));
}

double sandbox_number(const struct sandbox *s, const char *field, double fallback)
{
	const cJSON *value = sandbox_field(s, field);

	return cJSON_IsNumber(value) ? value->valuedouble : fallback;
}
