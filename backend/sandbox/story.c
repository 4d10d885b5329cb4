/* A sandbox's life. What is wanted (run, stopped, removed) comes as generations; each is acted on
 * once, and after a kill -9 at any step the next runner goes on from what is on the disk:
 *
 *      draft → building → starting → ready → stopping → stopped
 *                  └─────────┴→ failed      └→ stopped (its timeout), died
 *
 *      status says building, starting or stopping: a runner was killed in the middle. What its
 *          backend finds left over is ended, and the want is acted on from its beginning.
 *      status says ready: the guest is found again (adopt), or it ended meanwhile, and its own
 *          record says how.
 *
 * While it builds, the same loop serves commands and calls: see pump(). */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backend/runner.h"
#include "backend/runners.h"
#include "backend/sandbox/backend.h"
#include "backend/sandbox/calls.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

#define QUIT_MS 2000
#define QUIT_TRIES 10
#define SECRETS_MS 10000
#define SAMPLE_MS 5000
#define WATCHERS_MAX 8
#define PROCESSES_MAX (256u << 10)
#define ID_SIZE 64

struct watcher {
	int fd; /* -1: free */
	void (*ready)(void *context, short revents);
	void *context;
};

struct story {
	struct runner *runner;
	struct sandbox sandbox;
	struct sandbox_host host;
	const struct sandbox_backend *backend;
	struct calls *calls;
	struct guest *guest;       /* while it runs */
	cJSON *fields, *references;/* what is acted on: copies, since a poke reads spec.json again */
	uint64_t acting;           /* the generation that is acted on */
	bool lost;                 /* the guest's link has ended */
	bool signalled;            /* SIGTERM: leave everything as it is */
	bool sampling;
	double sampled;            /* CLOCK_BOOTTIME of the last sample */
	struct buffer processes;
	struct guest_operation *sample;
	double started, deadline;  /* CLOCK_BOOTTIME; deadline 0: none */
	struct watcher watchers[WATCHERS_MAX];
	char id[ID_SIZE];
	char *name;
};

