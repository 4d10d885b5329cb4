/* The runner's skeleton with a story of our own, spoken to through base/talk.h as the mount does. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backend/runners.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/talk.h"

static char place[] = "/tmp/interpfs-test-runner.XXXXXX";
static struct state state;
static struct error err;
static uint64_t serial;
static int folder;
static pid_t child;

#define WAIT_MS 50000 /* what a busy machine may need; one that is not is done at once */

#define good(call) ck_assert_msg((call) >= 0, "%s: %s", #call, err.text)
#define bad(call, number) do { \
	ck_assert_int_eq((call), -1); \
	ck_assert_msg(err.code == (number), "%s: code %d, expected %d: %s", #call, err.code, (number), err.text); \
} while (0)

/* A story whose calls show what the skeleton does. "hold" keeps a call open until its client goes. */
static int story_call(struct runner *r, struct runner_event *e, struct error *error)
{
	struct conversation *c = e->conversation;

	if (!strcmp(e->text, "echo")) {
		if (conversation_send(c, TALK_STDOUT, e->request, e->length, -1) < 0)
			return -1;
		conversation_end(c, 0, 3, NULL);
	} else if (!strcmp(e->text, "hold")) {
		(void)conversation_send(c, TALK_STDOUT, "held", 4, -1);
	} else if (!strcmp(e->text, "flood")) {
		static char block[100000];

		memset(block, 'x', sizeof block);
		for (int i = 0; i < 50; i++)
			(void)conversation_send(c, TALK_STDOUT, block, sizeof block, -1);
	} else if (!strcmp(e->text, "descriptor")) {
		(void)conversation_send(c, TALK_STDOUT, "before", 6, -1);
		(void)conversation_send(c, TALK_STDOUT, NULL, 0, runner_folder(r));
		conversation_end(c, 0, 0, NULL);
	} else if (!strcmp(e->text, "secret")) {
		cJSON *names = cJSON_CreateStringArray((const char *const[]){ "KEY" }, 1);
		int got = runner_secrets(r, names, (int)strtol(e->request, NULL, 10), error);

		cJSON_Delete(names);
		conversation_end(c, got < 0 ? error->code : 0, 0, "%s", got < 0 ? error->text : runner_secret(r, "KEY"));
	} else if (!strcmp(e->text, "log")) {
		if (runner_append(r, "events.jsonl", "{\"b\":2}\n", 8, error) < 0 ||
		    runner_append(r, "messages", "new\n", 4, error) < 0 ||
		    runner_append(r, "cells/1/output", "more", 4, error) < 0 ||
		    runner_sync(r, "events.jsonl", error) < 0)
			return -1;
		conversation_end(c, 0, 0, NULL);
	} else if (!strcmp(e->text, "much")) {
		for (int i = 0; i < 1000; i++)
			if (runner_append(r, "events.jsonl", "{}\n", 3, error) < 0 ||
			    runner_append(r, "messages", "new\n", 4, error) < 0)
				return -1;
		conversation_end(c, 0, 0, NULL);
	} else if (!strcmp(e->text, "tell")) {
		if (runner_append(r, "interfaces/1/log", e->request, e->length, error) < 0)
			return -1;
		conversation_end(c, 0, 0, NULL);
	} else if (!strcmp(e->text, "forgive")) {
		errno = ENOENT; /* as whatever came before may have left it */
		if (runner_set_failure(r, "", error) < 0)
			return -1;
		conversation_end(c, 0, 0, NULL);
	} else {
		conversation_end(c, ENOSYS, 0, "there is no call '%s'", e->text);
	}
	return 0;
}

