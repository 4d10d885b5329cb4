#include "backend/sandbox/layers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "backend/sandbox/build.h"
#include "backend/sandbox/image.h"
#include "backend/sandbox/jupyter.h"
#include "backend/sandbox/making.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/program.h"

#define REQUIREMENTS_MAX (1u << 20)
#define ARGUMENTS_MAX 1024
#define VENV_PYTHON PLAN_VENV "/bin/python"
#define UV_INSIDE "/run/interpfs/uv"

/* ---- names ---- */

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The requirements, sorted, each on a line. */
static int append_sorted(struct buffer *out, const cJSON *packages, struct error *err)
{
	int count = cJSON_GetArraySize(packages), n = 0;
	cleanup_free const char **list = calloc((size_t)count + 1, sizeof *list);
	const cJSON *item;

	if (!list)
		return error_memory(err);
	cJSON_ArrayForEach(item, packages)
	{
		const char *text = cJSON_GetStringValue(item);

		if (!text || !*text || *text == '-' || strchr(text, '\n'))
			return error_set(err, EINVAL, "'%s' is no requirement of a Python package", text ? text : "");
		list[n++] = text;
	}
	qsort((void *)list, (size_t)n, sizeof *list, compare_texts);
	for (int i = 0; i < n; i++)
		if (buffer_format(out, "%s\n", list[i]))
			return error_memory(err);
	return 0;
}

int layer_hash(const char *kind, const struct python *python, const char *below, const cJSON *packages,
	       char out[LAYER_HASH_SIZE], struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(REQUIREMENTS_MAX);

	if (buffer_format(&text, "%s\n%s\n%s\n%s\n%lld\n%s\n", kind, python->exe, python->version, python->soabi,
			  python->mtime_ns, below))
		return error_memory(err);
	if (python->system && buffer_format(&text, "in %s\n", python->system))
		return error_memory(err);
	if (append_sorted(&text, packages, err))
		return -1;
	making_hash(text.data, text.length, out);
	return 0;
}

/* ---- the base layer: a venv with pip ---- */

static int run(struct build *b, int *status, struct error *err, const char *a0, const char *a1, const char *a2,
	       const char *a3, const char *a4)
{
	const char *argv[] = { a0, a1, a2, a3, a4, NULL };

	return commands_run(&b->commands, argv, status, err);
}

static bool has_room(const struct state *state)
{
	struct statvfs disk;

	return fstatvfs(state->fd, &disk) < 0 || (double)disk.f_bavail * (double)disk.f_frsize > 16e6;
}

static int make_base(struct build *b, const struct python *python, bool uv, struct error *err)
{
	int status;

	if (run(b, &status, err, python->exe, "-m", "venv", "--without-pip", PLAN_VENV))
		return -1;
	if (status)
		return commands_failed(&b->commands, "cannot make a Python environment", err);
	/* pip's own copy in the standard library needs no network; Debian keeps it in python3-venv. */
	if (run(b, &status, err, VENV_PYTHON, "-m", "ensurepip", "--default-pip", NULL))
		return -1;
	if (status) {
		static const char *const from_uv[] = { UV_INSIDE, "pip", "install", "--python", VENV_PYTHON, "pip", NULL };
		const char *const from_host[] = { python->exe, "-m", "pip", "--python", VENV_PYTHON, "install", "pip", NULL };

		if (commands_run(&b->commands, uv ? from_uv : from_host, &status, err))
			return -1;
	}
	/* A layer is kept for every sandbox to come: without pip only where there is none. */
	if (status && !has_room(b->commands.sandbox->state))
		return error_set(err, ENOSPC, "there is no room for a Python environment on the disk of %s",
				 b->commands.sandbox->state->path);
	if (status) {
		static const char text[] = "pip is not available inside: install python3-venv or python3-pip on this machine (or into the image, by system_packages)\n";

		commands_log(&b->commands, text);
	}
	return 0;
}

/* uv, when it is on the host's PATH: bound, since it need not be in /usr. */
int layers_bind_uv(struct build *b, bool *uv, struct error *err)
{
	cleanup_free char *program = program_find("uv"), *real = program ? realpath(program, NULL) : NULL;

	*uv = real && !b->plan.base; /* another system may not be able to run it */
	return *uv ? plan_bind(&b->plan, real, UV_INSIDE, false, err) : 0;
}

