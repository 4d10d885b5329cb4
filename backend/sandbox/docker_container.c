/* A sandbox's container: what it is made of, and what the engine says of it. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/bundle.h"
#include "base/cleanup.h"
#include "base/file.h"

#define SHARED_MEMORY (8ull << 30) /* at most; the engine's own 64 MB is too little for PyTorch's loaders */

/* cJSON tells of missing memory by NULL at every step, and adds nothing to NULL. */
static bool add_text(cJSON *object, const char *name, const char *text)
{
	return cJSON_AddStringToObject(object, name, text);
}

static bool add_number(cJSON *object, const char *name, double number)
{
	return cJSON_AddNumberToObject(object, name, number);
}

static bool add_flag(cJSON *object, const char *name, bool flag)
{
	return cJSON_AddBoolToObject(object, name, flag);
}

static bool append_text(cJSON *array, const char *text)
{
	cJSON *item = cJSON_CreateString(text);

	if (cJSON_AddItemToArray(array, item))
		return true;
	cJSON_Delete(item);
	return false;
}

static bool append(cJSON *array, cJSON *item)
{
	if (item && cJSON_AddItemToArray(array, item))
		return true;
	cJSON_Delete(item);
	return false;
}

cJSON *docker_labels(const struct sandbox *s, const char *kind)
{
	cJSON *labels = cJSON_CreateObject();

	if (add_text(labels, DOCKER_STATE, s->state->id) && add_text(labels, DOCKER_KIND, kind))
		return labels;
	cJSON_Delete(labels);
	return NULL;
}

/* ---- what it is made of ---- */

static bool add_environment(cJSON *body, const struct sandbox *s)
{
	static const char python[] = "PYTHONPATH=/workspace/libraries:/workspace/.modules";
	cJSON *env = cJSON_AddArrayToObject(body, "Env");
	const cJSON *item;
	bool good = append_text(env, python);

	cJSON_ArrayForEach(item, sandbox_field(s, "env"))
	{
		cleanup_free char *variable = NULL;

		good = good && asprintf(&variable, "%s=%s", item->string, cJSON_GetStringValue(item)) >= 0 &&
		       append_text(env, variable);
	}
	return good;
}

static cJSON *bind_mount(const char *source, const char *target)
{
	cJSON *mount = cJSON_CreateObject();

	if (mount && add_text(mount, "Type", "bind") && add_text(mount, "Source", source) &&
	    add_text(mount, "Target", target) && add_flag(mount, "ReadOnly", true))
		return mount;
	cJSON_Delete(mount);
	return NULL;
}

static int add_mounts(cJSON *host, const struct sandbox *s, struct error *err)
{
	cJSON *mounts = cJSON_AddArrayToObject(host, "Mounts");
	bool good = append(mounts, docker_store_mount(s, false));

	for (size_t i = 0; good && i < SANDBOX_WORKSPACE_PARTS; i++) {
		cleanup_free char *path = NULL;
		const char *inside;
		int found = sandbox_workspace(s, i, &path, &inside, err);

		if (found < 0)
			return -1;
		good = !found || append(mounts, bind_mount(path, inside));
	}
	return good ? 0 : error_memory(err);
}

static bool add_limits(cJSON *host, const struct sandbox *s)
{
	double memory = sandbox_number(s, "memory", 0), cpu = sandbox_number(s, "cpu", 0);

	return (memory <= 0 || (add_number(host, "Memory", memory) && add_number(host, "MemorySwap", memory))) &&
	       (cpu <= 0 || add_number(host, "NanoCpus", cpu * 1e9)) &&
	       add_number(host, "ShmSize", memory > 0 ? memory : (double)SHARED_MEMORY) &&
	       add_number(host, "PidsLimit", BUNDLE_PIDS);
}

static bool add_rights(cJSON *host)
{
	cJSON *drop = cJSON_AddArrayToObject(host, "CapDrop"), *add = cJSON_AddArrayToObject(host, "CapAdd");
	cJSON *options = cJSON_AddArrayToObject(host, "SecurityOpt");
	bool good = append_text(drop, "ALL") && append_text(options, "no-new-privileges");

	for (size_t i = 0; good && bundle_capabilities[i]; i++)
		good = append_text(add, bundle_capabilities[i] + strlen("CAP_"));
	return good;
}

