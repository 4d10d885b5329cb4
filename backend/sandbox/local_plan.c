/* What a sandbox of the backend local sees: its system, layers and interpreter, GPUs, the way out of a listed
 * network, models, the workspace, the user's own folders, variables, limits. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/gate.h"
#include "backend/sandbox/gpu.h"
#include "backend/sandbox/local_own.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

static int add_env(struct plan *plan, const struct sandbox *s, struct error *err)
{
	const cJSON *item;

	if (plan_env(plan, "PYTHONPATH", "/workspace/libraries:/workspace/.modules:" PLAN_PACKAGES "/current", err))
		return -1;
	cJSON_ArrayForEach(item, sandbox_field(s, "env"))
	{
		cleanup_free char *number = cJSON_IsString(item) ? NULL : cJSON_PrintUnformatted(item);
		const char *text = number ? number : cJSON_GetStringValue(item);

		if (!text)
			return error_memory(err);
		if (plan_env(plan, item->string, text, err))
			return -1;
	}
	return 0;
}

static int add_way_out(struct plan *plan, const struct sandbox *s, struct error *err)
{
	cleanup_free char *trusted = NULL;

	for (const struct gate_variable *v = gate_environment(s); v->name; v++)
		if (plan_env(plan, v->name, v->value, err))
			return -1;
	if (!gate_has_secrets(s))
		return 0;
	if (asprintf(&trusted, "%s/" GATE_TRUSTED, s->folder_path) < 0)
		return error_memory(err);
	return gate_write_trusted(s, err) || plan_bind(plan, trusted, GATE_TRUSTED_INSIDE, false, err) ? -1 : 0;
}

/* What a CDI specification, or gpu.c in its place, says of one GPU. */
static int add_edits(struct plan *plan, const cJSON *edits, struct error *err)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(edits, "env")) {
		cleanup_free char *name = strdup(cJSON_IsString(item) ? item->valuestring : "");
		char *value = name ? strchr(name, '=') : NULL;

		if (!value)
			continue;
		*value++ = '\0';
		if (plan_env(plan, name, value, err))
			return -1;
	}
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(edits, "deviceNodes")) {
		const char *path = json_string(item, "path"), *host = json_string(item, "hostPath");

		if (!path || *path != '/')
			continue;
		if (access(host ? host : path, F_OK))
			return error_errno(err, "gpu: %s", host ? host : path);
		if (plan_device(plan, host ? host : path, path, err))
			return -1;
	}
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(edits, "mounts")) {
		const char *host = json_string(item, "hostPath"), *inside = json_string(item, "containerPath");

		/* What is below /usr of the host's is inside already. */
		if (!host || !inside || *inside != '/' || (!plan->base && !strcmp(host, inside) && !strncmp(inside, "/usr/", 5)))
			continue;
		if (plan_bind(plan, host, inside, false, err))
			return -1;
	}
	return 0;
}

static void say(void *context, const char *line)
{
	sandbox_say(context, line);
}

static int add_gpus(struct plan *plan, struct sandbox *s, struct local *l, struct error *err)
{
	const char *wanted = sandbox_text(s, "gpu");
	struct gpus gpus;
	int result;

	cJSON_Delete(l->gpus);
	l->gpus = NULL;
	if (!wanted)
		return 0;
	gpus_find(&gpus, false, say, s);
	l->gpus = cJSON_CreateArray();
	result = l->gpus ? gpus_claim(&gpus, wanted, (int)sandbox_number(s, "gpu_count", 1), s->state, s->serial, err)
			 : error_memory(err);
	for (size_t i = 0; !result && i < gpus.count; i++) {
		cJSON *told = cJSON_CreateString(gpus.list[i].model);

		result = add_edits(plan, gpus.list[i].edits, err);
		if (!cJSON_AddItemToArray(l->gpus, told)) {
			cJSON_Delete(told);
			result = error_memory(err);
		}
	}
	gpus_free(&gpus);
	return result;
}

static int add_workspace(struct plan *plan, const struct sandbox *s, struct error *err)
{
	for (size_t i = 0; i < SANDBOX_WORKSPACE_PARTS; i++) {
		cleanup_free char *path = NULL;
		const char *inside;
		int found = sandbox_workspace(s, i, &path, &inside, err);

		if (found < 0 || (found && plan_bind(plan, path, inside, false, err)))
			return -1;
	}
	return 0;
}

