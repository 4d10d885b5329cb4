/* What exists of a state directory's on the engines that it has used, by their labels and names, and
 * removing what was left behind. An engine that nobody here ever used is no news when it is not there. */
#include "backend/sandbox/docker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "backend/sandbox/gpu.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define LOOK_MS 3000
#define PROBE_MS 2000
#define REAP_MS 60000
#define ENGINES_MAX 16

static void cleanup_engine_(struct engine **engine) { engine_close(*engine); }
#define cleanup_engine __attribute__((cleanup(cleanup_engine_)))

/* ---- the engines ---- */

struct addresses {
	const struct state *state;
	char *list[ENGINES_MAX];
	size_t count;
};

static void add_address(struct addresses *a, const char *address)
{
	for (size_t i = 0; i < a->count; i++)
		if (!strcmp(a->list[i], address))
			return;
	if (*address && a->count < ENGINES_MAX && (a->list[a->count] = strdup(address)))
		a->count++;
}

static void add_recorded(struct addresses *a, int folder, const char *name)
{
	cleanup_buffer struct buffer text = BUFFER(4096);
	struct error ignored;

	if (file_read(folder, name, &text, &ignored) || !text.length)
		return;
	text.data[strcspn(text.data, "\n")] = '\0';
	add_address(a, text.data);
}

static int add_sandboxes(void *context, uint64_t serial)
{
	struct addresses *a = context;
	char path[64];

	(void)snprintf(path, sizeof path, "sandboxes/%" PRIu64 "/engine", serial);
	add_recorded(a, a->state->fd, path);
	return 0;
}

/* Where its sandboxes are, where its store was put, and where the next one would be. *used: how many of them
 * it has used. */
static int find_addresses(struct state *state, struct addresses *a, size_t *used, struct error *err)
{
	cleanup_dir DIR *dir = NULL;
	const struct dirent *entry;
	struct engine *engine;
	struct error ignored;
	int folder = openat(state->fd, "docker", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	a->state = state;
	if (state_each_serial(state, OBJECT_SANDBOX, add_sandboxes, a, err)) {
		if (folder >= 0)
			(void)close(folder);
		return -1;
	}
	if (folder >= 0 && !(dir = fdopendir(folder)))
		(void)close(folder);
	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, "store-", 6))
			add_recorded(a, dirfd(dir), entry->d_name);
	*used = a->count;
	if (!engine_open(&engine, NULL, NULL, &ignored)) {
		add_address(a, engine_address(engine));
		engine_close(engine);
	}
	return 0;
}

/* ---- what it is ---- */

static const struct { const char *theirs, *ours; } told[] = {
	{ "ServerVersion", "version" }, { "NCPU", "cpus" }, { "MemTotal", "memory" }, { "OperatingSystem", "system" },
	{ "KernelVersion", "kernel" }, { "Architecture", "architecture" }, { "Driver", "storage" },
	{ "CgroupVersion", "cgroups" }, { "DefaultRuntime", "runtime" },
};
static const struct { const char *theirs, *ours; } limits[] = {
	{ "MemoryLimit", "memory" }, { "CpuCfsQuota", "cpu" }, { "PidsLimit", "pids" },
};

static int add_told(cJSON *info, const cJSON *all)
{
	cJSON *force;

	for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
		cJSON *item = cJSON_GetObjectItemCaseSensitive(all, told[i].theirs), *copy = item ? cJSON_Duplicate(item, false) : NULL;

		if (item && (!copy || !cJSON_AddItemToObject(info, told[i].ours, copy))) {
			cJSON_Delete(copy);
			return -1;
		}
	}
	force = cJSON_AddObjectToObject(info, "limits");
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
		if (!cJSON_AddStringToObject(force, limits[i].ours, cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(all, limits[i].theirs))
									    ? "enforced" : "not available"))
			return -1;
	return 0;
}

int docker_probe(struct state *state, cJSON *info, struct error *err)
{
	cleanup_answer struct engine_answer answer = { 0, NULL };
	cleanup_engine struct engine *engine = NULL;
	struct engine_request request = { .method = "GET", .path = "/info" };

	(void)state;
	if (engine_open(&engine, NULL, NULL, err))
		return -1;
	engine_hurry(engine, PROBE_MS);
	if (!cJSON_AddStringToObject(info, "address", engine_address(engine)))
		return error_memory(err);
	if (engine_ask(engine, err))
		return -1;
	if (!cJSON_AddStringToObject(info, "engine", engine_told(engine)))
		return error_memory(err);
	if (engine_call(engine, &request, &answer, err))
		return -1;
	/* Whoever is behind a unix socket has this machine's devices. */
	if (add_told(info, answer.json) || (engine_is_here(engine) && gpus_tell(info)))
		return error_memory(err);
	return 0;
}

