#include "backend/sandbox/calls_own.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "backend/sandbox/gate.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/secret.h"
#include "base/talk.h"

/* A longer text goes in by standard input: the kernel takes 128 KiB as one argument at most, and
 * a request to the guest is one frame. */
#define ARGUMENT_MAX 49152u
#define ARGUMENTS 256

double calls_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_BOOTTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- a call's life ---- */

static struct call *call_new(struct calls *calls, const struct runner_event *event)
{
	struct call *call = calloc(1, sizeof *call);

	if (!call)
		return NULL;
	call->calls = calls;
	call->conversation = event->conversation;
	call->name = strdup(event->text);
	call->request = malloc(event->length + 1);
	call->length = event->length;
	call->passed = -1;
	if (!call->name || !call->request) {
		free(call->name);
		free(call->request);
		free(call);
		return NULL;
	}
	if (event->length)
		memcpy(call->request, event->request, event->length);
	call->request[event->length] = '\0';
	conversation_set_data(event->conversation, call);
	/* Behind the others: what waits begins in the order in which it came. */
	for (struct call **at = &calls->list;; at = &(*at)->next)
		if (!*at) {
			*at = call;
			break;
		}
	return call;
}

void call_end(struct call *call, int code, int status, const char *text)
{
	struct call **at = &call->calls->list;

	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
	if (call->function)
		interfaces_drop(call->function);
	if (!code && call->passed >= 0)
		conversation_send(call->conversation, TALK_STDOUT, "", 0, call->passed);
	if (call->passed >= 0)
		close(call->passed);
	conversation_set_data(call->conversation, NULL);
	conversation_end(call->conversation, code, status, "%s", text);
	free(call->name);
	free(call->request);
	free(call);
}

static void output(void *context, int channel, const void *data, size_t n)
{
	struct call *call = context;
	struct error ignored;

	if (call->gone || call->given_up) {
		if (call->gone)
			(void)runner_append(call->calls->runner, "log", data, n, &ignored);
		guest_consumed(call->operation, n);
		return;
	}
	conversation_send(call->conversation, channel, data, n, -1);
	if (conversation_full(call->conversation))
		call->held += n;
	else
		guest_consumed(call->operation, n);
}

static void passed(void *context, int fd)
{
	struct call *call = context;

	if (call->passed >= 0)
		close(call->passed);
	call->passed = fd;
}

static void ended(void *context, int code, int status, const char *text)
{
	struct call *call = context;

	call->operation = NULL;
	if (call->timed_out)
		call_end(call, ETIMEDOUT, status, "the command did not end within its timeout and was ended");
	else
		call_end(call, code, status, text);
}

static const struct guest_callbacks callbacks = { output, passed, ended };

/* ---- what is asked ---- */

void calls_free_environment(char **environment)
{
	for (char **v = environment; v && *v; v++) {
		explicit_bzero(*v, strlen(*v));
		free(*v);
	}
	free(environment);
}

char **calls_environment(struct calls *calls, const cJSON *extra)
{
	const cJSON *names = cJSON_GetObjectItemCaseSensitive(runner_fields(calls->runner), "secrets"), *item;
	size_t used = 0, size = (size_t)cJSON_GetArraySize(names) + (size_t)cJSON_GetArraySize(extra) + 1;
	char **environment = calloc(size, sizeof *environment);

	if (!environment)
		return NULL;
	cJSON_ArrayForEach(item, names) {
		const char *name = secret_name(item);
		const char *value = name ? runner_secret(calls->runner, name) : NULL;
		bool outside = cJSON_GetArraySize(secret_hosts(item)) > 0;

		if (value && (outside ? asprintf(&environment[used++], "%s=" GATE_PLACEHOLDER, name, name)
				      : asprintf(&environment[used++], "%s=%s", name, value)) < 0)
			goto bad;
	}
	cJSON_ArrayForEach(item, extra)
		if (cJSON_IsString(item) && asprintf(&environment[used++], "%s=%s", item->string, item->valuestring) < 0)
			goto bad;
	return environment;
bad:
	environment[used - 1] = NULL;
	calls_free_environment(environment);
	return NULL;
}

/* Starts a command of the call. `code` is text for a program that takes it as the argument behind
 * `option`, or by standard input (with `from_input` in its place) when it is too long. */
