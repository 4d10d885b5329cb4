/* The backend `docker`: containers of an engine (Docker, Podman). docker.h says how it is cut. */
#include "backend/sandbox/docker.h"
#include "backend/sandbox/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/sandbox/python.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

#define CALL_MS 120000
#define ANSWER_MS 10000
#define KILL_MS 20000

struct docker *docker_own(const struct sandbox *s)
{
	return s->own;
}

/* ---- the engine ---- */

/* A sandbox stays on the engine on which its container is, whatever DOCKER_HOST says later. */
int docker_find_engine(struct sandbox *s, struct error *err)
{
	cleanup_buffer struct buffer recorded = BUFFER(4096);
	struct docker *d = docker_own(s);
	struct error ignored;

	if (d->engine)
		return 0;
	(void)file_read(s->folder, DOCKER_RECORD, &recorded, &ignored);
	if (recorded.length && recorded.data[recorded.length - 1] == '\n')
		recorded.data[recorded.length - 1] = '\0';
	return engine_open(&d->engine, recorded.length ? recorded.data : NULL, s->host, err);
}

int docker_record_engine(struct sandbox *s, struct error *err)
{
	cleanup_free char *line = NULL;

	if (asprintf(&line, "%s\n", engine_address(docker_own(s)->engine)) < 0)
		return error_memory(err);
	return file_replace(s->folder, DOCKER_RECORD, line, strlen(line), 0600, true, err);
}

static bool is_recorded(const struct sandbox *s)
{
	return !faccessat(s->folder, DOCKER_RECORD, F_OK, 0);
}

int docker_call(const struct sandbox *s, const char *method, const char *path, cJSON *body,
		struct engine_answer *answer, struct error *err)
{
	struct engine_request request = { .method = method, .path = path, .body = body, .timeout_ms = CALL_MS };
	int result = engine_call(docker_own(s)->engine, &request, answer, err);

	cJSON_Delete(body);
	return result;
}

static int docker_open(struct sandbox *s, struct error *err)
{
	s->own = calloc(1, sizeof(struct docker));
	return s->own ? 0 : error_memory(err);
}

static void docker_close(struct sandbox *s)
{
	struct docker *d = docker_own(s);

	if (!d)
		return;
	engine_close(d->engine);
	free(d->base);
	free(d->image);
	free(d->guest);
	docker_found_free(&d->started);
	sandbox_models_free(&d->models);
	cJSON_Delete(d->gpus);
	free(d);
	s->own = NULL;
}

/* ---- the start ---- */

/* The image that it is made of: a snapshot, or the config's with its packages. */
static int find_base(struct sandbox *s, struct error *err)
{
	bool snapshot = sandbox_snapshot_serial(s) > 0;

	if ((snapshot ? docker_find_snapshot(s, err) : docker_find_image(s, err)) || docker_fill_store(s, false, err) ||
	    docker_record_engine(s, err))
		return -1;
	return snapshot ? 0 : docker_layers(s, err);
}

static int make_container(struct sandbox *s, struct error *err)
{
	char config[MAKING_HASH_SIZE];
	cJSON *body;

	if (find_base(s, err))
		return -1;
	body = docker_body(s, config, err);
	if (!body || docker_create(s, body, docker_own(s)->image, err))
		return -1;
	failpoint("docker-created");
	return docker_copy_files(s, err);
}

static int use_container(struct sandbox *s, const struct docker_found *found, struct error *err)
{
	return docker_use_base(s, found, err) || docker_fill_store(s, false, err) || docker_change(s, found, err) ? -1 : 0;
}

