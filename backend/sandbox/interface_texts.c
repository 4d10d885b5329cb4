/* What is told of an interface's functions, in files of its folder. */
#include "backend/sandbox/interfaces_own.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define FUNCTIONS_MAX 1000
#define NAME_MAX_ 100u

static bool is_name(const char *name)
{
	size_t n = name ? strlen(name) : 0;

	return n && n <= NAME_MAX_ && (*name < '0' || *name > '9') &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

static const char *text_of(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static int check(const cJSON *functions, struct error *err)
{
	const cJSON *function;
	int n = 0;

	cJSON_ArrayForEach(function, functions)
		if (!is_name(text_of(function, "name")) || ++n > FUNCTIONS_MAX ||
		    !cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(function, "schema")))
			return error_set(err, EPROTO, "its process told of a function that is none");
	return cJSON_IsArray(functions) ? 0 : error_set(err, EPROTO, "its process told of no functions");
}

/* An empty file a function: the mount's calls. */
static int make_functions(struct interface *it, const cJSON *functions, struct error *err)
{
	char path[INTERFACE_PATH];
	const cJSON *function;
	int folder = runner_folder(it->all->runner);

	if (file_remove_tree(folder, interface_path(it, "functions", path), err) < 0 ||
	    file_make_folders(folder, path, 0700, err) < 0)
		return -1;
	cJSON_ArrayForEach(function, functions) {
		char name[NAME_MAX_ + 16];

		(void)snprintf(name, sizeof name, "functions/%s", text_of(function, "name"));
		if (file_replace(folder, interface_path(it, name, path), "", 0, 0600, false, err) < 0)
			return -1;
	}
	runner_changed(it->all->runner, interface_path(it, "functions", path));
	return 0;
}

int interface_tell(struct interface *it, const cJSON *described, struct error *err)
{
	const cJSON *functions = cJSON_GetObjectItemCaseSensitive(described, "functions");

	return check(functions, err) < 0 || make_functions(it, functions, err) < 0 ? -1 : 0;
}

void interface_untell(struct interface *it)
{
	char path[INTERFACE_PATH];
	struct error ignored;

	(void)file_remove_tree(runner_folder(it->all->runner), interface_path(it, "functions", path), &ignored);
	runner_changed(it->all->runner, path);
}
