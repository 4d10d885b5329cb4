/* The mount's side: this program is its own runner (`runner STATE KIND SERIAL`), with a story that
 * does what a call's name says. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "backend/runners.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/talk.h"
#include "fs/supervise.h"

static char all[] = "/tmp/interpfs-test-supervise.XXXXXX"; /* a state directory a test */
static char place[sizeof all + sizeof "/XXXXXX"];
static struct state state;
static struct error err;
static struct supervisor *s;

/* What the callbacks saw. */
static struct seen {
	struct status status;
	uint64_t gone, unjudged;
	int changed, logs;
	char output[4096], text[1024], last[1024], order[256];
	int code, exit, ends;
} seen;

#define good(call) ck_assert_msg((call) >= 0, "%s: %s", #call, err.text)
#define bad(call, number) do { \
	ck_assert_int_eq((call), -1); \
	ck_assert_msg(err.code == (number), "%s: code %d, expected %d: %s", #call, err.code, (number), err.text); \
} while (0)

/* As a process that the kernel takes apart on a busy machine: who was connected is gone, and the socket
 * still takes whoever comes. */
static void die_slowly(void)
{
	struct sockaddr_un peer;
	struct timespec t = { .tv_nsec = 300000000 };

	for (int fd = 3; fd < 1024; fd++) {
		socklen_t size = sizeof peer;

		if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0)
			(void)close(fd);
	}
	(void)nanosleep(&t, NULL);
	_exit(9);
}

int sandbox_story(struct runner *r, struct error *error)
{
	struct runner_event e;

	if (runner_want(r)->what == WANT_REMOVED)
		return 0;
	if (faccessat(runner_folder(r), "crash", F_OK, 0) == 0) {
		fprintf(stderr, "something\nwent wrong\n");
		_exit(9);
	}
	if (runner_set_state(r, "ready", error) < 0)
		return -1;
	for (;;) {
		if (runner_next(r, -1, &e, error) < 0)
			return -1;
		if (e.kind == RUNNER_WANT) {
			if (runner_want(r)->what == WANT_STOPPED)
				return runner_set_state(r, "stopped", error);
			if (runner_want(r)->what == WANT_REMOVED)
				return 0;
			if (runner_set_state(r, "ready", error) < 0)
				return -1;
		} else if (e.kind == RUNNER_SIGNAL) {
			return 0;
		} else if (e.kind == RUNNER_CALL && !strcmp(e.text, "die")) {
			_exit(9);
		} else if (e.kind == RUNNER_CALL && !strcmp(e.text, "die slowly")) {
			die_slowly();
		} else if (e.kind == RUNNER_CALL && !strcmp(e.text, "echo")) {
			if (runner_set_text(r, "echoed", e.request, error) < 0)
				return -1;
			(void)conversation_send(e.conversation, TALK_STDOUT, e.request, e.length, -1);
			conversation_end(e.conversation, 0, 5, NULL);
		} else if (e.kind == RUNNER_CALL && !strcmp(e.text, "secret")) {
			const char *value = runner_secret(r, e.request);

			(void)conversation_send(e.conversation, TALK_STDOUT, value ? value : "none",
						strlen(value ? value : "none"), -1);
			value = getenv(e.request);
			conversation_end(e.conversation, 0, value != NULL, NULL);
		} else if (e.kind == RUNNER_CALL && !strcmp(e.text, "flood")) {
			static char block[1 << 16];

			memset(block, 'f', sizeof block);
			for (int i = 0; i < 64; i++)
				(void)conversation_send(e.conversation, TALK_STDOUT, block, sizeof block, -1);
			conversation_end(e.conversation, 0, 0, NULL);
		} else if (e.kind == RUNNER_CALL || e.kind == RUNNER_COMMAND) {
			conversation_end(e.conversation, EINVAL, 0, "no '%s' here", e.text);
		}
	}
}

static void on_changed(void *c, enum object_kind kind, uint64_t serial, const char *path, int64_t size,
		       int64_t mtime)
{
	(void)c, (void)kind, (void)serial, (void)size, (void)mtime;
	seen.changed++;
	(void)snprintf(seen.last, sizeof seen.last, "%s", path ? path : "*");
	if (path && !strcmp(path, "echoed"))
		strncat(seen.order, "notice ", sizeof seen.order - strlen(seen.order) - 1);
}

static void on_status(void *c, enum object_kind kind, uint64_t serial, const struct status *status)
{
	(void)c, (void)kind, (void)serial;
	seen.status = *status;
}