static int docker_prepare(struct sandbox *s, struct error *err)
{
	cleanup_found struct docker_found found = { .state = DOCKER_ABSENT };

	if (docker_find_engine(s, err) || engine_ask(docker_own(s)->engine, err) || docker_recover(s, err) ||
	    docker_inspect(s, false, &found, err))
		return error_wrap(err, "docker");
	if (sandbox_text(s, "adopt")) {
		if (found.state != DOCKER_ABSENT)
			return error_set(err, EBUSY, "docker: its files are in a container of its own, and it stays there: make another sandbox to adopt one");
		return docker_adopted_prepare(s, err) ? error_wrap(err, "docker") : 0;
	}
	docker_adopted_forget(s);
	/* What was to be copied in may not be there. */
	if (found.state == DOCKER_NEW && docker_delete(s, s->id, err))
		return error_wrap(err, "docker");
	if (docker_find_models(s, err) ||
	    (found.state == DOCKER_ABSENT || found.state == DOCKER_NEW ? make_container(s, err) : use_container(s, &found, err)) ||
	    docker_copy_trusted(s, err) || docker_copy_loaders(s, err) || docker_install_libraries(s, err))
		return error_wrap(err, "docker");
	return 0;
}

/* A container that never ran holds nothing, and may be what cannot be started. */
static void leave_nothing(struct sandbox *s)
{
	cleanup_found struct docker_found found = { .state = DOCKER_ABSENT };
	struct error ignored;

	if (docker_inspect(s, true, &found, &ignored))
		return;
	if (found.state == DOCKER_RUNNING)
		(void)docker_kill(s, s->id, &ignored);
	else if (found.state == DOCKER_NEW)
		(void)docker_delete(s, s->id, &ignored);
}

static int set_deadline(const struct sandbox *s, struct guest *guest, struct error *err)
{
	struct guest_answer answer = { false, 0 };
	double timeout = sandbox_number(s, "timeout", 0);

	if (timeout <= 0)
		return 0;
	return guest_deadline(guest, (uint64_t)timeout, &guest_answer_callbacks, &answer, err)
		       ? guest_await(guest, &answer, -1, ANSWER_MS, err) : -1;
}

static int set_variables(struct guest *guest, const char *const *variables, struct error *err)
{
	struct guest_answer answer = { false, 0 };

	return guest_environment(guest, variables, &guest_answer_callbacks, &answer, err) ? guest_await(guest, &answer, -1, ANSWER_MS, err) : -1;
}

static int set_variable(struct guest *guest, const char *name, const char *value, struct error *err)
{
	cleanup_free char *variable = NULL;
	const char *variables[] = { NULL, NULL };

	if (asprintf(&variable, "%s=%s", name, value) < 0) {
		variable = NULL;
		return error_memory(err);
	}
	variables[0] = variable;
	return set_variables(guest, variables, err);
}

static int set_model(void *guest, const char *path, const char *inside, const char *variable, struct error *err)
{
	(void)path;
	return set_variable(guest, variable, inside, err);
}