static int start(struct call *call, const char *const *argv, const void *input, size_t input_length, const char *cwd,
		 const cJSON *env, struct error *err)
{
	char **environment = calls_environment(call->calls, env);
	struct guest_command command = { .argv = argv, .env = (const char *const *)environment, .cwd = cwd,
					 .input = input, .input_length = input_length };

	if (!environment)
		return error_memory(err);
	call->operation = guest_exec(call->calls->guest, &command, &callbacks, call, err);
	calls_free_environment(environment);
	return call->operation ? 0 : -1;
}

static int start_text(struct call *call, bool python, const char *text, const char *cwd, const cJSON *env,
		      const char *input, struct error *err)
{
	const char *const by_argument[2][5] = { { "/bin/sh", "-c", text }, { "python3", "-u", "-c", text } };
	static const char *const by_input[2][4] = { { "/bin/sh", "-s" }, { "python3", "-u", "-" } };

	if (strlen(text) <= ARGUMENT_MAX)
		return start(call, by_argument[python], input, input ? strlen(input) : 0, cwd, env, err);
	if (input)
		return error_set(err, E2BIG, "a command of more than %u bytes cannot have input as well", ARGUMENT_MAX);
	return start(call, by_input[python], text, strlen(text), cwd, env, err);
}

static int start_json(struct call *call, const cJSON *request, struct error *err)
{
	const cJSON *argv = cJSON_GetObjectItemCaseSensitive(request, "argv"), *item;
	const cJSON *timeout = cJSON_GetObjectItemCaseSensitive(request, "timeout");
	const cJSON *env = cJSON_GetObjectItemCaseSensitive(request, "env");
	const char *shell = json_string(request, "shell"), *python = json_string(request, "python");
	const char *cwd = json_string(request, "cwd"), *input = json_string(request, "input");
	const char *arguments[ARGUMENTS + 1] = { NULL };
	size_t n = 0;

	if (cJSON_IsNumber(timeout) && timeout->valuedouble > 0)
		call->deadline = calls_now() + timeout->valuedouble;
	if (!cJSON_IsObject(env))
		env = NULL;
	if (shell || python)
		return start_text(call, !shell, shell ? shell : python, cwd, env, input, err);
	cJSON_ArrayForEach(item, argv) {
		if (!cJSON_IsString(item) || n == ARGUMENTS)
			return error_set(err, EINVAL, "argv is a list of at most %d texts", ARGUMENTS);
		arguments[n++] = item->valuestring;
	}
	if (!n)
		return error_set(err, EINVAL, "run takes a JSON object with argv, shell or python");
	return start(call, arguments, input, input ? strlen(input) : 0, cwd, env, err);
}

static int begin_exec(struct call *call, struct error *err)
{
	return start_text(call, false, call->request, NULL, NULL, NULL, err);
}

static int begin_python(struct call *call, struct error *err)
{
	return start_text(call, true, call->request, NULL, NULL, NULL, err);
}

static int begin_run(struct call *call, struct error *err)
{
	cJSON *request = cJSON_ParseWithLength(call->request, call->length);
	int result = cJSON_IsObject(request) ? start_json(call, request, err) :
					       error_set(err, EINVAL, "run takes a JSON object");

	cJSON_Delete(request);
	return result;
}

static int begin_root(struct call *call, struct error *err)
{
	call->operation = guest_root(call->calls->guest, &callbacks, call, err);
	return call->operation ? 0 : -1;
}

static int begin_connect(struct call *call, struct error *err)
{
	call->operation = guest_connect(call->calls->guest, call->request, &callbacks, call, err);
	return call->operation ? 0 : -1;
}

static int begin_jupyter(struct call *call, struct error *err)
{
	(void)err;
	call->jupyter = true;
	return 0; /* calls_attach and calls_event go on once it is marked */
}

static int begin_use(struct call *call, struct error *err)
{
	(void)err;
	call->use = true;
	return 0;
}

static int begin_function(struct call *call, struct error *err)
{
	return interfaces_begin_function(call->calls->interfaces, call, err);
}

static int begin_interface(struct call *call, struct error *err)
{
	return interfaces_begin_command(call->calls->interfaces, call, err);
}

static int begin_repository(struct call *call, struct error *err)
{
	return repos_begin_command(call->calls->repos, call, err);
}

static int begin_libraries(struct call *call, struct error *err)
{
	(void)err;
	call->libraries = LIBRARIES_ASKED;
	return 0;
}