static void on_gone(void *c, enum object_kind kind, uint64_t serial)
{
	(void)c, (void)kind;
	seen.gone = serial;
}

static void on_unjudged(void *c, enum object_kind kind, uint64_t serial)
{
	(void)c, (void)kind;
	seen.unjudged = serial;
}

static void on_log(void *c, enum object_kind kind, uint64_t serial, const char *text)
{
	(void)c, (void)kind, (void)serial;
	seen.logs++;
	if (getenv("V")) fprintf(stderr, "log: %s\n", text);
	(void)snprintf(seen.text, sizeof seen.text, "%s", text);
}

static const struct supervise_callbacks callbacks = { on_changed, on_status, on_gone, on_unjudged, on_log };

static void on_data(void *c, int channel, const void *data, size_t n)
{
	size_t used = strlen(seen.output);

	(void)c, (void)channel;
	if (used + n < sizeof seen.output)
		memcpy(seen.output + used, data, n);
	strncat(seen.order, "data ", sizeof seen.order - strlen(seen.order) - 1);
}

static void on_ended(void *c, int code, int status, const char *text, int passed)
{
	(void)c;
	seen.code = code;
	seen.exit = status;
	seen.ends++;
	(void)snprintf(seen.text, sizeof seen.text, "%s", text);
	if (passed >= 0)
		(void)close(passed);
}

static const struct supervise_call_callbacks call_callbacks = { on_data, on_ended };

/* Runs the loop until the condition holds, at most fifty seconds. */
#define until(condition) do { \
	for (int64_t end_ = clock_ms() + 50000; !(condition) && clock_ms() < end_;) { \
		struct pollfd p_ = { .fd = supervise_fd(s), .events = POLLIN }; \
		ck_assert_int_ge(poll(&p_, 1, 10), 0); \
		supervise_step(s); \
	} \
	ck_assert_msg((condition), "never: %s (state %s, text %s)", #condition, seen.status.state, seen.text); \
} while (0)

static void open_supervisor(void)
{
	good(supervise_open(&s, &state, &callbacks, NULL, &err));
}

static void setup(void)
{
	(void)snprintf(place, sizeof place, "%s/XXXXXX", all);
	ck_assert_ptr_nonnull(mkdtemp(place));
	good(state_open(&state, place, &err));
	memset(&seen, 0, sizeof seen);
	open_supervisor();
}

/* With the mount's side gone nothing starts any more; what lives is ended. */
static void end_runner(enum object_kind kind, uint64_t serial)
{
	cleanup_close int folder = object_open(&state, kind, serial, &err);
	int pid;

	if (folder >= 0 && runner_alive(folder, &pid))
		(void)kill(pid, SIGKILL);
}

static int end_visit(void *c, uint64_t serial)
{
	(void)c;
	end_runner(OBJECT_SANDBOX, serial);
	return 0;
}

static void clear_place(void)
{
	(void)state_each_serial(&state, OBJECT_SANDBOX, end_visit, NULL, &err);
	state_close(&state);
	for (int i = 0; i < 100 && file_remove_tree(AT_FDCWD, place, &err) < 0; i++)
		(void)usleep(10000);
}

static void teardown(void)
{
	supervise_close(s);
	clear_place();
}

static void setup_all(void)
{
	ck_assert_ptr_nonnull(mkdtemp(all));
}

/* A test that fails in the middle is a process that ends there, without its teardown: this one
 * outlives it. */
static void teardown_all(void)
{
	cleanup_dir DIR *dir = opendir(all);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(place, sizeof place, "%s/%.6s", all, entry->d_name);
		if (!state_open(&state, place, &err))
			clear_place();
	}
	(void)file_remove_tree(AT_FDCWD, all, &err);
}

static uint64_t add(const char *name)
{
	uint64_t serial;

	good(state_add(&state, OBJECT_SANDBOX, name, &serial, &err));
	return serial;
}

static void want(uint64_t serial, enum want_what what)
{
	good(supervise_want(&state, OBJECT_SANDBOX, serial, what, NULL, &err));
	supervise_poke(s, OBJECT_SANDBOX, serial);
}

#define state_is(text, number) (!strcmp(seen.status.state, text) && seen.status.generation == (number))