int workspace_story(struct runner *r, struct error *error)
{
	struct runner_event e;

	if (runner_want(r)->what == WANT_REMOVED)
		return 0;
	if (runner_set_state(r, "starting", error) < 0 || runner_set_text(r, "a/b/value", "1\n", error) < 0)
		return -1;
	for (;;) {
		if (runner_next(r, -1, &e, error) < 0)
			return -1;
		switch (e.kind) {
		case RUNNER_WANT:
			if (runner_want(r)->what == WANT_STOPPED)
				return runner_set_state(r, "stopped", error);
			if (runner_want(r)->what == WANT_REMOVED)
				return 0;
			if (runner_set_state(r, "starting", error) < 0)
				return -1;
			break;
		case RUNNER_CALL:
			if (story_call(r, &e, error) < 0)
				return -1;
			break;
		case RUNNER_COMMAND:
			if (!strcmp(e.text, "fail")) {
				conversation_end(e.conversation, EIO, 0, "as asked");
				return error_set(error, EIO, "the story failed\nin two lines");
			}
			conversation_end(e.conversation, 0, 0, NULL);
			break;
		case RUNNER_CLOSED:
			if (runner_set_text(r, "closed", e.gone ? "lost\n" : "closed\n", error) < 0)
				return -1;
			conversation_end(e.conversation, 0, 0, NULL);
			break;
		case RUNNER_DRAINED:
			conversation_end(e.conversation, 0, 0, "drained");
			break;
		case RUNNER_SIGNAL:
			return 0;
		default:
			break;
		}
	}
}

/* Starts a runner as the mount does and returns once it listens or has ended. */
static pid_t start(void)
{
	char number[32], byte;
	char *argv[] = { (char *)"runner", state.path, (char *)"workspace", number, NULL };
	int pipes[2];
	pid_t pid;

	(void)snprintf(number, sizeof number, "%llu", (unsigned long long)serial);
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		(void)dup2(pipes[1], 1);
		(void)close(pipes[0]);
		(void)close(pipes[1]);
		exit(runner_main(4, argv));
	}
	(void)close(pipes[1]);
	ck_assert_int_eq(read(pipes[0], &byte, 1), 0);
	(void)close(pipes[0]);
	return pid;
}

static int ended(pid_t pid)
{
	int status = 0;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void setup(void)
{
	struct want want = { 1, WANT_RUN };

	memcpy(place + sizeof place - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(place));
	good(state_open(&state, place, &err));
	good(state_add(&state, OBJECT_WORKSPACE, "w", &serial, &err));
	folder = object_open(&state, OBJECT_WORKSPACE, serial, &err);
	ck_assert_int_ge(folder, 0);
	good(want_write(folder, &want, true, &err));
	child = start();
}

static void teardown(void)
{
	if (child > 0) {
		(void)kill(child, SIGKILL);
		(void)waitpid(child, NULL, 0);
	}
	(void)close(folder);
	state_close(&state);
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, place, &err), 0);
}

static void text_is(const char *path, const char *expected)
{
	struct buffer b = BUFFER(4096);

	good(file_read(folder, path, &b, &err));
	ck_assert_str_eq(b.data ? b.data : "", expected);
	buffer_free(&b);
}

static bool reaches(const char *path, const char *expected)
{
	for (int i = 0; i < WAIT_MS / 10; i++) {
		struct timespec t = { .tv_nsec = 10000000 };
		struct buffer b = BUFFER(4096);
		bool same = file_read(folder, path, &b, &err) == 0 && b.data && !strcmp(b.data, expected);

		buffer_free(&b);
		if (same)
			return true;
		(void)nanosleep(&t, NULL);
	}
	return false;
}

static bool reaches_size(const char *path, off_t size)
{
	for (int i = 0; i < WAIT_MS / 10; i++) {
		struct stat st;

		if (fstatat(folder, path, &st, 0) == 0 && st.st_size == size)
			return true;
		(void)poll(NULL, 0, 10);
	}
	return false;
}

static void poke(const struct want *want)
{
	struct talk t;

	if (want)
		good(want_write(folder, want, true, &err));
	good(talk_connect(&t, folder, &err));
	good(talk_send(&t, TALK_POKE, NULL, 0, &err));
	talk_close(&t);
}

