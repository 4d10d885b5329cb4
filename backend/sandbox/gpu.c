#include "backend/sandbox/gpu.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/yaml_json.h"

#define DRIVER "/proc/driver/nvidia/gpus"
#define INFORMATION_MAX 8192u
#define SPEC_MAX (1u << 20)
#define NAMES_MAX 512

/* ---- what there is ---- */

static cJSON *add_node(cJSON *nodes, const char *path)
{
	cJSON *node = cJSON_CreateObject();

	if (node && cJSON_AddStringToObject(node, "path", path) && cJSON_AddItemToArray(nodes, node))
		return node;
	cJSON_Delete(node);
	return NULL;
}

/* What every GPU of NVIDIA's needs beside its own node. */
static bool add_control_nodes(cJSON *nodes)
{
	static const char *const paths[] = { "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools",
					     "/dev/nvidia-modeset" };

	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		if (!access(paths[i], F_OK) && !add_node(nodes, paths[i]))
			return false;
	return true;
}

/* The value behind "Name:" in the driver's text; "" when it is not there. */
static void find_line(const char *text, const char *name, char *out, size_t size)
{
	const char *at = strstr(text, name);

	at = at ? at + strlen(name) + strspn(at + strlen(name), ": \t") : "";
	(void)snprintf(out, size, "%.*s", (int)strcspn(at, "\n"), at);
}

static int add_nvidia(struct gpus *gpus, const char *text, struct error *err)
{
	struct gpu *gpu = &gpus->list[gpus->count];
	char minor[16], path[64];
	cJSON *nodes;

	find_line(text, "Model", gpu->model, sizeof gpu->model);
	find_line(text, "Device Minor", minor, sizeof minor);
	find_line(text, "GPU UUID", gpu->uuid, sizeof gpu->uuid);
	if (!*gpu->model || !*minor || minor[strspn(minor, "0123456789")])
		return error_set(err, EINVAL, "the driver's description of a GPU is not understood");
	(void)snprintf(gpu->id, sizeof gpu->id, "nvidia%s", minor);
	(void)snprintf(path, sizeof path, "/dev/nvidia%s", minor);
	gpu->edits = cJSON_CreateObject();
	nodes = cJSON_AddArrayToObject(gpu->edits, "deviceNodes");
	if (!nodes || !add_node(nodes, path) || !add_control_nodes(nodes)) {
		cJSON_Delete(gpu->edits);
		return error_memory(err);
	}
	gpus->count++;
	return 0;
}

static void find_nvidia(struct gpus *gpus, void (*log)(void *, const char *), void *context)
{
	cleanup_dir DIR *dir = opendir(DRIVER);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)) && gpus->count < GPUS_MAX) {
		cleanup_buffer struct buffer text = BUFFER(INFORMATION_MAX);
		char path[300];
		struct error err;

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof path, "%s/information", entry->d_name);
		if ((file_read(dirfd(dir), path, &text, &err) < 0 || add_nvidia(gpus, text.data ? text.data : "", &err) < 0) &&
		    log)
			log(context, err.text);
	}
}

/* Appends the members of one's lists to the other's: a specification's edits are for each device. */
static bool merge(cJSON *edits, const cJSON *more)
{
	static const char *const lists[] = { "env", "deviceNodes", "mounts" };

	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		cJSON *list = cJSON_GetObjectItemCaseSensitive(edits, lists[i]);
		const cJSON *item;

		if (!cJSON_IsArray(list)) {
			cJSON_DeleteItemFromObjectCaseSensitive(edits, lists[i]);
			list = cJSON_AddArrayToObject(edits, lists[i]);
		}
		if (!list)
			return false;
		cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(more, lists[i]))
			if (!cJSON_AddItemToArray(list, cJSON_Duplicate(item, true)))
				return false;
	}
	return true;
}

