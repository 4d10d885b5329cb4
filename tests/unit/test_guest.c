/* The guest's parts and the runner's end of its stream, in one process and under the sanitizers:
 * the same frames as between a sandbox and its runner, every bad one, and every allocation failing
 * once. What needs to be process 1 is in tests/guest/. */
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

static int fails_now(void)
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

static void signalled(int signals)
{
	struct signalfd_siginfo info;

	while (read(signals, &info, sizeof info) == sizeof info)
		;
	jobs_reap();
}

/* A connection: the guest's end is links[0], the other is returned. */
static int pair(void)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
	ck_assert_int_eq(links[0].fd, -1);
	ck_assert_ptr_eq(link_add(ends[0], ends[0], true), &links[0]);
	return ends[1];
}

static void attach(void)
{
	struct error err;

	ck_assert_msg(guest_attach(&guest, pair(), &err) == 0, "%s", err.text);
}

static void set_up(void)
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

static void tear_down(void)
{
	guest_detach(guest);
	guest = NULL;
	for (int i = 0; i < 500; i++) {
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

static void on_output(void *context, int channel, const void *data, size_t n)
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

static void on_passed(void *context, int fd)
{
	struct seen *s = context;

	ck_assert_int_eq(s->fd, -1);
	s->fd = fd;
}

static void on_ended(void *context, int code, int status, const char *text)
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
static int turn(struct error *err)
{
	loop_turn(&loop, 2);
	return guest_step(guest, err);
}

static void wait_for(const struct seen *s)
{
	int64_t end = guest_now() + 20000;
	struct error err;

	while (!s->ended) {
		ck_assert_msg(turn(&err) == 0, "%s", err.text);
		ck_assert_msg(guest_now() < end, "it did not end");
	}
	ck_assert_int_eq(s->ended, 1);
}

static void done(struct seen *s)
{
	buffer_free(&s->out);
	buffer_free(&s->err);
	if (s->fd >= 0)
		close(s->fd);
}

static void begin_shell(struct seen *s, const char *text, const void *input, size_t n)
{
	const char *argv[] = { "/bin/sh", "-c", text, NULL }, *env[] = { "ADDED=value", NULL };
	struct guest_command command = { .argv = argv, .env = env, .cwd = "/", .input = input, .input_length = n };
	struct error err;

	s->operation = guest_exec(guest, &command, &callbacks, s, &err);
	ck_assert_msg(s->operation != NULL, "%s", err.text);
}

/* ---- what it does ---- */

START_TEST(commands)
{
	struct seen s = SEEN;

	begin_shell(&s, "pwd; echo $ADDED; echo err >&2; exit 7", NULL, 0);
	wait_for(&s);
	ck_assert_str_eq(s.out.data, "/\nvalue\n");
	ck_assert_str_eq(s.err.data, "err\n");
	ck_assert_int_eq(s.code, 0);
	ck_assert_int_eq(s.status, 7);
	done(&s);
}
END_TEST

START_TEST(environment)
{
	const char *first[] = { "MINE=1", "OTHER=kept", NULL }, *second[] = { "MINE=2", "ADDED=no", NULL };
	struct seen set[2] = { SEEN, SEEN }, s = SEEN;
	struct error err;

	set[0].operation = guest_environment(guest, first, &callbacks, &set[0], &err);
	set[1].operation = guest_environment(guest, second, &callbacks, &set[1], &err);
	begin_shell(&s, "echo $MINE $OTHER $ADDED ${PATH:+path}", NULL, 0);
	wait_for(&set[1]);
	wait_for(&s);
	ck_assert_int_eq(set[0].code + set[1].code, 0);
	ck_assert_str_eq(s.out.data, "2 kept value path\n");
	done(&s);
}
END_TEST

START_TEST(no_such_command)
{
	const char *argv[] = { "/no/such/command", NULL };
	struct guest_command command = { .argv = argv, .cwd = "/" };
	struct seen s = SEEN;
	struct error err;

	s.operation = guest_exec(guest, &command, &callbacks, &s, &err);
	wait_for(&s);
	ck_assert_int_eq(s.code, ENOENT);
	ck_assert_int_eq(s.status, 127);
	ck_assert_str_eq(s.text, "/no/such/command: No such file or directory");
	done(&s);
}
END_TEST

START_TEST(input)
{
	static const size_t sizes[] = { 0, 1, 65536, 65537, 1 << 20 };
	char *bytes = malloc(1 << 20);

	for (size_t i = 0; i < 1 << 20; i++)
		bytes[i] = (char)(i * 7 + i / 251);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct seen s = SEEN;

		begin_shell(&s, "cat", bytes, sizes[i]);
		wait_for(&s);
		ck_assert_uint_eq(s.out.length, sizes[i]);
		ck_assert(!sizes[i] || !memcmp(s.out.data, bytes, sizes[i]));
		done(&s);
	}
	free(bytes);
}
END_TEST

START_TEST(input_that_nobody_reads)
{
	char *bytes = calloc(1, 1 << 20);
	struct seen s = SEEN;

	begin_shell(&s, "exec <&-; echo no", bytes, 1 << 20);
	wait_for(&s);
	ck_assert_str_eq(s.out.data, "no\n");
	done(&s);
	free(bytes);
}
END_TEST

START_TEST(unread_output)
{
	struct seen unread = SEEN, other = SEEN;
	struct error err;

	unread.keep_credit = true;
	begin_shell(&unread, "head -c 1000000 /dev/zero", NULL, 0);
	while (unread.out.length < GUEST_CREDIT)
		ck_assert_int_eq(turn(&err), 0);
	begin_shell(&other, "head -c 1000000 /dev/zero", NULL, 0);
	wait_for(&other);
	ck_assert_uint_eq(other.out.length, 1000000);
	ck_assert_uint_eq(unread.out.length, GUEST_CREDIT);
	unread.keep_credit = false;
	guest_consumed(unread.operation, unread.unreturned);
	wait_for(&unread);
	ck_assert_uint_eq(unread.out.length, 1000000);
	done(&unread);
	done(&other);
}
END_TEST

START_TEST(many)
{
	struct seen s[100];

	for (int i = 0; i < 100; i++) {
		s[i] = SEEN;
		begin_shell(&s[i], "head -c 70000 /dev/zero; echo e >&2", NULL, 0);
	}
	for (int i = 0; i < 100; i++) {
		wait_for(&s[i]);
		ck_assert_uint_eq(s[i].out.length, 70000);
		ck_assert_uint_eq(s[i].err.length, 2);
		done(&s[i]);
	}
}
END_TEST

START_TEST(signals)
{
	struct seen s = SEEN;
	struct error err;

	begin_shell(&s, "echo up; exec sleep 1000", NULL, 0);
	while (!s.out.length)
		ck_assert_int_eq(turn(&err), 0);
	guest_signal(s.operation, SIGTERM);
	wait_for(&s);
	ck_assert_int_eq(s.status, 128 + SIGTERM);
	done(&s);
}
END_TEST

START_TEST(the_rest)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), peer;
	struct seen s[5] = { SEEN, SEEN, SEEN, SEEN, SEEN };
	struct stat st;
	struct error err;
	char byte;

	(void)snprintf(address.sun_path, sizeof address.sun_path, "/tmp/test_guest.%d", (int)getpid());
	ck_assert_int_eq(bind(listening, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(listening, 1), 0);
	s[0].operation = guest_ping(guest, &callbacks, &s[0], &err);
	s[1].operation = guest_connect(guest, address.sun_path, &callbacks, &s[1], &err);
	s[2].operation = guest_root(guest, &callbacks, &s[2], &err);
	s[3].operation = guest_processes(guest, &callbacks, &s[3], &err);
	s[4].operation = guest_deadline(guest, 77, &callbacks, &s[4], &err);
	for (int i = 0; i < 5; i++) {
		wait_for(&s[i]);
		ck_assert_msg(s[i].code == 0, "%d: %s", i, s[i].text);
	}
	(void)unlink(address.sun_path);
	peer = accept(listening, NULL, NULL);
	ck_assert_int_eq(send(s[1].fd, "x", 1, 0), 1);
	ck_assert_int_eq(recv(peer, &byte, 1, 0), 1);
	ck_assert_int_eq(fstat(s[2].fd, &st), 0);
	ck_assert(S_ISDIR(st.st_mode));
	ck_assert(strstr(s[3].out.data, "test_guest") != NULL);
	ck_assert_uint_eq(deadline_set, 77);
	close(peer);
	close(listening);
	for (int i = 0; i < 5; i++)
		done(&s[i]);
}
END_TEST

