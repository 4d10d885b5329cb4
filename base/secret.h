/* A secret as a spec names it: {"name": NAME, "hosts": […]}, or NAME alone. */
#ifndef INTERPFS_BASE_SECRET_H
#define INTERPFS_BASE_SECRET_H

#include <cjson/cJSON.h>

/* Borrowed; NULL when the item is neither. */
static inline const char *secret_name(const cJSON *item)
{
	return cJSON_GetStringValue(cJSON_IsString(item) ? item : cJSON_GetObjectItemCaseSensitive(item, "name"));
}

/* The hosts that get it (base/hosts.h); NULL or empty: it goes into the sandbox. Borrowed. */
static inline const cJSON *secret_hosts(const cJSON *item)
{
	return cJSON_GetObjectItemCaseSensitive(item, "hosts");
}

#endif
