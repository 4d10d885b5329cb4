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
 * While it builds, the same loop serves commands and calls: see life_events.c. */
#include "backend/sandbox/life.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/runners.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/syncing.h"

#define QUIT_MS 2000
#define SECRETS_MS 10000
#define GATE_MS 1000
#define AGAIN_MS 1000     /* between two tries to find a distant sandbox again */
#define PATIENCE 60.0     /* seconds past its deadline until one that cannot be found has ended */
#define SOON 30.0         /* a link that ends within so many seconds … */
#define BREAKS_MAX 5      /* … so often is none */
#define SNAPSHOT_NAME_MAX 200
#define BACKEND "backend" /* in its folder: on which it is */

/* The boot in which it was last acted on: nothing that ran survives another. */
static int keep_boot(struct life *s, struct error *err)
{
	cleanup_buffer struct buffer boot = BUFFER(128);

	if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &boot, err))
		return -1;
	return file_replace(runner_folder(s->runner), "boot", boot.data, boot.length, 0600, false, err);
}

static bool rebooted(struct life *s)
{
	cleanup_buffer struct buffer now = BUFFER(128), then = BUFFER(128);
	struct error ignored;

	return !file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &now, &ignored) &&
	       !file_read(runner_folder(s->runner), "boot", &then, &ignored) && then.length &&
	       (now.length != then.length || memcmp(now.data, then.data, now.length));
}

/* What is acted on from now on. */
static int take_want(struct life *s, struct error *err)
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
static int bring_down(struct life *s, const char *reason, enum sandbox_end_kind *kind, char why[256], struct error *err)
{
	bool asked = s->guest && !s->lost;
	struct error ignored;

	/* It records that it was told to, before it ends. */
	if (asked && guest_quit(s->guest, &life_quiet, NULL, &ignored))
		for (double end = life_now() + QUIT_MS / 1000.0; !guest_step(s->guest, &ignored);) {
			struct pollfd p = { .fd = guest_fd(s->guest), .events = guest_events(s->guest) };
			int left = (int)((end - life_now()) * 1000);

			if (!guest_unsent(s->guest) || left <= 0 || poll(&p, 1, left) < 0)
				break;
		}
	calls_detach(s->calls, ENOTCONN, reason);
	failpoint("sandbox-ending");
	if (s->backend->end(&s->sandbox, asked ? QUIT_MS : 0, kind, why, err))
		return -1;
	life_detach(s, ENOTCONN, reason);
	failpoint("sandbox-ended");
	return 0;
}

/* The same where how it ended is nobody's question. */
static int clear_away(struct life *s, const char *reason, struct error *err)
{
	enum sandbox_end_kind kind;
	char why[256];

	return bring_down(s, reason, &kind, why, err);
}

/* The file BACKEND says on which it is: "NAME", "NAME begun" while it starts there for the first time,
 * "NAME kept" once it was ready: from then on its files are there, and it stays. "begun" is on the
 * disk before it is ready, and nobody waits for "kept": after a power cut one counts as the other. */
enum place { PLACE_NAMED, PLACE_BEGUN, PLACE_KEPT };

static const char *const place_words[] = { "", " begun", " kept" };

static int keep_backend(struct life *s, enum place place, struct error *err)
{
	char text[64];
	int n = snprintf(text, sizeof text, "%s%s\n", s->backend->name, place_words[place]);

	return file_replace(runner_folder(s->runner), BACKEND, text, (size_t)n, 0600, false, err);
}

static enum place read_backend(struct life *s, char name[32])
{
	cleanup_buffer struct buffer text = BUFFER(64);
	struct error ignored;
	size_t n;

	name[0] = '\0';
	if (file_read(runner_folder(s->runner), BACKEND, &text, &ignored) || !text.length)
		return PLACE_NAMED;
	n = strcspn(text.data, " \n");
	(void)snprintf(name, 32, "%.*s", (int)n, text.data);
	if (!strcmp(text.data + n, " kept\n"))
		return PLACE_KEPT;
	return strcmp(text.data + n, " begun\n") ? PLACE_NAMED : PLACE_BEGUN;
}

static const char *wanted_backend(const struct life *s)
{
	const char *name = s->fields ? sandbox_text(&s->sandbox, "backend") : NULL;

	return name ? name : "local";
}

static int open_backend(struct life *s, const char *name, struct error *err)
{
	const struct sandbox_backend *backend = sandbox_backend_find(name, err);

	if (!backend || backend == s->backend)
		return backend ? 0 : -1;
	if (s->backend)
		s->backend->close(&s->sandbox);
	s->backend = NULL;
	if (backend->open(&s->sandbox, err))
		return -1;
	s->backend = backend;
	return 0;
}