static double boot_seconds(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_BOOTTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- events ---- */

static int host_watch(void *context, int fd, short events, void (*ready)(void *, short), void *ready_context,
		      struct error *err)
{
	struct story *s = context;
	struct watcher *free_ = NULL;

	for (size_t i = 0; i < WATCHERS_MAX; i++) {
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

static void host_unwatch(void *context, int fd)
{
	struct story *s = context;

	for (size_t i = 0; i < WATCHERS_MAX; i++)
		if (s->watchers[i].fd == fd)
			s->watchers[i] = (struct watcher){ -1, NULL, NULL };
	runner_unwatch(s->runner, fd);
}

static void host_log(void *context, const void *data, size_t n)
{
	const struct story *s = context;
	struct error ignored;

	(void)runner_append(s->runner, "log", data, n, &ignored);
}

/* A sandbox that is ready stays so while Jupyter's layer is made beside it. */
static int host_building(void *context, struct error *err)
{
	struct story *s = context;
	const char *state = runner_status(s->runner)->state;

	return strcmp(state, "building") && strcmp(state, "ready") ? runner_set_state(s->runner, "building", err) : 0;
}

static int watch_guest(struct story *s, struct error *err);

/* Gives the guest a new deadline. */
static int set_deadline(struct story *s, double deadline, struct error *err);

/* A config that changed while its sandbox runs: only what can change alive did. */
static void follow_config(struct story *s)
{
	const cJSON *timeout = cJSON_GetObjectItemCaseSensitive(runner_fields(s->runner), "timeout");
	cJSON *had = cJSON_GetObjectItemCaseSensitive(s->fields, "timeout");
	struct error err;

	if (!s->guest || !cJSON_IsNumber(timeout) || !cJSON_IsNumber(had) || timeout->valuedouble == had->valuedouble)
		return;
	cJSON_SetNumberValue(had, timeout->valuedouble);
	if (set_deadline(s, timeout->valuedouble > 0 ? s->started + timeout->valuedouble : 0, &err))
		runner_log(s->runner, "the new timeout could not be set: %s", err.text);
	else
		runner_log(s->runner, "timeout: %.0f seconds", timeout->valuedouble);
}

static void run_command(struct story *s, struct conversation *c, const char *line)
{
	struct error err;
	unsigned long seconds;
	char *end;

	if (strncmp(line, "extend ", 7)) {
		conversation_end(c, EINVAL, 0, "unknown command '%.64s'; known: extend SECONDS", line);
		return;
	}
	errno = 0;
	seconds = strtoul(line + 7, &end, 10);
	if (errno || end == line + 7 || *end || !seconds || seconds > 366ul * 86400) {
		conversation_end(c, EINVAL, 0, "extend takes a number of seconds, as in: extend 600");
		return;
	}
	if (!s->guest)
		conversation_end(c, ENOTCONN, 0, "the sandbox does not run");
	else if (!s->deadline)
		conversation_end(c, 0, 0, "%s", "");
	else if (set_deadline(s, s->deadline + (double)seconds, &err))
		conversation_end(c, err.code, 0, "%s", err.text);
	else
		conversation_end(c, 0, 0, "%s", "");
}

static void dispatch(struct story *s, const struct runner_event *event)
{
	switch (event->kind) {
	case RUNNER_TIMEOUT:
		break;
	case RUNNER_WANT:
		follow_config(s);
		break;
	case RUNNER_SIGNAL:
		s->signalled = true;
		break;
	case RUNNER_COMMAND:
		run_command(s, event->conversation, event->text);
		break;
	case RUNNER_CALL:
	case RUNNER_CLOSED:
	case RUNNER_DRAINED:
		calls_event(s->calls, event);
		break;
	case RUNNER_FD:
		for (size_t i = 0; i < WATCHERS_MAX; i++)
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
static void handle(struct story *s, const struct runner_event *event)
{
	struct error ignored;

	dispatch(s, event);
	if (s->guest && !s->lost && watch_guest(s, &ignored))
		s->lost = true;
}

/* Whether what is acted on is no longer wanted. */
static bool overtaken(const struct story *s)
{
	return s->signalled || runner_want(s->runner)->generation != s->acting;
}

static int pump(void *context, int timeout_ms, struct error *err)
{
	struct story *s = context;
	struct runner_event event;

	if (!overtaken(s)) {
		if (runner_next(s->runner, timeout_ms, &event, err))
			return -1;
		handle(s, &event);
	}
	return overtaken(s) ? error_set(err, ECANCELED, "it is wanted otherwise") : 0;
}

/* ---- the guest ---- */

static void guest_ready(void *context, short revents)
{
	struct story *s = context;
	struct error err;

	(void)revents;
	if (!s->lost && (guest_step(s->guest, &err) || watch_guest(s, &err)))
		s->lost = true;
	if (s->lost)
		host_unwatch(s, guest_fd(s->guest));
}

static int watch_guest(struct story *s, struct error *err)
{
	return host_watch(s, guest_fd(s->guest), guest_events(s->guest), guest_ready, s, err);
}

static void no_output(void *context, int channel, const void *data, size_t n)
{
	(void)context;
	(void)channel;
	(void)data;
	(void)n;
}

static void passed(void *context, int fd)
{
	(void)context;
	(void)close(fd);
}

static void nothing_ended(void *context, int code, int exit_, const char *text)
{
	(void)context;
	(void)code;
	(void)exit_;
	(void)text;
}

static const struct guest_callbacks quiet = { no_output, passed, nothing_ended };

/* "STARTED DEADLINE" of CLOCK_BOOTTIME, for the runner that comes after this one. */
static int keep_deadline(struct story *s, struct error *err)
{
	char text[64];
	int n = snprintf(text, sizeof text, "%.3f %.3f\n", s->started, s->deadline);

	return file_replace(runner_folder(s->runner), "deadline", text, (size_t)n, 0600, false, err);
}

static void read_deadline(struct story *s)
{
	cleanup_buffer struct buffer text = BUFFER(256);
	struct error ignored;
	char *rest;

	s->started = boot_seconds();
	s->deadline = 0;
	if (file_read(runner_folder(s->runner), "deadline", &text, &ignored) || !text.length)
		return;
	s->started = strtod(text.data, &rest);
	s->deadline = strtod(rest, NULL);
}

static int set_deadline(struct story *s, double deadline, struct error *err)
{
	double left = deadline - boot_seconds();

	if (!guest_deadline(s->guest, deadline > 0 ? (uint64_t)ceil(left > 1 ? left : 1) : 0, &quiet, NULL, err) ||
	    watch_guest(s, err))
		return -1;
	s->deadline = deadline;
	return keep_deadline(s, err);
}

static void sample_output(void *context, int channel, const void *data, size_t n)
{
	struct story *s = context;

	(void)channel;
	(void)buffer_append(&s->processes, data, n); /* what is past the limit is not shown */
	guest_consumed(s->sample, n);
}

static void sample_ended(void *context, int code, int exit_, const char *text)
{
	struct story *s = context;
	struct error ignored;

	(void)exit_;
	(void)text;
	if (!code)
		(void)runner_set_value(s->runner, "processes", s->processes.data ? s->processes.data : "",
				       s->processes.length, 0600, &ignored);
	s->sample = NULL;
	s->sampling = false;
}

/* What runs inside, into `processes`. A sample that fails is left out. */
static void sample(struct story *s)
{
	static const struct guest_callbacks callbacks = { sample_output, passed, sample_ended };
	struct error ignored;

	if (s->sampling || s->lost || boot_seconds() < s->sampled + SAMPLE_MS / 1000.0)
		return;
	s->sampled = boot_seconds();
	buffer_clear(&s->processes);
	s->sampling = true;
	s->sample = guest_processes(s->guest, &callbacks, s, &ignored);
	if (!s->sample)
		s->sampling = false;
	if (watch_guest(s, &ignored))
		s->lost = true;
}

/* ---- the steps ---- */

static void detach(struct story *s, int code, const char *reason)
{
	if (s->guest) {
		calls_detach(s->calls, code, reason);
		host_unwatch(s, guest_fd(s->guest));
		guest_detach(s->guest);
	}
	s->guest = NULL;
	s->sampling = false;
}

static int attach(struct story *s, struct guest *guest, struct error *err)
{
	s->guest = guest;
	s->lost = false;
	if (watch_guest(s, err))
		return -1;
	calls_attach(s->calls, guest);
	return 0;
}

/* The boot in which it was last acted on: nothing that ran survives another. */
static int keep_boot(struct story *s, struct error *err)
{
	cleanup_buffer struct buffer boot = BUFFER(128);

	if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &boot, err))
		return -1;
	return file_replace(runner_folder(s->runner), "boot", boot.data, boot.length, 0600, false, err);
}

static bool rebooted(struct story *s)
{
	cleanup_buffer struct buffer now = BUFFER(128), then = BUFFER(128);
	struct error ignored;

	return !file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &now, &ignored) &&
	       !file_read(runner_folder(s->runner), "boot", &then, &ignored) && then.length &&
	       (now.length != then.length || memcmp(now.data, then.data, now.length));
}

/* What is acted on from now on. */
static int take_want(struct story *s, struct error *err)
{
	cJSON_Delete(s->fields);
	cJSON_Delete(s->references);
	s->fields = cJSON_Duplicate(runner_fields(s->runner), true);
	s->references = cJSON_Duplicate(runner_references(s->runner), true);
	if ((!s->fields && runner_fields(s->runner)) || (!s->references && runner_references(s->runner)))
		return error_memory(err);
	s->sandbox.fields = s->fields;
	s->sandbox.references = s->references;
	s->acting = runner_want(s->runner)->generation;
	return 0;
}

/* Ends the sandbox, or what a killed runner left of it. */
static int bring_down(struct story *s, const char *reason, enum sandbox_end_kind *kind, char why[256], struct error *err)
{
	bool asked = s->guest && !s->lost;
	struct error ignored;

	/* It records that it was told to, before it ends. */
	if (asked && guest_quit(s->guest, &quiet, NULL, &ignored))
		for (int i = 0; i < QUIT_TRIES && !guest_step(s->guest, &ignored); i++) {
			struct pollfd p = { .fd = guest_fd(s->guest), .events = POLLOUT };

			if (!(guest_events(s->guest) & POLLOUT) || poll(&p, 1, QUIT_MS / QUIT_TRIES) < 0)
				break;
		}
	calls_detach(s->calls, ENOTCONN, reason);
	failpoint("sandbox-ending");
	if (s->backend->end(&s->sandbox, asked ? QUIT_MS : 0, kind, why, err))
		return -1;
	detach(s, ENOTCONN, reason);
	failpoint("sandbox-ended");
	return 0;
}

/* The same where how it ended is nobody's question. */
static int clear_away(struct story *s, const char *reason, struct error *err)
{
	enum sandbox_end_kind kind;
	char why[256];

	return bring_down(s, reason, &kind, why, err);
}

static int choose_backend(struct story *s, struct error *err)
{
	const char *name = s->fields ? sandbox_text(&s->sandbox, "backend") : NULL;
	const struct sandbox_backend *backend = sandbox_backend_find(name ? name : "local", err);

	if (!backend || backend == s->backend)
		return backend ? 0 : -1;
	/* What runs elsewhere ends there. */
	if (s->backend) {
		if (clear_away(s, "the sandbox moves to another backend", err))
			return -1;
		s->backend->close(&s->sandbox);
	}
	s->backend = NULL;
	if (backend->open(&s->sandbox, err))
		return -1;
	s->backend = backend;
	return 0;
}

static int write_info(struct story *s, struct error *err)
{
	cJSON *info = cJSON_CreateObject();
	cleanup_free char *text = NULL;
	int result = info ? s->backend->describe(&s->sandbox, info, err) : error_memory(err);

	if (!result) {
		text = cJSON_Print(info);
		result = text ? runner_set_text(s->runner, "info.json", text, err) : error_memory(err);
	}
	cJSON_Delete(info);
	return result;
}

/* "PID STARTTIME BOOTID" for whoever looks after what is left when all else is gone. */
static void link_pid(struct story *s)
{
	(void)unlinkat(runner_folder(s->runner), "guest.pid", 0);
	if (symlinkat("box/ctl/pid", runner_folder(s->runner), "guest.pid"))
		runner_log(s->runner, "guest.pid cannot be made");
}

static int start(struct story *s, struct error *err)
{
	struct guest *guest = NULL;
	const cJSON *secrets = sandbox_field(&s->sandbox, "secrets");

	if (cJSON_GetArraySize(secrets) && runner_secrets(s->runner, secrets, SECRETS_MS, err))
		return -1;
	if (s->backend->prepare(&s->sandbox, err))
		return -1;
	failpoint("sandbox-prepared");
	if (runner_set_state(s->runner, "starting", err))
		return -1;
	failpoint("sandbox-starting");
	link_pid(s);
	if (s->backend->start(&s->sandbox, &guest, err))
		return -1;
	failpoint("sandbox-running");
	s->started = boot_seconds();
	s->deadline = sandbox_number(&s->sandbox, "timeout", 0);
	s->deadline += s->deadline > 0 ? s->started : 0;
	if (attach(s, guest, err) || write_info(s, err) || keep_deadline(s, err) ||
	    runner_set_state(s->runner, "ready", err))
		return -1;
	failpoint("sandbox-ready");
	sample(s);
	return 0;
}

static int set_end(struct story *s, const char *state, const char *failure, struct error *err)
{
	/* What was in force is not any more. */
	if (!unlinkat(runner_folder(s->runner), "info.json", 0))
		runner_changed(s->runner, "info.json");
	calls_detach(s->calls, ENOTCONN, *failure ? failure : "the sandbox is stopped");
	return runner_set_value(s->runner, "processes", "", 0, 0600, err) ||
	       runner_set_failure(s->runner, failure, err) || runner_set_state(s->runner, state, err) ? -1 : 0;
}

/* It has ended by itself. */
static int record_end(struct story *s, struct error *err)
{
	enum sandbox_end_kind kind;
	char why[256], text[320];

	if (bring_down(s, "the sandbox has ended", &kind, why, err))
		return -1;
	if (kind == SANDBOX_DIED && rebooted(s))
		(void)snprintf(why, sizeof why, "the machine was restarted");
	switch (kind) {
	case SANDBOX_TIMEOUT:
		(void)snprintf(text, sizeof text, "the timeout of %.0f seconds was reached",
			       s->deadline > s->started ? s->deadline - s->started : 0);
		runner_log(s->runner, "%s", text);
		return set_end(s, "stopped", text, err);
	case SANDBOX_STOPPED:
		return set_end(s, "stopped", "", err);
	case SANDBOX_DIED:
		break;
	}
	runner_log(s->runner, "died: %s", why);
	return set_end(s, "died", *why ? why : "it ended for no reason that it told", err);
}

/* Serves until it has ended or is wanted otherwise. */
static int serve(struct story *s, struct error *err)
{
	struct error why;

	while (!s->lost) {
		struct error pumped;
		bool jupyter = calls_want_jupyter(s->calls);

		if (jupyter) {
			struct sandbox_jupyter made = { NULL, NULL };
			int result = s->backend->jupyter(&s->sandbox, &made, &why);

			calls_jupyter(s->calls, result ? NULL : &made, result ? why.text : NULL);
			free(made.python);
			free(made.data);
			if (result && overtaken(s))
				return 0;
			continue;
		}
		if (pump(s, SAMPLE_MS, &pumped)) {
			if (overtaken(s))
				return 0;
			*err = pumped;
			return -1;
		}
		sample(s);
	}
	return record_end(s, err);
}

static int run(struct story *s, struct error *err)
{
	struct error why;

	if (clear_away(s, "the sandbox is restarted", err) || runner_set_failure(s->runner, "", err) ||
	    keep_boot(s, err))
		return -1;
	if (!start(s, &why)) {
		runner_log(s->runner, "ready");
		return serve(s, err);
	}
	if (clear_away(s, why.text, err))
		return -1;
	if (overtaken(s))
		return 0; /* the next turn says what is wanted instead */
	runner_log(s->runner, "failed: %s", why.text);
	return set_end(s, "failed", why.text, err);
}

static int stop(struct story *s, struct error *err)
{
	if (runner_set_state(s->runner, "stopping", err) || clear_away(s, "the sandbox is stopped", err))
		return -1;
	runner_log(s->runner, "stopped");
	return set_end(s, "stopped", "", err);
}

static int remove_(struct story *s, struct error *err)
{
	return clear_away(s, "the sandbox is removed", err) ? -1 : s->backend->remove(&s->sandbox, err);
}

/* A ready sandbox whose runner is new. */
static int go_on(struct story *s, struct error *err)
{
	struct guest *guest;
	int found = s->backend->adopt(&s->sandbox, &guest, err);

	if (found < 0)
		return -1;
	read_deadline(s);
	if (!found)
		return record_end(s, err);
	runner_log(s->runner, "found again by a new runner");
	link_pid(s);
	return attach(s, guest, err) || serve(s, err) ? -1 : 0;
}

static int turn(struct story *s, bool *rest, struct error *err)
{
	const struct want *want = runner_want(s->runner);
	const struct status *status = runner_status(s->runner);

	*rest = want->generation == status->generation && status_resting(OBJECT_SANDBOX, status->state) &&
		want->what != WANT_REMOVED;
	if (*rest)
		return 0;
	if (take_want(s, err) || choose_backend(s, err))
		return -1;
	if (want->generation == status->generation && want->what == WANT_RUN) {
		if (!strcmp(status->state, "ready"))
			return go_on(s, err);
		/* It is not started again by itself after a reboot. */
		if (rebooted(s))
			return record_end(s, err);
	}
	switch (want->what) {
	case WANT_RUN:
		return run(s, err);
	case WANT_STOPPED:
		return stop(s, err);
	case WANT_REMOVED:
		*rest = true;
		return remove_(s, err);
	case WANT_NOTHING:
		break;
	}
	*rest = true;
	return 0;
}

static int tell(struct story *s, struct error *err)
{
	for (bool rest = false; !rest && !s->signalled;)
		if (turn(s, &rest, err))
			return -1;
	return 0;
}

/* The name that links to its folder; "sandbox" when it has none. Owned. */
struct naming {
	uint64_t serial;
	char *name;
};

static int is_it(void *context, const char *name, uint64_t serial)
{
	struct naming *n = context;

	if (serial != n->serial)
		return 0;
	n->name = strdup(name);
	return 1;
}

static int begin(struct story *s, struct error *err)
{
	struct state *state = runner_state(s->runner);
	struct naming naming = { .serial = runner_serial(s->runner) };
	char line[ID_SIZE + 2];

	if (state_each_name(state, OBJECT_SANDBOX, is_it, &naming, err) < 0)
		return -1;
	s->name = naming.name;
	(void)snprintf(s->id, sizeof s->id, "interpfs-%s-%llu", state->id, (unsigned long long)naming.serial);
	s->processes.limit = PROCESSES_MAX;
	for (size_t i = 0; i < WATCHERS_MAX; i++)
		s->watchers[i].fd = -1;
	s->host = (struct sandbox_host){ s, pump, host_watch, host_unwatch, host_log, host_building };
	s->sandbox = (struct sandbox){
		.state = state,
		.folder = runner_folder(s->runner),
		.folder_path = runner_folder_path(s->runner),
		.name = s->name ? s->name : "sandbox",
		.id = s->id,
		.host = &s->host,
	};
	(void)snprintf(line, sizeof line, "%s\n", s->id);
	if (runner_set_text(s->runner, "id", line, err))
		return -1;
	return calls_open(&s->calls, s->runner, err);
}

int sandbox_story(struct runner *runner, struct error *err)
{
	struct story s = { .runner = runner };
	mode_t before = umask(022); /* the sandbox's own folders; ours are made with their modes */
	int result = begin(&s, err);

	if (!result)
		result = tell(&s, err);
	detach(&s, ENOTCONN, result ? err->text : "the sandbox is not running");
	if (s.calls)
		calls_close(s.calls);
	if (s.backend)
		s.backend->close(&s.sandbox);
	cJSON_Delete(s.fields);
	cJSON_Delete(s.references);
	buffer_free(&s.processes);
	free(s.name);
	(void)umask(before);
	return result;
}
