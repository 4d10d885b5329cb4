/* The user's own files: copies go into a container before it is first started, through the engine, wherever
 * that is. What is done with them inside stays inside. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/gate.h"
#include "backend/sandbox/tar.h"
#include "base/cleanup.h"

/* Relative to the container's root, without slashes at either end. Owned; NULL without memory. */
static char *name_inside(const char *to)
{
	size_t n;

	to += strspn(to, "/");
	n = strlen(to);
	while (n && to[n - 1] == '/')
		n--;
	return strndup(to, n);
}

/* How many there were. */
static int add(struct sandbox *s, struct tar *tar, const char *field, bool folders, struct error *err)
{
	const cJSON *pair;
	int count = 0;

	cJSON_ArrayForEach(pair, sandbox_field(s, field))
	{
		const char *from = cJSON_GetStringValue(cJSON_GetArrayItem(pair, 0));
		const char *to = cJSON_GetStringValue(cJSON_GetArrayItem(pair, 1));
		cleanup_free char *source = from && to ? sandbox_host_path(from, err) : NULL;
		cleanup_free char *name = from && to ? name_inside(to) : NULL;

		if (!from || !to)
			return error_set(err, EINVAL, "%s: each is [here, there]", field);
		if (!source)
			return -1;
		if (!name)
			return error_memory(err);
		if (!*name || (!folders && to[strlen(to) - 1] == '/'))
			return error_set(err, EINVAL, "%s: '%s' is not the absolute path of a %s", field, to, folders ? "folder" : "file");
		if (folders ? tar_add_tree(tar, source, name, err) : tar_add_file(tar, source, name, 0, err))
			return -1;
		count++;
	}
	return count;
}

int docker_copy_files(struct sandbox *s, struct error *err)
{
	cleanup_tar struct tar *tar = tar_new(err);
	cleanup_free char *path = docker_path(s->id, "/archive?path=/");
	struct engine_request request = { .method = "PUT", .path = path, .read = tar_read, .context = tar };
	bool has_folders, has_files;
	int folders, files;

	/* What a snapshot has of them is as its sandbox left it. */
	if (!tar || sandbox_keeps(s, "local_dirs", &has_folders, err) || sandbox_keeps(s, "local_files", &has_files, err))
		return -1;
	folders = has_folders ? 0 : add(s, tar, "local_dirs", true, err);
	files = folders < 0 || has_files ? 0 : add(s, tar, "local_files", false, err);
	if (folders < 0 || files < 0)
		return -1;
	if (!path)
		return error_memory(err);
	return files + folders && engine_call(docker_own(s)->engine, &request, NULL, err) ? error_wrap(err, "local files") : 0;
}

int docker_copy_trusted(struct sandbox *s, struct error *err)
{
	cleanup_tar struct tar *tar = NULL;
	cleanup_free char *path = docker_path(s->id, "/archive?path=/"), *trusted = NULL;
	struct engine_request request = { .method = "PUT", .path = path, .read = tar_read };

	if (!gate_has_secrets(s))
		return 0;
	tar = tar_new(err);
	if (!tar)
		return -1;
	if (!path || asprintf(&trusted, "%s/" GATE_TRUSTED, s->folder_path) < 0) {
		trusted = NULL;
		return error_memory(err);
	}
	request.context = tar;
	return gate_write_trusted(s, err) || tar_add_file(tar, trusted, GATE_TRUSTED_INSIDE + 1, 0644, err) ||
			       engine_call(docker_own(s)->engine, &request, NULL, err)
		       ? error_wrap(err, "network") : 0;
}
