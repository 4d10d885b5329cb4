/* What cJSON leaves out. */
#ifndef INTERPFS_BASE_JSON_H
#define INTERPFS_BASE_JSON_H

#include <cjson/cJSON.h>

static inline void cleanup_json_(cJSON **json) { cJSON_Delete(*json); }

#define cleanup_json __attribute__((cleanup(cleanup_json_)))

/* The text of an object's member, borrowed: NULL where there is none. */
static inline const char *json_string(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* The same, "" where there is none. */
static inline const char *json_word(const cJSON *object, const char *name)
{
	const char *text = json_string(object, name);

	return text ? text : "";
}

/* The same of a number. */
static inline double json_number(const cJSON *object, const char *name, double fallback)
{
	const cJSON *number = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(number) ? number->valuedouble : fallback;
}

#endif