/* A name is its first word: what follows says of what. */
static const struct {
	const char *name;
	int (*begin)(struct call *call, struct error *err); /* starts call->operation, or -1 */
	bool text;                                          /* the request is text: no NUL in it */
} kinds[] = {
	{ "exec", begin_exec, true },       { "python", begin_python, true }, { "run", begin_run, false },
	{ "root", begin_root, false },      { "connect", begin_connect, true }, { "jupyter", begin_jupyter, false },
	{ "use", begin_use, false },        { "function", begin_function, false }, { "interface", begin_interface, false },
	{ "libraries", begin_libraries, false }, { "repository", begin_repository, false },
};

static int find_kind(const char *name)
{
	size_t n = strcspn(name, " ");

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (strlen(kinds[i].name) == n && !strncmp(kinds[i].name, name, n))
			return (int)i;
	return -1;
}

static void begin(struct call *call)
{
	struct calls *calls = call->calls;
	int kind = find_kind(call->name);
	struct error err;

	bool jupyter = kinds[kind].begin == begin_jupyter; /* others may be over when they have begun */

	if (call->function || call->waits)
		return;
	if (kinds[kind].text && strlen(call->request) != call->length)
		(void)error_set(&err, EINVAL, "the request of %s has a NUL in it", call->name);
	else if (!kinds[kind].begin(call, &err)) {
		if (jupyter)
			jupyter_asked(calls);
		return;
	}
	call_end(call, err.code, 0, err.text);
}

/* ---- events ---- */

/* After anything that may have queued a request: the guest's descriptor is watched for writing. */
static void rearm(struct calls *calls)
{
	struct error ignored;

	if (calls->guest)
		(void)runner_watch(calls->runner, guest_fd(calls->guest), guest_events(calls->guest), &ignored);
	calls_set_timer(calls);
}

static void closed(struct call *call, bool gone)
{
	if (!call->operation && (!gone || call->jupyter || call->use || call->libraries || call->waits)) {
		call_end(call, ECANCELED, 0, "nobody waits for it any more");
		return;
	}
	call->gone = gone;
	call->given_up = !gone;
	if (call->function)
		interfaces_drained(call->function);
	if (!call->operation)
		return; /* asked for while the sandbox starts: it runs all the same */
	if (call->given_up)
		guest_signal(call->operation, SIGTERM); /* the guest follows with SIGKILL */
	guest_consumed(call->operation, call->held);
	call->held = 0;
}

void calls_event(struct calls *calls, const struct runner_event *event)
{
	bool new = event->kind == RUNNER_CALL || event->kind == RUNNER_COMMAND;
	struct call *call = new ? NULL : conversation_data(event->conversation);

	switch (event->kind) {
	case RUNNER_CALL:
	case RUNNER_COMMAND:
		if (find_kind(event->text) < 0) {
			conversation_end(event->conversation, EINVAL, 0, "a sandbox has no call '%.64s'", event->text);
		} else if (!(call = call_new(calls, event))) {
			conversation_end(event->conversation, ENOMEM, 0, "out of memory");
		} else if (calls->guest) {
			begin(call);
		}
		break;
	case RUNNER_CLOSED:
		if (call)
			closed(call, event->gone);
		break;
	case RUNNER_DRAINED:
		if (call && call->function) {
			interfaces_drained(call->function);
		} else if (call && call->operation) {
			guest_consumed(call->operation, call->held);
			call->held = 0;
		}
		break;
	default:
		break;
	}
	rearm(calls);
}

