/* A sandbox's container: what it is made of, and what the engine says of it. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/bundle.h"
#include "backend/sandbox/gate.h"
#include "backend/sandbox/network.h"
#include "backend/sandbox/seccomp.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

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
	const char *serial = strrchr(s->id, '-');

	if (add_text(labels, DOCKER_STATE, s->state->id) && add_text(labels, DOCKER_KIND, kind) &&
	    (strcmp(kind, "sandbox") || add_text(labels, DOCKER_SERIAL, serial ? serial + 1 : "")))
		return labels;
	cJSON_Delete(labels);
	return NULL;
}

/* ---- what it is made of ---- */

cJSON *docker_bind_mount(const char *source, const char *target)
{
	cJSON *mount = cJSON_CreateObject();

	if (mount && add_text(mount, "Type", "bind") && add_text(mount, "Source", source) &&
	    add_text(mount, "Target", target) && add_flag(mount, "ReadOnly", true))
		return mount;
	cJSON_Delete(mount);
	return NULL;
}

static cJSON *make_mounts(const struct sandbox *s, struct error *err)
{
	cJSON *mounts = cJSON_CreateArray();
	bool good = append(mounts, docker_store_mount(s, false));

	for (size_t i = 0; good && i < SANDBOX_WORKSPACE_PARTS; i++) {
		cleanup_free char *path = NULL;
		const char *inside;
		int found = sandbox_workspace(s, i, &path, &inside, err);

		if (found < 0) {
			cJSON_Delete(mounts);
			return NULL;
		}
		good = !found || append(mounts, docker_bind_mount(path, inside));
	}
	if (good && !docker_bind_packages(s, mounts, err) && !docker_bind_models(s, mounts, err))
		return mounts;
	cJSON_Delete(mounts);
	if (!good)
		(void)error_memory(err);
	return NULL;
}

static bool add_limits(cJSON *host, const struct sandbox *s)
{
	double memory = sandbox_number(s, "memory", 0), cpu = sandbox_number(s, "cpu", 0);

	return (memory <= 0 || (add_number(host, "Memory", memory) && add_number(host, "MemorySwap", memory))) &&
	       (cpu <= 0 || add_number(host, "NanoCpus", cpu * 1e9)) &&
	       add_number(host, "ShmSize", memory > 0 ? memory : (double)SHARED_MEMORY);
}

/* Podman takes the profile by a path on its machine: one in the state directory, where that is this one. 0:
 * *option is the caller's, NULL where no profile can be told, and the engine's own is in force. */
static int seccomp_option(const struct sandbox *s, char **option, struct error *err)
{
	const struct engine *engine = docker_own(s)->engine;
	bool podman = engine_is_podman(engine);
	cJSON *profile = seccomp_profile();
	cleanup_free char *text = profile ? cJSON_PrintUnformatted(profile) : NULL;
	char hash[MAKING_HASH_SIZE], name[96];

	cJSON_Delete(profile);
	*option = NULL;
	if (!text)
		return error_memory(err);
	if (podman && !engine_is_here(engine))
		return 0;
	making_hash(text, strlen(text), hash);
	(void)snprintf(name, sizeof name, "docker/seccomp-%s.json", hash);
	if (podman && faccessat(s->state->fd, name, F_OK, 0) &&
	    (file_make_folder(s->state->fd, "docker", 0700, err) || file_replace(s->state->fd, name, text, strlen(text), 0600, false, err)))
		return -1;
	if ((podman ? asprintf(option, "seccomp=%s/%s", s->state->path, name) : asprintf(option, "seccomp=%s", text)) < 0) {
		*option = NULL;
		return error_memory(err);
	}
	return 0;
}

/* What root inside may do is the same on every backend. NET_ADMIN is the guest's alone, which drops it
 * before anything else runs (backend/guest/engine.c). */
static bool add_rights(cJSON *host, const char *seccomp)
{
	cJSON *drop = cJSON_AddArrayToObject(host, "CapDrop"), *add = cJSON_AddArrayToObject(host, "CapAdd");
	cJSON *options = cJSON_AddArrayToObject(host, "SecurityOpt");
	bool good = append_text(drop, "ALL") && append_text(options, "no-new-privileges") && append_text(add, "NET_ADMIN") &&
		    (!seccomp || append_text(options, seccomp)) && add_text(host, "CgroupnsMode", "private");

	for (size_t i = 0; good && bundle_capabilities[i]; i++)
		good = append_text(add, bundle_capabilities[i] + strlen("CAP_"));
	return good;
}

