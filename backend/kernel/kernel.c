/* From a notebook to its kernel: the sandbox is asked for its Jupyter Server, the server for a
 * kernel, the kernel's channels are connected to. Each function waits by story_step. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/kernel/requests.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define ANSWER_MAX (1u << 20)
#define RETRY_MS 100
#define NONSENSE_LOGGED 20
#define TRIES 100 /* to connect while the queue inside is full */

/* Why the sandbox is at rest, and what to do. */
static int sandbox_rests(struct story *s, const char *state, struct error *err)
{
	cleanup_buffer struct buffer why = BUFFER(4096);
	bool failed = !strcmp(state, "failed");
	struct error ignored;

	if (!strcmp(state, "draft"))
		return error_set(err, ENOTCONN, "sandbox %s was never started: write its config", s->sandbox_name);
	if (file_read(s->sandbox_folder, "failure", &why, &ignored) < 0)
		buffer_clear(&why);
	if (why.length)
		why.data[strcspn(why.data, "\n")] = '\0';
	return error_set(err, ENOTCONN, "sandbox %s has %s%s%s%s", s->sandbox_name, state, why.length ? ": " : "",
			 why.length ? why.data : "",
			 failed ? "" : "; write start to its ctl, then restart to the notebook's");
}

/* Connects to the sandbox's runner. 1, 0 when it should be tried again, -1. */
static int reach_sandbox(struct story *s, struct error *err)
{
	struct status status;
	struct want want;

	if (s->sandbox_folder < 0)
		s->sandbox_folder = object_open(runner_state(s->runner), OBJECT_SANDBOX, s->sandbox, err);
	if (s->sandbox_folder < 0)
		return error_wrap(err, "sandbox %s", s->sandbox_name);
	if (talk_connect(&s->talk, s->sandbox_folder, err) == 0)
		return 1;
	if (err->code != ENOTCONN)
		return error_wrap(err, "sandbox %s", s->sandbox_name);
	if (want_read(s->sandbox_folder, &want, err) < 0 || status_read(s->sandbox_folder, &status, err) < 0)
		return error_wrap(err, "sandbox %s", s->sandbox_name);
	/* What is wanted and not acted on yet, the mount sees to. */
	if (want.what == WANT_RUN && want.generation > status.generation)
		return 0;
	if (status_resting(OBJECT_SANDBOX, status.state))
		return sandbox_rests(s, status.state, err);
	return 0;
}

static int take_answer(struct story *s, const struct buffer *answer, struct error *err)
{
	cJSON *json = cJSON_ParseWithLength(answer->data ? answer->data : "", answer->length);
	const char *socket = json_string(json, "socket");
	const char *token = json_string(json, "token");
	const char *url = json_string(json, "url");
	const char *inside = json_string(json, "inside");
	cleanup_free char *folder = socket ? strdup(socket) : NULL, *name = folder ? strdup(folder) : NULL;
	int result = -1;

	kernel_forget_server(s);
	if (!socket || !token || !name) {
		error_set(err, EPROTO, "sandbox %s tells no address of Jupyter Server", s->sandbox_name);
	} else {
		s->token = strdup(token);
		s->url = strdup(url ? url : "");
		(void)snprintf(s->inside, sizeof s->inside, "%s", inside ? inside : "");
		s->socket_folder = file_open_folder(AT_FDCWD, dirname(folder), err);
		if (s->socket_folder >= 0)
			(void)snprintf(s->socket_path, sizeof s->socket_path, "/proc/self/fd/%d/%.24s",
				       s->socket_folder, basename(name));
		result = s->socket_folder < 0 ? -1 : s->token && s->url ? 0 : error_memory(err);
	}
	cJSON_Delete(json);
	return result;
}

void kernel_forget_server(struct story *s)
{
	free(s->token);
	free(s->url);
	s->token = s->url = NULL;
	if (s->socket_folder >= 0)
		(void)close(s->socket_folder);
	s->socket_folder = -1;
}

/* One call of the sandbox's runner. 1: answered; 0: it went away, try again; -1 with its errno. */
static int call_sandbox(struct story *s, const char *name, const char *request, struct buffer *answer,
			struct error *err)
{
	struct talk_message message;
	int got;

	if (talk_ask(&s->talk, name, request, strlen(request), err) < 0)
		return err->code == EPIPE ? 0 : -1;
	for (;;) {
		while ((got = talk_take(&s->talk, &message, err)) > 0) {
			if (message.type == TALK_DATA && message.channel == TALK_STDOUT &&
			    buffer_append(answer, message.data, message.length) < 0)
				return error_errno(err, "sandbox %s", s->sandbox_name);
			if (message.type != TALK_END)
				continue;
			if (!message.code)
				return 1;
			/* It is coming to rest; its status will say how. */
			if (message.code == ENOTCONN)
				return 0;
			return error_set(err, message.code, "%s", message.text);
		}
		if (got < 0)
			return err->code == ECONNRESET ? 0 : -1;
		if (runner_watch(s->runner, s->talk.fd, POLLIN, err) < 0 || story_step(s, -1, err) < 0)
			return -1;
	}
}

