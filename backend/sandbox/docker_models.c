/* Models in a container: downloaded on this machine as for its own sandboxes (models.h), and bound read-only
 * where the engine is on it. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/sandbox/loading.h"
#include "backend/sandbox/runtime.h"
#include "backend/sandbox/tar.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

int docker_find_models(struct sandbox *s, struct error *err)
{
	struct docker *d = docker_own(s);
	cleanup_free char *runtime = NULL;

	if (cJSON_GetArraySize(sandbox_field(s, "models"))) {
		if (!engine_is_here(d->engine))
			return error_set(err, EOPNOTSUPP, "models: the engine at %s is on another machine, and they are on this one: "
					 "leave models out, or use an engine behind a unix socket", engine_address(d->engine));
		runtime = runtime_find(s->state, NULL, err);
		if (!runtime)
			return error_wrap(err, "models: what downloads them runs in a sandbox of this machine");
	}
	return sandbox_models_find(s, runtime, &d->models, err);
}

static int bind_one(void *context, const char *path, const char *inside, const char *variable, struct error *err)
{
	cJSON *mount = docker_bind_mount(path, inside);

	(void)variable;
	if (mount && cJSON_AddItemToArray(context, mount))
		return 0;
	cJSON_Delete(mount);
	return error_memory(err);
}

int docker_bind_models(const struct sandbox *s, cJSON *mounts, struct error *err)
{
	return sandbox_models_each(&docker_own(s)->models, bind_one, mounts, err);
}

/* Where they are put together for the upload; whoever was killed there leaves one that the next replaces. */
#define LOADER "loader.py"

static int copy_loader(struct sandbox *s, const cJSON *model, struct error *err)
{
	cleanup_buffer struct buffer program = BUFFER(LOADING_MAX);
	cleanup_tar struct tar *tar = tar_new(err);
	cleanup_free char *path = docker_path(s->id, "/archive?path=/"), *from = NULL, *name = NULL;
	struct engine_request request = { .method = "PUT", .path = path, .read = tar_read, .context = tar };

	if (!tar || loading_program(model, &program, err))
		return -1;
	if (!path || asprintf(&name, "workspace/load_%s.py", json_word(model, "var_name")) < 0) {
		name = NULL;
		return error_memory(err);
	}
	if (asprintf(&from, "%s/" LOADER, s->folder_path) < 0) {
		from = NULL;
		return error_memory(err);
	}
	return file_replace(s->folder, LOADER, program.data, program.length, 0600, false, err) ||
			       tar_add_file(tar, from, name, 0644, err) || engine_call(docker_own(s)->engine, &request, NULL, err)
		       ? -1 : 0;
}

int docker_copy_loaders(struct sandbox *s, struct error *err)
{
	const char *mode = sandbox_text(s, "execution_mode");
	const cJSON *model;
	int result = 0;

	if (!mode || strcmp(mode, "cli") != 0)
		return 0;
	cJSON_ArrayForEach(model, sandbox_field(s, "models"))
		if (!result)
			result = copy_loader(s, model, err);
	(void)unlinkat(s->folder, LOADER, 0);
	return result ? error_wrap(err, "models") : 0;
}