static void call(uint64_t serial, const char *name, const char *request)
{
	memset(seen.output, 0, sizeof seen.output);
	seen.ends = 0;
	ck_assert_ptr_nonnull(supervise_call(s, OBJECT_SANDBOX, serial, name, request, strlen(request) + 1,
					     &call_callbacks, NULL));
}

START_TEST(start_call_stop)
{
	uint64_t serial = add("a");
	struct status status;
	struct want w;

	supervise_poke(s, OBJECT_SANDBOX, serial);
	call(serial, "echo", "too early");
	until(seen.ends);
	ck_assert_int_eq(seen.code, ENOTCONN);
	ck_assert_str_eq(seen.text, "the sandbox is draft");
	want(serial, WANT_RUN);
	/* It begins: the call waits for it. */
	call(serial, "echo", "hello");
	until(seen.ends);
	ck_assert_int_eq(seen.code, 0);
	ck_assert_int_eq(seen.exit, 5);
	ck_assert_str_eq(seen.output, "hello");
	until(state_is("ready", 1));
	seen.order[0] = '\0';
	call(serial, "echo", "again");
	until(seen.ends);
	ck_assert_str_eq(seen.order, "notice data ");
	seen.ends = 0;
	ck_assert_ptr_nonnull(supervise_command(s, OBJECT_SANDBOX, serial, "nonsense", &call_callbacks, NULL));
	until(seen.ends);
	ck_assert_int_eq(seen.code, EINVAL);
	ck_assert_str_eq(seen.text, "no 'nonsense' here");
	want(serial, WANT_STOPPED);
	until(state_is("stopped", 2));
	ck_assert(supervise_look(s, OBJECT_SANDBOX, serial, &status, &w));
	ck_assert_uint_eq(w.generation, 2);
	ck_assert_uint_eq(status.generation, 2);
	/* Wanted again just when it ends: nothing is lost. */
	want(serial, WANT_RUN);
	until(state_is("ready", 3));
	ck_assert_int_eq(seen.logs, 0);
}
END_TEST

START_TEST(adopted)
{
	uint64_t serial = add("a");
	cleanup_close int folder = object_open(&state, OBJECT_SANDBOX, serial, &err);
	int before, after;

	want(serial, WANT_RUN);
	until(state_is("ready", 1));
	ck_assert(runner_alive(folder, &before));
	supervise_close(s);
	memset(&seen, 0, sizeof seen);
	open_supervisor();
	good(supervise_scan(s, &err));
	ck_assert(state_is("ready", 1));
	call(serial, "echo", "adopted");
	until(seen.ends);
	ck_assert_str_eq(seen.output, "adopted");
	ck_assert(runner_alive(folder, &after));
	ck_assert_int_eq(before, after);
	/* The mount was killed right after it had started a runner: the next one waits for it. */
	want(serial, WANT_STOPPED);
	until(state_is("stopped", 2));
	until(!runner_alive(folder, NULL));
	want(serial, WANT_RUN);
	supervise_close(s);
	open_supervisor();
	good(supervise_scan(s, &err));
	until(state_is("ready", 3));
}
END_TEST

START_TEST(dies_slowly_and_comes_back)
{
	uint64_t serial = add("a");

	want(serial, WANT_RUN);
	until(state_is("ready", 1));
	call(serial, "die slowly", "");
	until(seen.ends);
	ck_assert_int_eq(seen.code, EIO);
	call(serial, "echo", "back");
	until(seen.ends);
	ck_assert_msg(!strcmp(seen.output, "back"), "%d %s", seen.code, seen.text);
}
END_TEST

START_TEST(dies_and_comes_back)
{
	uint64_t serial = add("a");

	want(serial, WANT_RUN);
	until(state_is("ready", 1));
	for (int i = 0; i < 3; i++) {
		call(serial, "die", "");
		until(seen.ends);
		ck_assert_int_eq(seen.code, EIO);
		call(serial, "echo", "back");
		until(seen.ends);
		ck_assert_msg(!strcmp(seen.output, "back"), "%d %d %s", i, seen.code, seen.text);
	}
	ck_assert_int_eq(seen.logs, 3);
	call(serial, "die", "");
	until(state_is("failed", 1));
	want(serial, WANT_RUN);
	until(state_is("ready", 2));
}
END_TEST

