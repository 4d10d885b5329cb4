/* What the mount tells a runner alone: values of secrets. They are in its memory and nowhere else, and
 * what it writes is looked through for them. */
#include "backend/runner_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/secret.h"

#define SHORTEST 8   /* what is shorter is none: it would cut words apart */
#define WORD 16      /* a key that is shorter and has no digit in it is a word */
#define LATE_MS 1000 /* a new config's secrets may come behind the config */

void runner_take_secrets(struct runner *r, const void *text, size_t n)
{
	cJSON *json = cJSON_ParseWithLength(text, n);
	cJSON *secrets = cJSON_DetachItemFromObjectCaseSensitive(json, "secrets");

	while (cJSON_IsObject(secrets) && secrets->child) {
		cJSON *item = cJSON_DetachItemViaPointer(secrets, secrets->child);

		if (cJSON_IsString(item) && item->string && (r->secrets || (r->secrets = cJSON_CreateObject()))) {
			char *name = strdup(item->string);

			cJSON_DeleteItemFromObjectCaseSensitive(r->secrets, item->string);
			if (name && cJSON_AddItemToObject(r->secrets, name, item))
				item = NULL;
			free(name);
		}
		cJSON_Delete(item);
	}
	cJSON_Delete(secrets);
	cJSON_Delete(json);
	r->told = true;
}

int runner_hear(struct runner *r, int timeout_ms, struct error *err)
{
	int64_t end = clock_ms() + timeout_ms, left;

	while (!r->told && !r->terminated && (left = end - clock_ms()) > 0)
		if (runner_pump(r, left, NULL, NULL, err) < 0)
			return -1;
	return 0;
}

const char *runner_secret(struct runner *r, const char *name)
{
	return json_string(r->secrets, name);
}

int runner_secrets(struct runner *r, const cJSON *names, int timeout_ms, struct error *err)
{
	int64_t began = clock_ms(), end = timeout_ms < 0 ? INT64_MAX : began + timeout_ms;

	for (;;) {
		const char *missing = NULL;
		const cJSON *name;
		int64_t left;

		cJSON_ArrayForEach(name, names) {
			const char *wanted = secret_name(name);

			if (!missing && wanted && !runner_secret(r, wanted))
				missing = wanted;
		}
		if (!missing)
			return 0;
		if (r->told && end > began + LATE_MS)
			end = began + LATE_MS;
		left = end == INT64_MAX ? -1 : end - clock_ms();
		if ((end != INT64_MAX && left <= 0) || r->terminated)
			return error_set(err, ENOKEY, "the secret %s is not known; set it in the mount's "
					 "environment or its env_file", missing);
		if (runner_pump(r, left, NULL, NULL, err) < 0)
			return -1;
	}
}

/* An address is one when it holds a password; a key is none when it is the word that is given where any
 * key is right ("anything"): taken out, it would tear texts apart. */
static bool is_secret(const cJSON *item)
{
	const char *name = item->string, *value = item->valuestring;
	size_t n = strlen(value);

	if (runner_ends_with(name, "_URL") || runner_ends_with(name, "_ENDPOINT"))
		return n >= SHORTEST && strchr(value, '@');
	if (runner_ends_with(name, "_KEY") || runner_ends_with(name, "_TOKEN"))
		return n >= WORD || (n >= SHORTEST && value[strcspn(value, "0123456789")]);
	return n >= SHORTEST;
}

static void replace(struct buffer *text, const char *value, const char *name)
{
	size_t n = strlen(value), m = strlen(name), k = m < n ? m : n;
	char *at = text->data;

	while ((at = memmem(at, text->length - (size_t)(at - text->data), value, n))) {
		memcpy(at, name, k);
		memmove(at + k, at + n, text->length - (size_t)(at - text->data) - n + 1);
		text->length -= n - k;
		at += k;
	}
}

/* The value as it stands in JSON, where that is something else. Owned. */
static char *as_json(const cJSON *item)
{
	cleanup_free char *printed = cJSON_PrintUnformatted(item);
	size_t n = printed ? strlen(printed) : 0;

	return n < 2 || n - 2 == strlen(item->valuestring) ? NULL : strndup(printed + 1, n - 2);
}

void runner_scrub(struct runner *r, struct buffer *text)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, r->secrets) {
		cleanup_free char *json = NULL;

		if (!text->length || !is_secret(item))
			continue;
		replace(text, item->valuestring, item->string);
		json = as_json(item);
		if (json)
			replace(text, json, item->string);
	}
}

size_t runner_scrub_tail(struct runner *r, const char *text, size_t n)
{
	const cJSON *item;
	size_t tail = 0;

	cJSON_ArrayForEach(item, r->secrets) {
		size_t k = strlen(item->valuestring);

		for (k = k && k - 1 < n ? k - 1 : n; k > tail && is_secret(item); k--)
			if (!memcmp(text + n - k, item->valuestring, k))
				tail = k;
	}
	return tail;
}
