#include "base/curl.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LIBRARY "libcurl.so.4"

struct curl_loaded curl_loaded;

static const struct { const char *name; size_t at; } functions[] = {
#define CURL_ROW(name) { "curl_" #name, offsetof(struct curl_loaded, name) },
	CURL_FUNCTIONS(CURL_ROW)
#undef CURL_ROW
};

static int find(void *library, struct error *err)
{
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		void **to = (void **)((char *)&curl_loaded + functions[i].at);

		*to = dlsym(library, functions[i].name);
		if (!*to)
			return error_set(err, ENOENT, LIBRARY " is too old: it has no %s", functions[i].name);
	}
	return 0;
}

int curl_load(struct error *err)
{
	static bool loaded;
	void *library;

	if (loaded)
		return 0;
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return error_set(err, ENOENT, LIBRARY " is missing (apt-get install libcurl4): %s", dlerror());
	loaded = find(library, err) == 0;
	if (!loaded)
		(void)dlclose(library);
	return loaded ? 0 : -1;
}

static void keep(const struct kept_header *header, const char *value, size_t n)
{
	while (n && (*value == ' ' || *value == '\t')) {
		value++;
		n--;
	}
	while (n && (unsigned char)value[n - 1] <= ' ')
		n--;
	(void)snprintf(header->out, header->size, "%.*s", (int)(n < header->size ? n : header->size - 1), value);
}

void curl_keep_header(const char *line, size_t n, const struct kept_header *kept, size_t count)
{
	const char *colon = memchr(line, ':', n);
	size_t length = colon ? (size_t)(colon - line) : 0;

	for (size_t i = 0; colon && i < count; i++)
		if (strlen(kept[i].name) == length && !strncasecmp(line, kept[i].name, length))
			keep(&kept[i], colon + 1, n - length - 1);
}
