/* The backend `docker`: containers of an engine (Docker, Podman). docker.h says how it is cut. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

#define START_MS 120000
#define ANSWER_MS 10000
#define KILL_MS 20000
#define RECORD "engine" /* in the sandbox's folder: the address at which its container is */

struct docker *docker_own(const struct sandbox *s)
{
	return s->own;
}

/* ---- the engine ---- */

/* A sandbox stays on the engine on which its container is, whatever DOCKER_HOST says later. */
static int find_engine(struct sandbox *s, struct error *err)
{
	cleanup_buffer struct buffer recorded = BUFFER(4096);
	struct docker *d = docker_own(s);
	struct error ignored;

	if (d->engine)
		return 0;
	(void)file_read(s->folder, RECORD, &recorded, &ignored);
	if (recorded.length && recorded.data[recorded.length - 1] == '\n')
		recorded.data[recorded.length - 1] = '\0';
	return engine_open(&d->engine, recorded.length ? recorded.data : NULL, s->host, err);
}

static int record_engine(struct sandbox *s, struct error *err)
{
	cleanup_free char *line = NULL;

	if (asprintf(&line, "%s\n", engine_address(docker_own(s)->engine)) < 0)
		return error_memory(err);
	return file_replace(s->folder, RECORD, line, strlen(line), 0600, true, err);
}

static bool is_recorded(const struct sandbox *s)
{
	return !faccessat(s->folder, RECORD, F_OK, 0);
}

int docker_call(const struct sandbox *s, const char *method, const char *path, cJSON *body,
		struct engine_answer *answer, struct error *err)
{
	struct engine_request request = { .method = method, .path = path, .body = body, .timeout_ms = START_MS };
	int result = engine_call(docker_own(s)->engine, &request, answer, err);

	cJSON_Delete(body);
	return result;
}

char *docker_path(const struct sandbox *s, const char *rest)
{
	char *path = NULL;

	return asprintf(&path, "/containers/%s%s", s->id, rest) < 0 ? NULL : path;
}

static int docker_probe(struct state *state, char *told, struct error *err)
{
	struct engine *engine;
	int result;

	(void)state;
	if (engine_open(&engine, NULL, NULL, err))
		return -1;
	result = engine_ask(engine, err);
	if (!result)
		(void)snprintf(told, 512, "%s", engine_told(engine));
	engine_close(engine);
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
	free(d->image);
	free(d->guest);
	free(d);
	s->own = NULL;
}

/* ---- the start ---- */

static int remove_container(struct sandbox *s, struct error *err)
{
	cleanup_free char *path = docker_path(s, "?force=1&v=1");
	struct engine_request request = { .method = "DELETE", .path = path, .timeout_ms = START_MS, .uncancelled = true };

	if (!path)
		return error_memory(err);
	return engine_call(docker_own(s)->engine, &request, NULL, err) && err->code != ENOENT ? -1 : 0;
}

static int make_container(struct sandbox *s, struct error *err)
{
	char config[MAKING_HASH_SIZE];
	cJSON *body;

	if (docker_find_image(s, err) || docker_fill_store(s, false, err) || record_engine(s, err))
		return -1;
	body = docker_body(s, config, err);
	if (!body || docker_create(s, body, docker_own(s)->image, err))
		return -1;
	failpoint("docker-created");
	return docker_copy_files(s, err);
}

/* Its image need not be there any more, nor where it came from. */
static int use_container(struct sandbox *s, const struct docker_found *found, struct error *err)
{
	const char *image = cJSON_GetStringValue(docker_member(found->json, "Image", NULL));
	struct docker *d = docker_own(s);

	free(d->image);
	d->image = strdup(image ? image : "");
	if (!d->image)
		return error_memory(err);
	return docker_fill_store(s, false, err) ? -1 : docker_change(s, found, err);
}

static int docker_prepare(struct sandbox *s, struct error *err)
{
	cleanup_found struct docker_found found = { DOCKER_ABSENT };

	if (find_engine(s, err) || engine_ask(docker_own(s)->engine, err) || docker_recover(s, err) ||
	    docker_inspect(s, false, &found, err))
		return error_wrap(err, "docker");
	/* What was to be copied in may not be there. */
	if (found.state == DOCKER_NEW && remove_container(s, err))
		return error_wrap(err, "docker");
	if (found.state == DOCKER_ABSENT || found.state == DOCKER_NEW ? make_container(s, err) : use_container(s, &found, err))
		return error_wrap(err, "docker");
	return 0;
}