START_TEST(quit)
{
	struct seen s = SEEN;
	struct error err;

	s.operation = guest_quit(guest, &callbacks, &s, &err);
	for (;;)
		(void)turn(&err);
}
END_TEST

START_TEST(detached)
{
	struct seen s[3] = { SEEN, SEEN, SEEN };
	struct error err;

	for (int i = 0; i < 3; i++) {
		s[i].again = true;
		begin_shell(&s[i], "sleep 1000", NULL, 0);
	}
	ck_assert_int_eq(turn(&err), 0);
	guest_detach(guest);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(s[i].ended, 1);
		ck_assert_int_eq(s[i].code, ENOTCONN);
		ck_assert_int_eq(s[i].refused, ENOTCONN);
	}
	/* The commands run on without it. */
	for (int i = 0; i < 10; i++)
		loop_turn(&loop, 1);
	ck_assert_int_eq(links[0].fd, -1);
	ck_assert_int_ne(jobs[0].pid, 0);
	attach();
}
END_TEST

START_TEST(forgotten)
{
	struct seen s = SEEN, root = SEEN, last = SEEN;
	struct error err;

	begin_shell(&s, "head -c 1000000 /dev/zero", NULL, 0);
	s.keep_credit = true;
	while (s.out.length < GUEST_CREDIT)
		ck_assert_int_eq(turn(&err), 0);
	guest_forget(s.operation);
	root.operation = guest_root(guest, &callbacks, &root, &err);
	guest_forget(root.operation);
	while (jobs[0].pid)
		ck_assert_int_eq(turn(&err), 0);
	last.operation = guest_ping(guest, &callbacks, &last, &err);
	wait_for(&last);
	ck_assert_int_eq(s.ended + root.ended, 0);
	ck_assert_int_eq(root.fd, -1);
	done(&s);
}
END_TEST