int gpus_add_cdi(struct gpus *gpus, const char *text, size_t n, struct error *err)
{
	cJSON *spec = yaml_json(text, n, err);
	const char *kind = json_string(spec, "kind");
	const cJSON *edits = cJSON_GetObjectItemCaseSensitive(spec, "containerEdits"), *device;
	int result = 0;

	if (!spec)
		return -1;
	if (!kind || !strchr(kind, '/')) {
		cJSON_Delete(spec);
		return error_set(err, EINVAL, "kind is missing");
	}
	cJSON_ArrayForEach(device, cJSON_GetObjectItemCaseSensitive(spec, "devices")) {
		const char *name = json_string(device, "name");
		struct gpu *gpu = &gpus->list[gpus->count];

		/* "all" is every other one once more. */
		if (!name || !strcmp(name, "all") || gpus->count == GPUS_MAX)
			continue;
		(void)snprintf(gpu->id, sizeof gpu->id, "%s=%s", kind, name);
		for (char *c = gpu->id; *c; c++)
			*c = *c == '/' ? '-' : *c;
		(void)snprintf(gpu->model, sizeof gpu->model, "%s", name);
		gpu->edits = cJSON_CreateObject();
		if (!gpu->edits || !merge(gpu->edits, cJSON_GetObjectItemCaseSensitive(device, "containerEdits")) ||
		    !merge(gpu->edits, edits)) {
			cJSON_Delete(gpu->edits);
			result = error_memory(err);
			break;
		}
		gpus->count++;
	}
	cJSON_Delete(spec);
	return result;
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n > m && !strcmp(text + n - m, end);
}

static void read_specs(struct gpus *gpus, const char *folder, void (*log)(void *, const char *), void *context)
{
	cleanup_dir DIR *dir = opendir(folder);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		cleanup_buffer struct buffer text = BUFFER(SPEC_MAX);
		struct error err;

		if (!ends_with(entry->d_name, ".json") && !ends_with(entry->d_name, ".yaml") && !ends_with(entry->d_name, ".yml"))
			continue;
		if ((file_read(dirfd(dir), entry->d_name, &text, &err) < 0 ||
		     gpus_add_cdi(gpus, text.data ? text.data : "", text.length, &err) < 0) && log) {
			(void)error_wrap(&err, "%s/%s", folder, entry->d_name);
			log(context, err.text);
		}
	}
}

bool gpus_driver(void)
{
	return !access(DRIVER, F_OK);
}

void gpus_find(struct gpus *gpus, bool specified, void (*log)(void *, const char *), void *context)
{
	const char *own = getenv("INTERPFS_CDI");
	cleanup_free char *folders = strdup(own ? own : "/etc/cdi:/var/run/cdi");
	char *rest = folders;

	memset(gpus, 0, sizeof *gpus);
	if (!specified)
		find_nvidia(gpus, log, context);
	/* Where the driver is here, NVIDIA's own specification says the same once more. */
	if (gpus->count)
		return;
	for (const char *folder; (folder = strsep(&rest, ":"));)
		read_specs(gpus, folder, log, context);
}

void gpus_free(struct gpus *gpus)
{
	for (size_t i = 0; i < gpus->count; i++)
		cJSON_Delete(gpus->list[i].edits);
	gpus->count = 0;
}

/* ---- who has which ---- */

/* Whether it stands in the model as a word: "A100" in "NVIDIA A100-SXM4-80GB", and not in "A1000". */
static bool is_meant(const struct gpu *gpu, const char *wanted)
{
	size_t n = strlen(wanted);

	if (!strcasecmp(wanted, "any"))
		return true;
	for (const char *at = gpu->model; *at; at++)
		if (!strncasecmp(at, wanted, n) && !isalnum((unsigned char)at[n]) &&
		    (at == gpu->model || !isalnum((unsigned char)at[-1])))
			return true;
	return false;
}

static void drop(struct gpus *gpus, size_t i)
{
	cJSON_Delete(gpus->list[i].edits);
	gpus->count--;
	memmove(&gpus->list[i], &gpus->list[i + 1], (gpus->count - i) * sizeof gpus->list[0]);
}