/* The same, while the sandbox starts or its runner starts again; *passed becomes the descriptor that
 * came along, or -1. */
static int ask_sandbox(struct story *s, const char *name, const char *request, struct buffer *answer,
		       int *passed, struct error *err)
{
	int result;

	for (;;) {
		buffer_clear(answer);
		*passed = -1;
		result = reach_sandbox(s, err);
		if (result > 0) {
			result = call_sandbox(s, name, request, answer, err);
			if (result > 0)
				*passed = steal_fd(&s->talk.passed);
			if (s->talk.fd >= 0)
				runner_unwatch(s->runner, s->talk.fd);
			talk_close(&s->talk);
			if (result > 0)
				return 0;
		}
		if (result < 0 || story_step(s, RETRY_MS, err) < 0)
			return -1;
	}
}

int kernel_find_server(struct story *s, struct error *err)
{
	cleanup_buffer struct buffer answer = BUFFER(ANSWER_MAX);
	cleanup_close int passed = -1;

	return ask_sandbox(s, "jupyter", "", &answer, &passed, err) < 0 ? -1 : take_answer(s, &answer, err);
}

/* A connection that leads straight into the sandbox, where its engine can pass one out; else *fd is
 * -1, and the relay at socket_path does it. */
static int connect_inside(struct story *s, int *fd, struct error *err)
{
	cleanup_buffer struct buffer answer = BUFFER(ANSWER_MAX);

	*fd = -1;
	if (!*s->inside)
		return 0;
	for (int tries = 0; ask_sandbox(s, "connect", s->inside, &answer, fd, err) < 0; tries++) {
		if (err->code == EAGAIN && tries < TRIES) { /* as many as may be wait there already */
			if (story_step(s, RETRY_MS, err) < 0)
				return -1;
			continue;
		}
		/* The server has ended, or has not begun yet. */
		if (err->code == ENOENT || err->code == EAGAIN)
			err->code = ECONNREFUSED;
		return -1;
	}
	return *fd < 0 ? error_set(err, EPROTO, "sandbox %s passes no connection out", s->sandbox_name) : 0;
}

static int watch(struct story *s, int fd, short events, int *watched, short *watched_events, struct error *err)
{
	if (fd == *watched && (fd < 0 || events == *watched_events))
		return 0;
	if (*watched >= 0 && *watched != fd)
		runner_unwatch(s->runner, *watched);
	*watched = fd;
	*watched_events = events;
	return fd < 0 ? 0 : runner_watch(s->runner, fd, events, err);
}

int kernel_watch(struct story *s, struct error *err)
{
	int fd = s->socket ? socket_fd(s->socket) : -1;
	short events = fd < 0 ? 0 : socket_events(s->socket);

	if (watch(s, fd, events, &s->socket_fd, &s->socket_events, err) < 0)
		return -1;
	fd = s->rest ? rest_fd(s->rest) : -1;
	return watch(s, fd, fd < 0 ? 0 : rest_events(s->rest), &s->rest_fd, &s->rest_events, err);
}

