/* A container by its name: its start, the guest's link, its end. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/json.h"

#define ANSWER_MS 10000
#define KILL_MS 20000
#define COMMIT_MS 1800000
#define DELETE_MS 120000

char *docker_path(const char *container, const char *rest)
{
	char *path = NULL;

	return asprintf(&path, "/containers/%s%s", container, rest) < 0 ? NULL : path;
}

static void log_errors(void *context, const char *text, size_t n)
{
	const struct sandbox *s = context;

	s->host->log(s->host->context, text, n);
}

/* A request whose connection becomes the link. */
static int link_guest(struct sandbox *s, const char *path, const cJSON *body, bool quiet, struct guest **guest, struct error *err)
{
	struct guest_answer answer = { false, 0 };

	if (engine_hijack(docker_own(s)->engine, path, body, quiet ? NULL : log_errors, s, guest, err))
		return -1;
	if (guest_ping(*guest, &guest_answer_callbacks, &answer, err) && !guest_await(*guest, &answer, -1, ANSWER_MS, err))
		return 0;
	guest_detach(*guest);
	*guest = NULL;
	return -1;
}

static int start(struct sandbox *s, const char *container, struct error *err)
{
	cleanup_free char *path = docker_path(container, "/start");

	return path ? docker_call(s, "POST", path, NULL, NULL, err) : error_memory(err);
}

int docker_run_guest(struct sandbox *s, const char *container, struct guest **guest, struct error *err)
{
	cleanup_free char *path = docker_path(container, "/attach?stream=1&stdin=1&stdout=1&stderr=1");

	*guest = NULL;
	if (!path)
		return error_memory(err);
	if (start(s, container, err)) {
		/* The volume is gone, or the guest in it: somebody tidied up. */
		if (!strstr(err->text, docker_own(s)->guest) || docker_fill_store(s, true, err) || start(s, container, err))
			return -1;
	}
	failpoint("sandbox-started");
	return link_guest(s, path, NULL, false, guest, err);
}

/* ---- one that runs ---- */

static cJSON *exec_body(const char *const words[], bool root)
{
	cJSON *body = cJSON_CreateObject(), *command = cJSON_AddArrayToObject(body, "Cmd");
	bool good = cJSON_AddTrueToObject(body, "AttachStdin") && cJSON_AddTrueToObject(body, "AttachStdout") &&
		    cJSON_AddTrueToObject(body, "AttachStderr") &&
		    (!root || (cJSON_AddStringToObject(body, "User", "0:0") && cJSON_AddStringToObject(body, "WorkingDir", "/")));

	for (; good && *words; words++) {
		cJSON *word = cJSON_CreateString(*words);

		good = cJSON_AddItemToArray(command, word);
		if (!good)
			cJSON_Delete(word);
	}
	if (good)
		return body;
	cJSON_Delete(body);
	return NULL;
}

int docker_make_exec(struct sandbox *s, const char *container, const char *const words[], bool root, char **id,
		     struct error *err)
{
	cleanup_answer struct engine_answer answer = { 0, NULL };
	cleanup_free char *path = docker_path(container, "/exec");
	cJSON *body = exec_body(words, root);

	*id = NULL;
	if (!path || !body) {
		cJSON_Delete(body);
		return error_memory(err);
	}
	if (docker_call(s, "POST", path, body, &answer, err))
		return -1;
	*id = docker_id(answer.json);
	return *id ? 0 : error_set(err, EPROTO, "the engine does not tell what it runs");
}

static cJSON *start_body(bool detach)
{
	cJSON *body = cJSON_CreateObject();

	if (cJSON_AddBoolToObject(body, "Detach", detach) && cJSON_AddFalseToObject(body, "Tty"))
		return body;
	cJSON_Delete(body);
	return NULL;
}

