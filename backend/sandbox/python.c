#include "backend/sandbox/python.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/sandbox/spawn.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/program.h"

#define ASK_MS 10000
#define CACHE_MAX 65536

/* Said by the interpreter itself: a shim of pyenv, a link or a venv all lead to the real one. */
const char python_question[] =
	"import json, os, sys, sysconfig\n"
	"print(json.dumps(dict(version='%d.%d.%d' % sys.version_info[:3],\n"
	" exe=os.path.realpath(getattr(sys, '_base_executable', sys.executable)),\n"
	" prefix=os.path.realpath(sys.base_prefix), exec_prefix=os.path.realpath(sys.base_exec_prefix),\n"
	" soabi=sysconfig.get_config_var('SOABI') or 'none')))\n";

struct search {
	const char *asked;     /* NULL: any */
	cJSON *cache;
	bool changed;
	struct python *found;
	char refusal[512];     /* why the last candidate that fitted was not taken */
};

void python_free(struct python *p)
{
	free(p->exe);
	free(p->version);
	free(p->soabi);
	free(p->prefix);
	free(p->exec_prefix);
	free(p->system);
	*p = (struct python){ .exe = NULL };
}

int python_version_fits(const char *have, const char *asked)
{
	size_t n = strlen(asked);

	return !strncmp(have, asked, n) && (have[n] == '\0' || have[n] == '.');
}

static bool new_enough(const char *version)
{
	char *end;
	long major = strtol(version, &end, 10);
	long minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;

	return major > 3 || (major == 3 && minor >= 8);
}

static bool below(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	return !strncmp(path, folder, n) && (path[n] == '/' || path[n] == '\0');
}

/* A prefix that is more than an interpreter's: binding it would show somebody's files. */
static bool is_home(const char *prefix)
{
	static const char *const broad[] = { "/", "/root", "/home", "/var", "/srv", "/mnt", "/tmp" };
	const struct passwd *user = getpwuid(geteuid());
	const char *homes[] = { getenv("HOME"), user ? user->pw_dir : NULL };
	size_t n = strlen(prefix);

	for (size_t i = 0; i < sizeof broad / sizeof *broad; i++)
		if (!strcmp(prefix, broad[i]))
			return true;
	for (size_t i = 0; i < 2; i++)
		if (homes[i] && (!strcmp(prefix, homes[i]) ||
				 (below(prefix, homes[i]) && !strcmp(prefix + strlen(homes[i]), "/.local"))))
			return true;
	/* another's: /home/NAME, /home/NAME/.local */
	if (!strncmp(prefix, "/home/", 6)) {
		const char *rest = strchr(prefix + 6, '/');

		return !rest || !strcmp(rest, "/.local");
	}
	return n == 0 || prefix[0] != '/';
}

/* What the candidate says of itself; borrowed from the cache. NULL when it cannot be run. */
static const cJSON *ask(struct search *s, const char *candidate)
{
	cleanup_buffer struct buffer out = BUFFER(CACHE_MAX);
	cleanup_free char *real = realpath(candidate, NULL), *stamp = NULL;
	char *argv[] = { (char *)(uintptr_t)candidate, "-I", "-c", (char *)(uintptr_t)python_question, NULL };
	cJSON *known = cJSON_GetObjectItemCaseSensitive(s->cache, candidate), *answer;
	struct error ignored;
	struct stat st;
	int status;

	if (!real || stat(real, &st) ||
	    asprintf(&stamp, "%s %lld %lld.%09ld", real, (long long)st.st_size, (long long)st.st_ctim.tv_sec,
		     st.st_ctim.tv_nsec) < 0)
		return NULL;
	if (known && !strcmp(json_word(known, "stamp"), stamp))
		return known;
	if (spawn_run(argv, ASK_MS, &out, &status, &ignored) || status || !out.length)
		return NULL;
	answer = cJSON_ParseWithLength(out.data, out.length);
	if (!answer)
		return NULL;
	/* A shim may lead elsewhere tomorrow: only what the interpreter itself said is kept. */
	if (!strcmp(json_word(answer, "exe"), real) && cJSON_AddStringToObject(answer, "stamp", stamp))
		s->changed = true;
	cJSON_DeleteItemFromObjectCaseSensitive(s->cache, candidate);
	if (!cJSON_AddItemToObject(s->cache, candidate, answer)) {
		cJSON_Delete(answer);
		return NULL;
	}
	return answer;
}

