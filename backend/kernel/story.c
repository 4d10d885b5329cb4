/* The life of a notebook: draft starting idle busy, then stopped, failed or died.
 *
 *      want run     -> find the sandbox's Jupyter Server (wait while it starts) -> a session with
 *                      a kernel -> kernel.json -> connect -> set-up, the workspace's init.py -> idle
 *      connection lost          -> find the server again -> the same kernel lives: connect with
 *                                  the same session id, and the server replays what was missed
 *      the kernel, Jupyter or the sandbox is gone -> the cell and the notebook have died
 *      runner killed            -> a new one reads kernel.json and goes on as after a lost connection
 *      want stopped, removed, run again -> the kernel is let go first */
#include "backend/kernel/story.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "backend/runners.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"

#define USE_SECONDS 3.0  /* a cell that runs for longer says that it uses the sandbox */
#define HELD_MAX 32768u
#define INIT_MAX (1u << 20)
#define RELEASE_SECONDS 5
#define CONNECT_SECONDS 30
#define RETRY_MS 200

static int shorter(int a, int b)
{
	return a < 0 ? b : b < 0 || a < b ? a : b;
}

static void take_command(struct story *s, const struct runner_event *event)
{
	if (!strcmp(event->text, "interrupt"))
		requests_interrupt(s, event->conversation);
	else
		conversation_end(event->conversation, EINVAL, 0, "a notebook has no command '%s'", event->text);
}

/* Why a wait should be given up, if it should. */
static int reason_to_stop(struct story *s, struct error *err)
{
	if (s->release_deadline > 0)
		return story_now() < s->release_deadline ? 0 : error_set(err, ETIMEDOUT, "Jupyter does not answer");
	if (s->trouble.code) {
		*err = s->trouble;
		return -1;
	}
	if (s->turned || s->ended)
		return error_set(err, ECANCELED, "something else is wanted");
	if (s->dead) {
		*err = s->death;
		return -1;
	}
	return 0;
}

/* A cell that runs for long uses its sandbox also while it sleeps. ms until this is due, -1. */
static int hold_sandbox(struct story *s)
{
	double left;

	if (!requests_waiting(s)) {
		use_release(&s->use);
		s->busy_since = 0;
		return -1;
	}
	if (!s->busy_since)
		s->busy_since = story_now();
	left = s->busy_since + USE_SECONDS - story_now();
	if (left > 0)
		return (int)(left * 1000) + 1;
	use_hold(&s->use, s->sandbox_folder);
	s->busy_since = story_now(); /* looked at again: the sandbox's runner may be another then */
	return (int)(USE_SECONDS * 1000);
}

int story_step(struct story *s, int timeout_ms, struct error *err)
{
	struct runner_event event;
	int until = s->release_deadline > 0 ? 500 : -1;

	requests_go_on(s);
	if (reason_to_stop(s, err) < 0 || kernel_watch(s, err) < 0)
		return -1;
	until = shorter(shorter(timeout_ms, until), shorter(kernel_timeout(s), requests_timeout(s)));
	until = shorter(until, hold_sandbox(s));
	if (runner_next(s->runner, s->unprepared ? 0 : until, &event, err) < 0)
		return -1;
	/* Nothing else is to be done: a good time for what the next cell will need. */
	if (event.kind == RUNNER_TIMEOUT && s->unprepared && until) {
		s->unprepared = notebook_prepare(&s->notebook);
		return 0;
	}
	/* All that comes of this event is told at once, when the next one is waited for. */
	runner_cork(s->runner);
	switch (event.kind) {
	case RUNNER_WANT:
		s->turned |= runner_want(s->runner)->generation != s->generation;
		break;
	case RUNNER_COMMAND:
		take_command(s, &event);
		break;
	case RUNNER_CALL:
		requests_take_call(s, event.conversation, event.text, event.request, event.length);
		break;
	case RUNNER_CLOSED:
		requests_closed(s, event.conversation, event.gone);
		break;
	case RUNNER_DRAINED:
		requests_drained(s, event.conversation);
		break;
	case RUNNER_FD:
		kernel_ready(s, event.fd);
		break;
	case RUNNER_SIGNAL:
		s->ended = true;
		break;
	case RUNNER_TIMEOUT:
		break;
	}
	if (event.kind == RUNNER_TIMEOUT || !kernel_timeout(s))
		kernel_ready(s, -1);
	requests_go_on(s);
	return reason_to_stop(s, err);
}

