/* The workspace's runner: looks at what was copied into libraries/ and skills/, has those who use the
 * workspace install what is for pip, says what it found, and ends.
 *
 *      installed    a line an entry: "NAME KIND installed|failed WHERE WHY"; for what pip installs a line
 *                   an entry and sandbox, "installing" while it is at it, "waiting" without any; "held"
 *                   where a kernel holds what a library was before
 *      distributions.json  what pip is to install: {"try","entries":[{"name","kind","sha256","stamp"}]},
 *                   absent when there never was anything (backend/sandbox/libraries.h)
 *      docs.md      docstrings and signatures, for a prompt
 *      modules/     what a sandbox has on Python's path for skill folders whose names cannot be
 *                   imported: steering_hook.py -> /workspace/libraries/steering-hook/code.py
 *
 * share/workspace.py does the looking, by compiling and parsing; nothing of the user's is run here. A
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
#include "backend/sandbox/spawn.h"
#include "backend/workspace_users.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/program.h"

#define FOUND_MAX (16u << 20)
#define TIMEOUT_MS 60000
#define DEEP 16
#define AGAIN_MS 300
#define TRIES 100

static bool is_bytecode(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && name[0] != '.' && !strcmp(name + n - 4, ".pyc");
}

/* A sandbox has the libraries read-only, and stale bytecode would win over a new source. The folder
 * __pycache__ itself stays: who copies a package in is perhaps filling it now. */
static void drop_bytecode(int above, const char *name, int depth)
{
	cleanup_dir DIR *dir = file_list(above, name, O_NOFOLLOW);
	bool cache = !strcmp(name, "__pycache__");
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (cache && entry->d_type != DT_DIR && is_bytecode(entry->d_name))
			(void)unlinkat(dirfd(dir), entry->d_name, 0); /* else it only costs room */
		else if (entry->d_type == DT_DIR && entry->d_name[0] != '.' && depth < DEEP)
			drop_bytecode(dirfd(dir), entry->d_name, depth + 1);
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

	if (spawn_run(argv, TIMEOUT_MS, &out, &status, &err) < 0) {
		(void)snprintf(why, 256, "not checked: %.200s", err.text);
		return NULL;
	}
	found = out.data ? cJSON_ParseWithLength(out.data, out.length) : NULL;
	if (!found || !WIFEXITED(status) || WEXITSTATUS(status)) {
		/* The last line of a traceback says what it was. */
		const char *last = buffer_last_line(&out);

		(void)snprintf(why, 256, "not checked: python3: %.180s", *last ? last : "it ended early");
		cJSON_Delete(found);
		return NULL;
	}
	return found;
}

/* Whether pip is to install it. */
static bool is_distribution(const cJSON *entry)
{
	return *json_word(entry, "sha256") != '\0';
}

static int put_installed(struct runner *r, const cJSON *found, const struct workspace_user *users, struct buffer *out)
{
	const cJSON *package;
	const cJSON *entry;

	cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(found, "entries")) {
		const char *why = json_word(entry, "why");

		if (is_distribution(entry)) {
			if (workspace_users_put(users, json_word(entry, "name"), json_word(entry, "kind"), json_word(entry, "where"), out) < 0)
				return -1;
			continue;
		}
		if (workspace_put_word(out, json_word(entry, "name")) < 0
		    || buffer_format(out, " %s %s ", json_word(entry, "kind"), *why ? "failed" : "installed") < 0
		    || workspace_put_word(out, json_word(entry, "where")) < 0)
			return -1;
		if (*why && buffer_text(out, " ") < 0)
			return -1;
		if (workspace_put_sentence(out, why) < 0 || buffer_text(out, "\n") < 0)
			return -1;
	}
	cJSON_ArrayForEach(package, cJSON_GetObjectItemCaseSensitive(runner_fields(r), "packages"))
		if (workspace_users_put(users, package->valuestring, "package", "config", out) < 0)
			return -1;
	return workspace_held_put(r, out) < 0 ? -1 : 0;
}

