/* The workspace's runner: looks at what was copied into libraries/ and skills/, says what it found,
 * and ends.
 *
 *      installed    a line an entry: "NAME KIND installed|failed WHERE WHY"
 *      docs.md      docstrings and signatures, for a prompt
 *      modules/     what a sandbox has on Python's path for skill folders whose names cannot be
 *                   imported: steering_hook.py -> /workspace/libraries/steering-hook/code.py
 *
 * share/workspace.py does the looking, by compiling and parsing; nothing of the user's is run. A
 * broken entry is kept and told; it never keeps the others from being used. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/runner.h"
#include "backend/runners.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/program.h"

#define FOUND_MAX (16u << 20)
#define TIMEOUT_MS 60000
#define DEEP 16

static void cleanup_json_(cJSON **json) { cJSON_Delete(*json); }
#define cleanup_json __attribute__((cleanup(cleanup_json_)))

static bool is_bytecode(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && name[0] != '.' && !strcmp(name + n - 4, ".pyc");
}

/* A sandbox has the libraries read-only, and stale bytecode would win over a new source. The folder
 * __pycache__ itself stays: who copies a package in is perhaps filling it now. */
static void drop_bytecode(int above, const char *name, int depth)
{
	int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	bool cache = !strcmp(name, "__pycache__");
	const struct dirent *entry;

	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	while ((entry = readdir(dir))) {
		if (cache && entry->d_type != DT_DIR && is_bytecode(entry->d_name))
			(void)unlinkat(fd, entry->d_name, 0); /* else it only costs room */
		else if (entry->d_type == DT_DIR && entry->d_name[0] != '.' && depth < DEEP)
			drop_bytecode(fd, entry->d_name, depth + 1);
	}
}

/* What the script found, owned by the caller; NULL with *why when it could not look. */
static cJSON *look(struct runner *r, char why[256])
{
	cleanup_buffer struct buffer out = BUFFER(FOUND_MAX);
	cleanup_free char *script = program_share("workspace.py");
	cleanup_free char *python = program_find("python3");
	cleanup_free char *libraries = NULL, *skills = NULL;
	struct error err;
	cJSON *found;
	int status = 0;

	if (!python) {
		(void)snprintf(why, 256, "not checked: there is no python3 on this machine");
		return NULL;
	}
	if (!script || asprintf(&libraries, "%s/libraries", runner_folder_path(r)) < 0
	    || asprintf(&skills, "%s/skills", runner_folder_path(r)) < 0) {
		(void)snprintf(why, 256, "not checked: out of memory");
		return NULL;
	}
	char *const argv[] = { python, (char[]){ "-I" }, (char[]){ "-B" }, (char[]){ "-W" }, (char[]){ "ignore" },
			       script, libraries, skills, NULL };

	if (runner_run(r, argv, NULL, TIMEOUT_MS, &out, &status, &err) < 0) {
		(void)snprintf(why, 256, "not checked: %.200s", err.text);
		return NULL;
	}
	found = out.data ? cJSON_ParseWithLength(out.data, out.length) : NULL;
	if (!found || !WIFEXITED(status) || WEXITSTATUS(status)) {
		size_t n = out.length;

		/* The last line of a traceback says what it was. */
		while (n && out.data[n - 1] == '\n')
			out.data[--n] = '\0';
		const char *last = n ? strrchr(out.data, '\n') : NULL;

		(void)snprintf(why, 256, "not checked: python3: %.180s", last ? last + 1 : n ? out.data : "it ended early");
		cJSON_Delete(found);
		return NULL;
	}
	return found;
}

/* A name in a line of its own: no blanks at which the line could be split, no controls. */
static int put_word(struct buffer *out, const char *word)
{
	for (; *word; word++) {
		unsigned char c = (unsigned char)*word;

		if ((c <= ' ' || c == 127 ? buffer_format(out, "\\x%02x", c) : buffer_append(out, word, 1)) < 0)
			return -1;
	}
	return 0;
}

static const char *text_of(const cJSON *object, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

	return text ? text : "";
}

static int put_installed(const cJSON *found, struct buffer *out)
{
	const cJSON *entry;

	cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(found, "entries")) {
		const char *why = text_of(entry, "why");

		if (put_word(out, text_of(entry, "name")) < 0
		    || buffer_format(out, " %s %s ", text_of(entry, "kind"), *why ? "failed" : "installed") < 0
		    || put_word(out, text_of(entry, "where")) < 0)
			return -1;
		if (*why && buffer_text(out, " ") < 0)
			return -1;
		for (; *why; why++)
			if (buffer_append(out, (unsigned char)*why < ' ' ? " " : why, 1) < 0)
				return -1;
		if (buffer_text(out, "\n") < 0)
			return -1;
	}
	return 0;
}