START_TEST(lives_and_stops)
{
	struct want stop = { 2, WANT_STOPPED };
	struct talk_message m;
	struct talk late;
	struct status s;
	int pid = 0;

	ck_assert(runner_alive(folder, &pid));
	ck_assert_int_eq(pid, child);
	ck_assert(reaches("a/b/value", "1\n"));
	ck_assert_int_eq(ended(start()), 75);
	/* Who comes when it is about to end is told how it is. */
	ck_assert_int_eq(kill(child, SIGSTOP), 0);
	poke(&stop);
	good(talk_connect(&late, folder, &err));
	good(talk_send(&late, TALK_CALL, "echo", 4, &err));
	good(talk_send(&late, TALK_GO, NULL, 0, &err));
	ck_assert_int_eq(kill(child, SIGCONT), 0);
	ck_assert_int_eq(talk_wait(&late, WAIT_MS, &m, &err), 1);
	ck_assert_int_eq(m.code, ENOTCONN);
	ck_assert_str_eq(m.text, "the workspace is stopped");
	talk_close(&late);
	ck_assert_int_eq(ended(child), 0);
	child = 0;
	good(status_read(folder, &s, &err));
	ck_assert_str_eq(s.state, "stopped");
	ck_assert_uint_eq(s.generation, 2);
	bad(talk_command(folder, "x", 1000, &err), ENOTCONN);
}
END_TEST

START_TEST(answers)
{
	static char big[3000000];
	struct buffer out = BUFFER(4000000);
	int status = 0, passed = -1;
	struct stat a, b;

	memset(big, 'b', sizeof big);
	good(talk_call(folder, "echo", big, sizeof big, WAIT_MS, &out, &status, &passed, &err));
	ck_assert_int_eq(status, 3);
	ck_assert_uint_eq(out.length, sizeof big);
	ck_assert_mem_eq(out.data, big, sizeof big);
	buffer_clear(&out);
	bad(talk_call(folder, "none", "", 0, WAIT_MS, &out, &status, NULL, &err), ENOSYS);
	ck_assert_str_eq(err.text, "there is no call 'none'");
	good(talk_command(folder, "anything", WAIT_MS, &err));
	good(talk_call(folder, "descriptor", "", 0, WAIT_MS, &out, &status, &passed, &err));
	ck_assert_str_eq(out.data, "before");
	ck_assert_int_ge(passed, 0);
	ck_assert_int_eq(fstat(passed, &a), 0);
	ck_assert_int_eq(fstat(folder, &b), 0);
	ck_assert_uint_eq(a.st_ino, b.st_ino);
	(void)close(passed);
	buffer_free(&out);
}
END_TEST

START_TEST(too_much)
{
	struct talk t;
	struct talk_message m;
	static char block[1 << 20];

	good(talk_connect(&t, folder, &err));
	good(talk_send(&t, TALK_CALL, "echo", 4, &err));
	for (int i = 0; i < 17; i++) {
		if (talk_put(&t, block, sizeof block, &err) < 0)
			break;
		for (int j = 0; j < 100 && t.out.length; j++) {
			struct pollfd p = { .fd = t.fd, .events = POLLOUT };

			ck_assert_int_ge(poll(&p, 1, WAIT_MS), 0);
			if (talk_flush(&t, &err) < 0)
				break;
		}
	}
	ck_assert_int_eq(talk_wait(&t, WAIT_MS, &m, &err), 1);
	ck_assert_int_eq(m.type, TALK_END);
	ck_assert_int_eq(m.code, EMSGSIZE);
	talk_close(&t);
	good(talk_command(folder, "anything", WAIT_MS, &err));
}
END_TEST