START_TEST(cannot_begin)
{
	uint64_t serial = add("a");
	cleanup_close int folder = object_open(&state, OBJECT_SANDBOX, serial, &err);
	struct buffer b = BUFFER(4096);

	good(file_replace(folder, "crash", "", 0, 0600, false, &err));
	want(serial, WANT_RUN);
	call(serial, "echo", "never");
	until(seen.ends);
	ck_assert(seen.code == ENOTCONN || seen.code == EIO);
	until(state_is("failed", 1));
	call(serial, "echo", "never");
	until(seen.ends);
	ck_assert_int_eq(seen.code, ENOTCONN);
	ck_assert_msg(state_is("failed", 1), "%s %d %s", seen.status.state, seen.code, seen.text);
	good(file_read(folder, "failure", &b, &err));
	ck_assert_str_eq(b.data, "its runner ended unexpectedly 4 times within a minute: went wrong\n");
	ck_assert_ptr_nonnull(strstr(seen.text, "the sandbox has failed: its runner"));
	buffer_free(&b);
}
END_TEST

START_TEST(removal)
{
	uint64_t running = add("a"), draft = add("b");
	struct stat st;
	char path[128];

	want(running, WANT_RUN);
	until(state_is("ready", 1));
	good(supervise_remove(&state, OBJECT_SANDBOX, "b", draft, &err));
	supervise_poke(s, OBJECT_SANDBOX, draft);
	until(seen.gone == draft);
	good(supervise_remove(&state, OBJECT_SANDBOX, "a", running, &err));
	bad(supervise_want(&state, OBJECT_SANDBOX, running, WANT_RUN, NULL, &err), ENOENT);
	supervise_poke(s, OBJECT_SANDBOX, running);
	until(seen.gone == running);
	(void)snprintf(path, sizeof path, "%s/sandboxes/%d", place, (int)running);
	ck_assert_int_eq(lstat(path, &st), -1);
	ck_assert(!supervise_look(s, OBJECT_SANDBOX, running, NULL, NULL));
}
END_TEST

static void put(uint64_t serial, const char *path, const char *text)
{
	cleanup_close int folder = object_open(&state, OBJECT_SANDBOX, serial, &err);

	ck_assert_int_ge(folder, 0);
	good(file_replace(folder, path, text, strlen(text), 0600, false, &err));
}

START_TEST(finished_at_scan)
{
	uint64_t nameless = add("a"), ended = add("b"), spec = add("c"), text = add("d"), refused = add("e");
	uint64_t found, half = add("f");
	struct stat st;
	char path[128];

	/* mkdir that did not come to the name. */
	good(state_forget_name(&state, OBJECT_SANDBOX, "a", &err));
	/* rmdir that did not come to an end, after and before the name was forgotten. */
	put(ended, "want", "3 run\n");
	put(ended, "status", "3 stopped 1.000\n");
	good(state_forget_name(&state, OBJECT_SANDBOX, "b", &err));
	put(half, "want", "3 removed\n");
	/* A start whose want was not written. */
	put(spec, "spec.json", "{\"generation\":4,\"text_sha256\":\"e3b0\"}");
	/* A document that was not judged, and one that was refused. */
	put(text, "config", "memory: 1G\n");
	put(refused, "config", "memory: 1X\n");
	put(refused, "refusal", "line 1\n");
	good(supervise_scan(s, &err));
	until(state_is("ready", 4));
	ck_assert_uint_eq(seen.unjudged, text);
	for (uint64_t i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof path, "%s/sandboxes/%d", place,
			       (int)(i == 0 ? nameless : i == 1 ? ended : half));
		until(lstat(path, &st) < 0);
	}
	bad(state_find(&state, OBJECT_SANDBOX, "f", &found, &err), ENOENT);
	good(state_find(&state, OBJECT_SANDBOX, "e", &found, &err));
}
END_TEST

START_TEST(after_a_reboot)
{
	uint64_t serial = add("a"), late = add("b");
	struct status status;

	put(serial, "want", "2 run\n");
	put(serial, "status", "2 ready 1.000\n");
	put(serial, "run/pid", "1 1 00000000-0000-0000-0000-000000000000\n");
	/* Wanted before the power went, and not begun: that is done now. */
	put(late, "want", "3 run\n");
	put(late, "status", "2 ready 1.000\n");
	put(late, "run/pid", "1 1 00000000-0000-0000-0000-000000000000\n");
	good(supervise_scan(s, &err));
	ck_assert(supervise_look(s, OBJECT_SANDBOX, serial, &status, NULL));
	ck_assert_str_eq(status.state, "died");
	until(state_is("ready", 3));
	call(serial, "echo", "x");
	until(seen.ends);
	ck_assert_int_eq(seen.code, ENOTCONN);
}
END_TEST