struct bytes {
	const char *name, *data;
	size_t length;
};

#define BYTES(name, text) { name, text, sizeof(text) - 1 }
#define HEAD(length, stream, type) length "\0\0\0" stream "\0\0\0" type "\0\0\0"

static int open_descriptors(void)
{
	int n = 0;

	for (int i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

/* ---- carried by somebody else's connection ---- */

/* A carrier that gives and takes a few bytes at a time, as a slow engine does. */
struct carrier {
	int fd;
	size_t most;
	size_t turns; /* of most bytes each, until it says that there is nothing now */
	size_t turn;
	bool pending;
};

static ssize_t carry_in(void *context, void *data, size_t n)
{
	struct carrier *c = context;

	c->pending = c->turn++ % c->turns == 0;
	if (c->pending) {
		errno = EAGAIN;
		return -1;
	}
	return recv(c->fd, data, n < c->most ? n : c->most, MSG_DONTWAIT);
}

static ssize_t carry_out(void *context, const void *data, size_t n)
{
	struct carrier *c = context;

	return send(c->fd, data, n < c->most ? n : c->most, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool is_pending(void *context)
{
	return ((struct carrier *)context)->pending;
}

static void carry_no_more(void *context)
{
	struct carrier *c = context;

	(void)close(c->fd);
	c->fd = -1;
}

/* The guest's end is a link whose two directions are two pipes, as in an engine's container. */
static void carry(struct carrier *c, size_t most, size_t turns)
{
	struct guest_carrier carrier = { c, -1, carry_in, carry_out, is_pending, carry_no_more };
	struct error err;
	int ends[2];

	guest_detach(guest);
	while (links[0].fd >= 0)
		loop_turn(&loop, 1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
	ck_assert_ptr_eq(link_add(ends[0], dup(ends[0]), false), &links[0]);
	*c = (struct carrier){ .fd = ends[1], .most = most, .turns = turns };
	carrier.fd = ends[1];
	ck_assert_int_eq(guest_attach_carrier(&guest, &carrier, &err), 0);
}

/* As its owner does: guest_fd is polled for guest_events, and stepped only when it says so. */
static void carried_turn(void)
{
	struct pollfd p = { .fd = guest_fd(guest), .events = guest_events(guest) };
	struct error err;

	loop_turn(&loop, 0);
	if (poll(&p, 1, 2) > 0)
		ck_assert_msg(guest_step(guest, &err) == 0, "%s", err.text);
}

static void carried_wait(const struct seen *s)
{
	int64_t end = guest_now() + 20000;

	while (!s->ended) {
		carried_turn();
		ck_assert_msg(guest_now() < end, "it did not end");
	}
}

static int listen_here(struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	(void)snprintf(address->sun_path, sizeof address->sun_path, "/tmp/test_guest.%d", (int)getpid());
	(void)unlink(address->sun_path);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)address, sizeof *address), 0);
	ck_assert_int_eq(listen(fd, 64), 0);
	return fd;
}

/* What is sent at one end comes out at the other, whole, and ends there when it ended here. */
static void copy_through(int from, int to, size_t size)
{
	size_t sent = 0, got = 0;
	bool ended = false, same = true;

	while (!ended) {
		unsigned char piece[8192];
		ssize_t n;

		for (size_t i = 0; i < sizeof piece; i++)
			piece[i] = (unsigned char)((sent + i) * 7 + (sent + i) / 251);
		if (sent < size) {
			n = send(from, piece, size - sent < sizeof piece ? size - sent : sizeof piece, MSG_DONTWAIT | MSG_NOSIGNAL);
			sent += n > 0 ? (size_t)n : 0;
			if (sent == size)
				ck_assert_int_eq(shutdown(from, SHUT_WR), 0);
		}
		carried_turn();
		while ((n = recv(to, piece, sizeof piece, MSG_DONTWAIT)) > 0)
			for (ssize_t i = 0; i < n; i++, got++)
				same = same && piece[i] == (unsigned char)(got * 7 + got / 251);
		ended = n == 0;
	}
	ck_assert(same);
	ck_assert_uint_eq(got, size);
}

START_TEST(tunnels_both_ways)
{
	static const size_t most[] = { 1u << 20, 4096, 13 };
	struct sockaddr_un address;
	int listening = listen_here(&address);

	for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
		size_t size = most[i] < 100 ? 3000 : 3000000;
		struct seen s = SEEN;
		struct carrier c;
		struct error err;
		int peer;

		carry(&c, most[i], i ? 3 : 1000000);
		s.operation = guest_connect(guest, address.sun_path, &callbacks, &s, &err);
		carried_wait(&s);
		ck_assert_msg(s.code == 0, "%s", s.text);
		peer = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
		ck_assert_int_ge(peer, 0);
		copy_through(s.fd, peer, size);
		copy_through(peer, s.fd, size);
		close(peer);
		done(&s);
		/* Nothing of it stays. */
		for (int k = 0; k < 1000 && (guest->tunnels || tunnels[0].link); k++)
			carried_turn();
		ck_assert_ptr_null(guest->tunnels);
		ck_assert_ptr_null(guest->operations);
		ck_assert_ptr_null(tunnels[0].link);
	}
	close(listening);
	(void)unlink(address.sun_path);
}
END_TEST

START_TEST(tunnels_refused)
{
	struct seen s[3] = { SEEN, SEEN, SEEN };
	struct carrier c;
	struct error err;

	carry(&c, 1u << 20, 1000000);
	s[0].operation = guest_connect(guest, "/no/such/socket", &callbacks, &s[0], &err);
	s[1].operation = guest_connect(guest, "nothing", &callbacks, &s[1], &err);
	s[2].operation = guest_root(guest, &callbacks, &s[2], &err);
	for (int i = 0; i < 3; i++) {
		carried_wait(&s[i]);
		ck_assert_int_eq(s[i].fd, -1);
	}
	ck_assert_int_eq(s[0].code, ENOENT);
	ck_assert_str_eq(s[0].text, "/no/such/socket: No such file or directory");
	ck_assert_int_eq(s[1].code, EINVAL);
	ck_assert_int_eq(s[2].code, EOPNOTSUPP);
	ck_assert_ptr_null(guest->tunnels);
}
END_TEST

/* A tunnel whose near end is closed ends inside too; one that was forgotten never comes up. */
START_TEST(tunnels_given_up)
{
	struct sockaddr_un address;
	int listening = listen_here(&address), peer, before;
	struct seen s = SEEN, forgotten_one = SEEN, last = SEEN;
	char piece[4096] = { 0 };
	struct carrier c;
	struct error err;

	carry(&c, 1u << 20, 1000000);
	before = open_descriptors();
	s.operation = guest_connect(guest, address.sun_path, &callbacks, &s, &err);
	carried_wait(&s);
	peer = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
	close(s.fd);
	for (int i = 0; i < 100000 && guest->tunnels; i++) {
		(void)send(peer, piece, sizeof piece, MSG_NOSIGNAL | MSG_DONTWAIT);
		carried_turn();
	}
	ck_assert_ptr_null(guest->tunnels);
	ck_assert_ptr_null(tunnels[0].link);
	close(peer);
	forgotten_one.operation = guest_connect(guest, address.sun_path, &callbacks, &forgotten_one, &err);
	guest_forget(forgotten_one.operation);
	last.operation = guest_ping(guest, &callbacks, &last, &err);
	carried_wait(&last);
	for (int i = 0; i < 1000 && guest->operations; i++)
		carried_turn();
	ck_assert_int_eq(forgotten_one.ended, 0);
	ck_assert_ptr_null(guest->operations);
	close(accept(listening, NULL, NULL));
	ck_assert_int_eq(open_descriptors(), before);
	close(listening);
	(void)unlink(address.sun_path);
	s.fd = -1;
}
END_TEST

/* One that nobody reads holds up neither another nor a command, and a lost link ends both. */
START_TEST(tunnels_unread)
{
	struct seen s[2] = { SEEN, SEEN }, command = SEEN;
	static char piece[65536];
	struct sockaddr_un address;
	int listening = listen_here(&address), peers[2];
	struct carrier c;
	struct error err;
	size_t put = 0;

	carry(&c, 1u << 20, 1000000);
	for (int i = 0; i < 2; i++) {
		s[i].operation = guest_connect(guest, address.sun_path, &callbacks, &s[i], &err);
		carried_wait(&s[i]);
		peers[i] = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
	}
	for (int i = 0; i < 1000; i++) {
		ssize_t n = send(peers[0], piece, sizeof piece, MSG_NOSIGNAL | MSG_DONTWAIT);

		put += n > 0 ? (size_t)n : 0;
		carried_turn();
	}
	ck_assert_uint_lt(put, 4u << 20); /* it waits, and nothing grows */
	begin_shell(&command, "head -c 1000000 /dev/zero", NULL, 0);
	carried_wait(&command);
	ck_assert_uint_eq(command.out.length, 1000000);
	copy_through(peers[1], s[1].fd, 500000);
	guest_detach(guest);
	guest = NULL;
	ck_assert_int_eq(c.fd, -1);
	while (links[0].fd >= 0)
		loop_turn(&loop, 1);
	for (int i = 0; i < 2; i++) {
		while (recv(s[i].fd, piece, sizeof piece, MSG_DONTWAIT) > 0)
			;
		ck_assert_int_eq(recv(s[i].fd, piece, sizeof piece, MSG_DONTWAIT), 0);
		ck_assert_ptr_null(tunnels[i].link);
		close(peers[i]);
		done(&s[i]);
	}
	close(listening);
	(void)unlink(address.sun_path);
	done(&command);
	attach();
}
END_TEST

START_TEST(hostile_tunnel)
{
	static const struct bytes wrong[] = {
		BYTES("output before it is connected", HEAD("\1", "\1", "o") "x"),
		BYTES("connected twice", HEAD("\0", "\1", "c") HEAD("\0", "\1", "c")),
		BYTES("errors", HEAD("\1", "\1", "e") "x"),
		BYTES("output behind its end", HEAD("\0", "\1", "c") HEAD("\0", "\1", "z") HEAD("\1", "\1", "o") "x"),
		BYTES("credit that was not used", HEAD("\4", "\1", "w") "\1\0\0\0"),
		BYTES("credit of 3 bytes", HEAD("\3", "\1", "w") "\0\0\0"),
		BYTES("a descriptor", HEAD("\0", "\1", "F")),
	};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct seen s = SEEN;
		struct carrier c;
		struct error err;
		int got = 0;

		carry(&c, 1u << 20, 1000000);
		s.operation = guest_connect(guest, "/no/such/socket", &callbacks, &s, &err);
		ck_assert_int_eq(buffer_append(&links[0].out, wrong[i].data, wrong[i].length), 0);
		link_flush(&links[0]);
		for (int k = 0; k < 3 && !got; k++)
			got = guest_step(guest, &err);
		ck_assert_msg(got == -1 && err.code == EPROTO, "%s was taken", wrong[i].name);
		guest_detach(guest);
		guest = NULL;
		ck_assert_int_eq(s.ended, 1);
		done(&s);
		while (links[0].fd >= 0)
			loop_turn(&loop, 1);
		attach();
	}
}
END_TEST

