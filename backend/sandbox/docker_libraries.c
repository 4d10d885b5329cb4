/* What a workspace has pip install (libraries.h), for containers: a set is made in a container of the sandbox's
 * image that has nothing of this machine but the workspace's libraries/, read-only, and the folder of the set. Every
 * container has STATE/workspaces/N/packages bound, so that one that runs sees what is published there. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/libraries.h"
#include "backend/sandbox/plan.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"

#define ARGUMENTS_MAX 1024

/* All sandboxes of an image share what is made for it. */
static void name_key(const struct docker_found *found, char key[MAKING_HASH_SIZE])
{
	char text[256];
	int n = snprintf(text, sizeof text, "container 1\n%.200s\n", json_word(found->json, "Image"));

	making_hash(text, (size_t)n, key);
}

int docker_bind_packages(const struct sandbox *s, cJSON *mounts, struct error *err)
{
	cleanup_free char *folder = NULL;
	cJSON *mount;
	int found = libraries_folder_of(s, NULL, &folder, err);

	if (found <= 0)
		return found;
	mount = docker_bind_mount(folder, PLAN_PACKAGES);
	if (mount && cJSON_AddItemToArray(mounts, mount))
		return 0;
	cJSON_Delete(mount);
	return error_memory(err);
}

int docker_find_packages(const struct docker_found *found, char **current, char **bin, struct error *err)
{
	char key[MAKING_HASH_SIZE];

	*current = *bin = NULL;
	name_key(found, key);
	if (asprintf(current, PLAN_PACKAGES "/%s/current", key) < 0)
		*current = NULL;
	if (!*current || asprintf(bin, PLAN_PACKAGES "/%s/bin", key) < 0) {
		*bin = NULL;
		return error_memory(err);
	}
	return 0;
}

struct container_pip {
	const char *image, *key;
	struct commands *commands;
	const char *python;        /* of the set, inside */
};

static int install(void *context, const cJSON *arguments, struct error *err)
{
	const struct container_pip *p = context;
	const char *argv[ARGUMENTS_MAX + 8] = { p->python, "-m", "pip", "install" };
	const cJSON *item;
	size_t n = 4;

	if (cJSON_GetArraySize(arguments) > ARGUMENTS_MAX)
		return error_set(err, E2BIG, "there are more than %d packages", ARGUMENTS_MAX);
	cJSON_ArrayForEach(item, arguments)
		argv[n++] = item->valuestring;
	argv[n] = NULL;
	return commands_must(p->commands, argv, NULL, err);
}

static int add_mounts(const struct sandbox *s, const char *made, const char *inside, cJSON *mounts, struct error *err)
{
	cleanup_free char *libraries = NULL;
	const char *there;
	cJSON *one, *two;

	if (sandbox_workspace(s, 0, &libraries, &there, err) < 0)
		return -1;
	one = libraries ? docker_bind_mount(libraries, LIBRARIES_INSIDE) : NULL;
	two = docker_bind_mount(made, inside);
	if (one && cJSON_AddItemToArray(mounts, one)) {
		if (two && cJSON_ReplaceItemInObjectCaseSensitive(two, "ReadOnly", cJSON_CreateFalse()) && cJSON_AddItemToArray(mounts, two))
			return 0;
	} else {
		cJSON_Delete(one);
	}
	cJSON_Delete(two);
	return error_memory(err);
}

static int make(const struct libraries *l, const struct making *m, const cJSON *wanted, struct error *err)
{
	struct container_pip *in = l->context;
	struct docker_build b;
	cleanup_free char *made = NULL, *inside = NULL, *venv = NULL, *python = NULL;
	cJSON *told = cJSON_CreateArray(), *mounts = cJSON_CreateArray();
	const struct libraries_pip pip = { &b.commands, install, in };
	const char *begin[] = { "python3", "-m", "venv", "--system-site-packages", "--without-pip", NULL, NULL };
	int result = 0;

	if (asprintf(&made, "%s.making", m->final) < 0)
		made = NULL;
	if (asprintf(&inside, PLAN_PACKAGES "/%s/%s", in->key, m->hash) < 0)
		inside = NULL;
	if (inside && asprintf(&venv, "%s/venv", inside) < 0)
		venv = NULL;
	if (venv && asprintf(&python, "%s/bin/python", venv) < 0)
		python = NULL;
	if (!made || !inside || !python || !told)
		result = error_memory(err);
	if (!result)
		result = file_remove_tree(AT_FDCWD, made, err) || file_make_folder(AT_FDCWD, made, 0755, err) ||
			 add_mounts(l->sandbox, made, inside, mounts, err) ? -1 : 0;
	if (result) {
		cJSON_Delete(mounts);
		cJSON_Delete(told);
		return -1;
	}
	result = docker_build_open(&b, l->sandbox, m->hash, in->image, false, mounts, err);
	failpoint("libraries-building");
	in->commands = &b.commands;
	in->python = python;
	begin[5] = venv;
	b.commands.cwd = LIBRARIES_INSIDE; /* to which requirements are relative */
	if (!result)
		result = docker_find_pip(&b.commands, err) || commands_must(&b.commands, begin, NULL, err) || libraries_try(&pip, wanted, told, err)
				 ? -1 : 0;
	docker_build_close(&b);
	if (!result)
		result = libraries_publish(l, m, made, wanted, told, err);
	cJSON_Delete(told);
	return result;
}

int docker_libraries(struct sandbox *s, cJSON **result, struct error *err)
{
	cleanup_found struct docker_found found = { .state = DOCKER_ABSENT };
	cleanup_free char *folder = NULL, *image = NULL;
	char key[MAKING_HASH_SIZE];
	struct container_pip in = { .key = key };
	const struct libraries l = { .sandbox = s, .make = make, .context = &in };
	int there;

	*result = NULL;
	if (docker_is_adopted(s))
		return docker_adopted_lacks("packages of a workspace", err);
	if (!engine_is_here(docker_own(s)->engine))
		return error_set(err, EOPNOTSUPP, "the engine is on another machine: name it in python_packages");
	if (docker_inspect(s, false, &found, err) || docker_fill_store(s, false, err))
		return error_wrap(err, "docker");
	name_key(&found, key);
	in.image = image = strdup(json_word(found.json, "Image"));
	if (!image)
		return error_memory(err);
	there = libraries_folder_of(s, key, &folder, err);
	if (there <= 0)
		return there < 0 ? -1 : error_set(err, ENOENT, "it has no workspace");
	return libraries_install(&l, folder, result, err);
}

int docker_install_libraries(struct sandbox *s, struct error *err)
{
	cJSON *result = NULL;
	int done = libraries_wanted(s) ? docker_libraries(s, &result, err) : 0;

	cJSON_Delete(result);
	if (!done || err->code == ECANCELED)
		return done;
	sandbox_say(s, err->text);
	return 0;
}
