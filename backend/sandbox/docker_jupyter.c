/* Jupyter Server for a kind of image: made once, by the image's own Python, in the store, where every sandbox
 * of that image has it read-only: what an agent installs cannot break it, and what is made while a sandbox
 * runs is there at once.
 *
 *      STORE/jupyter/HASH/     jupyter.h says what is in it
 *      STORE/jupyter/HASH/made the last that was put there: it is complete */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/jupyter.h"
#include "base/cleanup.h"
#include "base/failpoint.h"

#define TEXT_MAX (1u << 20)
#define PACKAGES_MAX 1024
#define PYTHON_MAX 256

/* $1: the folder. */
static const char begin_script[] =
	"command -v python3 >/dev/null || { echo 'error: the image has no python3' >&2; exit 1; }\n"
	"python3 -m pip --version >/dev/null 2>&1 || python3 -m ensurepip --default-pip >/dev/null 2>&1 ||\n"
	"{ echo 'error: the image has no pip: use one that has it' >&2; exit 1; }\n"
	"rm -rf \"$1\"\n"
	"mkdir -p \"$1/data/kernels/python3\"\n"
	"python3 -m venv --without-pip \"$1/server\"\n";
static const char write_script[] = "cat >\"$1\"";

static int run(struct commands *c, const char *script, const char *argument, const char *input, struct error *err)
{
	const char *const argv[] = { "/bin/sh", "-ec", script, "sh", argument, NULL };
	int status;

	if (commands_feed(c, argv, input, input ? strlen(input) : 0, &status, err))
		return -1;
	return status ? commands_failed(c, NULL, err) : 0;
}

static int write_file(struct commands *c, const char *folder, const char *name, const char *text, struct error *err)
{
	cleanup_free char *path = NULL;

	if (asprintf(&path, "%s/%s", folder, name) < 0)
		return error_memory(err);
	return run(c, write_script, path, text, err);
}

/* python3 -m pip [--python P] install [--target T] PACKAGES */
static int install(struct commands *c, const char *into, const char *target, const cJSON *packages, struct error *err)
{
	const char *argv[PACKAGES_MAX + 16] = { "python3", "-m", "pip" };
	const cJSON *item;
	size_t n = 3;

	if (cJSON_GetArraySize(packages) > PACKAGES_MAX)
		return error_set(err, E2BIG, "notebook_packages: there are more than %d", PACKAGES_MAX);
	if (into) {
		argv[n++] = "--python";
		argv[n++] = into;
	}
	argv[n++] = "install";
	if (target) {
		argv[n++] = "--target";
		argv[n++] = target;
	}
	cJSON_ArrayForEach(item, packages)
		argv[n++] = item->valuestring;
	argv[n] = NULL;
	return commands_must(c, argv, NULL, err);
}

/* The path of the Python that agents use. */
static int find_python(struct commands *c, char path[PYTHON_MAX], struct error *err)
{
	static const char *const ask[] = { "python3", "-c", "import sys; sys.stdout.write(sys.executable)", NULL };
	int result;

	c->quiet = true;
	result = commands_must(c, ask, NULL, err);
	c->quiet = false;
	if (!result)
		(void)snprintf(path, PYTHON_MAX, "%s", c->printed.data ? c->printed.data : "");
	return result || *path == '/' ? result : error_set(err, EPROTO, "the image's Python does not say where it is");
}

static int fill(struct commands *c, const char *folder, const cJSON *packages, struct error *err)
{
	cleanup_free char *server_python = NULL, *kernel_folder = NULL;
	cleanup_buffer struct buffer kernel_json = BUFFER(8192);
	cJSON *server = NULL, *kernel = NULL;
	char python[PYTHON_MAX] = "";
	int result;

	if (asprintf(&server_python, "%s/server/bin/python", folder) < 0 || asprintf(&kernel_folder, "%s/kernel", folder) < 0)
		return error_memory(err);
	result = jupyter_part(packages, &server, &kernel, err) || run(c, begin_script, folder, NULL, err) ||
		 install(c, server_python, NULL, server, err) || install(c, NULL, kernel_folder, kernel, err) ||
		 find_python(c, python, err) ? -1 : 0;
	cJSON_Delete(server);
	cJSON_Delete(kernel);
	if (!result && jupyter_kernel(&kernel_json, python, folder))
		result = error_memory(err);
	return result || write_file(c, folder, "launch.py", jupyter_launcher, err) ||
	       write_file(c, folder, "serve.py", jupyter_server_launcher, err) ||
	       write_file(c, folder, "data/kernels/python3/kernel.json", kernel_json.data, err) ||
	       write_file(c, folder, "made", "", err) ? -1 : 0;
}

/* 1: it is there, 0: it is not. */
static int is_made(const struct sandbox *s, const char *folder, struct error *err)
{
	cleanup_free char *path = NULL;

	if (asprintf(&path, "/containers/%s/archive?path=%s/made", s->id, folder) < 0)
		return error_memory(err);
	if (!docker_call(s, "HEAD", path, NULL, NULL, err))
		return 1;
	return err->code == ENOENT ? 0 : -1;
}

static int make(struct sandbox *s, const char *hash, const char *folder, struct error *err)
{
	struct docker_build b;
	int result = docker_build_open(&b, s, hash, docker_own(s)->base, true, NULL, err);

	failpoint("docker-jupyter");
	if (!result)
		result = fill(&b.commands, folder, sandbox_field(s, "notebook_packages"), err);
	docker_build_close(&b);
	return result;
}

static int name_it(const struct sandbox *s, char hash[MAKING_HASH_SIZE], struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(TEXT_MAX);
	cleanup_free char *packages = cJSON_PrintUnformatted(sandbox_field(s, "notebook_packages"));

	if (buffer_format(&text, "jupyter 1\n%s\n%s\n", docker_own(s)->base, packages ? packages : "[]"))
		return error_memory(err);
	making_hash(text.data, text.length, hash);
	return 0;
}

static int tell(struct sandbox_jupyter *jupyter, const char *folder, struct error *err)
{
	if (asprintf(&jupyter->python, "%s/server/bin/python", folder) < 0 || asprintf(&jupyter->serve, "%s/serve.py", folder) < 0 ||
	    asprintf(&jupyter->data, "%s/data", folder) < 0)
		return error_memory(err);
	return 0;
}

static int find_or_make(struct sandbox *s, struct sandbox_jupyter *jupyter, struct error *err)
{
	cleanup_found struct docker_found found = { .state = DOCKER_ABSENT };
	cleanup_close int lock = -1;
	char hash[MAKING_HASH_SIZE], folder[128];
	int there;

	if (docker_inspect(s, false, &found, err) || docker_use_base(s, &found, err) || docker_fill_store(s, false, err) ||
	    name_it(s, hash, err))
		return -1;
	(void)snprintf(folder, sizeof folder, DOCKER_STORE "/jupyter/%s", hash);
	there = is_made(s, folder, err);
	if (!there) {
		lock = docker_lock(s, hash, err);
		there = lock < 0 ? -1 : is_made(s, folder, err);
	}
	if (there < 0 || (!there && make(s, hash, folder, err)))
		return -1;
	return tell(jupyter, folder, err);
}

int docker_jupyter(struct sandbox *s, struct sandbox_jupyter *jupyter, struct error *err)
{
	*jupyter = (struct sandbox_jupyter){ NULL, NULL, NULL };
	if (docker_is_adopted(s))
		return docker_adopted_lacks("Jupyter, and so no notebooks", err);
	return find_or_make(s, jupyter, err) ? error_wrap(err, "docker") : 0;
}