/* Where it is; what was begun on another backend and never became ready is removed there. */
static int choose_backend(struct life *s, struct error *err)
{
	char recorded[32];
	enum place place = read_backend(s, recorded);

	if (open_backend(s, *recorded ? recorded : wanted_backend(s), err))
		return -1;
	if (place == PLACE_BEGUN && rebooted(s)) {
		place = PLACE_KEPT;
		if (keep_backend(s, place, err))
			return -1;
	}
	if (place == PLACE_KEPT || !strcmp(s->backend->name, wanted_backend(s)) || runner_want(s->runner)->what != WANT_RUN)
		return 0;
	if (clear_away(s, "the sandbox moves to another backend", err) || s->backend->remove(&s->sandbox, err))
		return -1;
	(void)unlinkat(runner_folder(s->runner), BACKEND, 0);
	return open_backend(s, wanted_backend(s), err);
}

/* "PID STARTTIME BOOTID" for whoever looks after what is left when all else is gone. */
static void link_pid(struct life *s)
{
	(void)unlinkat(runner_folder(s->runner), "guest.pid", 0);
	if (symlinkat("box/ctl/pid", runner_folder(s->runner), "guest.pid"))
		runner_log(s->runner, "guest.pid cannot be made");
}

/* A sandbox that is ready has its way out. */
static int wait_for_gate(struct life *s, struct error *err)
{
	int ready;

	while (!(ready = gate_ready(s->gate, err)) && !s->lost)
		if (life_pump(s, GATE_MS, err))
			return -1;
	if (!ready)
		return error_set(err, ECONNRESET, "it ended while its way out was opened");
	return ready < 0 ? -1 : 0;
}

/* From a backend that is prepared to a sandbox that is ready. What is to be on the disk by then is
 * synced meanwhile. */
static int bring_up(struct life *s, enum place place, struct error *err)
{
	struct syncing disk = { .folder = runner_folder(s->runner), .names = { "status", "boot", BACKEND } };
	struct guest *guest = NULL;
	struct error ignored;
	int result;

	if ((place != PLACE_KEPT && keep_backend(s, PLACE_BEGUN, err)) || runner_show_state(s->runner, "starting", err))
		return -1;
	syncing_begin(&disk);
	failpoint("sandbox-starting");
	link_pid(s);
	result = s->backend->start(&s->sandbox, &guest, err);
	failpoint("sandbox-running");
	if (syncing_end(&disk, result ? &ignored : err))
		result = -1;
	if (guest && life_attach(s, guest, result ? &ignored : err))
		result = -1;
	if (result)
		return -1;
	s->started = life_now();
	s->deadline = sandbox_number(&s->sandbox, "timeout", 0);
	s->deadline += s->deadline > 0 ? s->started : 0;
	if (wait_for_gate(s, err) || life_write_info(s, err) || life_keep_deadline(s, err) ||
	    (place != PLACE_KEPT && keep_backend(s, PLACE_KEPT, err)))
		return -1;
	return runner_set_state(s->runner, "ready", err);
}

static int start(struct life *s, struct error *err)
{
	const cJSON *secrets = sandbox_field(&s->sandbox, "secrets");
	char recorded[32];
	enum place place = read_backend(s, recorded);
	struct error ignored;

	if (strcmp(wanted_backend(s), s->backend->name) != 0)
		return error_set(err, EBUSY, "its files are on the backend %s, and it stays there: make another sandbox for %s",
				 s->backend->name, wanted_backend(s));
	if (place != PLACE_KEPT && keep_backend(s, PLACE_NAMED, err))
		return -1;
	if (cJSON_GetArraySize(secrets) && runner_secrets(s->runner, secrets, SECRETS_MS, err))
		return -1;
	if (s->backend->prepare(&s->sandbox, err))
		return -1;
	failpoint("sandbox-prepared");
	if (bring_up(s, place, err)) {
		if (place != PLACE_KEPT)
			(void)keep_backend(s, PLACE_NAMED, &ignored);
		return -1;
	}
	failpoint("sandbox-ready");
	life_sample(s);
	return 0;
}

