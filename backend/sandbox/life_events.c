/* What comes to a sandbox's runner while it waits: events of the guest and of what a backend
 * watches, commands, calls, other wants. While a sandbox builds, its backend pumps the same loop. */
#include "backend/sandbox/life.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECRETS_MS 10000

static int host_watch(void *context, int fd, short events, void (*ready)(void *, short), void *ready_context,
		      struct error *err)
{
	struct life *s = context;
	struct watcher *free_ = NULL;

	for (size_t i = 0; i < LIFE_WATCHERS; i++) {
		if (s->watchers[i].fd == fd)
			return runner_watch(s->runner, fd, events, err);
		if (s->watchers[i].fd < 0)
			free_ = &s->watchers[i];
	}
	if (!free_)
		return error_set(err, EMFILE, "the sandbox watches too much");
	*free_ = (struct watcher){ fd, ready, ready_context };
	return runner_watch(s->runner, fd, events, err);
}

void life_unwatch(struct life *s, int fd)
{
	for (size_t i = 0; i < LIFE_WATCHERS; i++)
		if (s->watchers[i].fd == fd)
			s->watchers[i] = (struct watcher){ -1, NULL, NULL };
	runner_unwatch(s->runner, fd);
}

static void host_unwatch(void *context, int fd)
{
	life_unwatch(context, fd);
}

static void host_log(void *context, const void *data, size_t n)
{
	const struct life *s = context;
	struct error ignored;

	(void)runner_append(s->runner, "log", data, n, &ignored);
}

static void host_value(void *context, const char *path, const char *text)
{
	const struct life *s = context;
	struct error err;

	if (!text)
		runner_changed(s->runner, path);
	else if (runner_set_text(s->runner, path, text, &err))
		runner_log(s->runner, "%s", err.text);
}

static const char *host_secret(void *context, const char *name)
{
	const struct life *s = context;
	struct error ignored;

	(void)runner_hear(s->runner, SECRETS_MS, &ignored); /* without the mount: as if it had none */
	return runner_secret(s->runner, name);
}

/* A sandbox that is ready stays so while Jupyter's layer is made beside it. */
static int host_building(void *context, struct error *err)
{
	struct life *s = context;
	const char *state = runner_status(s->runner)->state;

	return strcmp(state, "building") && strcmp(state, "ready") ? runner_set_state(s->runner, "building", err) : 0;
}

/* Takes a number of the new config into what is acted on; whether it is another. */
static bool take_number(struct life *s, const char *field)
{
	const cJSON *now = cJSON_GetObjectItemCaseSensitive(runner_fields(s->runner), field);
	cJSON *had = cJSON_GetObjectItemCaseSensitive(s->fields, field);

	if (!cJSON_IsNumber(now) || !cJSON_IsNumber(had) || now->valuedouble == had->valuedouble)
		return false;
	cJSON_SetNumberValue(had, now->valuedouble);
	return true;
}

/* A config that changed while its sandbox runs: only what can change alive did. */
static void follow_config(struct life *s)
{
	double timeout;
	struct error err;

	if (!s->guest)
		return;
	if (take_number(s, "idle_timeout") && life_set_idle(s, &err))
		runner_log(s->runner, "the new idle_timeout could not be set: %s", err.text);
	if (!take_number(s, "timeout"))
		return;
	timeout = sandbox_number(&s->sandbox, "timeout", 0);
	if (life_set_deadline(s, timeout > 0 ? s->started + timeout : 0, &err))
		runner_log(s->runner, "the new timeout could not be set: %s", err.text);
	else
		runner_log(s->runner, "timeout: %.0f seconds", timeout);
}

static void log_extension(struct life *s, unsigned long seconds)
{
	time_t at = (time_t)life_real(s->deadline);
	char when[32] = "";
	struct tm tm;

	if (gmtime_r(&at, &tm))
		(void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
	runner_log(s->runner, "extended by %lu seconds, until %s", seconds, when);
}

static void run_command(struct life *s, struct conversation *c, const char *line)
{
	size_t word = strcspn(line, " \t");
	const char *number = line + word + strspn(line + word, " \t");
	struct error err;
	unsigned long seconds;
	char *end;

	if (word != 6 || strncmp(line, "extend", 6)) {
		conversation_end(c, EINVAL, 0, "unknown command '%.64s'; known: extend SECONDS", line);
		return;
	}
	errno = 0;
	seconds = strtoul(number, &end, 10);
	if (errno || end == number || *end || !seconds || seconds > 366ul * 86400) {
		conversation_end(c, EINVAL, 0, "extend takes a number of seconds, as in: extend 600");
	} else if (!s->guest) {
		conversation_end(c, ENOTCONN, 0, "the sandbox does not run");
	} else if (!s->deadline) {
		conversation_end(c, 0, 0, "%s", "");
	} else if (life_set_deadline(s, s->deadline + (double)seconds, &err)) {
		conversation_end(c, err.code, 0, "%s", err.text);
	} else {
		log_extension(s, seconds);
		conversation_end(c, 0, 0, "%s", "");
	}
}

static void dispatch(struct life *s, const struct runner_event *event)
{
	switch (event->kind) {
	case RUNNER_TIMEOUT:
		break;
	case RUNNER_WANT:
		follow_config(s);
		calls_look(s->calls);
		break;
	case RUNNER_SIGNAL:
		s->signalled = true;
		break;
	case RUNNER_COMMAND:
		if (!strncmp(event->text, "interface ", 10) || !strncmp(event->text, "repository ", 11))
			calls_event(s->calls, event);
		else
			run_command(s, event->conversation, event->text);
		break;
	case RUNNER_CALL:
	case RUNNER_CLOSED:
	case RUNNER_DRAINED:
		calls_event(s->calls, event);
		break;
	case RUNNER_FD:
		for (size_t i = 0; i < LIFE_WATCHERS; i++)
			if (s->watchers[i].fd == event->fd && s->watchers[i].ready) {
				s->watchers[i].ready(s->watchers[i].context, event->revents);
				return;
			}
		if (!calls_descriptor(s->calls, event->fd, event->revents))
			runner_unwatch(s->runner, event->fd);
		break;
	}
}

/* Whatever was asked of the guest meanwhile has to be sent. */
static void handle(struct life *s, const struct runner_event *event)
{
	struct error ignored;

	dispatch(s, event);
	if (s->guest && !s->lost && life_watch_guest(s, &ignored))
		s->lost = true;
}

bool life_overtaken(const struct life *s)
{
	return s->signalled || runner_want(s->runner)->generation != s->acting;
}

int life_pump(struct life *s, int timeout_ms, struct error *err)
{
	struct runner_event event;

	if (!life_overtaken(s)) {
		if (runner_next(s->runner, timeout_ms, &event, err))
			return -1;
		handle(s, &event);
	}
	return life_overtaken(s) ? error_set(err, ECANCELED, "it is wanted otherwise") : 0;
}
static int host_pump(void *context, int timeout_ms, struct error *err)
{
	return life_pump(context, timeout_ms, err);
}

void life_open_events(struct life *s)
{
	for (size_t i = 0; i < LIFE_WATCHERS; i++)
		s->watchers[i].fd = -1;
	s->host = (struct sandbox_host){ s, host_pump, host_watch, host_unwatch, host_log, host_value,
					  host_secret, host_building };
}