static void log_errors(void *context, const char *text, size_t n)
{
	const struct sandbox *s = context;

	s->host->log(s->host->context, text, n);
}

static int answers(struct guest *guest, struct error *err)
{
	struct guest_answer answer = { false, 0 };

	return guest_ping(guest, &guest_answer_callbacks, &answer, err) ? guest_await(guest, &answer, -1, ANSWER_MS, err) : -1;
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

/* Never part of the container: whoever may ask the engine reads that, and it could not change. One
 * variable at a time, so that each may be as long as one can be. */
static int set_environment(const struct sandbox *s, struct guest *guest, struct error *err)
{
	static const char python[] = "PYTHONPATH=/workspace/libraries:/workspace/.modules";
	const char *variables[] = { python, NULL };
	struct guest_answer answer = { false, 0 };
	const cJSON *item;
	bool good = guest_environment(guest, variables, &guest_answer_callbacks, &answer, err) != NULL;
	int result = good ? guest_await(guest, &answer, -1, ANSWER_MS, err) : -1;

	cJSON_ArrayForEach(item, sandbox_field(s, "env"))
	{
		cleanup_free char *variable = NULL;

		if (result)
			break;
		if (asprintf(&variable, "%s=%s", item->string, cJSON_GetStringValue(item)) < 0)
			return error_memory(err);
		variables[0] = variable;
		answer = (struct guest_answer){ false, 0 };
		result = guest_environment(guest, variables, &guest_answer_callbacks, &answer, err)
				 ? guest_await(guest, &answer, -1, ANSWER_MS, err) : -1;
	}
	return result;
}

/* Its standard input and output become the guest's link. */
static int attach(struct sandbox *s, struct guest **guest, struct error *err)
{
	cleanup_free char *path = docker_path(s, "/attach?stream=1&stdin=1&stdout=1&stderr=1");

	if (!path)
		return error_memory(err);
	if (engine_hijack(docker_own(s)->engine, path, NULL, log_errors, s, guest, err))
		return -1;
	if (!answers(*guest, err) && !set_deadline(s, *guest, err) && !set_environment(s, *guest, err))
		return 0;
	guest_detach(*guest);
	*guest = NULL;
	return -1;
}

static int start_container(struct sandbox *s, struct error *err)
{
	cleanup_free char *path = docker_path(s, "/start");

	return path ? docker_call(s, "POST", path, NULL, NULL, err) : error_memory(err);
}

/* One that is not there is not waited for. */
static int await(struct sandbox *s, const char *what, int timeout_ms, struct error *err)
{
	cleanup_free char *path = docker_path(s, what);
	struct engine_request request = { .method = "POST", .path = path, .timeout_ms = timeout_ms, .uncancelled = true };

	if (!path)
		return error_memory(err);
	return engine_call(docker_own(s)->engine, &request, NULL, err) && err->code != ENOENT ? -1 : 0;
}

static int kill_container(struct sandbox *s, struct error *err)
{
	/* One that has ended meanwhile cannot be killed any more. */
	if (await(s, "/kill", KILL_MS, err) && err->code != EEXIST && err->code != EIO)
		return -1;
	return await(s, "/wait", KILL_MS, err);
}

/* A container that never ran holds nothing, and may be what cannot be started. */
static void leave_nothing(struct sandbox *s)
{
	cleanup_found struct docker_found found = { DOCKER_ABSENT };
	struct error ignored;

	if (docker_inspect(s, true, &found, &ignored))
		return;
	if (found.state == DOCKER_RUNNING)
		(void)kill_container(s, &ignored);
	else if (found.state == DOCKER_NEW)
		(void)remove_container(s, &ignored);
}

static int docker_start(struct sandbox *s, struct guest **guest, struct error *err)
{
	*guest = NULL;
	failpoint("sandbox-runtime");
	if (start_container(s, err)) {
		/* The volume is gone, or the guest in it: somebody tidied up. */
		if (!strstr(err->text, docker_own(s)->guest) || docker_fill_store(s, true, err) || start_container(s, err)) {
			leave_nothing(s);
			return error_wrap(err, "docker");
		}
	}
	failpoint("sandbox-started");
	if (!attach(s, guest, err))
		return 0;
	leave_nothing(s);
	return error_wrap(err, "docker");
}

/* ---- finding it again ---- */

static cJSON *connect_body(const char *guest)
{
	cJSON *body = cJSON_CreateObject(), *command = cJSON_AddArrayToObject(body, "Cmd");
	const char *const words[] = { guest, "connect" };
	bool good = cJSON_AddTrueToObject(body, "AttachStdin") && cJSON_AddTrueToObject(body, "AttachStdout") &&
		    cJSON_AddTrueToObject(body, "AttachStderr") && cJSON_AddStringToObject(body, "User", "0:0") &&
		    cJSON_AddStringToObject(body, "WorkingDir", "/");

	for (size_t i = 0; good && i < 2; i++) {
		cJSON *word = cJSON_CreateString(words[i]);

		good = cJSON_AddItemToArray(command, word);
		if (!good)
			cJSON_Delete(word);
	}
	if (good)
		return body;
	cJSON_Delete(body);
	return NULL;
}

/* Has the engine run `guest connect` in it, whose standard input and output become the link. */
static int connect_again(struct sandbox *s, const char *program, struct guest **guest, struct error *err)
{
	cleanup_answer struct engine_answer answer = { 0, NULL };
	cleanup_free char *path = docker_path(s, "/exec"), *start = NULL;
	cJSON *body = connect_body(program);
	const char *id;
	int result;

	if (!path || !body) {
		cJSON_Delete(body);
		return error_memory(err);
	}
	if (docker_call(s, "POST", path, body, &answer, err))
		return -1;
	id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer.json, "Id"));
	if (!id || asprintf(&start, "/exec/%s/start", id) < 0)
		return error_set(err, EPROTO, "the engine does not tell what it runs");
	body = cJSON_CreateObject();
	if (!cJSON_AddFalseToObject(body, "Detach") || !cJSON_AddFalseToObject(body, "Tty")) {
		cJSON_Delete(body);
		return error_memory(err);
	}
	result = engine_hijack(docker_own(s)->engine, start, body, log_errors, s, guest, err);
	cJSON_Delete(body);
	if (result)
		return -1;
	if (!answers(*guest, err))
		return 0;
	guest_detach(*guest);
	*guest = NULL;
	return -1;
}