int kernel_timeout(struct story *s)
{
	int a = s->rest && !s->rest_result ? rest_timeout(s->rest) : -1;
	int b = s->socket ? socket_timeout(s->socket) : -1;

	return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

/* A request's end closes its descriptor. That must not stay watched: the next that is opened has the
 * same number, and what is watched for it would be forgotten as the request's. */
void kernel_ready(struct story *s, int fd)
{
	struct error err;

	if (s->rest && !s->rest_result && (fd == s->rest_fd || fd < 0)) {
		s->rest_result = rest_service(s->rest, &s->rest_error);
		if (s->rest_fd >= 0 && rest_fd(s->rest) != s->rest_fd) {
			runner_unwatch(s->runner, s->rest_fd);
			s->rest_fd = -1;
		}
	}
	if (s->socket && (fd == s->socket_fd || fd < 0) && socket_service(s->socket, &err) < 0)
		kernel_disconnect(s);
}

int kernel_call(struct story *s, const char *method, const char *path, const char *body, long *status,
		struct error *err)
{
	if (rest_start(s->rest, s->socket_path, s->token, method, path, body, err) < 0)
		return -1;
	s->rest_result = 0;
	while (!s->rest_result)
		if (story_step(s, -1, err) < 0) {
			s->rest_result = -1;
			return -1;
		}
	if (s->rest_result < 0) {
		*err = s->rest_error;
		return -1;
	}
	*status = rest_status(s->rest);
	return 0;
}

/* What Jupyter says of a failure: {"message": …}. */
static int refused(struct story *s, const char *what, long status, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(65536);

	if (json_text(&text, json_get(rest_body(s->rest), "message")) < 0 || !text.length)
		return error_set(err, EIO, "%s: Jupyter Server answers %ld", what, status);
	return error_set(err, EIO, "%s: Jupyter Server answers %ld: %.300s", what, status, text.data);
}

/* An id as Jupyter makes them, into a field; false for anything else. */
static bool copy_id(char *to, size_t size, struct json id)
{
	if (json_kind(id) != JSON_STRING || id.length < 3 || id.length - 2 >= size)
		return false;
	for (size_t i = 1; i < id.length - 1; i++)
		if (!strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.", id.data[i]))
			return false;
	memcpy(to, id.data + 1, id.length - 2);
	to[id.length - 2] = '\0';
	return true;
}

int kernel_start(struct story *s, struct error *err)
{
	char body[256];
	struct json answer, kernel;
	long status;

	/* The path is the session's key at the server: one a start, so that a kernel is never taken
	 * over from an earlier one, and one that a runner which was killed here finds again. */
	(void)snprintf(body, sizeof body,
		       "{\"path\":\"notebook-%" PRIu64 "-%" PRIu64 ".ipynb\",\"name\":\"notebook-%" PRIu64
		       "\",\"type\":\"notebook\",\"kernel\":{\"name\":\"python3\"}}",
		       runner_serial(s->runner), s->generation, runner_serial(s->runner));
	if (kernel_call(s, "POST", "/api/sessions", body, &status, err) < 0)
		return -1;
	if (status != 201 && status != 200)
		return refused(s, "starting a kernel", status, err);
	answer = rest_body(s->rest);
	kernel = json_get(answer, "kernel");
	if (!copy_id(s->session, sizeof s->session, json_get(answer, "id")) ||
	    !copy_id(s->kernel, sizeof s->kernel, json_get(kernel, "id")) ||
	    !copy_id(s->kernel_name, sizeof s->kernel_name, json_get(kernel, "name")))
		return error_set(err, EPROTO, "starting a kernel: Jupyter Server gives it no id");
	return 0;
}

int kernel_lives(struct story *s, struct error *err)
{
	char path[128];
	long status;

	(void)snprintf(path, sizeof path, "/api/kernels/%s", s->kernel);
	if (kernel_call(s, "GET", path, NULL, &status, err) < 0)
		return -1;
	if (status == 404)
		return 0;
	if (status != 200)
		return refused(s, "the kernel", status, err);
	return !json_is(json_get(rest_body(s->rest), "execution_state"), "dead");
}

void kernel_release(struct story *s)
{
	char path[128];
	struct error ignored;
	long status;

	if (!*s->session || !s->token)
		return;
	(void)snprintf(path, sizeof path, "/api/sessions/%s", s->session);
	(void)kernel_call(s, "DELETE", path, NULL, &status, &ignored);
	*s->session = *s->kernel = '\0';
}

static void receive(void *context, const void *data, size_t n)
{
	struct story *s = context;
	struct wire_message message;
	struct error err;

	if (!data)
		(void)error_set(&err, EMSGSIZE, "a kernel message of more than %u bytes was left out", SOCKET_RECEIVE_MAX);
	else if (wire_parse(data, n, &message, &err) == 0) {
		requests_message(s, &message);
		return;
	}
	/* A kernel that says nothing else shall not fill the log. */
	if (++s->nonsense <= NONSENSE_LOGGED)
		runner_log(s->runner, "%s%s", err.text, s->nonsense == NONSENSE_LOGGED ? "; more of the kind is not logged" : "");
}

int kernel_send(struct story *s, const struct buffer *message, struct error *err)
{
	if (!s->socket)
		return error_set(err, ENOTCONN, "the kernel is not connected");
	return socket_send(s->socket, message->data, message->length, err);
}

void kernel_disconnect(struct story *s)
{
	if (s->socket_fd >= 0)
		runner_unwatch(s->runner, s->socket_fd);
	s->socket_fd = -1;
	socket_close(s->socket);
	s->socket = NULL;
	s->synchronized = false;
}

int kernel_probe(struct story *s, struct error *err)
{
	cleanup_buffer struct buffer message = BUFFER(4096);
	char id[WIRE_ID_SIZE];

	s->probe = ++s->number;
	s->probe_replied = s->probe_idle = false;
	if (s->first && s->first->sent)
		s->first->asked_for = true;
	(void)snprintf(id, sizeof id, "%s-%" PRIu64 "-0", s->client, s->probe);
	return wire_request(&message, "kernel_info_request", s->client, id, JSON("{}"), err) < 0 ||
	       kernel_send(s, &message, err) < 0 ? -1 : 0;
}

int kernel_connect(struct story *s, struct error *err)
{
	struct socket_address address = {
		.fd = -1, .path = s->socket_path, .kernel = s->kernel, .session = s->client, .token = s->token,
	};

	kernel_disconnect(s);
	if (connect_inside(s, &address.fd, err) < 0)
		return -1;
	s->resumed_after = *s->seen;
	if (s->first && s->first->sent)
		s->first->resumes = true;
	s->socket = socket_connect(&address, receive, s, err);
	if (!s->socket || kernel_probe(s, err) < 0)
		return -1;
	while (s->socket && socket_state(s->socket) != SOCKET_OPEN)
		if (story_step(s, -1, err) < 0)
			return -1;
	return s->socket ? 0 : error_set(err, ECONNREFUSED, "Jupyter Server does not open the kernel's channels");
}