/* The image's own PATH, in front of what the workspace's packages bring. */
static const char *find_path(const struct docker_found *found)
{
	const cJSON *variable;

	cJSON_ArrayForEach(variable, docker_member(found->json, "Config", "Env"))
		if (cJSON_IsString(variable) && !strncmp(variable->valuestring, "PATH=", 5))
			return variable->valuestring + 5;
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

static int set_packages(const struct docker_found *found, struct guest *guest, struct error *err)
{
	cleanup_free char *current = NULL, *bin = NULL, *modules = NULL, *path = NULL;

	if (docker_find_packages(found, &current, &bin, err))
		return -1;
	if (asprintf(&modules, "/workspace/libraries:/workspace/.modules:%s", current) < 0)
		modules = NULL;
	if (!modules || asprintf(&path, "%s:%s", find_path(found), bin) < 0) {
		path = NULL;
		return error_memory(err);
	}
	return set_variable(guest, "PYTHONPATH", modules, err) || set_variable(guest, "PATH", path, err) ? -1 : 0;
}

/* Never part of the container: whoever may ask the engine reads that, and it could not change. One
 * variable at a time, so that each may be as long as one can be. */
static int set_environment(const struct sandbox *s, struct guest *guest, struct error *err)
{
	const cJSON *item;
	/* Somebody else's container has no workspace, and nothing of ours besides. */
	int result = !docker_is_adopted(s) && (set_packages(&docker_own(s)->started, guest, err) ||
					       sandbox_models_each(&docker_own(s)->models, set_model, guest, err)) ? -1 : 0;

	for (const struct gate_variable *v = gate_environment(s); v->name && !result; v++)
		result = set_variable(guest, v->name, v->value, err);
	cJSON_ArrayForEach(item, sandbox_field(s, "env"))
		if (!result)
			result = set_variable(guest, item->string, cJSON_GetStringValue(item), err);
	return result;
}

/* The deadline is the guest's own from here on. */
static int configure(const struct sandbox *s, struct guest *guest, struct error *err)
{
	return set_deadline(s, guest, err) || set_environment(s, guest, err) ? -1 : 0;
}

/* A command whose output stays in c; 127 as a shell says it where there is none of that name. */
static int run_quietly(struct commands *c, struct sandbox *s, struct guest *guest, const char *const argv[], int *status,
		       struct error *err)
{
	struct error why;

	commands_open(c, s);
	c->quiet = true;
	if (commands_attach(c, guest, err))
		return -1;
	if (!commands_run(c, argv, status, &why))
		return 0;
	*status = 127;
	if (why.code == ENOENT)
		return 0;
	*err = why;
	return -1;
}

/* What an image has cannot be chosen. */
static int check_python(struct sandbox *s, struct guest *guest, struct error *err)
{
	static const char *const ask[] = { "python3", "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])", NULL };
	const char *version = sandbox_text(s, "python_version"), *image = sandbox_text(s, "image");
	struct commands c;
	int result, status = 127;

	if (!version || !image)
		return 0;
	result = run_quietly(&c, s, guest, ask, &status, err);
	while (c.printed.length && c.printed.data[c.printed.length - 1] == '\n')
		c.printed.data[--c.printed.length] = '\0';
	if (!result && (status || !python_version_fits(c.printed.data ? c.printed.data : "", version)))
		result = error_set(err, ENOENT, "the image %s has %s%.40s, not Python %s: leave python_version out, or use another image",
				   image, status ? "no Python" : "Python ", status ? "" : c.printed.data, version);
	commands_release(&c);
	commands_close(&c);
	return result;
}

/* A driver's libraries that a CDI specification put in are found when the linker's cache names them; its hooks,
 * which would see to that, are not run. */
static int find_libraries(struct sandbox *s, struct guest *guest, struct error *err)
{
	static const char *const refresh[] = { "ldconfig", NULL };
	struct commands c;
	int result, status;

	if (!docker_own(s)->gpus)
		return 0;
	result = run_quietly(&c, s, guest, refresh, &status, err); /* an image may have none */
	commands_release(&c);
	commands_close(&c);
	return result;
}

static int docker_start(struct sandbox *s, struct guest **guest, struct error *err)
{
	struct docker_found *started = &docker_own(s)->started;

	*guest = NULL;
	failpoint("sandbox-runtime");
	docker_found_free(started);
	if (docker_is_adopted(s)) {
		if (!docker_adopted_start(s, guest, err) && !configure(s, *guest, err))
			return 0;
		guest_detach(*guest);
		*guest = NULL;
		return error_wrap(err, "docker");
	}
	if (!docker_run_guest(s, s->id, guest, err) && !docker_inspect(s, false, started, err) && !configure(s, *guest, err) &&
	    !check_python(s, *guest, err) && !find_libraries(s, *guest, err)) {
		docker_lead_to_root(s, started, *guest);
		return 0;
	}
	guest_detach(*guest);
	*guest = NULL;
	leave_nothing(s);
	return error_wrap(err, "docker");
}

/* ---- finding it again ---- */

static int docker_adopt(struct sandbox *s, struct guest **guest, struct error *err)
{
	cleanup_found struct docker_found found = { .state = DOCKER_ABSENT };

	*guest = NULL;
	if (!is_recorded(s))
		return 0;
	if (docker_find_engine(s, err))
		return error_wrap(err, "docker");
	if (docker_is_adopted(s)) {
		int result = docker_adopted_find(s, guest, err);

		return result < 0 ? error_wrap(err, "docker") : result;
	}
	if (docker_inspect(s, false, &found, err))
		return error_wrap(err, "docker");
	if (found.state != DOCKER_RUNNING)
		return 0;
	if (docker_connect_guest(s, s->id, found.guest, guest, err))
		return error_wrap(err, "docker");
	docker_lead_to_root(s, &found, *guest);
	return 1;
}

static int docker_ended(const struct sandbox *s)
{
	(void)s;
	return -1;
}

/* ---- the end ---- */

/* The guest's exit status is its record (docs/guest-protocol.md). */
static enum sandbox_end_kind tell_end(const struct docker_found *found, char why[256])
{
	why[0] = '\0';
	if (found->state == DOCKER_NEW)
		return SANDBOX_STOPPED;
	if (found->state == DOCKER_ENDED && found->exit == 0)
		return SANDBOX_STOPPED;
	if (found->state == DOCKER_ENDED && found->exit == 124)
		return SANDBOX_TIMEOUT;
	if (found->state == DOCKER_ENDED && found->exit == 125)
		return SANDBOX_IDLE;
	if (found->state == DOCKER_ABSENT)
		(void)snprintf(why, 256, "its container was removed by somebody else, and its files with it");
	else if (found->exit == 137 && found->out_of_memory)
		(void)snprintf(why, 256, "it was out of memory");
	else if (found->exit == 143)
		(void)snprintf(why, 256, "its container was stopped by somebody else");
	else
		(void)snprintf(why, 256, "its container was killed (status %d)", found->exit);
	return SANDBOX_DIED;
}

/* Waits for the guest, which was asked to quit when timeout_ms is not 0. */
static int await_end(struct sandbox *s, int timeout_ms, struct error *err)
{
	struct error late;

	return timeout_ms > 0 && !docker_await(s, s->id, "/wait", timeout_ms, &late) ? 0 : docker_kill(s, s->id, err);
}

static int docker_end(struct sandbox *s, int timeout_ms, enum sandbox_end_kind *kind, char why[256], struct error *err)
{
	cleanup_found struct docker_found found = { .state = DOCKER_ABSENT };

	*kind = SANDBOX_STOPPED;
	why[0] = '\0';
	if (!is_recorded(s))
		return 0;
	if (docker_find_engine(s, err))
		return error_wrap(err, "docker");
	if (docker_is_adopted(s))
		return docker_adopted_end(s, timeout_ms, kind, why, err) ? error_wrap(err, "docker") : 0;
	if (docker_inspect(s, true, &found, err))
		return error_wrap(err, "docker");
	if (found.state == DOCKER_RUNNING) {
		docker_found_free(&found);
		if (await_end(s, timeout_ms, err) || docker_inspect(s, true, &found, err))
			return error_wrap(err, "docker");
	}
	if (found.removing) {
		docker_found_free(&found);
		if (docker_await(s, s->id, "/wait?condition=removed", KILL_MS, err) || docker_inspect(s, true, &found, err))
			return error_wrap(err, "docker");
	}
	*kind = tell_end(&found, why);
	return 0;
}

static int docker_remove(struct sandbox *s, struct error *err)
{
	if (!is_recorded(s))
		return 0;
	if (docker_find_engine(s, err) || docker_recover(s, err) || docker_delete(s, s->id, err) || docker_remove_images(s, err) ||
	    docker_leave_snapshot(s, err))
		return error_wrap(err, "docker");
	docker_sweep(s);
	docker_adopted_forget(s);
	(void)unlinkat(s->folder, DOCKER_RECORD, 0);
	return 0;
}

const struct sandbox_backend sandbox_docker = {
	.name = "docker",
	.distant = true,
	.probe = docker_probe,
	.open = docker_open,
	.close = docker_close,
	.prepare = docker_prepare,
	.start = docker_start,
	.adopt = docker_adopt,
	.ended = docker_ended,
	.end = docker_end,
	.remove = docker_remove,
	.describe = docker_describe,
	.jupyter = docker_jupyter,
	.snapshot = docker_snapshot,
	.measure = docker_measure,
	.drop = docker_drop,
	.libraries = docker_libraries,
	.list = docker_list,
	.reap = docker_reap,
};