/* ---- what they have ---- */

/* path + the filter {"KIND":["VALUE"]}. */
static int ask(struct engine *engine, const char *path, const char *kind, const char *value, struct engine_answer *answer,
	       struct error *err)
{
	cleanup_free char *filter = NULL, *escaped = NULL, *whole = NULL;
	struct engine_request request = { .method = "GET", .timeout_ms = LOOK_MS };

	if (asprintf(&filter, "{\"%s\":[\"%s\"]}", kind, value) < 0) {
		filter = NULL;
		return error_memory(err);
	}
	escaped = engine_escape(filter);
	if (!escaped || asprintf(&whole, "%sfilters=%s", path, escaped) < 0) {
		whole = NULL;
		return error_memory(err);
	}
	request.path = whole;
	return engine_call(engine, &request, answer, err);
}

/* Whether somebody makes what has this hash, of which a container's name has the beginning. */
static bool is_made(const struct state *state, const char *hash)
{
	cleanup_dir DIR *dir = NULL;
	const struct dirent *entry;
	int folder = openat(state->fd, "docker", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool held = false;

	if (folder >= 0 && !(dir = fdopendir(folder)))
		(void)close(folder);
	while (dir && !held && (entry = readdir(dir))) {
		cleanup_close int fd = -1;

		if (strncmp(entry->d_name, "lock-", 5) || strncmp(entry->d_name + 5, hash, strlen(hash)))
			continue;
		fd = openat(folder, entry->d_name, O_RDWR | O_CLOEXEC);
		held = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
	}
	return held;
}

/* "interpfs-STATE-build-HASH", "interpfs-STATE-store", or what somebody has renamed it to. */
static bool is_in_use(const struct state *state, const struct thing *thing)
{
	const char *hash = strrchr(thing->id, '-');

	return hash && is_made(state, hash + 1);
}

static void judge_build(const struct state *state, struct thing *thing)
{
	if (is_in_use(state, thing))
		(void)snprintf(thing->owner, sizeof thing->owner, "whoever makes it");
	else
		(void)snprintf(thing->stray, sizeof thing->stray, "nobody makes it any more");
}

static int tell_container(const struct state *state, struct things *things, const char *address, const cJSON *c, struct error *err)
{
	const cJSON *labels = cJSON_GetObjectItemCaseSensitive(c, "Labels");
	const char *name = cJSON_GetStringValue(cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(c, "Names"), 0));
	const char *kind = json_word(labels, DOCKER_KIND), *own = json_word(c, "State");
	uint64_t serial = strtoull(json_word(labels, DOCKER_SERIAL), NULL, 10);
	struct thing *thing;
	bool sandbox = !strcmp(kind, "sandbox");

	/* An engine that knows no filters tells everything. */
	if (strcmp(json_word(labels, DOCKER_STATE), state->id) != 0)
		return 0;
	name = !name ? json_word(c, "Id") : *name == '/' ? name + 1 : name;
	thing = things_add(things, &sandbox_docker, sandbox ? THING_SANDBOX : !strcmp(kind, "store") ? THING_STORE : THING_BUILD, name, address);
	if (!thing)
		return error_memory(err);
	(void)snprintf(thing->name, sizeof thing->name, "%s", json_word(labels, DOCKER_NAME));
	(void)snprintf(thing->state, sizeof thing->state, "%s", !strcmp(own, "exited") ? "stopped" : *own ? own : "unknown");
	thing->since = json_number(c, "Created", 0);
	if (sandbox)
		things_judge(state, serial, !strcmp(own, "running") || !strcmp(own, "paused") || !strcmp(own, "restarting"), thing);
	else if (!strcmp(kind, "build") || !strcmp(kind, "store"))
		judge_build(state, thing);
	else
		(void)snprintf(thing->owner, sizeof thing->owner, "another version of interpfs");
	return 0;
}

/* "interpfs-STATE:layer-HASH" is kept for the next sandbox that asks for the same; ":sandbox-7" is below a
 * sandbox's files. */
