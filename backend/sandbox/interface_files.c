/* What is told of an interface's functions, in files of its folder (interface_texts.h); and functions/FN,
 * an empty file each: the mount's calls. */
#include "backend/sandbox/interfaces_own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/sandbox/interface_texts.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/program.h"

#define LIBRARY_MAX (100u << 10)

static const char *name_of(const cJSON *function)
{
	return json_string(function, "name");
}

static int put_file(const struct interface *it, const char *name, const struct buffer *text, struct error *err)
{
	char path[INTERFACE_PATH];

	return runner_set_value(it->all->runner, interface_path(it, name, path), text->data, text->length, 0600, err);
}

static void remove_folder(const struct interface *it, const char *name)
{
	char path[INTERFACE_PATH];
	struct error ignored;

	(void)file_remove_tree(runner_folder(it->all->runner), interface_path(it, name, path), &ignored);
	runner_changed(it->all->runner, path);
}

static int make_functions(const struct interface *it, const cJSON *functions, struct error *err)
{
	char path[INTERFACE_PATH], name[INTERFACE_WORD + 16];
	int folder = runner_folder(it->all->runner);
	const cJSON *function;

	if (file_remove_tree(folder, interface_path(it, "functions", path), err) < 0 ||
	    file_make_folders(folder, path, 0700, err) < 0)
		return -1;
	cJSON_ArrayForEach(function, functions) {
		(void)snprintf(name, sizeof name, "functions/%s", name_of(function));
		if (file_replace(folder, interface_path(it, name, path), "", 0, 0600, false, err) < 0)
			return -1;
	}
	runner_changed(it->all->runner, interface_path(it, "functions", path));
	return 0;
}

static int read_library(struct buffer *library, struct error *err)
{
	cleanup_free char *path = program_share("library.py");

	return path ? file_read(AT_FDCWD, path, library, err) : error_memory(err);
}

static int put_files(const struct interface *it, const struct interface_texts *t, struct error *err)
{
	char module[INTERFACE_MODULE], name[INTERFACE_MODULE + 16];

	interface_module(it->name, module);
	(void)snprintf(name, sizeof name, "library/%s.py", module);
	remove_folder(it, "library"); /* its name may have been another */
	return put_file(it, name, &t->library, err) < 0 || put_file(it, "doc", &t->doc, err) < 0 ||
	       put_file(it, "prompt.md", &t->prompt, err) < 0 || put_file(it, "SKILL.md", &t->skill, err) < 0 ||
	       put_file(it, "schema.json", &t->schema, err) < 0 ? -1 : 0;
}

int interface_tell(struct interface *it, const cJSON *described, struct error *err)
{
	cleanup_buffer struct buffer library = BUFFER(LIBRARY_MAX);
	struct runner *r = it->all->runner;
	struct interface_texts texts;
	char id[80];
	int result;

	if (read_library(&library, err) < 0)
		return -1;
	(void)snprintf(id, sizeof id, "%s.%llu.%u", runner_state(r)->id, (unsigned long long)runner_serial(r), it->number);
	result = interface_texts_make(&texts, it->name, id, library.data ? library.data : "", described, err);
	if (!result && (make_functions(it, cJSON_GetObjectItemCaseSensitive(described, "functions"), err) < 0 ||
			put_files(it, &texts, err) < 0))
		result = -1;
	interface_texts_free(&texts);
	return result;
}

void interface_untell(struct interface *it)
{
	static const char *const files[] = { "prompt.md", "SKILL.md", "schema.json", "doc" };
	char path[INTERFACE_PATH];

	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		if (!unlinkat(runner_folder(it->all->runner), interface_path(it, files[i], path), 0))
			runner_changed(it->all->runner, path);
	remove_folder(it, "functions");
	remove_folder(it, "library");
}