static bool take(struct search *s, const cJSON *answer)
{
	const char *prefix = json_word(answer, "prefix"), *exec_prefix = json_word(answer, "exec_prefix");
	struct python *p = s->found;
	struct stat st;

	if (stat(json_word(answer, "exe"), &st))
		return false;
	p->mtime_ns = (long long)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	p->exe = strdup(json_word(answer, "exe"));
	p->version = strdup(json_word(answer, "version"));
	p->soabi = strdup(json_word(answer, "soabi"));
	if (!below(prefix, "/usr") && !below(prefix, "/opt"))
		p->prefix = strdup(prefix);
	if (!below(exec_prefix, "/usr") && !below(exec_prefix, "/opt") && strcmp(prefix, exec_prefix))
		p->exec_prefix = strdup(exec_prefix);
	if (p->exe && p->version && p->soabi)
		return true;
	python_free(p);
	return false;
}

static bool try(struct search *s, const char *candidate)
{
	const cJSON *answer = candidate && !access(candidate, X_OK) ? ask(s, candidate) : NULL;

	if (!answer || (s->asked && !python_version_fits(json_word(answer, "version"), s->asked)))
		return false;
	if (!new_enough(json_word(answer, "version"))) {
		(void)snprintf(s->refusal, sizeof s->refusal, "%s is Python %s, which is too old (3.8 or newer)",
			       candidate, json_word(answer, "version"));
		return false;
	}
	if (is_home(json_word(answer, "prefix")) || is_home(json_word(answer, "exec_prefix"))) {
		(void)snprintf(s->refusal, sizeof s->refusal,
			       "%s is installed into %s, which a sandbox must not see", candidate,
			       json_word(answer, "prefix"));
		return false;
	}
	return take(s, answer);
}

static bool try_all(struct search *s, const char *home, const char *below_home)
{
	cleanup_free char *pattern = NULL;
	glob_t paths;
	bool found = false;

	if (!home || asprintf(&pattern, "%s/%s", home, below_home) < 0 || glob(pattern, 0, NULL, &paths))
		return false;
	for (size_t i = paths.gl_pathc; i-- > 0 && !found;) /* the newest patch level first, mostly */
		found = try(s, paths.gl_pathv[i]);
	globfree(&paths);
	return found;
}

static bool search_version(struct search *s)
{
	const char *dot = strchr(s->asked, '.'), *home = getenv("HOME");
	int minor = dot ? (int)strcspn(dot + 1, ".") : 0;
	cleanup_free char *name = NULL, *usr = NULL, *local = NULL, *path = NULL, *any = NULL;
	cleanup_free char *pyenv = NULL, *uv = NULL;

	if (asprintf(&name, "python%.*s", dot ? (int)(dot - s->asked) + 1 + minor : (int)strlen(s->asked), s->asked) < 0 ||
	    asprintf(&usr, "/usr/bin/%s", name) < 0 || asprintf(&local, "/usr/local/bin/%s", name) < 0 ||
	    asprintf(&pyenv, ".pyenv/versions/%s*/bin/python3", s->asked) < 0 ||
	    asprintf(&uv, ".local/share/uv/python/cpython-%s*/bin/python3", s->asked) < 0)
		return false;
	path = program_find(name);
	any = program_find("python3");
	return try(s, usr) || try(s, local) || try(s, "/usr/bin/python3") || try(s, path) || try(s, any) ||
	       try_all(s, home, pyenv) || try_all(s, home, uv);
}

static void keep_cache(const struct search *s, const char *cache)
{
	cleanup_free char *text = cache && s->changed ? cJSON_PrintUnformatted(s->cache) : NULL;
	struct error ignored;

	/* Losing it costs a tenth of a second. */
	if (text)
		(void)file_replace(AT_FDCWD, cache, text, strlen(text), 0600, false, &ignored);
}

int python_find(const char *version, const char *cache, struct python *python, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(CACHE_MAX);
	struct search s = { .asked = version, .found = python };
	struct error ignored;
	bool found;

	*python = (struct python){ .exe = NULL };
	if (version && (!*version || strspn(version, "0123456789.") != strlen(version)))
		return error_set(err, EINVAL, "python_version '%s' is none: write one as \"3.11\"", version);
	if (cache && !file_read(AT_FDCWD, cache, &text, &ignored) && text.length)
		s.cache = cJSON_ParseWithLength(text.data, text.length);
	if (!cJSON_IsObject(s.cache)) {
		cJSON_Delete(s.cache);
		s.cache = cJSON_CreateObject();
	}
	if (!s.cache)
		return error_memory(err);
	if (version) {
		found = search_version(&s);
	} else {
		cleanup_free char *path = program_find("python3");

		found = try(&s, "/usr/bin/python3") || try(&s, path);
	}
	keep_cache(&s, cache);
	cJSON_Delete(s.cache);
	if (found)
		return 0;
	if (*s.refusal)
		return error_set(err, ENOENT, "%s; install another, as with: apt-get install python3", s.refusal);
	if (version)
		return error_set(err, ENOENT, "there is no Python %s on this machine; install it, or leave python_version out", version);
	return error_set(err, ENOENT, "there is no python3 on this machine; install it, as with: apt-get install python3");
}