/* Nobody is let in whose parent is inside, as this test's own is. */
START_TEST(who_is_let_in)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	ck_assert(!engine_let_in(ends[0]));
	close(ends[0]);
	close(ends[1]);
	ck_assert(!engine_let_in(0));
}
END_TEST

/* ---- what is wrong ---- */

START_TEST(hostile_guest)
{
	static const struct guest_callbacks nobody = { NULL, NULL, NULL };
	static const struct bytes wrong[] = {
		BYTES("too long", "\1\0\1\0\1\0\0\0o\0\0\0"),
		BYTES("reserved", "\0\0\0\0\1\0\0\0o\1\0\0"),
		BYTES("unknown type", HEAD("\0", "\1", "?")),
		BYTES("nobody's stream", HEAD("\0", "\7", "o")),
		BYTES("nobody's end", HEAD("\10", "\7", "E") "\0\0\0\0\0\0\0\0"),
		BYTES("a runner's frame", HEAD("\1", "\1", "O") "p"),
		BYTES("an end too short", HEAD("\7", "\1", "E") "\0\0\0\0\0\0\0"),
		BYTES("a negative errno", HEAD("\10", "\1", "E") "\xff\xff\xff\xff\0\0\0\0"),
		BYTES("an errno of 4096", HEAD("\10", "\1", "E") "\0\x10\0\0\0\0\0\0"),
		BYTES("two ends", HEAD("\10", "\1", "E") "\0\0\0\0\0\0\0\0" HEAD("\10", "\1", "E") "\0\0\0\0\0\0\0\0"),
		BYTES("output behind the end", HEAD("\10", "\1", "E") "\0\0\0\0\0\0\0\0" HEAD("\1", "\1", "o") "x"),
		BYTES("credit that was not used", HEAD("\4", "\1", "w") "\1\0\0\0"),
		BYTES("credit of 3 bytes", HEAD("\3", "\1", "w") "\0\0\0"),
		BYTES("credit of nothing", HEAD("\4", "\1", "w") "\0\0\0\0"),
		BYTES("output of nothing", HEAD("\0", "\1", "o")), /* it could be sent for ever */
		BYTES("output of what has none", HEAD("\1", "\2", "o") "x"),
		BYTES("no descriptor", HEAD("\0", "\1", "F")),
		BYTES("nobody's descriptor", HEAD("\0", "\7", "F")),
	};

	guest_detach(guest);
	guest = NULL;
	while (links[0].fd >= 0)
		loop_turn(&loop, 1);
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct seen s = SEEN;
		struct error err;
		int ends[2], got;

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
		ck_assert_int_eq(guest_attach(&guest, ends[0], &err), 0);
		begin_shell(&s, "true", NULL, 0);
		ck_assert_ptr_nonnull(guest_ping(guest, &nobody, NULL, &err));
		ck_assert_int_eq(write(ends[1], wrong[i].data, wrong[i].length), (ssize_t)wrong[i].length);
		got = guest_step(guest, &err);
		ck_assert_msg(got == -1 && err.code == EPROTO, "%s was taken", wrong[i].name);
		guest_detach(guest);
		ck_assert_int_eq(s.ended, 1);
		close(ends[1]);
		done(&s);
	}
	guest = NULL;
	attach();
}
END_TEST