/* Without Python: what is there, unchecked. */
static int put_unchecked(int folder, const char *part, const char *why, struct buffer *out)
{
	cleanup_dir DIR *dir = file_list(folder, part, 0);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.'
		    && (workspace_put_word(out, entry->d_name) < 0
			|| buffer_format(out, " %s installed /workspace/%s/", entry->d_type == DT_DIR ? "folder" : "file", part) < 0
			|| workspace_put_word(out, entry->d_name) < 0 || buffer_format(out, " %s\n", why) < 0))
			return -1;
	return 0;
}

/* ---- modules/ ---- */

static bool is_wanted(const cJSON *found, const char *link)
{
	const cJSON *entry;

	cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(found, "entries")) {
		const char *module = json_word(entry, "module");
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

	if (file_make_folder(folder, "modules", 0755, err) < 0)
		return -1;
	modules = file_open_folder(folder, "modules", err);
	if (modules < 0)
		return -1;
	cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(found, "entries"))
		if (*json_word(entry, "module") && make_link(modules, json_word(entry, "module"), json_word(entry, "name"), err) < 0)
			return -1;
	dir = file_list(modules, ".", 0);
	if (!dir)
		return error_errno(err, "modules");
	while ((member = readdir(dir)))
		if (member->d_name[0] != '.' && !is_wanted(found, member->d_name))
			(void)unlinkat(modules, member->d_name, 0);
	return 0;
}

/* ---- what pip is to install ---- */

static int add_entry(cJSON *entries, const char *name, const char *kind, const char *sha256, const char *stamp)
{
	cJSON *entry = cJSON_CreateObject();

	if (cJSON_AddStringToObject(entry, "name", name) && cJSON_AddStringToObject(entry, "kind", kind) &&
	    cJSON_AddStringToObject(entry, "sha256", sha256) && cJSON_AddStringToObject(entry, "stamp", stamp) &&
	    cJSON_AddItemToArray(entries, entry))
		return 0;
	cJSON_Delete(entry);
	return -1;
}

/* The number of the attempt: another one when somebody asks for it and the last one failed. */
static double count_tries(struct runner *r, const cJSON *before)
{
	cleanup_buffer struct buffer installed = BUFFER(FOUND_MAX);
	double tries = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(before, "try"));
	struct error ignored;

	tries = tries > 0 ? tries : 0;
	if (unlinkat(runner_folder(r), "again", 0) || file_read(runner_folder(r), "installed", &installed, &ignored) ||
	    !installed.length || !strstr(installed.data, " failed sandboxes/"))
		return tries;
	return tries + 1;
}

/* 1: sandboxes have something to do; 0: nothing is wanted nor was; -1. */
static int want_distributions(struct runner *r, const cJSON *found, struct error *err)
{
	cleanup_buffer struct buffer before = BUFFER(FOUND_MAX);
	cleanup_json cJSON *wanted = cJSON_CreateObject(), *had = NULL;
	cJSON *entries = cJSON_AddArrayToObject(wanted, "entries");
	const cJSON *entry;
	cleanup_free char *text = NULL;
	struct error ignored;

	if (!file_read(runner_folder(r), "distributions.json", &before, &ignored) && before.length)
		had = cJSON_ParseWithLength(before.data, before.length);
	if (!entries || !cJSON_AddNumberToObject(wanted, "try", count_tries(r, had)))
		return error_memory(err);
	cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(found, "entries"))
		if (is_distribution(entry) && add_entry(entries, json_word(entry, "name"), json_word(entry, "kind"),
							json_word(entry, "sha256"), json_word(entry, "stamp")))
			return error_memory(err);
	cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(runner_fields(r), "packages"))
		if (add_entry(entries, entry->valuestring, "package", "", ""))
			return error_memory(err);
	/* What was taken away is told until there is something else: who was not asked then would keep it. */
	if (!cJSON_GetArraySize(entries) && !had)
		return 0;
	text = cJSON_PrintUnformatted(wanted);
	if (!text)
		return error_memory(err);
	if (before.length == strlen(text) && !memcmp(before.data, text, before.length))
		return 1;
	return file_replace(runner_folder(r), "distributions.json", text, strlen(text), 0600, false, err) ? -1 : 1;
}