/* "[uv pip|python -m pip --python P] install [--target T] PACKAGES" */
static int install(struct build *b, bool uv, const char *into, const char *target, const cJSON *packages, struct error *err)
{
	const char *argv[ARGUMENTS_MAX + 16];
	const cJSON *item;
	int n = 0, status;

	if (uv) {
		argv[n++] = UV_INSIDE;
		argv[n++] = "pip";
		argv[n++] = "install";
		argv[n++] = "--python";
		argv[n++] = into;
	} else {
		argv[n++] = VENV_PYTHON;
		argv[n++] = "-m";
		argv[n++] = "pip";
		if (strcmp(into, VENV_PYTHON)) {
			argv[n++] = "--python";
			argv[n++] = into;
		}
		argv[n++] = "install";
	}
	if (target) {
		argv[n++] = "--target";
		argv[n++] = target;
	}
	if (cJSON_GetArraySize(packages) > ARGUMENTS_MAX)
		return error_set(err, E2BIG, "there are more than %d packages", ARGUMENTS_MAX);
	cJSON_ArrayForEach(item, packages)
		argv[n++] = cJSON_GetStringValue(item);
	argv[n] = NULL;
	if (commands_run(&b->commands, argv, &status, err))
		return -1;
	return status ? commands_failed(&b->commands, NULL, err) : 0;
}

int layers_install(struct build *b, bool uv, const cJSON *arguments, struct error *err)
{
	return install(b, uv, VENV_PYTHON, NULL, arguments, err);
}

/* One layer of /opt/interpfs above `below` (NULL: the first). */
static int make_layer(struct sandbox *s, const char *runtime, const struct python *python, const struct image *image,
		      const char *below, const cJSON *packages, const struct making *m, struct error *err)
{
	struct build b;
	cleanup_free char *empty = NULL, *made = NULL;
	const char *lowers[2] = { below, NULL };
	bool uv = false;
	int result = making_open(m, &b, s, image, err);

	if (asprintf(&empty, "%s/empty", s->state->path) < 0) {
		empty = NULL;
		result = error_memory(err);
	}
	if (!below)
		lowers[0] = empty;
	if (!result && asprintf(&made, "%s/up/opt-interpfs", b.box.path) < 0) {
		made = NULL;
		result = error_memory(err);
	}
	if (!result)
		result = file_make_folder(AT_FDCWD, empty, 0755, err) || plan_layers(&b.plan, lowers, err) ||
			 plan_python(&b.plan, python, err) || layers_bind_uv(&b, &uv, err) || build_start(&b, runtime, err)
				 ? -1 : 0;
	failpoint("layer-building");
	if (!result)
		result = below ? install(&b, uv, VENV_PYTHON, NULL, packages, err) : make_base(&b, python, uv, err);
	if (!result)
		result = build_stop(&b, err);
	if (!result)
		result = making_publish(m, made, err);
	build_close(&b);
	return result;
}

static int ensure_layer(struct sandbox *s, const char *runtime, const struct python *python, const struct image *image,
			const char *kind, const char *below_hash, const char *below, const cJSON *packages, char **path,
			char hash[LAYER_HASH_SIZE], struct error *err)
{
	struct making m = MAKING;
	cleanup_free char *folder = NULL;
	int result;

	if (asprintf(&folder, "%s/layers", s->state->path) < 0) {
		folder = NULL;
		return error_memory(err);
	}
	if (layer_hash(kind, python, below_hash, packages, m.hash, err) ||
	    file_make_folder(AT_FDCWD, folder, 0700, err))
		return -1;
	result = making_claim(&m, s, folder, err);
	if (result > 0)
		result = make_layer(s, runtime, python, image, below, packages, &m, err);
	if (!result) {
		memcpy(hash, m.hash, sizeof m.hash);
		*path = steal_pointer(&m.final);
	}
	making_done(&m);
	return result;
}

int layers_find(struct sandbox *s, const char *runtime, const struct python *python, const struct image *image,
		const cJSON *packages, struct layer_chain *chain, struct error *err)
{
	char base[LAYER_HASH_SIZE], top[LAYER_HASH_SIZE], below[2 * LAYER_HASH_SIZE];
	char *first = NULL;

	*chain = (struct layer_chain){ { NULL } };
	if (ensure_layer(s, runtime, python, image->base ? image : NULL, "base 1", "", NULL, NULL, &first, base, err))
		return -1;
	chain->paths[0] = first;
	if (!cJSON_GetArraySize(packages))
		return 0;
	chain->paths[1] = first;
	chain->paths[0] = NULL;
	/* What is compiled while it is installed finds what the image has. */
	(void)snprintf(below, sizeof below, "%s%s", base, image->hash);
	if (!ensure_layer(s, runtime, python, image, "packages 1", below, first, packages, &chain->paths[0], top, err))
		return 0;
	chain->paths[0] = first;
	chain->paths[1] = NULL;
	layers_free(chain);
	return -1;
}

void layers_free(struct layer_chain *chain)
{
	for (size_t i = 0; i < LAYERS_MAX; i++) {
		free(chain->paths[i]);
		chain->paths[i] = NULL;
	}
}

/* ---- Jupyter ---- */

char *layers_jupyter_folder(const struct state *state, const struct python *python, struct error *err)
{
	char key[LAYER_HASH_SIZE], *path;

	if (layer_hash("jupyter's folder 1", python, "", NULL, key, err))
		return NULL;
	if (asprintf(&path, "%s/jupyter/%s", state->path, key) < 0) {
		(void)error_memory(err);
		return NULL;
	}
	if (!file_make_folders(AT_FDCWD, path, 0755, err))
		return path;
	free(path);
	return NULL;
}