START_TEST(too_much_output)
{
	struct buffer b = BUFFER(2 * GUEST_CREDIT);
	static char bytes[FRAME_PAYLOAD_MAX];
	struct seen s = SEEN;
	struct error err;
	int got = 0;

	s.keep_credit = true;
	begin_shell(&s, "sleep 1000", NULL, 0);
	ck_assert_int_eq(turn(&err), 0);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(frame_append(&b, 1, GUEST_STDERR, bytes, sizeof bytes), 0);
	ck_assert_int_eq(buffer_append(&links[0].out, b.data, b.length), 0);
	for (int i = 0; i < 100 && !got; i++)
		got = turn(&err);
	ck_assert_int_eq(got, -1);
	ck_assert_int_eq(err.code, EPROTO);
	ck_assert_uint_eq(s.err.length, GUEST_CREDIT);
	guest_detach(guest); /* while s is there */
	guest = NULL;
	ck_assert_int_eq(s.ended, 1);
	buffer_free(&b);
	done(&s);
}
END_TEST

/* Descriptors that were not asked for, are of another kind or are too many: none stays open. */
START_TEST(hostile_descriptors)
{
	struct error err;
	struct stat root;
	int before, ends[2], listening = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	enum { OF_ROOT, OF_SOCKET };
	struct { const char *name; int of, fd; } kinds[] = {
		{ "a pipe", OF_ROOT, -1 }, { "a device", OF_ROOT, open("/dev/null", O_RDONLY | O_CLOEXEC) },
		/* without O_PATH its owner could list the host */
		{ "a folder", OF_ROOT, open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC) },
		{ "another folder", OF_ROOT, open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC) },
		{ "a socket for a folder", OF_ROOT, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) },
		{ "a folder for a socket", OF_SOCKET, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) },
		{ "datagrams", OF_SOCKET, listening },
	};

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(stat("/", &root), 0);
	kinds[0].fd = ends[0];
	before = open_descriptors();
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct seen s = SEEN;
		int got = 0;

		guest_expect_root(guest, &root);
		s.operation = kinds[i].of == OF_ROOT ? guest_root(guest, &callbacks, &s, &err)
						     : guest_connect(guest, "/none", &callbacks, &s, &err);
		ck_assert(link_pass(&links[0], 1, dup(kinds[i].fd)));
		for (int k = 0; k < 100 && !got; k++)
			got = turn(&err);
		ck_assert_msg(got == -1 && err.code == EPROTO, "%s", kinds[i].name);
		guest_detach(guest);
		guest = NULL;
		while (links[0].fd >= 0)
			loop_turn(&loop, 1);
		attach();
		ck_assert_int_eq(s.fd, -1);
		ck_assert_int_eq(open_descriptors(), before);
	}
	close(ends[1]);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		close(kinds[i].fd);
}
END_TEST