/* What the container is; its image and its labels come later. A place for GPUs is here: HostConfig's
 * DeviceRequests (Docker), or the devices of Podman's own create call. */
static cJSON *make_body(const struct sandbox *s, struct error *err)
{
	const struct docker *d = docker_own(s);
	const char *network = sandbox_text(s, "network");
	cJSON *body = cJSON_CreateObject(), *host = cJSON_AddObjectToObject(body, "HostConfig");
	cJSON *entry = cJSON_AddArrayToObject(body, "Entrypoint"), *check = cJSON_AddObjectToObject(body, "Healthcheck");
	cJSON *log = cJSON_AddObjectToObject(host, "LogConfig");
	char hostname[64];

	sandbox_hostname(s->name, hostname);
	if (append_text(entry, d->guest) && append_text(entry, "engine") && add_text(body, "User", "0:0") &&
	    add_text(body, "WorkingDir", "/") && add_text(body, "Hostname", hostname) && add_flag(body, "OpenStdin", true) &&
	    add_flag(body, "StdinOnce", true) && add_flag(body, "Tty", false) && add_environment(body, s) &&
	    append_text(cJSON_AddArrayToObject(check, "Test"), "NONE") &&
	    add_text(log, "Type", "none") && /* frames are nothing for a log */
	    (!network || strcmp(network, "none") || add_text(host, "NetworkMode", "none")) &&
	    add_rights(host) && add_limits(host, s)) {
		if (!add_mounts(host, s, err))
			return body;
	} else {
		(void)error_memory(err);
	}
	cJSON_Delete(body);
	return NULL;
}

/* The hash of all that cannot change in a container once it is made. */
static int hash_body(const struct sandbox *s, const cJSON *body, char out[DOCKER_HASH_SIZE], struct error *err)
{
	static const char *const changing[] = { "Memory", "MemorySwap", "NanoCpus", "ShmSize" };
	cJSON *copy = cJSON_Duplicate(body, true), *host = cJSON_GetObjectItemCaseSensitive(copy, "HostConfig");
	const char *image = sandbox_text(s, "image");
	cleanup_free char *text = NULL;

	for (size_t i = 0; i < sizeof changing / sizeof *changing; i++)
		cJSON_DeleteItemFromObjectCaseSensitive(host, changing[i]);
	cJSON_DeleteItemFromObjectCaseSensitive(copy, "Entrypoint"); /* a newer guest */
	if (copy && add_text(copy, "Image", image ? image : DOCKER_IMAGE))
		text = cJSON_PrintUnformatted(copy);
	cJSON_Delete(copy);
	return text ? docker_hash(text, strlen(text), out, err) : error_memory(err);
}

static cJSON *sandbox_labels(const struct sandbox *s, const char *config)
{
	cJSON *labels = docker_labels(s, "sandbox");
	const char *serial = strrchr(s->id, '-');

	if (labels && add_text(labels, DOCKER_SERIAL, serial ? serial + 1 : "") && add_text(labels, DOCKER_CONFIG, config) &&
	    add_text(labels, "io.interpfs.name", s->name))
		return labels;
	cJSON_Delete(labels);
	return NULL;
}

static int post_create(struct sandbox *s, cJSON *body, const char *config, struct error *err)
{
	cleanup_free char *path = NULL;
	cJSON *labels = sandbox_labels(s, config);

	if (!cJSON_AddItemToObject(body, "Labels", labels) || !add_text(body, "Image", docker_own(s)->image) ||
	    asprintf(&path, "/containers/create?name=%s", s->id) < 0) {
		cJSON_Delete(body);
		return error_memory(err);
	}
	return docker_call(s, "POST", path, body, NULL, err);
}

int docker_create(struct sandbox *s, struct error *err)
{
	cleanup_found struct docker_found found = { DOCKER_ABSENT };
	char config[DOCKER_HASH_SIZE];
	cJSON *body = make_body(s, err);

	if (!body)
		return -1;
	if (hash_body(s, body, config, err) || docker_inspect(s, false, &found, err)) {
		cJSON_Delete(body);
		return -1;
	}
	if (found.state == DOCKER_ABSENT)
		return post_create(s, body, config, err);
	cJSON_Delete(body);
	return 0;
}

