/* The process of an interface: share/interface.py, told by its standard input what to serve. It says
 * `ready` or `failed WHY` on its standard output; what functions print comes by its standard error
 * and goes into the interface's log.
 *
 * One that dies is started again, unless it does so for the fourth time within a minute. */
#include "backend/sandbox/interfaces_own.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/program.h"

#define PROGRAM_MAX (100u << 10)
#define INPUT_MAX (1u << 20)
#define CONTROL_MAX 4096u
#define SAID_MAX 4096u
#define DEATHS_SECONDS 60.0

/* Reads the program, since it begins the standard input, and runs the rest as it says. */
static const char boot[] = "import sys;exec(compile(sys.stdin.buffer.read(int(sys.argv[1])),'interpfs','exec'))";

static struct served *make_server(struct interface *it, unsigned generation)
{
	struct served *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	*s = (struct served){ .next = it->servers, .interface = it, .generation = generation,
			      .control = BUFFER(CONTROL_MAX), .said = BUFFER(SAID_MAX) };
	(void)snprintf(s->socket, sizeof s->socket, INTERFACE_INSIDE "/%u-%u.sock", it->number, generation);
	it->servers = s;
	return s;
}

static void start(struct interface *it);

/* It is gone: what waited for its place takes it. */
static void free_server(struct served *s)
{
	struct interface *it = s->interface;
	struct served **at = &it->servers;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	if (s->process)
		guest_forget(s->process);
	if (it->server == s)
		it->server = NULL;
	buffer_free(&s->control);
	buffer_free(&s->said);
	free(s);
	if (it->starts && it->all->guest)
		start(it);
}

/* ---- its end ---- */

static void end_server(struct served *s)
{
	struct function_call *quit;

	if (s->ending || !s->interface->all->guest)
		return;
	s->ending = true;
	if (s->process) {
		guest_signal(s->process, SIGTERM);
		return;
	}
	quit = function_make(s->interface, FUNCTION_QUIT, NULL, "quit", "");
	if (quit)
		function_begin(quit, s);
}

void server_retire(struct served *s)
{
	s->retired = true;
	if (s->interface->server == s)
		s->interface->server = NULL;
	if (!s->running)
		end_server(s);
}

void server_call_ended(struct served *s)
{
	s->running--;
	if (s->retired && !s->running)
		end_server(s);
}

static bool dies_too_often(struct interface *it)
{
	double now = calls_now(), first = it->died[0];

	memmove(it->died, it->died + 1, sizeof it->died - sizeof it->died[0]);
	it->died[2] = now;
	return first > 0 && now - first < DEATHS_SECONDS;
}

static void fail(struct interface *it, const char *why)
{
	interface_log(it, "failed: %s", why);
	interface_set_state(it, INTERFACE_FAILED, why);
}

/* The present process is gone, and nobody asked for it. */
static void died(struct interface *it, const char *why)
{
	if (dies_too_often(it)) {
		fail(it, why);
		return;
	}
	interface_log(it, "%s; it is started again", why);
	interface_set_state(it, INTERFACE_LOADING, "");
	it->starts = true;
}

static void process_ended(void *context, int code, int status, const char *text)
{
	struct served *s = context;
	struct interface *it = s->interface;
	bool present = it->server == s && !s->ending, was_ready = it->state == INTERFACE_READY;
	char why[ERROR_TEXT_SIZE] = "";

	s->process = NULL;
	s->ending = true;
	if (code)
		(void)snprintf(why, sizeof why, "its process could not be started: %.800s", text);
	else if (s->control.length > 7 && !strncmp(s->control.data, "failed ", 7))
		(void)snprintf(why, sizeof why, "%.*s", (int)strcspn(s->control.data + 7, "\n"), s->control.data + 7);
	else if (status > 128)
		(void)snprintf(why, sizeof why, "its process was killed by signal %d%s", status - 128,
			       status == 137 ? " (out of memory, or from outside)" : "");
	else
		(void)snprintf(why, sizeof why, "its process ended with status %d%s%.700s", status,
			       s->said.length ? ": " : "", buffer_last_line(&s->said));
	if (code == ENOENT)
		(void)snprintf(why, sizeof why, "there is no python3 in the sandbox: interfaces need one");
	functions_lost(s);
	if (present && was_ready)
		died(it, why);
	else if (present)
		fail(it, why);
	free_server(s);
}