void calls_set_timer(struct calls *calls)
{
	double due = jupyter_due(calls), functions = interfaces_due(calls->interfaces);
	struct itimerspec at = { 0 };

	if (functions && (!due || functions < due))
		due = functions;
	for (struct call *c = calls->list; c; c = c->next)
		if (c->deadline && (c->operation || c->waits) && !c->timed_out && (!due || c->deadline < due))
			due = c->deadline;
	if (due) {
		at.it_value.tv_sec = (time_t)due;
		at.it_value.tv_nsec = (long)((due - (double)at.it_value.tv_sec) * 1e9) + 1;
		if (at.it_value.tv_nsec > 999999999)
			at.it_value.tv_nsec = 999999999;
	}
	(void)timerfd_settime(calls->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void timer(struct calls *calls)
{
	double now = calls_now();
	uint64_t times;

	if (read(calls->timer, &times, sizeof times) < 0 && errno != EAGAIN)
		return;
	for (struct call *c = calls->list, *next; c; c = next) {
		next = c->next;
		if (c->deadline && c->waits && c->deadline <= now)
			call_end(c, ETIMEDOUT, 0, c->late);
		else if (c->deadline && c->operation && !c->timed_out && c->deadline <= now) {
			c->timed_out = true;
			guest_signal(c->operation, SIGTERM); /* the guest follows with SIGKILL */
			guest_consumed(c->operation, c->held);
			c->held = 0;
		}
	}
	interfaces_timer(calls->interfaces);
	jupyter_timer(calls);
}

void calls_look(struct calls *calls)
{
	interfaces_look(calls->interfaces);
	rearm(calls);
}

void calls_begin_repos(struct calls *calls)
{
	repos_begin(calls->repos);
	rearm(calls);
}

bool calls_take_libraries(struct calls *calls)
{
	bool any = false;

	for (struct call *c = calls->list; c; c = c->next)
		if (c->libraries == LIBRARIES_ASKED) {
			c->libraries = LIBRARIES_TAKEN;
			any = true;
		}
	return any;
}

void calls_libraries(struct calls *calls, const char *result, int code, const char *why)
{
	for (struct call *c = calls->list, *next; c; c = next) {
		next = c->next;
		if (c->libraries != LIBRARIES_TAKEN)
			continue;
		if (result)
			conversation_send(c->conversation, TALK_STDOUT, result, strlen(result), -1);
		call_end(c, result ? 0 : code, 0, result ? "" : why);
	}
}

bool calls_in_use(const struct calls *calls)
{
	for (const struct call *c = calls->list; c; c = c->next)
		if (c->use)
			return true;
	return false;
}

bool calls_descriptor(struct calls *calls, int fd, short revents)
{
	bool ours = fd == calls->timer;

	if (ours)
		timer(calls);
	else
		ours = jupyter_descriptor(calls, fd, revents) || ports_descriptor(calls->ports, fd, revents) ||
		       interfaces_descriptor(calls->interfaces, fd) || callers_descriptor(calls->callers, fd);
	if (ours)
		rearm(calls);
	return ours;
}

void calls_attach(struct calls *calls, struct guest *guest)
{
	calls->guest = guest;
	jupyter_attach(calls);
	calls->ports = ports_open(calls->runner, guest,
				  cJSON_GetObjectItemCaseSensitive(runner_fields(calls->runner), "ports"));
	calls->repos = repos_open(calls);
	interfaces_attach(calls->interfaces, guest);
	calls->callers = callers_open(calls->runner, guest);
	for (struct call *c = calls->list; c;) {
		bool waited = !c->operation && !c->jupyter && !c->use && !c->libraries && !c->function && !c->waits;
		struct call *next = c->next;

		if (c->jupyter)
			jupyter_asked(calls);
		if (waited)
			begin(c);
		c = waited ? calls->list : next; /* others may have ended with it */
	}
	rearm(calls);
}

void calls_detach(struct calls *calls, int code, const char *reason)
{
	jupyter_detach(calls);
	interfaces_attach(calls->interfaces, NULL);
	callers_close(calls->callers);
	calls->callers = NULL;
	repos_close(calls->repos);
	calls->repos = NULL;
	ports_close(calls->ports);
	calls->ports = NULL;
	for (struct call *c = calls->list, *next; c; c = next) {
		next = c->next;
		if (c->operation)
			guest_forget(c->operation);
		call_end(c, code, 0, reason);
	}
	calls->guest = NULL;
	calls_set_timer(calls);
}

int calls_open(struct calls **calls, struct runner *runner, struct error *err)
{
	struct calls *c = calloc(1, sizeof *c);

	if (!c)
		return error_memory(err);
	c->runner = runner;
	c->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (c->timer < 0) {
		(void)error_errno(err, "a timer");
		free(c);
		return -1;
	}
	if (runner_watch(runner, c->timer, POLLIN, err) < 0) {
		close(c->timer);
		free(c);
		return -1;
	}
	jupyter_open(c);
	if (interfaces_open(&c->interfaces, c, err) < 0) {
		runner_unwatch(runner, c->timer);
		close(c->timer);
		free(c);
		return -1;
	}
	*calls = c;
	return 0;
}

void calls_close(struct calls *calls)
{
	calls_detach(calls, ENOTCONN, "the sandbox does not run");
	jupyter_close(calls);
	interfaces_close(calls->interfaces);
	runner_unwatch(calls->runner, calls->timer);
	close(calls->timer);
	free(calls);
}