/* ---- what the engine says of it ---- */

static const cJSON *member(const cJSON *object, const char *a, const char *b)
{
	const cJSON *inner = cJSON_GetObjectItemCaseSensitive(object, a);

	return b ? cJSON_GetObjectItemCaseSensitive(inner, b) : inner;
}

int docker_inspect(const struct sandbox *s, bool uncancelled, struct docker_found *found, struct error *err)
{
	cleanup_free char *path = docker_path(s, "/json");
	struct engine_request request = { .method = "GET", .path = path, .uncancelled = uncancelled };
	struct engine_answer answer;
	struct error why;
	const char *status, *config, *guest;

	*found = (struct docker_found){ .state = DOCKER_ABSENT };
	if (!path)
		return error_memory(err);
	if (engine_call(docker_own(s)->engine, &request, &answer, &why)) {
		engine_answer_free(&answer);
		if (why.code == ENOENT)
			return 0;
		*err = why;
		return -1;
	}
	found->json = answer.json;
	status = cJSON_GetStringValue(member(found->json, "State", "Status"));
	config = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(member(found->json, "Config", "Labels"), DOCKER_CONFIG));
	guest = cJSON_GetStringValue(cJSON_GetArrayItem(member(found->json, "Config", "Entrypoint"), 0));
	found->state = cJSON_IsTrue(member(found->json, "State", "Running")) ? DOCKER_RUNNING
		       : status && (!strcmp(status, "created") || !strcmp(status, "configured")) ? DOCKER_NEW : DOCKER_ENDED;
	found->removing = status && (!strcmp(status, "removing") || !strcmp(status, "dead"));
	found->out_of_memory = cJSON_IsTrue(member(found->json, "State", "OOMKilled"));
	found->exit = cJSON_IsNumber(member(found->json, "State", "ExitCode")) ? member(found->json, "State", "ExitCode")->valueint : -1;
	(void)snprintf(found->config, sizeof found->config, "%s", config ? config : "");
	(void)snprintf(found->guest, sizeof found->guest, "%s", guest ? guest : "");
	return 0;
}

void docker_found_free(struct docker_found *found)
{
	cJSON_Delete(found->json);
	found->json = NULL;
}

static int describe_limit(cJSON *info, const char *name, double asked, const cJSON *host, const char *field, double scale)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(host, field);
	double in_force = cJSON_IsNumber(value) ? value->valuedouble * scale : 0;

	return sandbox_add_limit(info, name, asked, in_force, sandbox_judge_limit(asked, in_force));
}

int docker_describe(struct sandbox *s, cJSON *info, struct error *err)
{
	cleanup_found struct docker_found found = { DOCKER_ABSENT };
	const cJSON *host;
	const char *network, *image;

	if (docker_inspect(s, false, &found, err))
		return -1;
	host = cJSON_GetObjectItemCaseSensitive(found.json, "HostConfig");
	network = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(host, "NetworkMode"));
	image = cJSON_GetStringValue(member(found.json, "Config", "Image"));
	if (!add_text(info, "backend", "docker") || !add_text(info, "engine", engine_told(docker_own(s)->engine)) ||
	    !add_text(info, "container", s->id) || !add_text(info, "image", image ? image : "") ||
	    !add_text(info, "network", network && !strcmp(network, "none") ? "none" : "bridge") ||
	    !cJSON_AddItemToObject(info, "pid", cJSON_Duplicate(member(found.json, "State", "Pid"), true)))
		return error_memory(err);
	return describe_limit(info, "memory", sandbox_number(s, "memory", 0), host, "Memory", 1) ||
			       describe_limit(info, "cpu", sandbox_number(s, "cpu", 0), host, "NanoCpus", 1e-9) ||
			       describe_limit(info, "pids", BUNDLE_PIDS, host, "PidsLimit", 1)
		       ? error_memory(err) : 0;
}