static int set_end(struct life *s, const char *state, const char *failure, struct error *err)
{
	/* What was in force is not any more. */
	if (!unlinkat(runner_folder(s->runner), "info.json", 0))
		runner_changed(s->runner, "info.json");
	calls_detach(s->calls, ENOTCONN, *failure ? failure : "the sandbox is stopped");
	return life_clear_samples(s, err) ||
	       runner_set_failure(s->runner, failure, err) || runner_set_state(s->runner, state, err) ? -1 : 0;
}

/* The mount takes one as soon as it rests, however late that comes: its files stay. Its name is told with
 * why it ended. */
static int want_snapshot(struct life *s, char *text, size_t size, struct error *err)
{
	size_t n = strlen(text), most = SNAPSHOT_NAME_MAX;
	time_t now = time(NULL);
	char name[SNAPSHOT_NAME_MAX + 64];
	struct tm tm;

	/* Whole characters of a name that is too long. */
	if (strlen(s->sandbox.name) > most)
		while (most && ((unsigned char)s->sandbox.name[most] & 0xc0) == 0x80)
			most--;
	if (!gmtime_r(&now, &tm))
		return error_errno(err, "clock");
	(void)snprintf(name, sizeof name, "%.*s-", (int)most, s->sandbox.name);
	(void)strftime(name + strlen(name), sizeof name - strlen(name), "%Y%m%d-%H%M%S", &tm);
	(void)snprintf(text + n, size - n, "; its files are %s/%s", object_folder[OBJECT_SNAPSHOT], name);
	return file_replace(runner_folder(s->runner), SNAPSHOT_DUE, name, strlen(name), 0600, true, err);
}