/* The box that filled the folder has ended. What its programs left in these places goes: a link would
 * have the host's files written. */
static int write_kernel(const char *folder, const char *inside, const char *agent_python, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(8192);
	cleanup_close int dir = file_open_folder(AT_FDCWD, folder, err);

	if (dir < 0)
		return -1;
	if (jupyter_kernel(&text, agent_python, inside))
		return error_memory(err);
	if (file_remove_tree(dir, "data", err) || file_remove_tree(dir, "launch.py", err) ||
	    file_remove_tree(dir, "serve.py", err) || file_make_folders(dir, "data/kernels/python3", 0755, err) ||
	    file_replace(dir, "launch.py", jupyter_launcher, strlen(jupyter_launcher), 0644, false, err) ||
	    file_replace(dir, "serve.py", jupyter_server_launcher, strlen(jupyter_server_launcher), 0644, false, err))
		return -1;
	return file_replace(dir, "data/kernels/python3/kernel.json", text.data, text.length, 0644, false, err);
}

static int fill_jupyter(struct build *b, bool uv, const struct python *python, const char *inside,
			const cJSON *packages, struct error *err)
{
	cleanup_free char *venv = NULL, *venv_python = NULL, *kernel_folder = NULL;
	cJSON *server = NULL, *kernel = NULL;
	int status = 0, result;

	if (asprintf(&venv, "%s/server", inside) < 0 || asprintf(&venv_python, "%s/server/bin/python", inside) < 0 ||
	    asprintf(&kernel_folder, "%s/kernel", inside) < 0)
		return error_memory(err);
	result = jupyter_part(packages, &server, &kernel, err);
	if (!result)
		result = run(b, &status, err, python->exe, "-m", "venv", "--without-pip", venv);
	if (!result && status)
		result = commands_failed(&b->commands, "cannot make Jupyter's environment", err);
	if (!result)
		result = install(b, uv, venv_python, NULL, server, err) ||
			 install(b, uv, VENV_PYTHON, kernel_folder, kernel, err) ? -1 : 0;
	cJSON_Delete(server);
	cJSON_Delete(kernel);
	return result;
}

static int make_jupyter(struct sandbox *s, const char *runtime, const struct python *python, const struct image *image,
			const struct layer_chain *chain, const cJSON *packages, const struct making *m,
			const char *inside, struct error *err)
{
	struct build b;
	cleanup_free char *made = NULL;
	const char *const lowers[] = { chain->paths[1] ? chain->paths[1] : chain->paths[0], NULL }; /* the base */
	bool uv = false;
	int result = making_open(m, &b, s, image->base ? image : NULL, err);

	if (!result && asprintf(&made, "%s/jupyter", b.box.path) < 0) {
		made = NULL;
		result = error_memory(err);
	}
	if (!result)
		result = file_make_folder(AT_FDCWD, made, 0755, err) || plan_layers(&b.plan, lowers, err) ||
			 plan_python(&b.plan, python, err) || layers_bind_uv(&b, &uv, err) ||
			 plan_bind(&b.plan, made, inside, true, err) || build_start(&b, runtime, err) ? -1 : 0;
	failpoint("jupyter-building");
	if (!result)
		result = fill_jupyter(&b, uv, python, inside, packages, err);
	if (!result)
		result = build_stop(&b, err) || write_kernel(made, inside, VENV_PYTHON, err) ? -1 : 0;
	if (!result)
		result = making_publish(m, made, err);
	build_close(&b);
	return result;
}

int layers_jupyter(struct sandbox *s, const char *runtime, const struct python *python, const struct image *image,
		   const struct layer_chain *chain, const cJSON *packages, struct sandbox_jupyter *jupyter,
		   struct error *err)
{
	struct making m = MAKING;
	cleanup_free char *folder = layers_jupyter_folder(s->state, python, err), *inside = NULL;
	int result;

	*jupyter = (struct sandbox_jupyter){ NULL, NULL, NULL };
	if (!folder || layer_hash("jupyter 2", python, "", packages, m.hash, err))
		return -1;
	if (asprintf(&inside, PLAN_JUPYTER "/%s", m.hash) < 0) {
		inside = NULL;
		return error_memory(err);
	}
	result = making_claim(&m, s, folder, err);
	if (result > 0)
		result = make_jupyter(s, runtime, python, image, chain, packages, &m, inside, err);
	making_done(&m);
	if (result)
		return -1;
	if (asprintf(&jupyter->python, "%s/server/bin/python", inside) < 0 ||
	    asprintf(&jupyter->serve, "%s/serve.py", inside) < 0 ||
	    asprintf(&jupyter->data, "%s/data", inside) < 0)
		return error_memory(err);
	return 0;
}