/* A sentence is one line of UTF-8, whatever came. */
START_TEST(a_sentence)
{
	static const char came[] = HEAD("\22", "\1", "E") "\2\0\0\0\0\0\0\0" "a\n\x7f" "\xc3\xa4" "\xff" "\xc3" "z" "\xe2\x82";
	struct seen s = SEEN;
	struct error err;
	int ends[2];

	guest_detach(guest);
	while (links[0].fd >= 0)
		loop_turn(&loop, 1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	ck_assert_int_eq(guest_attach(&guest, ends[0], &err), 0);
	s.operation = guest_ping(guest, &callbacks, &s, &err);
	ck_assert_int_eq(write(ends[1], came, sizeof came - 1), (ssize_t)sizeof came - 1);
	ck_assert_int_eq(guest_step(guest, &err), 0);
	ck_assert_int_eq(s.ended, 1);
	ck_assert_str_eq(s.text, "a  \xc3\xa4??z??");
	guest_detach(guest);
	close(ends[1]);
	attach();
	done(&s);
}
END_TEST

START_TEST(hostile_runner)
{
	static const struct bytes wrong[] = {
		BYTES("too long", "\1\0\1\0\1\0\0\0O\0\0\0"),
		BYTES("no stream", HEAD("\1", "\0", "O") "p"),
		BYTES("no operation", HEAD("\0", "\1", "O")),
		BYTES("field cut", HEAD("\5", "\1", "O") "xa\1\0\0"),
		BYTES("field past the end", HEAD("\7", "\1", "O") "xa\2\0\0\0x"),
		BYTES("field of 4 GiB", HEAD("\7", "\1", "O") "xa\xff\xff\xff\xffx"),
		BYTES("NUL", HEAD("\7", "\1", "O") "xa\1\0\0\0\0"),
		BYTES("unknown field", HEAD("\6", "\1", "O") "x?\0\0\0\0"),
		BYTES("a guest's frame", HEAD("\10", "\1", "E") "\0\0\0\0\0\0\0\0"),
		BYTES("signal of 3 bytes", HEAD("\3", "\1", "K") "\0\0\0"),
		BYTES("credit of no bytes", HEAD("\0", "\1", "W")),
	};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		int fd;

		guest_detach(guest);
		guest = NULL;
		while (links[0].fd >= 0)
			loop_turn(&loop, 1);
		fd = pair();
		ck_assert_int_eq(send(fd, wrong[i].data, wrong[i].length, MSG_NOSIGNAL), (ssize_t)wrong[i].length);
		loop_turn(&loop, 100);
		ck_assert_msg(links[0].fd == -1, "%s was taken", wrong[i].name);
		close(fd);
		attach();
	}
}
END_TEST