START_TEST(closed_or_lost)
{
	struct talk t;
	struct talk_message m;

	good(talk_connect(&t, folder, &err));
	good(talk_send(&t, TALK_CALL, "hold", 4, &err));
	good(talk_send(&t, TALK_GO, NULL, 0, &err));
	ck_assert_int_eq(talk_wait(&t, WAIT_MS, &m, &err), 1);
	ck_assert_uint_eq(m.length, 4);
	good(talk_send(&t, TALK_CLOSE, NULL, 0, &err));
	talk_close(&t);
	ck_assert(reaches("closed", "closed\n"));

	/* Nobody reads: what is printed goes to the log, and all of it. (It looks when the client has gone:
	 * else the answer may be on its way to him by then.) */
	good(talk_connect(&t, folder, &err));
	ck_assert_int_eq(kill(child, SIGSTOP), 0);
	good(talk_send(&t, TALK_CALL, "echo", 4, &err));
	good(talk_put(&t, "for the log\n", 12, &err));
	good(talk_send(&t, TALK_GO, NULL, 0, &err));
	talk_close(&t);
	ck_assert_int_eq(kill(child, SIGCONT), 0);
	ck_assert(reaches("log", "for the log\n"));
	/* Whoever asks unread may hold the connection as long as it likes. */
	good(talk_connect(&t, folder, &err));
	good(talk_ask_unread(&t, "echo", "unread\n", 7, &err));
	ck_assert(reaches("log", "for the log\nunread\n"));
	bad(talk_wait(&t, 5000, &m, &err), ECONNRESET);
	talk_close(&t);

	good(talk_connect(&t, folder, &err));
	good(talk_send(&t, TALK_CALL, "hold", 4, &err));
	good(talk_send(&t, TALK_GO, NULL, 0, &err));
	ck_assert_int_eq(talk_wait(&t, WAIT_MS, &m, &err), 1);
	talk_close(&t);
	ck_assert(reaches("closed", "lost\n"));
}
END_TEST

START_TEST(full_and_drained)
{
	struct buffer out = BUFFER(6000000);
	struct talk t;
	struct talk_message m = { 0 };

	good(talk_connect(&t, folder, &err));
	good(talk_send(&t, TALK_CALL, "flood", 5, &err));
	good(talk_send(&t, TALK_GO, NULL, 0, &err));
	/* An unread call holds up nobody else. */
	good(talk_command(folder, "anything", WAIT_MS, &err));
	while (m.type != TALK_END) {
		ck_assert_int_eq(talk_wait(&t, WAIT_MS, &m, &err), 1);
		if (m.type == TALK_DATA)
			ck_assert_int_eq(buffer_append(&out, m.data, m.length), 0);
	}
	ck_assert_str_eq(m.text, "drained");
	ck_assert_uint_eq(out.length, 5000000);
	buffer_free(&out);
	talk_close(&t);
}
END_TEST

START_TEST(notices_come_first)
{
	struct talk watch, t;
	struct talk_message m;
	struct want again = { 2, WANT_RUN };
	int notices = 0;

	good(talk_connect(&watch, folder, &err));
	good(talk_send(&watch, TALK_WATCH, "{}", 2, &err));
	ck_assert_int_eq(talk_wait(&watch, WAIT_MS, &m, &err), 1);
	ck_assert_int_eq(m.type, TALK_NOTICE);
	ck_assert_int_eq(strncmp(m.data, "status ", 7), 0);
	good(want_write(folder, &again, true, &err));
	good(talk_send(&watch, TALK_POKE, NULL, 0, &err));
	ck_assert_int_eq(talk_wait(&watch, WAIT_MS, &m, &err), 1);
	ck_assert_int_eq(strncmp(m.data, "status ", 7), 0);
	/* More notices than a socket holds, while nobody takes them: none of the files is forgotten. */
	good(talk_connect(&t, folder, &err));
	good(talk_ask(&t, "much", NULL, 0, &err));
	ck_assert(reaches_size("messages", 4000));
	do {
		ck_assert_int_eq(talk_wait(&watch, WAIT_MS, &m, &err), 1);
		notices++;
	} while (m.length < 14 || strncmp(m.data, "messages 4000 ", 14) != 0);
	ck_assert_int_gt(notices, 3);
	/* And the answer comes behind them. */
	ck_assert_int_eq(talk_wait(&t, WAIT_MS, &m, &err), 1);
	ck_assert_int_eq(m.type, TALK_END);
	talk_close(&t);
	talk_close(&watch);
}
END_TEST