/* Bound also where nothing is installed yet: a folder that comes later could not be. Which it is, a later
 * runner reads in ctl/packages: by then the host may have another interpreter. */
static int add_packages(struct plan *plan, struct sandbox *s, struct local *l, struct error *err)
{
	const struct libraries wanted = local_libraries_of(s, l);
	cleanup_free char *folder = NULL;
	int found = libraries_folder(&wanted, &folder, err);

	if (found <= 0)
		return found;
	return file_swap(l->box.ctl, "packages", folder, strlen(folder), 0600, err) ||
	       plan_bind(plan, folder, PLAN_PACKAGES, false, err) ? -1 : 0;
}

static bool below(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	return !strncmp(path, folder, n) && (path[n] == '/' || !path[n]);
}

static int check_destination(const char *path, struct error *err)
{
	static const char *const taken[] = { "/proc", "/sys", "/dev", "/run", PLAN_LAYERS };
	static const char *const whole[] = { "/", "/usr", "/etc", "/opt", "/bin", "/sbin", "/lib", "/lib64", "/tmp",
					     "/var", "/root", "/workspace" };
	bool good = *path == '/' && !strstr(path, "/../") && !strstr(path, "//");

	for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
		good = good && !below(path, taken[i]);
	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
		good = good && strcmp(path, whole[i]);
	return good ? 0 : error_set(err, EINVAL, "local_dirs: nothing can be put at '%s' inside", path);
}

static int add_folders(struct plan *plan, const struct sandbox *s, struct error *err)
{
	const cJSON *pair;
	int n = 0;

	cJSON_ArrayForEach(pair, sandbox_field(s, "local_dirs"))
	{
		const char *from = cJSON_GetStringValue(cJSON_GetArrayItem(pair, 0));
		const char *to = cJSON_GetStringValue(cJSON_GetArrayItem(pair, 1));
		cleanup_free char *source = from && to ? sandbox_host_path(from, err) : NULL;
		const char *lowers[] = { source, NULL };
		struct stat st;
		char name[16];

		if (!from || !to)
			return error_set(err, EINVAL, "local_dirs: each is [here, there]");
		if (!source || check_destination(to, err))
			return -1;
		if (stat(source, &st))
			return error_errno(err, "local_dirs: %s", source);
		if (!S_ISDIR(st.st_mode))
			return error_set(err, ENOTDIR, "local_dirs: %s is not a folder; files belong to local_files", source);
		(void)snprintf(name, sizeof name, "dir-%d", n++);
		if (plan_overlay(plan, to, name, lowers, err))
			return -1;
	}
	return 0;
}

static int add_jupyter(struct plan *plan, const struct sandbox *s, const struct local *l, struct error *err)
{
	cleanup_free char *folder = layers_jupyter_folder(s->state, &l->python, err);

	return folder ? plan_bind(plan, folder, PLAN_JUPYTER, false, err) : -1;
}

int local_plan(struct plan *plan, struct sandbox *s, struct local *l, struct error *err)
{
	char hostname[64];

	plan->parts = l->parts.paths;
	sandbox_hostname(s->name, hostname);
	if (plan_system(plan, s->state, &l->box, &l->image, hostname, &l->uplink, err))
		return -1;
	if (l->layers.paths[0] && plan_layers(plan, (const char *const *)l->layers.paths, err))
		return -1;
	if (l->python.exe && (plan_python(plan, &l->python, err) || add_jupyter(plan, s, l, err)))
		return -1;
	if (add_gpus(plan, s, l, err) || add_way_out(plan, s, err) || sandbox_models_plan(plan, &l->models, err) ||
	    add_env(plan, s, err) || add_workspace(plan, s, err) || add_packages(plan, s, l, err) || add_folders(plan, s, err))
		return -1;
	plan->bundle.timeout = (uint64_t)sandbox_number(s, "timeout", 3600);
	if (!plan->bundle.user) {
		plan->bundle.memory = (uint64_t)sandbox_number(s, "memory", 0);
		plan->bundle.cpu = sandbox_number(s, "cpu", 0);
	}
	return 0;
}
