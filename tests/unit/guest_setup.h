/* The guest's parts and the runner's end of its stream, in one process and under the sanitizers: the same
 * frames as between a sandbox and its runner. What needs to be process 1 is in tests/guest/. Included once
 * by each of the tests, since it holds the guest's code. */
#ifndef INTERPFS_TESTS_GUEST_SETUP_H
#define INTERPFS_TESTS_GUEST_SETUP_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static long allocations_left = -1; /* then each fails; -1: none does */

static inline int fails_now(void)
{
	if (allocations_left < 0)
		return 0;
	if (allocations_left == 0)
		return 1;
	allocations_left--;
	return 0;
}

static void *test_malloc(size_t n) { return fails_now() ? (errno = ENOMEM, NULL) : malloc(n); }
static void *test_calloc(size_t n, size_t size) { return fails_now() ? (errno = ENOMEM, NULL) : calloc(n, size); }
static void *test_realloc(void *p, size_t n) { return fails_now() ? (errno = ENOMEM, NULL) : realloc(p, n); }
#define malloc test_malloc
#define calloc test_calloc
#define realloc test_realloc
#include "backend/guest/engine.c"
#include "backend/guest/family.c"
#include "backend/guest/idle.c"
#include "backend/guest/inside.c"
#include "backend/guest/job.c"
#include "backend/guest/link.c"
#include "backend/guest/loop.c"
#include "backend/guest/tunnel.c"
#include "base/buffer.c"
#undef malloc
#undef calloc
#undef realloc
#include "backend/sandbox/guest_own.h"
#include "base/talk.h"

static uint64_t deadline_set = UINT64_MAX;

void guest_set_deadline(uint64_t seconds) { deadline_set = seconds; }

void guest_leave(const char *why, int code, const char *text)
{
	(void)text;
	exit(!strcmp(why, "stopped") && !code ? 42 : 43);
}

int64_t guest_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- both ends ---- */

static struct guest *guest;
static struct loop loop = { .listening = -1, .signals = -1, .timer = -1 };

static inline void signalled(int signals)
{
	struct signalfd_siginfo info;

	while (read(signals, &info, sizeof info) == sizeof info)
		;
	jobs_reap();
}

/* A connection: the guest's end is links[0], the other is returned. */
static inline int pair(void)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
	ck_assert_int_eq(links[0].fd, -1);
	ck_assert_ptr_eq(link_add(ends[0], ends[0], true), &links[0]);
	return ends[1];
}

static inline void attach(void)
{
	struct error err;

	ck_assert_msg(guest_attach(&guest, pair(), &err) == 0, "%s", err.text);
}

static inline void set_up(void)
{
	sigset_t all;

	for (size_t i = 0; i < LINKS; i++)
		links[i].fd = -1;
	root_folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	sigemptyset(&all);
	sigaddset(&all, SIGCHLD);
	sigaddset(&all, SIGPIPE);
	ck_assert_int_eq(sigprocmask(SIG_BLOCK, &all, NULL), 0);
	loop.signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	loop.signalled = signalled;
	attach();
}

static inline void tear_down(void)
{
	guest_detach(guest);
	guest = NULL;
	for (int64_t end = guest_now() + 20000; guest_now() < end;) {
		bool busy = links[0].fd >= 0;

		for (size_t k = 0; k < JOBS; k++)
			if (jobs[k].pid) {
				(void)kill(-jobs[k].pid, SIGKILL);
				busy = true;
			}
		if (!busy)
			break;
		loop_turn(&loop, 10);
	}
	for (size_t k = 0; k < JOBS; k++)
		ck_assert_int_eq(jobs[k].pid, 0);
	close(root_folder);
	close(loop.signals);
}

struct seen {
	struct guest_operation *operation;
	struct buffer out, err;
	bool keep_credit;
	size_t unreturned;
	int fd, ended, code, status, refused;
	char text[ERROR_TEXT_SIZE];
	bool again;
};

#define SEEN ((struct seen){ .out = BUFFER(8 << 20), .err = BUFFER(8 << 20), .fd = -1 })

static inline void on_output(void *context, int channel, const void *data, size_t n)
{
	struct seen *s = context;

	ck_assert(channel == TALK_STDOUT || channel == TALK_STDERR);
	ck_assert_int_eq(s->ended, 0);
	(void)buffer_append(channel == TALK_STDOUT ? &s->out : &s->err, data, n);
	if (s->keep_credit)
		s->unreturned += n;
	else
		guest_consumed(s->operation, n);
}

static inline void on_passed(void *context, int fd)
{
	struct seen *s = context;

	ck_assert_int_eq(s->fd, -1);
	s->fd = fd;
}

static inline void on_ended(void *context, int code, int status, const char *text)
{
	struct seen *s = context;
	struct error err;

	s->ended++;
	s->code = code;
	s->status = status;
	s->operation = NULL;
	(void)snprintf(s->text, sizeof s->text, "%s", text);
	if (s->again && !guest_ping(guest, &(struct guest_callbacks){ NULL, NULL, NULL }, NULL, &err))
		s->refused = err.code;
}

static const struct guest_callbacks callbacks = { on_output, on_passed, on_ended };

/* One turn of both ends. -1 when the link has ended. */
static inline int turn(struct error *err)
{
	loop_turn(&loop, 2);
	return guest_step(guest, err);
}

static inline void wait_for(const struct seen *s)
{
	int64_t end = guest_now() + 50000;
	struct error err;

	while (!s->ended) {
		ck_assert_msg(turn(&err) == 0, "%s", err.text);
		ck_assert_msg(guest_now() < end, "it did not end");
	}
	ck_assert_int_eq(s->ended, 1);
}

static inline void done(struct seen *s)
{
	buffer_free(&s->out);
	buffer_free(&s->err);
	if (s->fd >= 0)
		close(s->fd);
}

static inline void begin_shell(struct seen *s, const char *text, const void *input, size_t n)
{
	const char *argv[] = { "/bin/sh", "-c", text, NULL }, *env[] = { "ADDED=value", NULL };
	struct guest_command command = { .argv = argv, .env = env, .cwd = "/", .input = input, .input_length = n };
	struct error err;

	s->operation = guest_exec(guest, &command, &callbacks, s, &err);
	ck_assert_msg(s->operation != NULL, "%s", err.text);
}

struct bytes {
	const char *name, *data;
	size_t length;
};

#define BYTES(name, text) { name, text, sizeof(text) - 1 }
#define HEAD(length, stream, type) length "\0\0\0" stream "\0\0\0" type "\0\0\0"

static inline int open_descriptors(void)
{
	int n = 0;

	for (int i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

#endif