void server_kill(struct served *s, const char *why)
{
	struct interface *it = s->interface;
	bool present = it->server == s;

	if (s->ending && !s->process) {
		/* It does not even end: it is left to itself. */
		functions_lost(s);
		free_server(s);
		return;
	}
	s->retired = true;
	if (present)
		it->server = NULL;
	functions_lost(s);
	if (s->process)
		guest_signal(s->process, SIGKILL);
	end_server(s);
	if (present)
		died(it, why);
}

/* ---- its beginning ---- */

static void process_output(void *context, int channel, const void *data, size_t n)
{
	struct served *s = context;
	struct interface *it = s->interface;
	struct function_call *describe;

	guest_consumed(s->process, n);
	if (channel == TALK_STDERR) {
		interface_write(it, INTERFACE_LOG, data, n);
		(void)buffer_append_last(&s->said, data, n);
		return;
	}
	if (buffer_append(&s->control, data, n) < 0 || it->server != s || it->state != INTERFACE_LOADING ||
	    strcmp(s->control.data, "ready\n") != 0)
		return;
	describe = function_make(it, FUNCTION_DESCRIBE, NULL, "describe", "");
	if (describe)
		function_begin(describe, s);
}

static int add_models(cJSON *config, const cJSON *fields)
{
	cJSON *models = cJSON_AddArrayToObject(config, "models");
	const cJSON *model;

	cJSON_ArrayForEach(model, cJSON_GetObjectItemCaseSensitive(fields, "models")) {
		const char *variable = json_string(model, "var_name");
		const char *name = json_string(model, "name");
		cJSON *one = cJSON_CreateObject();

		if (!cJSON_AddItemToArray(models, one) || !cJSON_AddStringToObject(one, "var_name", variable ? variable : "model"))
			return -1;
		/* Of a hidden one the name is nowhere inside. */
		if (name && !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(model, "hidden")) &&
		    !cJSON_AddStringToObject(one, "name", name))
			return -1;
	}
	return models ? 0 : -1;
}

/* What it reads: the program, and behind it what to serve. */
static int render_input(const struct served *s, struct buffer *input, size_t *program, struct error *err)
{
	struct interface *it = s->interface;
	cleanup_free char *path = program_share("interface.py"), *text = NULL;
	cJSON *config = interface_read(it, err);
	char folder[INTERFACE_SOCKET];

	if (!config)
		return -1;
	/* It may be another text than the one that was looked at: a place for the process was waited for. */
	interface_hash(config, it->sha);
	(void)snprintf(folder, sizeof folder, INTERFACE_INSIDE "/%u-%u", it->number, s->generation);
	if (path && cJSON_AddStringToObject(config, "socket", s->socket) && cJSON_AddStringToObject(config, "folder", folder) &&
	    !add_models(config, runner_fields(it->all->runner)))
		text = cJSON_PrintUnformatted(config);
	cJSON_Delete(config);
	if (!text)
		return error_memory(err);
	if (file_read(AT_FDCWD, path, input, err) < 0)
		return -1;
	*program = input->length;
	if (buffer_text(input, text) < 0 || buffer_text(input, "\n") < 0)
		return error_set(err, EFBIG, "interface.py and what lies beside it are too long together");
	return 0;
}

static int start_process(struct served *s, struct error *err)
{
	static const struct guest_callbacks callbacks = { process_output, NULL, process_ended };
	struct interface *it = s->interface;
	cleanup_buffer struct buffer input = BUFFER(INPUT_MAX);
	size_t program = 0;
	char length[24];
	const char *const argv[] = { "python3", "-u", "-c", boot, length, NULL };
	/* That it waits for calls is no use of the sandbox. */
	struct guest_command command = { .argv = argv, .background = true };
	char **environment;

	if (render_input(s, &input, &program, err) < 0)
		return -1;
	environment = calls_environment(it->all->calls, NULL);
	if (!environment)
		return error_memory(err);
	(void)snprintf(length, sizeof length, "%zu", program);
	command.env = (const char *const *)environment;
	command.input = input.data;
	command.input_length = input.length;
	s->process = guest_exec(it->all->guest, &command, &callbacks, s, err);
	calls_free_environment(environment);
	return s->process ? 0 : -1;
}