START_TEST(secrets)
{
	uint64_t serial = add("a");
	char path[128];
	int fd;

	ck_assert_int_eq(setenv("FROM_ENVIRONMENT", "one", 1), 0);
	ck_assert_int_eq(setenv("UNLISTED", "three", 1), 0);
	(void)snprintf(path, sizeof path, "%s/env", place);
	fd = open(path, O_WRONLY | O_CREAT, 0644);
	ck_assert_int_ge(fd, 0);
	(void)close(fd);
	bad(supervise_env_file(s, path, &err), EACCES);
	good(file_replace(AT_FDCWD, path, "# c\nexport FROM_FILE=\"t w o\"\n", 29, 0600, false, &err));
	good(supervise_env_file(s, path, &err));
	put(serial, "spec.json", "{\"generation\":1,\"fields\":{\"secrets\":[\"FROM_ENVIRONMENT\",\"FROM_FILE\",\"MISSING\"]}}");
	want(serial, WANT_RUN);
	static const char *const expected[][2] = { { "FROM_ENVIRONMENT", "one" }, { "FROM_FILE", "t w o" },
						   { "MISSING", "none" }, { "UNLISTED", "none" } };
	for (int i = 0; i < 4; i++) {
		call(serial, "secret", expected[i][0]);
		until(seen.ends);
		ck_assert_str_eq(seen.output, expected[i][1]);
		ck_assert_msg(seen.exit == 0, "%s is in the runner's environment", expected[i][0]);
	}
}
END_TEST

static size_t counted;
static struct supervise_call *flood;

static void on_flood(void *c, int channel, const void *data, size_t n)
{
	(void)c, (void)channel, (void)data;
	counted += n;
	if (counted < 200000)
		supervise_call_pause(flood, true);
}

START_TEST(paused_closed_abandoned)
{
	static const struct supervise_call_callbacks flooding = { on_flood, on_ended };
	uint64_t serial = add("a");
	cleanup_close int folder = object_open(&state, OBJECT_SANDBOX, serial, &err);
	struct buffer b = BUFFER(4096);

	want(serial, WANT_RUN);
	/* Nobody will read it: all of it is in the log. */
	good(supervise_call_unread(s, OBJECT_SANDBOX, serial, "echo", "to the log", 10));
	until(state_is("ready", 1));
	until((buffer_clear(&b), file_read(folder, "log", &b, &err) == 0 && b.length == 10));
	ck_assert_str_eq(b.data, "to the log");
	buffer_free(&b);
	counted = 0;
	flood = supervise_call(s, OBJECT_SANDBOX, serial, "flood", "", 0, &flooding, NULL);
	until(counted);
	while (counted < 200000) {
		size_t before = counted;

		call(serial, "echo", "meanwhile");
		until(seen.ends);
		ck_assert_str_eq(seen.output, "meanwhile");
		ck_assert_uint_eq(counted, before);
		seen.ends = 0;
		supervise_call_pause(flood, false);
		until(counted > before);
	}
	until(seen.ends);
	ck_assert_uint_eq(counted, 64 << 16);
	counted = 0;
	seen.ends = 0;
	flood = supervise_call(s, OBJECT_SANDBOX, serial, "flood", "", 0, &flooding, NULL);
	until(counted);
	supervise_call_close(flood);
	call(serial, "echo", "after");
	until(seen.ends);
	ck_assert_str_eq(seen.output, "after");
	ck_assert_int_eq(seen.ends, 1);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("supervise");
	TCase *t = tcase_create("supervise");
	SRunner *runner;
	int failed;

	if (argc > 1 && !strcmp(argv[1], "runner"))
		return runner_main(argc - 1, argv + 1);
	runner = srunner_create(suite);
	tcase_set_timeout(t, 240);
	tcase_add_unchecked_fixture(t, setup_all, teardown_all);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, start_call_stop);
	tcase_add_test(t, adopted);
	tcase_add_test(t, dies_and_comes_back);
	tcase_add_test(t, dies_slowly_and_comes_back);
	tcase_add_test(t, cannot_begin);
	tcase_add_test(t, removal);
	tcase_add_test(t, finished_at_scan);
	tcase_add_test(t, after_a_reboot);
	tcase_add_test(t, secrets);
	tcase_add_test(t, paused_closed_abandoned);
	suite_add_tcase(suite, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
