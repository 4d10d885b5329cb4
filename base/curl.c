#include "base/curl.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

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