static int docker_adopt(struct sandbox *s, struct guest **guest, struct error *err)
{
	cleanup_found struct docker_found found = { DOCKER_ABSENT };

	*guest = NULL;
	if (!is_recorded(s))
		return 0;
	if (find_engine(s, err) || docker_inspect(s, false, &found, err))
		return error_wrap(err, "docker");
	if (found.state != DOCKER_RUNNING)
		return 0;
	return connect_again(s, found.guest, guest, err) ? error_wrap(err, "docker") : 1;
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

	return timeout_ms > 0 && !await(s, "/wait", timeout_ms, &late) ? 0 : kill_container(s, err);
}

static int docker_end(struct sandbox *s, int timeout_ms, enum sandbox_end_kind *kind, char why[256], struct error *err)
{
	cleanup_found struct docker_found found = { DOCKER_ABSENT };

	*kind = SANDBOX_STOPPED;
	why[0] = '\0';
	if (!is_recorded(s))
		return 0;
	if (find_engine(s, err) || docker_inspect(s, true, &found, err))
		return error_wrap(err, "docker");
	if (found.state == DOCKER_RUNNING) {
		docker_found_free(&found);
		if (await_end(s, timeout_ms, err) || docker_inspect(s, true, &found, err))
			return error_wrap(err, "docker");
	}
	if (found.removing) {
		docker_found_free(&found);
		if (await(s, "/wait?condition=removed", KILL_MS, err) || docker_inspect(s, true, &found, err))
			return error_wrap(err, "docker");
	}
	*kind = tell_end(&found, why);
	return 0;
}

static int docker_remove(struct sandbox *s, struct error *err)
{
	if (!is_recorded(s))
		return 0;
	if (find_engine(s, err) || docker_recover(s, err) || remove_container(s, err) || docker_remove_images(s, err))
		return error_wrap(err, "docker");
	(void)unlinkat(s->folder, RECORD, 0);
	return 0;
}

static int docker_jupyter(struct sandbox *s, struct sandbox_jupyter *jupyter, struct error *err)
{
	(void)s;
	(void)jupyter;
	return error_set(err, ENOTSUP, "docker: notebooks are not supported by this version");
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
};