/* Without Python: what is there, unchecked. */
static int put_unchecked(int folder, const char *part, const char *why, struct buffer *out)
{
	int fd = openat(folder, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir && fd >= 0)
		(void)close(fd);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.'
		    && (put_word(out, entry->d_name) < 0
			|| buffer_format(out, " %s installed /workspace/%s/", entry->d_type == DT_DIR ? "folder" : "file", part) < 0
			|| put_word(out, entry->d_name) < 0 || buffer_format(out, " %s\n", why) < 0))
			return -1;
	return 0;
}

/* ---- modules/ ---- */

static bool is_wanted(const cJSON *found, const char *link)
{
	const cJSON *entry;

	cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(found, "entries")) {
		const char *module = text_of(entry, "module");
		size_t n = strlen(module);

		if (n && !strncmp(link, module, n) && !strcmp(link + n, ".py"))
			return true;
	}
	return false;
}

static int make_link(int modules, const char *module, const char *name, struct error *err)
{
	char link[NAME_MAX + 4], target[PATH_MAX], now[PATH_MAX];
	ssize_t n;

	if ((size_t)snprintf(link, sizeof link, "%s.py", module) >= sizeof link
	    || (size_t)snprintf(target, sizeof target, "/workspace/libraries/%s/code.py", name) >= sizeof target)
		return 0; /* the disk would not take it either */
	n = readlinkat(modules, link, now, sizeof now - 1);
	if (n >= 0) {
		now[n] = '\0';
		if (!strcmp(now, target))
			return 0;
		(void)unlinkat(modules, link, 0);
	}
	return symlinkat(target, modules, link) < 0 && errno != EEXIST ? error_errno(err, "modules/%s", link) : 0;
}

/* Sandboxes have this very folder bound, so it is changed in place. */
static int make_modules(int folder, const cJSON *found, struct error *err)
{
	cleanup_close int modules = -1;
	cleanup_dir DIR *dir = NULL;
	const struct dirent *member;
	const cJSON *entry;
	int copy;

	if (file_make_folder(folder, "modules", 0755, err) < 0)
		return -1;
	modules = file_open_folder(folder, "modules", err);
	if (modules < 0)
		return -1;
	cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(found, "entries"))
		if (*text_of(entry, "module") && make_link(modules, text_of(entry, "module"), text_of(entry, "name"), err) < 0)
			return -1;
	copy = openat(modules, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir) {
		if (copy >= 0)
			(void)close(copy);
		return error_errno(err, "modules");
	}
	while ((member = readdir(dir)))
		if (member->d_name[0] != '.' && !is_wanted(found, member->d_name))
			(void)unlinkat(modules, member->d_name, 0);
	return 0;
}

static int check(struct runner *r, struct error *err)
{
	cleanup_buffer struct buffer installed = BUFFER(FOUND_MAX);
	cleanup_json cJSON *found = NULL;
	int folder = runner_folder(r), put;
	char why[256];

	drop_bytecode(folder, "libraries", 0);
	found = look(r, why);
	put = found ? put_installed(found, &installed)
		    : put_unchecked(folder, "libraries", why, &installed) < 0 || put_unchecked(folder, "skills", why, &installed) < 0;
	if (put)
		return error_memory(err);
	if (found && (make_modules(folder, found, err) < 0 || runner_set_text(r, "docs.md", text_of(found, "docs"), err) < 0))
		return -1;
	return runner_set_value(r, "installed", installed.data, installed.length, 0644, err);
}

int workspace_story(struct runner *r, struct error *err)
{
	struct runner_event event;
	uint64_t done = runner_status(r)->generation;

	for (;;) {
		const struct want *want = runner_want(r);

		if (want->what == WANT_REMOVED)
			return 0; /* nothing runs that would have to be released */
		if (want->generation > done || !status_resting(OBJECT_WORKSPACE, runner_status(r)->state)) {
			uint64_t now = want->generation;

			if (want->what == WANT_RUN) {
				if (runner_set_state(r, "starting", err) < 0 || check(r, err) < 0)
					return -1;
				if (runner_set_failure(r, "", err) < 0 || runner_set_state(r, "ready", err) < 0)
					return -1;
			} else if (runner_set_state(r, "stopped", err) < 0) {
				return -1;
			}
			done = now;
		}
		if (runner_next(r, 0, &event, err) < 0)
			return -1;
		if (event.kind == RUNNER_COMMAND || event.kind == RUNNER_CALL)
			conversation_end(event.conversation, EINVAL, 0, "a workspace takes no commands");
		else if (event.kind == RUNNER_SIGNAL || (event.kind == RUNNER_TIMEOUT && runner_want(r)->generation <= done))
			return 0;
	}
}