static void changed(void *context, const char *path)
{
	runner_changed(context, path);
}

static int find_sandbox(struct story *s, struct error *err)
{
	const cJSON *sandbox = cJSON_GetObjectItemCaseSensitive(runner_references(s->runner), "sandbox");
	const cJSON *serial = cJSON_GetObjectItemCaseSensitive(sandbox, "serial");
	const char *name = json_string(sandbox, "name");

	if (!cJSON_IsNumber(serial) || serial->valuedouble < 1)
		return error_set(err, EINVAL, "the config names no sandbox");
	s->sandbox = (uint64_t)serial->valuedouble;
	(void)snprintf(s->sandbox_name, sizeof s->sandbox_name, "%s", name ? name : "");
	return 0;
}

static int make_client(struct story *s, struct error *err)
{
	unsigned char bytes[16];

	if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
		return error_errno(err, "random numbers");
	for (size_t i = 0; i < sizeof bytes; i++)
		(void)snprintf(s->client + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

/* A page that outlives the process without a system call for each message. */
static int map_seen(struct story *s, struct error *err)
{
	cleanup_close int fd = openat(runner_folder(s->runner), "run/seen", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *page;

	if (fd < 0 || ftruncate(fd, sizeof *s->seen) < 0)
		return error_errno(err, "run/seen");
	page = mmap(NULL, sizeof *s->seen, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return error_errno(err, "run/seen");
	s->seen = page;
	return 0;
}

static int open_story(struct story *s, struct runner *r, struct error *err)
{
	struct timespec now;

	*s = (struct story){ .runner = r, .generation = runner_want(r)->generation, .sandbox_folder = -1,
			     .socket_folder = -1, .talk = { .fd = -1, .passed = -1 }, .rest_fd = -1,
			     .rest_result = 1, .socket_fd = -1 };
	/* Numbers of messages that no runner before this one has used. */
	if (clock_gettime(CLOCK_REALTIME, &now) < 0)
		return error_errno(err, "clock");
	s->number = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	return map_seen(s, err) < 0 ||
	       notebook_open(&s->notebook, runner_folder(r), runner_serial(r), changed, r, err) < 0 ? -1 : 0;
}

static void close_story(struct story *s)
{
	requests_free(s);
	kernel_disconnect(s);
	if (s->rest_fd >= 0)
		runner_unwatch(s->runner, s->rest_fd);
	rest_free(s->rest);
	kernel_forget_server(s);
	if (s->talk.fd >= 0)
		runner_unwatch(s->runner, s->talk.fd);
	talk_close(&s->talk);
	use_release(&s->use);
	if (s->sandbox_folder >= 0)
		(void)close(s->sandbox_folder);
	notebook_close(&s->notebook);
	if (s->seen)
		(void)munmap(s->seen, sizeof *s->seen);
}

static int write_json(struct story *s, const char *path, cJSON *json, struct error *err)
{
	cleanup_free char *text = cJSON_PrintUnformatted(json);

	return text ? runner_set_text(s->runner, path, text, err) : error_memory(err);
}

/* What a runner after this one needs to go on. */
static int write_kernel(struct story *s, struct error *err)
{
	cJSON *json = cJSON_CreateObject();
	int result;

	if (!cJSON_AddStringToObject(json, "kernel", s->kernel) ||
	    !cJSON_AddStringToObject(json, "session", s->session) ||
	    !cJSON_AddStringToObject(json, "name", s->kernel_name) ||
	    !cJSON_AddStringToObject(json, "client", s->client))
		result = error_memory(err);
	else
		result = write_json(s, "kernel.json", json, err);
	cJSON_Delete(json);
	return result;
}

static void copy_member(char *to, size_t size, const cJSON *json, const char *name)
{
	const char *text = json_string(json, name);

	(void)snprintf(to, size, "%s", text ? text : "");
}

static int read_kernel(struct story *s, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(65536);
	cJSON *json;

	if (file_read(s->notebook.folder, "kernel.json", &text, err) < 0)
		return -1;
	json = cJSON_ParseWithLength(text.data, text.length);
	copy_member(s->kernel, sizeof s->kernel, json, "kernel");
	copy_member(s->session, sizeof s->session, json, "session");
	copy_member(s->kernel_name, sizeof s->kernel_name, json, "name");
	copy_member(s->client, sizeof s->client, json, "client");
	cJSON_Delete(json);
	return *s->kernel && *s->client ? 0 : error_set(err, EBADMSG, "kernel.json is damaged");
}

/* What is for people and programs to read: url, info.json. */
static int publish(struct story *s, struct error *err)
{
	cleanup_buffer struct buffer url = BUFFER(4096);
	cJSON *info = cJSON_CreateObject(), *kernel = cJSON_AddObjectToObject(info, "kernel");
	int result;

	if (!cJSON_AddStringToObject(kernel, "id", s->kernel) ||
	    !cJSON_AddStringToObject(kernel, "name", s->kernel_name) ||
	    !cJSON_AddStringToObject(info, "jupyter", s->url))
		result = error_memory(err);
	else
		result = write_json(s, "info.json", info, err);
	cJSON_Delete(info);
	if (result < 0)
		return -1;
	if (*s->url && buffer_format(&url, "%s?token=%s\n", s->url, s->token) < 0)
		return error_errno(err, "url");
	return runner_set_value(s->runner, "url", url.data ? url.data : "", url.length, 0600, err);
}

void story_held(struct story *s, struct json held)
{
	cleanup_buffer struct buffer text = BUFFER(HELD_MAX);
	struct error err;

	if (held.data && (json_kind(held) != JSON_OBJECT || !json_valid(held) || json_copy(&text, held) < 0))
		return;
	/* Without any there is no file: most notebooks never have one. */
	if (text.length > 2) {
		if (runner_set_value(s->runner, "held", text.data, text.length, 0600, &err) < 0)
			runner_log(s->runner, "held: %s", err.text);
	} else if (!unlinkat(s->notebook.folder, "held", 0)) {
		runner_changed(s->runner, "held");
	}
}

/* init.py of the workspace whose libraries the sandbox has. */
static int run_init(struct story *s, struct error *err)
{
	const cJSON *workspace = cJSON_GetObjectItemCaseSensitive(runner_references(s->runner), "workspace");
	const cJSON *serial = cJSON_GetObjectItemCaseSensitive(workspace, "serial");
	cleanup_buffer struct buffer code = BUFFER(INIT_MAX);
	cleanup_close int folder = -1;
	struct error ignored;

	if (!cJSON_IsNumber(serial))
		return 0;
	folder = object_open(runner_state(s->runner), OBJECT_WORKSPACE, (uint64_t)serial->valuedouble, &ignored);
	if (folder < 0 || file_read(folder, "init.py", &code, err) < 0)
		return folder < 0 || err->code == ENOENT ? 0 : error_wrap(err, "the workspace's init.py");
	if (!code.length || requests_run_hidden(s, code.data, code.length, false, err) == 0)
		return 0;
	return err->code == EPROTO ? error_wrap(err, "the workspace's init.py") : -1;
}

static int start(struct story *s, struct error *err)
{
	if (runner_set_failure(s->runner, "", err) < 0 || runner_set_state(s->runner, "starting", err) < 0 ||
	    requests_recover(s, false, err) < 0 || find_sandbox(s, err) < 0 || make_client(s, err) < 0)
		return -1;
	/* Somebody waits, perhaps for minutes, and looks here why. */
	runner_log(s->runner, "starting in sandbox %s (its log shows what is installed for the first notebook)", s->sandbox_name);
	failpoint("notebook-starting");
	if (kernel_find_server(s, err) < 0 || kernel_start(s, err) < 0)
		return -1;
	failpoint("notebook-kernel");
	*s->seen = 0;
	if (write_kernel(s, err) < 0 || kernel_connect(s, err) < 0)
		return -1;
	if (requests_run_hidden(s, setup_code, strlen(setup_code), true, err) < 0)
		return err->code == EPROTO ? error_wrap(err, "setting up the kernel") : -1;
	if (models_in_kernel(s, err) < 0 || run_init(s, err) < 0 || publish(s, err) < 0)
		return -1;
	runner_log(s->runner, "ready");
	return 0;
}

/* Finds server and kernel again. -1 with ESRCH when the kernel is gone. */
static int reconnect(struct story *s, struct error *err)
{
	double end = story_now() + CONNECT_SECONDS;
	int lives;

	for (;;) {
		if (kernel_find_server(s, err) < 0) {
			if (err->code != ECANCELED && !s->trouble.code)
				err->code = ESRCH;
			return -1;
		}
		lives = kernel_lives(s, err);
		if (!lives)
			return error_set(err, ESRCH, "Jupyter Server ended, and the kernel with it; what it "
					 "held is lost; `restart` starts another");
		if (lives > 0 && kernel_connect(s, err) == 0)
			return 0;
		/* A server that is about to end still takes connections, one that starts does not yet. */
		if (err->code != ECONNREFUSED && err->code != ETIMEDOUT && err->code != ECONNRESET)
			return -1;
		if (story_now() > end)
			return error_set(err, ESRCH, "Jupyter Server cannot be reached any more");
		if (story_step(s, RETRY_MS, err) < 0)
			return -1;
	}
}

/* An earlier runner was killed; its kernel may have gone on. What ran is taken for running until that is
 * known: this runner may be ended, or something else be wanted, before it is. */
static int take_up(struct story *s, struct error *err)
{
	bool known = find_sandbox(s, err) == 0 && read_kernel(s, err) == 0;
	struct error second;

	if (requests_recover(s, known, &second) < 0) {
		*err = second;
		return -1;
	}
	if (!known)
		return err->code == ENOENT || err->code == EBADMSG
			? error_set(err, ESRCH, "the kernel ended while nothing of interpfs ran") : -1;
	if (reconnect(s, err) < 0 || publish(s, err) < 0)
		return -1;
	while (!s->synchronized)
		if (story_step(s, -1, err) < 0)
			return -1;
	return 0;
}

static int interrupt_kernel(struct story *s, struct error *err)
{
	char path[128];
	long status;

	s->interrupt = false;
	(void)snprintf(path, sizeof path, "/api/kernels/%s/interrupt", s->kernel);
	if (kernel_call(s, "POST", path, NULL, &status, err) == 0)
		return 0;
	/* Without a server there is no connection either, which is noticed by itself. */
	return err->code == ECONNREFUSED || err->code == ETIMEDOUT || err->code == EPROTO ? 0 : -1;
}

static int serve(struct story *s, struct error *err)
{
	s->ready = s->unprepared = true;
	if (runner_set_state(s->runner, requests_waiting(s) ? "busy" : "idle", err) < 0)
		return -1;
	for (;;) {
		if (s->interrupt && s->socket && interrupt_kernel(s, err) < 0)
			return -1;
		if (!s->socket && reconnect(s, err) < 0)
			return -1;
		if (story_step(s, -1, err) < 0)
			return -1;
	}
}

static void release(struct story *s)
{
	struct error ignored;

	runner_hold_calls(s->runner, true);
	s->release_deadline = story_now() + RELEASE_SECONDS;
	if (s->sandbox && !s->token && *s->session)
		(void)kernel_find_server(s, &ignored);
	kernel_release(s);
	kernel_disconnect(s);
	s->release_deadline = 0;
	runner_hold_calls(s->runner, false);
	(void)unlinkat(s->notebook.folder, "kernel.json", 0);
	story_held(s, JSON_NONE);
}

/* The end of a life that nobody asked to end. */
static int come_to_rest(struct story *s, const char *state, const char *why, struct error *err)
{
	bool died = !strcmp(state, "died");

	s->ready = false; /* what ends from here on makes it neither busy nor idle */
	runner_log(s->runner, "%s: %s", state, why);
	/* What clients are told, the files say already. */
	if (runner_set_failure(s->runner, why, err) < 0 || runner_set_state(s->runner, state, err) < 0)
		return -1;
	requests_fail_all(s, died ? OUTCOME_DIED : OUTCOME_INTERRUPTED, died ? "DeadKernelError" : "Interrupted", why);
	release(s);
	return runner_set_text(s->runner, "url", "", err);
}

static int run(struct story *s, bool adopt, struct error *err)
{
	struct error why;

	if (!s->rest && !(s->rest = rest_new(err)))
		return -1;
	if ((adopt ? take_up(s, &why) : start(s, &why)) == 0)
		(void)serve(s, &why);
	if (s->ended)
		return 0; /* as if killed: the next runner takes it up */
	if (s->turned) {
		const char *text = runner_want(s->runner)->what == WANT_RUN ? "the notebook was restarted"
									    : "the notebook was stopped";

		requests_fail_all(s, OUTCOME_INTERRUPTED, "Interrupted", text);
		release(s);
		return 0;
	}
	return come_to_rest(s, s->ready || adopt ? "died" : "failed", why.text, err);
}

/* The kernel of a runner before this one, which was killed, or left a restart to a newer program. */
static void release_earlier(struct story *s)
{
	struct error ignored;

	if (!s->rest)
		s->rest = rest_new(&ignored);
	if (s->rest && find_sandbox(s, &ignored) == 0 && read_kernel(s, &ignored) == 0)
		release(s);
}

/* Acts on want as it is now. */
static int act(struct runner *r, struct error *err)
{
	const struct status *status = runner_status(r);
	const struct want *want = runner_want(r);
	bool again = status->generation == want->generation;
	struct story s;
	int result = 0;

	if (again && (status_resting(OBJECT_NOTEBOOK, status->state) || want->what != WANT_RUN))
		return 0;
	if (open_story(&s, r, err) < 0)
		return -1;
	if (want->what == WANT_RUN) {
		if (!again && !status_resting(OBJECT_NOTEBOOK, status->state))
			release_earlier(&s);
		result = run(&s, again && strcmp(status->state, "starting") != 0, err);
	} else if (!status_resting(OBJECT_NOTEBOOK, status->state)) {
		release_earlier(&s);
		result = requests_recover(&s, false, err);
	}
	if (result == 0 && runner_want(r)->what == WANT_STOPPED && !s.ended) {
		result = runner_set_failure(r, "", err);
		if (result == 0)
			result = runner_set_text(r, "url", "", err);
		if (result == 0)
			result = runner_set_state(r, "stopped", err);
	}
	result = s.ended ? 1 : result;
	close_story(&s);
	return result;
}

int notebook_story(struct runner *r, struct error *err)
{
	int result;

	/* A printing kernel sends a hundred kilobytes at a time; fetching and clearing fresh pages for
	 * each buffer would cost more than all else that is done with them. A runner at rest gives them back. */
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 20);
	/* Restarted is stopped and run again; a removed one's folder is deleted by the skeleton. */
	do {
		result = act(r, err);
	} while (result == 0 && runner_want(r)->what == WANT_RUN &&
		 runner_want(r)->generation != runner_status(r)->generation);
	return result < 0 ? -1 : 0;
}