static bool put(cJSON *object, const char *name, cJSON *item)
{
	if (item && cJSON_AddItemToObject(object, name, item))
		return true;
	cJSON_Delete(item);
	return false;
}

cJSON *docker_guest_body(const struct sandbox *s, cJSON *mounts, cJSON *labels, struct error *err)
{
	const struct docker *d = docker_own(s);
	cJSON *body = cJSON_CreateObject(), *host = cJSON_AddObjectToObject(body, "HostConfig");
	cJSON *entry = cJSON_AddArrayToObject(body, "Entrypoint"), *check = cJSON_AddObjectToObject(body, "Healthcheck");
	cJSON *log = cJSON_AddObjectToObject(host, "LogConfig");
	cleanup_free char *seccomp = NULL;
	bool told, good = put(host, "Mounts", mounts);

	good = put(body, "Labels", labels) && good;
	told = good && seccomp_option(s, &seccomp, err);
	good = good && !told && append_text(entry, d->guest) && append_text(entry, "engine") &&
	       add_text(body, "User", "0:0") && add_text(body, "WorkingDir", "/") && add_flag(body, "OpenStdin", true) &&
	       add_flag(body, "StdinOnce", true) && add_flag(body, "Tty", false) &&
	       append_text(cJSON_AddArrayToObject(check, "Test"), "NONE") &&
	       add_text(log, "Type", "none") && /* frames are nothing for a log */
	       add_number(host, "PidsLimit", BUNDLE_PIDS) && add_rights(host, seccomp);
	if (good)
		return body;
	cJSON_Delete(body);
	if (!told)
		(void)error_memory(err);
	return NULL;
}

static bool add_config(cJSON *body, const struct sandbox *s)
{
	cJSON *host = cJSON_GetObjectItemCaseSensitive(body, "HostConfig");
	const char *network = sandbox_text(s, "network");
	char hostname[64];

	sandbox_hostname(s->name, hostname);
	return add_text(body, "Hostname", hostname) && add_limits(host, s) &&
	       ((!gate_is_wanted(s) && (!network || strcmp(network, "none"))) || add_text(host, "NetworkMode", "none"));
}

/* The hash of all that cannot change in a container once it is made, and is not only a name. */
static int hash_body(const struct sandbox *s, const cJSON *body, char out[MAKING_HASH_SIZE], struct error *err)
{
	static const char *const changing[] = { "Memory", "MemorySwap", "NanoCpus", "ShmSize" };
	cJSON *copy = cJSON_Duplicate(body, true), *host = cJSON_GetObjectItemCaseSensitive(copy, "HostConfig");
	cleanup_free char *text = NULL;

	for (size_t i = 0; i < sizeof changing / sizeof *changing; i++)
		cJSON_DeleteItemFromObjectCaseSensitive(host, changing[i]);
	cJSON_DeleteItemFromObjectCaseSensitive(copy, "Hostname");
	/* A limit can be moved, but not taken away. */
	if (add_flag(copy, "memory", sandbox_number(s, "memory", 0) > 0) && add_flag(copy, "cpu", sandbox_number(s, "cpu", 0) > 0))
		text = cJSON_PrintUnformatted(copy);
	cJSON_Delete(copy);
	if (!text)
		return error_memory(err);
	making_hash(text, strlen(text), out);
	return 0;
}

cJSON *docker_body(const struct sandbox *s, char config[MAKING_HASH_SIZE], struct error *err)
{
	cJSON *mounts = make_mounts(s, err), *body = NULL, *labels;
	char layers[MAKING_HASH_SIZE];

	if (!mounts || docker_layers_hash(s, layers, err)) {
		cJSON_Delete(mounts);
		return NULL;
	}
	body = docker_guest_body(s, mounts, cJSON_CreateObject(), err);
	if (!body)
		return NULL;
	if (!add_config(body, s)) {
		(void)error_memory(err);
	} else if (!docker_add_gpus(body, s, err) && !hash_body(s, body, config, err)) {
		labels = docker_labels(s, "sandbox");
		if (add_text(labels, DOCKER_CONFIG, config) && add_text(labels, DOCKER_IMAGE, docker_image_name(s)) &&
		    add_text(labels, DOCKER_LAYERS, layers) && add_text(labels, DOCKER_NAME, s->name) &&
		    add_text(labels, DOCKER_BASE, docker_own(s)->base ? docker_own(s)->base : "") &&
		    cJSON_ReplaceItemInObjectCaseSensitive(body, "Labels", labels))
			return body;
		cJSON_Delete(labels);
		(void)error_memory(err);
	}
	cJSON_Delete(body);
	return NULL;
}

