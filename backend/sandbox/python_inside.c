#include "backend/sandbox/python_inside.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/build.h"
#include "backend/sandbox/making.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define CACHE "pythons.json"
#define CACHE_MAX (1u << 20)

/* Those first that a PATH has first; what is no interpreter says nothing. */
static const char ask[] =
	"for p in /usr/local/bin/python3 /usr/bin/python3 /bin/python3 /opt/*/bin/python3 /usr/local/bin/python3.[0-9]* /usr/bin/python3.[0-9]*; do\n"
	"case $p in *-config) continue ;; esac\n"
	"[ -x \"$p\" ] && \"$p\" -I -c \"$1\" 2>/dev/null </dev/null\n"
	"done\n"
	"exit 0\n";

/* "3.N.N", 3.8 or newer: it comes from inside, and becomes part of paths. */
static bool is_version(const char *text)
{
	size_t minor, patch;

	if (strncmp(text, "3.", 2))
		return false;
	minor = strspn(text + 2, "0123456789");
	patch = text[2 + minor] == '.' ? strspn(text + 3 + minor, "0123456789") : 0;
	return minor && minor < 4 && patch && patch < 4 && !text[3 + minor + patch] && strtol(text + 2, NULL, 10) >= 8;
}

static bool is_good(const cJSON *answer)
{
	const char *exe = json_word(answer, "exe");

	return is_version(json_word(answer, "version")) && *exe == '/' && strlen(exe) < 1024 && !strpbrk(exe, "\n\"\\") &&
	       strlen(json_word(answer, "soabi")) < 256;
}

/* The answers, a line each, as an array. */
static cJSON *gather(char *printed)
{
	cJSON *list = cJSON_CreateArray();

	for (char *line = printed, *end; list && line && *line; line = end ? end + 1 : NULL) {
		cJSON *answer;

		end = strchr(line, '\n');
		answer = cJSON_ParseWithLength(line, end ? (size_t)(end - line) : strlen(line));
		if (!is_good(answer) || !cJSON_AddItemToArray(list, answer))
			cJSON_Delete(answer);
	}
	return list;
}

static int look(struct sandbox *s, const char *runtime, const struct image *image, const struct making *m, struct error *err)
{
	const char *const argv[] = { "/bin/sh", "-c", ask, "ask", python_question, NULL };
	cleanup_free char *text = NULL;
	cJSON *list = NULL;
	struct build b;
	int status, result = making_open(m, &b, s, image, err) || build_start(&b, runtime, err) ? -1 : 0;

	if (!result) {
		b.commands.quiet = true;
		result = commands_run(&b.commands, argv, &status, err);
	}
	if (!result) {
		list = gather(b.commands.printed.data);
		text = cJSON_PrintUnformatted(list);
		result = text ? file_replace(AT_FDCWD, m->final, text, strlen(text), 0600, false, err) : error_memory(err);
	}
	cJSON_Delete(list);
	build_close(&b);
	return result;
}

static int take(const cJSON *answer, const struct image *image, struct python *p, struct error *err)
{
	p->exe = strdup(json_word(answer, "exe"));
	p->version = strdup(json_word(answer, "version"));
	p->soabi = strdup(json_word(answer, "soabi"));
	if (asprintf(&p->system, "%s%s", image->base_hash, image->path ? image->hash : "") < 0)
		p->system = NULL;
	if (p->exe && p->version && p->soabi && p->system)
		return 0;
	python_free(p);
	return error_memory(err);
}

static int choose(const char *cache, const struct image *image, const char *version, struct python *p, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(CACHE_MAX);
	const cJSON *answer, *found = NULL;
	cJSON *list;
	int result;

	if (file_read(AT_FDCWD, cache, &text, err))
		return -1;
	list = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	cJSON_ArrayForEach(answer, list)
		if (!found && (!version || python_version_fits(json_word(answer, "version"), version)))
			found = answer;
	if (found)
		result = take(found, image, p, err);
	else if (version)
		result = error_set(err, ENOENT, "the image has no Python %s; install it by system_packages, or leave python_version out", version);
	else
		result = error_set(err, ENOENT, "the image has no python3; install it by system_packages");
	cJSON_Delete(list);
	return result;
}

int python_find_inside(struct sandbox *s, const char *runtime, const struct image *image, const char *version,
		       struct python *python, struct error *err)
{
	const char *where = image->path ? image->path : image->base;
	struct making m = { .lock = -1, .name = CACHE };
	char text[8192];
	int n = snprintf(text, sizeof text, "pythons 1 %s", where), result;

	*python = (struct python){ .exe = NULL };
	making_hash(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1, m.hash);
	result = making_claim(&m, s, where, err);
	if (result > 0)
		result = look(s, runtime, image, &m, err);
	if (!result)
		result = choose(m.final, image, version, python, err);
	making_done(&m);
	return result;
}