/* "2 A100, NVIDIA L4" */
static void name_all(const struct gpus *gpus, char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < gpus->count && used < size; i++) {
		size_t same = 0, before = 0;

		for (size_t k = 0; k < gpus->count; k++) {
			same += !strcmp(gpus->list[i].model, gpus->list[k].model);
			before += k < i && !strcmp(gpus->list[i].model, gpus->list[k].model);
		}
		if (!before)
			used += (size_t)snprintf(out + used, size - used, "%s%zu %s", used ? ", " : "", same, gpus->list[i].model);
	}
}

/* The serial of the sandbox that has it now; 0: it is free. */
static uint64_t owner(const struct state *state, int folder, const struct gpu *gpu)
{
	cleanup_buffer struct buffer text = BUFFER(64);
	cleanup_close int object = -1;
	struct status status;
	struct error ignored;
	char path[64];
	uint64_t serial;

	if (file_read(folder, gpu->id, &text, &ignored) < 0 || !text.length)
		return 0;
	serial = strtoull(text.data, NULL, 10);
	(void)snprintf(path, sizeof path, "sandboxes/%" PRIu64, serial);
	object = file_open_folder(state->fd, path, &ignored);
	if (object < 0 || status_read(object, &status, &ignored) < 0 || status_resting(OBJECT_SANDBOX, status.state))
		return 0;
	return serial;
}

static int keep(int folder, const struct gpus *gpus, uint64_t serial, struct error *err)
{
	char text[24];
	int n = snprintf(text, sizeof text, "%" PRIu64 "\n", serial);

	for (size_t i = 0; i < gpus->count; i++)
		if (file_replace(folder, gpus->list[i].id, text, (size_t)n, 0600, false, err) < 0)
			return -1;
	return 0;
}

int gpus_claim(struct gpus *gpus, const char *wanted, int count, const struct state *state, uint64_t serial,
	       struct error *err)
{
	cleanup_close int folder = -1, lock = -1;
	char names[NAMES_MAX];
	size_t meant = 0;

	name_all(gpus, names, sizeof names);
	for (size_t i = gpus->count; i-- > 0;)
		if (!is_meant(&gpus->list[i], wanted))
			drop(gpus, i);
	if (gpus->count < (size_t)count)
		return error_set(err, ENODEV, "gpu: this machine has %s, not %d %s", *names ? names : "no GPU", count, wanted);
	meant = gpus->count;
	if (file_make_folder(state->fd, "gpus", 0700, err) < 0)
		return -1;
	folder = file_open_folder(state->fd, "gpus", err);
	if (folder < 0)
		return -1;
	lock = openat(folder, ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	while (lock >= 0 && flock(lock, LOCK_EX) < 0)
		if (errno != EINTR)
			return error_errno(err, "gpus");
	if (lock < 0)
		return error_errno(err, "gpus");
	for (size_t i = gpus->count; i-- > 0;) {
		uint64_t other = owner(state, folder, &gpus->list[i]);

		if (other && other != serial)
			drop(gpus, i);
	}
	if (gpus->count < (size_t)count)
		return error_set(err, EBUSY, "gpu: %zu of %zu %s are in use by other sandboxes", meant - gpus->count, meant, wanted);
	while (gpus->count > (size_t)count)
		drop(gpus, gpus->count - 1);
	return keep(folder, gpus, serial, err);
}

int gpus_tell(cJSON *info)
{
	cJSON *list = cJSON_AddArrayToObject(info, "gpus");
	struct gpus gpus;
	bool good = list;

	gpus_find(&gpus, false, NULL, NULL);
	for (size_t i = 0; i < gpus.count && good; i++) {
		cJSON *gpu = cJSON_CreateObject();

		good = cJSON_AddStringToObject(gpu, "id", gpus.list[i].id) && cJSON_AddStringToObject(gpu, "model", gpus.list[i].model) &&
		       cJSON_AddItemToArray(list, gpu);
		if (!good)
			cJSON_Delete(gpu);
	}
	gpus_free(&gpus);
	return good ? 0 : -1;
}