START_TEST(secrets_by_watch)
{
	struct talk watch;
	struct talk_message m;
	static const char secrets[] = "{\"secrets\":{\"KEY\":\"value\",\"OTHER\":\"\",\"A_TOKEN\":\"hush-0123456789\"}}";
	static const char told[] = "it is hush-0123456789.\n";

	bad(talk_call(folder, "secret", "2000", 5, WAIT_MS, &(struct buffer){ .limit = 10 }, NULL, NULL, &err), ENOKEY);
	ck_assert_ptr_nonnull(strstr(err.text, "KEY"));
	/* Once the mount has said what it has, nobody waits for what it has not. */
	good(talk_connect(&watch, folder, &err));
	good(talk_send(&watch, TALK_WATCH, "{\"secrets\":{}}", 14, &err));
	ck_assert_int_eq(talk_wait(&watch, WAIT_MS, &m, &err), 1);
	bad(talk_call(folder, "secret", "600000", 7, WAIT_MS, &(struct buffer){ .limit = 10 }, NULL, NULL, &err), ENOKEY);
	good(talk_send(&watch, TALK_WATCH, secrets, sizeof secrets - 1, &err));
	good(talk_call(folder, "secret", "2000", 5, WAIT_MS, &(struct buffer){ .limit = 10 }, NULL, NULL, &err));
	/* No log has one, wherever it lies. */
	good(talk_call(folder, "tell", told, sizeof told - 1, WAIT_MS, &(struct buffer){ .limit = 10 }, NULL, NULL, &err));
	text_is("interfaces/1/log", "it is A_TOKEN.\n");
	talk_close(&watch);
}
END_TEST

static void put(const char *path, const char *text)
{
	good(file_replace(folder, path, text, strlen(text), 0600, false, &err));
}

START_TEST(torn_tails)
{
	good(file_make_folders(folder, "cells/1", 0700, &err));
	put("events.jsonl", "{\"a\":1}\n{\"torn\":");
	put("messages", "half a li");
	put("cells/1/output", "no newline ");
	good(talk_call(folder, "log", "", 0, WAIT_MS, &(struct buffer){ .limit = 10 }, NULL, NULL, &err));
	text_is("events.jsonl", "{\"a\":1}\n{\"b\":2}\n");
	text_is("messages", "half a li\n[interrupted]\nnew\n");
	text_is("cells/1/output", "no newline more");
	good(talk_call(folder, "log", "", 0, WAIT_MS, &(struct buffer){ .limit = 10 }, NULL, NULL, &err));
	text_is("messages", "half a li\n[interrupted]\nnew\nnew\n");
}
END_TEST

/* Resident pages of files, in kB. */
static long resident(void)
{
	char path[64], *at;
	struct buffer b = BUFFER(8192);
	long kb = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/status", (int)child);
	good(file_read(AT_FDCWD, path, &b, &err));
	if ((at = strstr(b.data, "RssFile:")))
		kb = strtol(at + strlen("RssFile:"), NULL, 10);
	buffer_free(&b);
	return kb;
}

START_TEST(at_rest)
{
	struct buffer out = BUFFER(100);
	long busy = 0, now = 0;

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 10; i++) {
			good(talk_call(folder, "echo", "x", 1, 5000, &out, NULL, NULL, &err));
			now = resident();
			busy = now > busy ? now : busy;
		}
		for (int i = 0; i < 1000 && (now = resident()) > busy / 2; i++)
			(void)usleep(10000);
		ck_assert_msg(now <= busy / 2, "%ld kB, and %ld at work", now, busy);
	}
	buffer_free(&out);
}
END_TEST

START_TEST(a_failure_is_a_sentence)
{
	struct status s;

	bad(talk_command(folder, "fail", WAIT_MS, &err), EIO);
	ck_assert_int_eq(ended(child), 1);
	child = 0;
	text_is("failure", "the story failed in two lines\n");
	good(status_read(folder, &s, &err));
	ck_assert_str_eq(s.state, "failed");
	ck_assert_uint_eq(s.generation, 1);
}
END_TEST

START_TEST(what_is_forgiven_is_told)
{
	struct talk watch;
	struct talk_message m;

	put("failure", "it failed\n");
	good(talk_connect(&watch, folder, &err));
	good(talk_send(&watch, TALK_WATCH, "{}", 2, &err));
	ck_assert_int_eq(talk_wait(&watch, WAIT_MS, &m, &err), 1);
	good(talk_call(folder, "forgive", "", 0, WAIT_MS, &(struct buffer){ .limit = 10 }, NULL, NULL, &err));
	ck_assert_int_eq(faccessat(folder, "failure", F_OK, 0), -1);
	ck_assert_int_eq(talk_wait(&watch, WAIT_MS, &m, &err), 1);
	ck_assert_msg(!strncmp(m.data, "failure -1 ", 11), "%.*s", (int)m.length, m.data);
	talk_close(&watch);
}
END_TEST