int docker_link_exec(struct sandbox *s, const char *id, bool quiet, struct guest **guest, struct error *err)
{
	cleanup_free char *path = NULL;
	cleanup_json cJSON *body = start_body(false);

	*guest = NULL;
	if (!body || asprintf(&path, "/exec/%s/start", id) < 0)
		return error_memory(err);
	return link_guest(s, path, body, quiet, guest, err);
}

int docker_run_exec(struct sandbox *s, const char *id, struct error *err)
{
	cleanup_free char *path = NULL;
	cleanup_json cJSON *body = start_body(true);
	struct engine_request request = { .method = "POST", .body = body, .timeout_ms = KILL_MS, .uncancelled = true };

	if (!body || asprintf(&path, "/exec/%s/start", id) < 0)
		return error_memory(err);
	request.path = path;
	return engine_call(docker_own(s)->engine, &request, NULL, err);
}

int docker_connect_guest(struct sandbox *s, const char *container, const char *program, struct guest **guest,
			 struct error *err)
{
	const char *const words[] = { program, "connect", NULL };
	cleanup_free char *id = NULL;

	*guest = NULL;
	return docker_make_exec(s, container, words, true, &id, err) ? -1 : docker_link_exec(s, id, false, guest, err);
}

/* ---- its files ---- */

/* Podman puts "sha256:" before it here and not there. */
char *docker_id(const cJSON *answer)
{
	static const char prefix[] = "sha256:";
	const char *id = json_string(answer, "Id");

	if (id && !strncmp(id, prefix, sizeof prefix - 1))
		id += sizeof prefix - 1;
	return id ? strdup(id) : NULL;
}

int docker_commit(struct sandbox *s, const char *container, const char *tag, const char *kind, char **id, struct error *err)
{
	cleanup_answer struct engine_answer answer = { 0, NULL };
	cleanup_free char *path = NULL;
	cJSON *body = cJSON_CreateObject(), *labels = docker_labels(s, kind);
	struct engine_request request = { .method = "POST", .body = body, .timeout_ms = COMMIT_MS };
	int result = 0;

	*id = NULL;
	/* A container's own labels become the image's, and those of what is made of it: this one would be a lie there. */
	if (!cJSON_AddStringToObject(labels, DOCKER_FILES, "") || !cJSON_AddItemToObject(body, "Labels", labels)) {
		cJSON_Delete(labels);
		result = error_memory(err);
	}
	if (!result && asprintf(&path, "/commit?container=%s&repo=interpfs-%s&tag=%s&pause=%d", container, s->state->id, tag,
				!strcmp(kind, "snapshot")) < 0)
		result = error_memory(err);
	request.path = path;
	if (!result)
		result = engine_call(docker_own(s)->engine, &request, &answer, err);
	cJSON_Delete(body);
	if (result)
		return -1;
	*id = docker_id(answer.json);
	return *id ? 0 : error_set(err, EPROTO, "the engine does not tell the id of what it committed");
}

/* ---- its end ---- */

static int ask(struct sandbox *s, const char *method, const char *container, const char *what, int timeout_ms,
	       struct error *err)
{
	cleanup_free char *path = docker_path(container, what);
	struct engine_request request = { .method = method, .path = path, .timeout_ms = timeout_ms, .uncancelled = true };

	if (!path)
		return error_memory(err);
	return engine_call(docker_own(s)->engine, &request, NULL, err) && err->code != ENOENT ? -1 : 0;
}

int docker_await(struct sandbox *s, const char *container, const char *what, int timeout_ms, struct error *err)
{
	return ask(s, "POST", container, what, timeout_ms, err);
}

int docker_kill(struct sandbox *s, const char *container, struct error *err)
{
	/* One that has ended meanwhile cannot be killed any more. */
	if (ask(s, "POST", container, "/kill", KILL_MS, err) && err->code != EEXIST && err->code != EIO)
		return -1;
	return ask(s, "POST", container, "/wait", KILL_MS, err);
}

int docker_delete(struct sandbox *s, const char *container, struct error *err)
{
	return ask(s, "DELETE", container, "?force=1&v=1", DELETE_MS, err);
}