int docker_create(struct sandbox *s, cJSON *body, const char *image, struct error *err)
{
	cleanup_free char *path = NULL;

	if (!add_text(body, "Image", image) || asprintf(&path, "/containers/create?name=%s", s->id) < 0) {
		cJSON_Delete(body);
		return error_memory(err);
	}
	return docker_call(s, "POST", path, body, NULL, err);
}

/* ---- what the engine says of it ---- */

const cJSON *docker_member(const cJSON *object, const char *a, const char *b)
{
	const cJSON *inner = cJSON_GetObjectItemCaseSensitive(object, a);

	return b ? cJSON_GetObjectItemCaseSensitive(inner, b) : inner;
}

const char *docker_label(const struct docker_found *found, const char *label)
{
	const char *text = json_string(docker_member(found->json, "Config", "Labels"), label);

	return text ? text : "";
}

int docker_inspect(const struct sandbox *s, bool uncancelled, struct docker_found *found, struct error *err)
{
	cleanup_free char *path = docker_path(s->id, "/json");
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
	status = cJSON_GetStringValue(docker_member(found->json, "State", "Status"));
	config = docker_label(found, DOCKER_CONFIG);
	guest = cJSON_GetStringValue(cJSON_GetArrayItem(docker_member(found->json, "Config", "Entrypoint"), 0));
	found->state = cJSON_IsTrue(docker_member(found->json, "State", "Running")) ? DOCKER_RUNNING
		       : status && (!strcmp(status, "created") || !strcmp(status, "configured")) && !*docker_label(found, DOCKER_FILES)
			       ? DOCKER_NEW : DOCKER_ENDED;
	found->removing = status && (!strcmp(status, "removing") || !strcmp(status, "dead"));
	found->out_of_memory = cJSON_IsTrue(docker_member(found->json, "State", "OOMKilled"));
	found->exit = cJSON_IsNumber(docker_member(found->json, "State", "ExitCode")) ? docker_member(found->json, "State", "ExitCode")->valueint : -1;
	(void)snprintf(found->config, sizeof found->config, "%s", config);
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
	double in_force = json_number(host, field, 0) * scale;

	return sandbox_add_limit(info, name, asked, in_force, sandbox_judge_limit(asked, in_force));
}

int docker_describe(struct sandbox *s, cJSON *info, struct error *err)
{
	const struct docker_found *found = &docker_own(s)->started;
	const struct network listed = { .kind = NETWORK_LISTED };
	const cJSON *host;
	const char *network, *image;

	if (docker_is_adopted(s))
		return docker_adopted_describe(s, info, err);
	host = cJSON_GetObjectItemCaseSensitive(found->json, "HostConfig");
	network = json_string(host, "NetworkMode");
	image = cJSON_GetStringValue(docker_member(found->json, "Config", "Image"));
	if (!add_text(info, "backend", "docker") || !add_text(info, "engine", engine_told(docker_own(s)->engine)) ||
	    !add_text(info, "fs", *docker_own(s)->no_root ? docker_own(s)->no_root : "live") || !add_text(info, "container", s->id) || !add_text(info, "image", image ? image : "") ||
	    !add_text(info, "network", gate_is_wanted(s) ? network_told(&listed) : network && !strcmp(network, "none") ? "none" : "bridge") ||
	    !cJSON_AddItemToObject(info, "pid", cJSON_Duplicate(docker_member(found->json, "State", "Pid"), true)))
		return error_memory(err);
	if (docker_own(s)->gpus && !cJSON_AddItemReferenceToObject(info, "gpus", docker_own(s)->gpus))
		return error_memory(err);
	return describe_limit(info, "memory", sandbox_number(s, "memory", 0), host, "Memory", 1) ||
			       describe_limit(info, "cpu", sandbox_number(s, "cpu", 0), host, "NanoCpus", 1e-9) ||
			       describe_limit(info, "pids", BUNDLE_PIDS, host, "PidsLimit", 1)
		       ? error_memory(err) : 0;
}