START_TEST(removal)
{
	struct want gone = { 2, WANT_REMOVED };
	struct stat st;
	char path[128];

	good(file_make_folders(folder, "deep/er", 0, &err));
	poke(&gone);
	ck_assert_int_eq(ended(child), 0);
	child = 0;
	(void)snprintf(path, sizeof path, "%s/workspaces/%llu", place, (unsigned long long)serial);
	ck_assert_int_eq(lstat(path, &st), -1);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(its_folder_is_deleted)
{
	struct talk watch;
	struct talk_message m;

	good(talk_connect(&watch, folder, &err));
	good(talk_send(&watch, TALK_WATCH, "{}", 2, &err));
	ck_assert_int_eq(talk_wait(&watch, WAIT_MS, &m, &err), 1);
	good(file_remove_tree(state.fd, "workspaces", &err));
	good(talk_send(&watch, TALK_POKE, NULL, 0, &err));
	ck_assert_int_eq(ended(child), 0);
	child = 0;
	talk_close(&watch);
}
END_TEST

START_TEST(started_for_nothing)
{
	struct want stop = { 2, WANT_STOPPED };

	poke(&stop);
	ck_assert_int_eq(ended(child), 0);
	ck_assert_int_eq(unlinkat(folder, "a/b/value", 0), 0);
	child = start();
	ck_assert_int_eq(ended(child), 0);
	child = 0;
	ck_assert_int_eq(faccessat(folder, "a/b/value", F_OK, 0), -1);
}
END_TEST

START_TEST(terminated)
{
	struct status s;

	ck_assert_int_eq(kill(child, SIGTERM), 0);
	ck_assert_int_eq(ended(child), 0);
	good(status_read(folder, &s, &err));
	ck_assert_str_eq(s.state, "starting");
	child = start();
	good(talk_command(folder, "anything", WAIT_MS, &err));
	/* The next one takes over from one that was killed, at once. */
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(ended(child), -SIGKILL);
	child = start();
	good(talk_command(folder, "anything", WAIT_MS, &err));
}
END_TEST

START_TEST(nonsense)
{
	static const unsigned char wrong[] = { 255, 255, 255, 255, 0, 0, 0, 0, 'P', 0, 0, 0 };
	struct talk t;
	struct talk_message m;

	for (int i = 0; i < 3; i++) {
		good(talk_connect(&t, folder, &err));
		if (i == 0)
			ck_assert_int_eq(send(t.fd, wrong, sizeof wrong, MSG_NOSIGNAL), sizeof wrong);
		else if (i == 1)
			good(talk_put(&t, "data before a call", 10, &err));
		else
			good(talk_send(&t, TALK_CALL, "a\0b", 3, &err));
		bad(talk_wait(&t, WAIT_MS, &m, &err), ECONNRESET);
		talk_close(&t);
	}
	good(talk_command(folder, "anything", WAIT_MS, &err));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("runner");
	TCase *t = tcase_create("runner");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, lives_and_stops);
	tcase_add_test(t, answers);
	tcase_add_test(t, too_much);
	tcase_add_test(t, closed_or_lost);
	tcase_add_test(t, full_and_drained);
	tcase_add_test(t, notices_come_first);
	tcase_add_test(t, secrets_by_watch);
	tcase_add_test(t, torn_tails);
	tcase_add_test(t, a_failure_is_a_sentence);
	tcase_add_test(t, what_is_forgiven_is_told);
	tcase_add_test(t, removal);
	tcase_add_test(t, its_folder_is_deleted);
	tcase_add_test(t, started_for_nothing);
	tcase_add_test(t, terminated);
	tcase_add_test(t, nonsense);
	tcase_add_test(t, at_rest);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