static int tell_image(const struct state *state, struct things *things, const char *address, const cJSON *image, const char *tag,
		      struct error *err)
{
	char prefix[64], *at;
	struct thing *thing;

	(void)snprintf(prefix, sizeof prefix, "interpfs-%s:", state->id);
	at = strstr(tag, prefix);
	if (!at || (at > tag && at[-1] != '/')) /* Podman: "localhost/interpfs-…" */
		return 0;
	thing = things_add(things, &sandbox_docker, THING_IMAGE, at, address);
	if (!thing)
		return error_memory(err);
	(void)snprintf(thing->state, sizeof thing->state, "kept");
	thing->since = json_number(image, "Created", 0);
	at += strlen(prefix);
	if (!strncmp(at, "sandbox-", 8))
		things_judge(state, strtoull(at + 8, NULL, 10), false, thing);
	else
		(void)snprintf(thing->owner, sizeof thing->owner, "%s", strncmp(at, "layer-", 6) ? "the state directory" : "the cache of images");
	return 0;
}

static int tell_images(const struct state *state, struct things *things, const char *address, const cJSON *images, struct error *err)
{
	const cJSON *image, *tag;

	cJSON_ArrayForEach(image, images)
		cJSON_ArrayForEach(tag, cJSON_GetObjectItemCaseSensitive(image, "RepoTags"))
			if (cJSON_IsString(tag) && tell_image(state, things, address, image, tag->valuestring, err))
				return -1;
	return 0;
}

static int list_engine(const struct state *state, const char *address, struct things *things, struct error *err)
{
	cleanup_answer struct engine_answer containers = { 0, NULL }, images = { 0, NULL };
	cleanup_engine struct engine *engine = NULL;
	char label[64], reference[64];
	const cJSON *one;

	(void)snprintf(label, sizeof label, DOCKER_STATE "=%s", state->id);
	(void)snprintf(reference, sizeof reference, "interpfs-%s", state->id);
	if (engine_open(&engine, address, NULL, err))
		return -1;
	engine_hurry(engine, LOOK_MS);
	if (ask(engine, "/containers/json?all=1&", "label", label, &containers, err) ||
	    ask(engine, "/images/json?", "reference", reference, &images, err))
		return -1;
	cJSON_ArrayForEach(one, containers.json)
		if (tell_container(state, things, address, one, err))
			return -1;
	return tell_images(state, things, address, images.json, err);
}

int docker_list(struct state *state, struct things *things, struct error *err)
{
	struct addresses a = { .count = 0 };
	struct error why;
	size_t used = 0;
	int result = find_addresses(state, &a, &used, err);

	for (size_t i = 0; i < a.count && !result; i++) {
		if (!list_engine(state, a.list[i], things, &why))
			continue;
		/* The others are asked, too. */
		if (i < used || why.code == ENOMEM)
			*err = why;
		else
			continue;
		result = -1;
		for (size_t j = i + 1; j < used; j++)
			(void)list_engine(state, a.list[j], things, &why);
	}
	for (size_t i = 0; i < a.count; i++)
		free(a.list[i]);
	return result;
}

/* ---- what is nobody's ---- */

int docker_reap(struct state *state, const struct thing *thing, struct error *err)
{
	cleanup_engine struct engine *engine = NULL;
	cleanup_free char *path = NULL;
	struct engine_request request = { .method = "DELETE", .timeout_ms = REAP_MS };
	bool image = thing->kind == THING_IMAGE;

	if (!image && thing->kind != THING_SANDBOX && is_in_use(state, thing))
		return 0;
	if (engine_open(&engine, thing->where, NULL, err))
		return -1;
	if (asprintf(&path, image ? "/images/%s?force=1" : "/containers/%s?force=1&v=1", thing->id) < 0) {
		path = NULL;
		return error_memory(err);
	}
	request.path = path;
	return engine_call(engine, &request, NULL, err) && err->code != ENOENT ? error_wrap(err, "docker") : 0;
}

void docker_sweep(const struct sandbox *s)
{
	cleanup_things struct things things = { .count = 0 };
	struct error ignored;

	(void)list_engine(s->state, engine_address(docker_own(s)->engine), &things, &ignored);
	for (size_t i = 0; i < things.count; i++)
		if (!*things.list[i].owner && (things.list[i].kind == THING_BUILD || things.list[i].kind == THING_STORE))
			(void)docker_reap(s->state, &things.list[i], &ignored);
}