/* "GENERATION SHA" of the process that serves, for the runner that comes after this one. */
static void keep_served(const struct interface *it)
{
	char path[INTERFACE_PATH], text[128];
	struct error ignored;

	(void)snprintf(text, sizeof text, "%u %s\n", it->generation, it->sha);
	(void)runner_set_text(it->all->runner, interface_path(it, "served", path), text, &ignored);
}

static void start(struct interface *it)
{
	struct served *s;
	struct error err;

	it->starts = false;
	s = make_server(it, ++it->generation);
	keep_served(it);
	if (!s) {
		fail(it, "out of memory");
		return;
	}
	it->server = s;
	if (start_process(s, &err) < 0) {
		fail(it, err.text);
		free_server(s);
	}
}

void interface_serve(struct interface *it)
{
	bool wait = false;

	if (it->server)
		server_retire(it->server);
	it->starts = false;
	if (!*it->sha) {
		struct error err;
		cJSON *source = interface_read(it, &err); /* only to know what is wrong with it */

		if (source || err.code == ENOENT)
			interface_set_state(it, INTERFACE_DRAFT, "");
		else
			fail(it, err.text);
		cJSON_Delete(source);
		return;
	}
	interface_set_state(it, INTERFACE_LOADING, "");
	/* Two copies of a model may not fit: the old process goes first, unless calls are under way on it. */
	for (const struct served *s = it->servers; s; s = s->next)
		wait = wait || s->ending;
	it->starts = true;
	if (!wait)
		start(it);
}

void interface_adopt(struct interface *it)
{
	cleanup_buffer struct buffer text = BUFFER(256);
	char path[INTERFACE_PATH], *rest = NULL;
	struct function_call *describe;
	struct served *s;
	struct error ignored;
	unsigned long generation = 0;

	if (!file_read(runner_folder(it->all->runner), interface_path(it, "served", path), &text, &ignored) && text.length)
		generation = strtoul(text.data, &rest, 10);
	it->generation = generation < UINT32_MAX ? (unsigned)generation : 0;
	s = generation ? make_server(it, it->generation) : NULL;
	describe = s ? function_make(it, FUNCTION_DESCRIBE, NULL, "describe", "") : NULL;
	if (!describe) {
		it->generation = it->generation ? it->generation : 1;
		interface_serve(it);
		return;
	}
	it->server = s;
	if (*rest == ' ' && !strncmp(rest + 1, it->sha, strlen(it->sha)) && *it->sha) {
		interface_set_state(it, INTERFACE_LOADING, "");
		function_begin(describe, s);
		return;
	}
	interfaces_drop(describe);
	interface_serve(it);
}

void server_described(struct served *s, const char *text, size_t n)
{
	struct interface *it = s->interface;
	cJSON *described = text ? cJSON_ParseWithLength(text, n) : NULL;
	struct error err;

	if (it->server != s || it->state != INTERFACE_LOADING) {
		cJSON_Delete(described);
		return;
	}
	if (!text && !s->process) {
		/* An earlier runner's, and no more there. */
		free_server(s);
		interface_serve(it);
		return;
	}
	if (!cJSON_IsObject(described))
		(void)error_set(&err, EPROTO, "its process does not tell what it serves");
	if (!cJSON_IsObject(described) || interface_tell(it, described, &err) < 0) {
		fail(it, err.text);
		server_retire(s);
	} else {
		interface_log(it, "ready");
		interface_set_state(it, INTERFACE_READY, "");
	}
	cJSON_Delete(described);
}

void servers_forget(struct interface *it)
{
	it->starts = false;
	it->server = NULL;
	while (it->servers) {
		functions_lost(it->servers);
		free_server(it->servers);
	}
}