static int tell(struct runner *r, const cJSON *found, const struct workspace_user *users, struct error *err)
{
	cleanup_buffer struct buffer installed = BUFFER(FOUND_MAX);

	if (put_installed(r, found, users, &installed))
		return error_memory(err);
	return runner_set_value(r, "installed", installed.data, installed.length, 0644, err);
}

/* Until every sandbox has answered, or something else is wanted of this workspace. */
static int wait_for(struct runner *r, const cJSON *found, struct workspace_user *users, bool *ended, struct error *err)
{
	uint64_t generation = runner_want(r)->generation;
	struct runner_event event;

	/* Whose runner died is asked again soon: another one goes on. */
	while (workspace_users_are(users, USER_ASKED) || workspace_users_are(users, USER_LOST)) {
		bool lost = !workspace_users_are(users, USER_ASKED);

		if (runner_next(r, lost ? AGAIN_MS : -1, &event, err) < 0)
			return -1;
		if (event.kind == RUNNER_COMMAND || event.kind == RUNNER_CALL)
			conversation_end(event.conversation, EINVAL, 0, "a workspace takes no commands");
		if (event.kind == RUNNER_SIGNAL)
			*ended = true;
		if (*ended || runner_want(r)->generation != generation || (lost && event.kind == RUNNER_TIMEOUT))
			return 0;
		if (event.kind == RUNNER_FD && workspace_users_take(r, users, event.fd) && tell(r, found, users, err))
			return -1;
	}
	return 0;
}

static int install(struct runner *r, const cJSON *found, bool *ended, struct error *err)
{
	struct workspace_user *users = NULL;
	int wanted = want_distributions(r, found, err), result = wanted < 0 ? -1 : 0;

	for (int tries = 0; !result && tries < TRIES; tries++) {
		uint64_t generation = runner_want(r)->generation;
		bool again;

		if (wanted > 0)
			result = workspace_users_ask(r, &users, err);
		if (!result)
			result = tell(r, found, users, err);
		if (!result)
			result = wait_for(r, found, users, ended, err);
		again = workspace_users_are(users, USER_LOST) && runner_want(r)->generation == generation && !*ended;
		workspace_users_free(r, users);
		users = NULL;
		if (!again)
			break;
	}
	return result;
}

static int check(struct runner *r, bool *ended, struct error *err)
{
	cleanup_buffer struct buffer installed = BUFFER(FOUND_MAX);
	cleanup_json cJSON *found = NULL;
	int folder = runner_folder(r);
	char why[256];

	drop_bytecode(folder, "libraries", 0);
	found = look(r, why);
	if (found)
		return make_modules(folder, found, err) || runner_set_text(r, "docs.md", json_word(found, "docs"), err)
			? -1 : install(r, found, ended, err);
	if (put_unchecked(folder, "libraries", why, &installed) < 0 || put_unchecked(folder, "skills", why, &installed) < 0)
		return error_memory(err);
	return runner_set_value(r, "installed", installed.data, installed.length, 0644, err);
}

int workspace_story(struct runner *r, struct error *err)
{
	struct runner_event event;
	uint64_t done = runner_status(r)->generation;
	bool ended = false;

	for (;;) {
		const struct want *want = runner_want(r);

		if (want->what == WANT_REMOVED)
			return 0; /* nothing runs that would have to be released */
		if (want->generation > done || !status_resting(OBJECT_WORKSPACE, runner_status(r)->state)) {
			uint64_t now = want->generation;

			if (want->what == WANT_RUN) {
				if (runner_set_state(r, "starting", err) < 0 || check(r, &ended, err) < 0)
					return -1;
				if (ended)
					return 0;
				if (runner_want(r)->generation != now)
					continue; /* it is looked at anew */
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