/* It has ended by itself. */
static int record_end(struct life *s, struct error *err)
{
	enum sandbox_end_kind kind;
	char why[256], text[640];

	if (bring_down(s, "the sandbox has ended", &kind, why, err))
		return -1;
	if (kind == SANDBOX_DIED && rebooted(s))
		(void)snprintf(why, sizeof why, "the machine was restarted");
	switch (kind) {
	case SANDBOX_TIMEOUT:
		(void)snprintf(text, sizeof text, "the timeout of %.0f seconds was reached",
			       s->deadline > s->started ? s->deadline - s->started : 0);
		if (cJSON_IsTrue(sandbox_field(&s->sandbox, "snapshot_on_timeout")) && want_snapshot(s, text, sizeof text, err))
			return -1;
		runner_log(s->runner, "%s", text);
		return set_end(s, "stopped", text, err);
	case SANDBOX_IDLE:
		(void)snprintf(text, sizeof text, "nothing used it for %.0f seconds, its idle_timeout",
			       sandbox_number(&s->sandbox, "idle_timeout", 0));
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

/* Like adopt(), and while a distant sandbox cannot be found, tries until it can. -1 also when it is
 * wanted otherwise. */
static int find_again(struct life *s, struct guest **guest, struct error *err)
{
	struct error why;
	bool told = false;
	int found;

	while ((found = s->backend->adopt(&s->sandbox, guest, &why)) < 0) {
		*err = why;
		if (!s->backend->distant || life_overtaken(s))
			return -1;
		if (!told)
			runner_log(s->runner, "not to be found for now: %s", why.text);
		told = true;
		if (s->deadline > 0 && life_now() > s->deadline + PATIENCE)
			return 0;
		if (life_pump(s, AGAIN_MS, err))
			return -1;
	}
	return found;
}

/* Its link has ended: 1 when it has another, 0 when the sandbox has ended, -1. */
static int link_again(struct life *s, struct error *err)
{
	struct guest *guest;
	int found;

	s->breaks = life_now() < s->attached + SOON ? s->breaks + 1 : 0;
	if (!s->backend->distant || s->breaks > BREAKS_MAX)
		return 0;
	life_detach(s, ENOTCONN, "the connection to the sandbox was lost");
	found = find_again(s, &guest, err);
	if (found <= 0)
		return found;
	runner_log(s->runner, "found again, after its connection was lost");
	return life_attach(s, guest, err) ? -1 : 1;
}

/* What its workspace wants installed, where somebody asks for it. 1: something was done. */
static int serve_libraries(struct life *s)
{
	cleanup_free char *text = NULL;
	cJSON *made = NULL;
	struct error why;

	if (!s->guest || !calls_take_libraries(s->calls))
		return 0;
	if (!s->backend->libraries)
		(void)error_set(&why, ENOTSUP, "backend %s installs nothing into what runs: name it in python_packages", s->backend->name);
	else if (!s->backend->libraries(&s->sandbox, &made, &why) && !(text = cJSON_PrintUnformatted(made)))
		(void)error_memory(&why);
	cJSON_Delete(made);
	calls_libraries(s->calls, text, why.code, why.text);
	return 1;
}

/* From inside they need the way out; where that failed, git says so. */
static void serve_repos(struct life *s)
{
	struct error ignored;

	if (s->guest && !s->lost && gate_ready(s->gate, &ignored))
		calls_begin_repos(s->calls);
}

/* Serves until it has ended or is wanted otherwise. */
static int serve(struct life *s, struct error *err)
{
	struct error why;

	for (;;) {
		struct error pumped;
		bool jupyter = calls_want_jupyter(s->calls);
		int again = s->lost ? link_again(s, &pumped) : 1;

		if (!again)
			return record_end(s, err);
		if (again < 0 && life_overtaken(s))
			return 0;
		if (again < 0) {
			*err = pumped;
			return -1;
		}
		serve_repos(s);
		if (jupyter) {
			struct sandbox_jupyter made = { NULL, NULL, NULL };
			int result = s->backend->jupyter(&s->sandbox, &made, &why);

			calls_jupyter(s->calls, result ? NULL : &made, result ? why.text : NULL);
			free(made.python);
			free(made.data);
			free(made.serve);
			if (result && life_overtaken(s))
				return 0;
			continue;
		}
		if (serve_libraries(s)) {
			if (life_overtaken(s))
				return 0;
			continue;
		}
		if (life_pump(s, LIFE_SAMPLE_MS, &pumped)) {
			if (life_overtaken(s))
				return 0;
			*err = pumped;
			return -1;
		}
		life_sample(s);
	}
}

static int run(struct life *s, struct error *err)
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
	if (life_overtaken(s))
		return 0; /* the next turn says what is wanted instead */
	runner_log(s->runner, "failed: %s", why.text);
	return set_end(s, "failed", why.text, err);
}

static int stop(struct life *s, struct error *err)
{
	if (runner_set_state(s->runner, "stopping", err) || clear_away(s, "the sandbox is stopped", err))
		return -1;
	runner_log(s->runner, "stopped");
	return set_end(s, "stopped", "", err);
}

static int remove_(struct life *s, struct error *err)
{
	return clear_away(s, "the sandbox is removed", err) ? -1 : s->backend->remove(&s->sandbox, err);
}

/* A ready sandbox whose runner is new. */
static int go_on(struct life *s, struct error *err)
{
	struct guest *guest;
	struct error why;
	int found;

	life_read_deadline(s);
	found = find_again(s, &guest, err);
	if (found < 0)
		return life_overtaken(s) ? 0 : -1;
	if (!found)
		return record_end(s, err);
	runner_log(s->runner, "found again by a new runner");
	/* Where the mount does not come back in time, its way out is without them. */
	if (gate_has_secrets(&s->sandbox) &&
	    runner_secrets(s->runner, sandbox_field(&s->sandbox, "secrets"), SECRETS_MS, &why))
		runner_log(s->runner, "%s", why.text);
	link_pid(s);
	return life_attach(s, guest, err) || serve(s, err) ? -1 : 0;
}

static int turn(struct life *s, bool *rest, struct error *err)
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

static int tell(struct life *s, struct error *err)
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

static int begin(struct life *s, struct error *err)
{
	struct state *state = runner_state(s->runner);
	struct naming naming = { .serial = runner_serial(s->runner) };
	char line[LIFE_ID_SIZE + 2];

	if (state_each_name(state, OBJECT_SANDBOX, is_it, &naming, err) < 0)
		return -1;
	s->name = naming.name;
	(void)snprintf(s->id, sizeof s->id, "interpfs-%s-%llu", state->id, (unsigned long long)naming.serial);
	life_open_samples(s);
	life_open_events(s);
	s->sandbox = (struct sandbox){
		.state = state,
		.folder = runner_folder(s->runner),
		.folder_path = runner_folder_path(s->runner),
		.name = s->name ? s->name : "sandbox",
		.serial = naming.serial,
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
	struct life s = { .runner = runner };
	mode_t before = umask(022); /* the sandbox's own folders; ours are made with their modes */
	int result = begin(&s, err);

	if (!result)
		result = tell(&s, err);
	life_detach(&s, ENOTCONN, result ? err->text : "the sandbox is not running");
	if (s.calls)
		calls_close(s.calls);
	if (s.backend)
		s.backend->close(&s.sandbox);
	cJSON_Delete(s.fields);
	cJSON_Delete(s.references);
	life_close_samples(&s);
	free(s.name);
	(void)umask(before);
	return result;
}