/* Whatever allocation fails, an operation or the connection ends, and the guest answers the next. */
START_TEST(no_memory)
{
	int whole = 0;

	for (long n = 0; n < 400 && whole < 3; n++) {
		struct seen s[4] = { SEEN, SEEN, SEEN, SEEN }, after = SEEN;
		const char *argv[] = { "/bin/cat", NULL };
		static char bytes[100000];
		struct guest_command command = { .argv = argv, .cwd = "/", .input = bytes, .input_length = sizeof bytes };
		struct error err;
		int left = 0, got = 0;

		allocations_left = n;
		s[0].operation = guest_exec(guest, &command, &callbacks, &s[0], &err);
		s[1].operation = guest_root(guest, &callbacks, &s[1], &err);
		s[2].operation = guest_processes(guest, &callbacks, &s[2], &err);
		s[3].operation = guest_ping(guest, &callbacks, &s[3], &err);
		do {
			/* Without memory for a reply there may be none: it is asked for what it can. */
			got = turn(&err);
			left = 0;
			for (int i = 0; i < 4; i++)
				left += s[i].operation && !s[i].ended;
		} while (!got && left && links[0].fd >= 0);
		if (!got && !left && !s[0].code && s[0].out.length == sizeof bytes)
			whole++;
		allocations_left = -1;
		guest_detach(guest);
		guest = NULL;
		while (links[0].fd >= 0)
			loop_turn(&loop, 1);
		for (int i = 0; i < 4; i++) {
			ck_assert_int_le(s[i].ended, 1);
			done(&s[i]);
		}
		attach();
		after.operation = guest_ping(guest, &callbacks, &after, &err);
		wait_for(&after);
	}
	ck_assert_int_eq(whole, 3);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("guest");
	TCase *t = tcase_create("guest");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, commands);
	tcase_add_test(t, environment);
	tcase_add_test(t, no_such_command);
	tcase_add_test(t, input);
	tcase_add_test(t, input_that_nobody_reads);
	tcase_add_test(t, unread_output);
	tcase_add_test(t, many);
	tcase_add_test(t, signals);
	tcase_add_test(t, the_rest);
	tcase_add_exit_test(t, quit, 42);
	tcase_add_test(t, detached);
	tcase_add_test(t, forgotten);
	tcase_add_test(t, hostile_guest);
	tcase_add_test(t, too_much_output);
	tcase_add_test(t, hostile_descriptors);
	tcase_add_test(t, a_sentence);
	tcase_add_test(t, hostile_runner);
	tcase_add_test(t, no_memory);
	tcase_add_test(t, tunnels_both_ways);
	tcase_add_test(t, tunnels_refused);
	tcase_add_test(t, tunnels_given_up);
	tcase_add_test(t, tunnels_unread);
	tcase_add_test(t, hostile_tunnel);
	tcase_add_test(t, who_is_let_in);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
