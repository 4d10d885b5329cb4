/* The relay to a server inside a sandbox, with a runner and a guest that are stand-ins: thousands of
 * connections, one that nobody reads, half-closed ones, a full queue inside, no descriptor left. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "backend/runner.h"
#include "backend/sandbox/guest.h"

static int test_watch(struct runner *r, int fd, short events, struct error *err);
static void test_unwatch(struct runner *r, int fd);
static int test_folder(struct runner *r);
static struct guest_operation *test_connect(struct guest *g, const char *address, const struct guest_callbacks *cb,
					    void *context, struct error *err);
static void test_forget(struct guest_operation *operation);

#define runner_watch test_watch
#define runner_unwatch test_unwatch
#define runner_folder test_folder
#define guest_connect test_connect
#define guest_forget test_forget
#include "backend/sandbox/relay.c"

/* ---- the runner ---- */

#define FDS 20000

static short watched[FDS];
static int highest, folder_fd;
static char folder[64];
static long turns;

static int test_watch(struct runner *r, int fd, short events, struct error *err)
{
	(void)r;
	(void)err;
	watched[fd] = events;
	if (fd >= highest)
		highest = fd + 1;
	return 0;
}

static void test_unwatch(struct runner *r, int fd)
{
	(void)r;
	watched[fd] = 0;
}

static int test_folder(struct runner *r)
{
	(void)r;
	return folder_fd;
}

/* ---- the guest ---- */

struct guest_operation {
	struct guest_operation *next;
	const struct guest_callbacks *callbacks;
	void *context;
};

static struct guest_operation *asked;
static int most_asked, refusals, forgotten; /* so many times the queue inside is full */
static int ours[FDS], accepted;             /* what the server inside has */
static bool hold;                           /* the guest does not answer */

static struct guest_operation *test_connect(struct guest *g, const char *address, const struct guest_callbacks *cb,
					    void *context, struct error *err)
{
	struct guest_operation *o = calloc(1, sizeof *o), **at = &asked;
	int n = 1;

	(void)g;
	(void)err;
	ck_assert_str_eq(address, "/inside");
	for (; *at; at = &(*at)->next)
		n++;
	*o = (struct guest_operation){ .callbacks = cb, .context = context };
	*at = o;
	if (n > most_asked)
		most_asked = n;
	return o;
}

static void test_forget(struct guest_operation *operation)
{
	struct guest_operation **at = &asked;

	while (*at != operation)
		at = &(*at)->next;
	*at = operation->next;
	free(operation);
	forgotten++;
}

static void answer_one(void)
{
	struct guest_operation *o = asked;
	int ends[2];

	asked = o->next;
	if (refusals) {
		refusals--;
		o->callbacks->ended(o->context, EAGAIN, 0, "full");
	} else {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
		ours[accepted++] = ends[1];
		o->callbacks->passed(o->context, ends[0]);
		o->callbacks->ended(o->context, 0, 0, "");
	}
	free(o);
}

/* ---- both ---- */

static struct relay *relay;
static int port;

static void turn(void)
{
	static struct pollfd p[FDS];
	nfds_t n = 0;
	int got;

	for (int fd = 0; fd < highest; fd++)
		if (watched[fd])
			p[n++] = (struct pollfd){ .fd = fd, .events = watched[fd] };
	got = poll(p, n, asked && !hold ? 0 : 10);
	turns += got > 0;
	for (nfds_t i = 0; i < n; i++)
		if (p[i].revents && watched[p[i].fd])
			ck_assert(relay_descriptor(relay, p[i].fd, p[i].revents));
	while (asked && !hold && !refusals)
		answer_one();
	for (int left = refusals; asked && !hold && left; left--)
		answer_one();
}

static int client(bool tcp)
{
	struct sockaddr_un local = { .sun_family = AF_UNIX };
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				       .sin_port = htons((uint16_t)port) };
	int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	ck_assert_int_ge(fd, 0);
	(void)snprintf(local.sun_path, sizeof local.sun_path, "%s/run/jupyter.sock", folder);
	if (tcp)
		ck_assert(connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS);
	else
		ck_assert_int_eq(connect(fd, (struct sockaddr *)&local, sizeof local), 0);
	return fd;
}

static int passages(void)
{
	return relay->doors[DOOR_UNIX].passages + relay->doors[DOOR_TCP].passages;
}

static void until_accepted(int n)
{
	for (int i = 0; i < 5000 && accepted < n; i++)
		turn();
	ck_assert_int_eq(accepted, n);
}

static void expect(int fd, const char *text)
{
	char got[64];
	ssize_t n = -1;

	for (int i = 0; i < 1000 && n < 0; i++) {
		turn();
		n = recv(fd, got, sizeof got, MSG_DONTWAIT);
	}
	ck_assert_int_eq(n, (ssize_t)strlen(text));
	ck_assert(!memcmp(got, text, strlen(text)));
}

static void set_up(void)
{
	struct rlimit limit;
	struct error err;
	char path[80];

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max < FDS ? limit.rlim_max : FDS;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	(void)snprintf(folder, sizeof folder, "/tmp/test_relay.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(path, sizeof path, "%s/run", folder);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_msg(relay_open(&relay, NULL, "/inside", "run/jupyter.sock", &port, &err) == 0, "%s", err.text);
	relay_attach(relay, (struct guest *)folder);
}

static void tear_down(void)
{
	char path[80];

	relay_close(relay);
	ck_assert_ptr_null(asked);
	for (int fd = 0; fd < highest; fd++)
		ck_assert_int_eq(watched[fd], 0);
	while (accepted)
		close(ours[--accepted]);
	close(folder_fd);
	(void)snprintf(path, sizeof path, "%s/run", folder);
	ck_assert_int_eq(rmdir(path), 0); /* the socket is gone */
	ck_assert_int_eq(rmdir(folder), 0);
}

START_TEST(both_ways)
{
	struct stat st;
	char path[96];

	(void)snprintf(path, sizeof path, "%s/run/jupyter.sock", folder);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0600);
	for (int tcp = 0; tcp < 2; tcp++) {
		int fd = client(tcp);

		until_accepted(tcp + 1);
		ck_assert_int_eq(send(fd, "GET /", 5, 0), 5);
		expect(ours[tcp], "GET /");
		ck_assert_int_eq(send(ours[tcp], "200", 3, 0), 3);
		expect(fd, "200");
		close(fd);
		expect(ours[tcp], "");
	}
}
END_TEST

START_TEST(half_closed)
{
	int fd = client(true);

	until_accepted(1);
	ck_assert_int_eq(send(fd, "all", 3, 0), 3);
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	expect(ours[0], "all");
	expect(ours[0], "");
	ck_assert_int_eq(send(ours[0], "answer", 6, 0), 6);
	expect(fd, "answer");
	close(ours[0]);
	ours[0] = -1;
	expect(fd, "");
	close(fd);
	for (int i = 0; i < 10 && passages(); i++)
		turn();
	ck_assert_int_eq(passages(), 0);
}
END_TEST

START_TEST(thousands)
{
	struct rlimit limit;
	int n = 2500, *fds = calloc(2500, sizeof *fds);

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if ((rlim_t)n > limit.rlim_cur / 5)
		n = (int)(limit.rlim_cur / 5);
	for (int i = 0; i < n; i++) {
		fds[i] = client(i % 2);
		if (i % 100 == 99)
			until_accepted(i + 1);
	}
	until_accepted(n);
	ck_assert_int_le(most_asked, DOORS * CONNECTING);
	/* Which is whose: each end says its number to the other. */
	for (int i = 0; i < n; i += 97) {
		char text[16];
		int found = -1;

		(void)snprintf(text, sizeof text, "%d", i);
		ck_assert_int_gt(send(fds[i], text, strlen(text), 0), 0);
		for (int k = 0; k < 100 && found < 0; k++) {
			turn();
			for (int j = 0; j < n && found < 0; j++) {
				char got[16];
				ssize_t size = recv(ours[j], got, sizeof got, MSG_DONTWAIT);

				if (size > 0) {
					ck_assert_int_eq(size, (ssize_t)strlen(text));
					ck_assert(!memcmp(got, text, (size_t)size));
					found = j;
				}
			}
		}
		ck_assert_int_ge(found, 0);
		ck_assert_int_eq(send(ours[found], "yes", 3, 0), 3);
		expect(fds[i], "yes");
	}
	for (int i = 0; i < n; i++) {
		close(fds[i]);
		close(ours[i]); /* as a server does at the end of its input */
	}
	accepted = 0;
	for (int i = 0; i < 1000 && passages(); i++)
		turn();
	ck_assert_int_eq(passages(), 0);
	free(fds);
}
END_TEST

START_TEST(unread)
{
	int reader = client(true), other;
	static char bytes[1 << 16];
	size_t sent = 0, got = 0;
	ssize_t n;

	until_accepted(1);
	/* Until nothing more goes in: sockets and the relay hold some MB at most. */
	for (int quiet = 0; quiet < 20; quiet = n > 0 ? 0 : quiet + 1) {
		n = send(ours[0], bytes, sizeof bytes, MSG_DONTWAIT);
		sent += n > 0 ? (size_t)n : 0;
		turn();
		ck_assert_uint_lt(sent, 64u << 20);
	}
	other = client(true);
	until_accepted(2);
	ck_assert_int_eq(send(other, "x", 1, 0), 1);
	expect(ours[1], "x");
	turns = 0;
	for (int i = 0; i < 20; i++)
		turn();
	ck_assert_int_le(turns, 2); /* it waits and does not spin */
	for (int i = 0; i < 100000 && got < sent; i++) {
		turn();
		n = recv(reader, bytes, sizeof bytes, MSG_DONTWAIT);
		got += n > 0 ? (size_t)n : 0;
	}
	ck_assert_uint_eq(got, sent);
	close(reader);
	close(other);
}
END_TEST

START_TEST(queue_inside_is_full)
{
	int fd = client(false);

	refusals = 5;
	until_accepted(1);
	ck_assert_int_eq(refusals, 0);
	ck_assert_int_eq(send(fd, "x", 1, 0), 1);
	expect(ours[0], "x");
	close(fd);
}
END_TEST

/* Nothing is kept for a connection that has nothing to send: a thousand of them are cheap. */
START_TEST(quiet_ones_hold_nothing)
{
	int fd = client(true);

	until_accepted(1);
	ck_assert_int_eq(send(fd, "x", 1, 0), 1);
	expect(ours[0], "x");
	ck_assert_ptr_null(relay->passages->in.bytes);
	ck_assert_ptr_null(relay->passages->out.bytes);
	ck_assert_uint_lt(sizeof *relay->passages, 256);
	close(fd);
}
END_TEST

START_TEST(guest_is_lost)
{
	int fds[50];

	hold = true;
	for (int i = 0; i < 50; i++)
		fds[i] = client(i % 2);
	for (int i = 0; i < 200 && most_asked < DOORS * CONNECTING; i++)
		turn();
	ck_assert_int_eq(most_asked, DOORS * CONNECTING);
	relay_attach(relay, NULL);
	ck_assert_int_eq(forgotten, DOORS * CONNECTING);
	ck_assert_ptr_null(asked);
	/* Those that were not let in wait for the next guest. */
	relay_attach(relay, (struct guest *)folder);
	hold = false;
	until_accepted(50 - DOORS * CONNECTING);
	for (int i = 0; i < 50; i++)
		close(fds[i]);
}
END_TEST

/* Whoever fills the port leaves the socket to the notebooks. */
START_TEST(a_full_port)
{
	int fds[2 * CONNECTING], fd;

	hold = true;
	for (int i = 0; i < 2 * CONNECTING; i++)
		fds[i] = client(true);
	for (int i = 0; i < 200 && most_asked < CONNECTING; i++)
		turn();
	for (int i = 0; i < 5; i++)
		turn();
	ck_assert_int_eq(most_asked, CONNECTING);
	fd = client(false);
	for (int i = 0; i < 50 && most_asked == CONNECTING; i++)
		turn();
	ck_assert_int_eq(most_asked, CONNECTING + 1);
	hold = false;
	until_accepted(2 * CONNECTING + 1);
	for (int i = 0; i < 2 * CONNECTING; i++)
		close(fds[i]);
	close(fd);
}
END_TEST

START_TEST(no_descriptor)
{
	int fds[8], used = 0;
	struct rlimit limit, before;

	for (int i = 0; i < 8; i++)
		fds[i] = client(false);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	while (fcntl(used, F_GETFD) >= 0)
		used++;
	limit.rlim_cur = (rlim_t)used;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	turns = 0;
	for (int i = 0; i < 20; i++)
		turn();
	ck_assert_int_eq(accepted, 0);
	ck_assert_int_le(turns, 40);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	until_accepted(8);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("relay");
	TCase *t = tcase_create("relay");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, both_ways);
	tcase_add_test(t, half_closed);
	tcase_add_test(t, thousands);
	tcase_add_test(t, unread);
	tcase_add_test(t, queue_inside_is_full);
	tcase_add_test(t, quiet_ones_hold_nothing);
	tcase_add_test(t, guest_is_lost);
	tcase_add_test(t, a_full_port);
	tcase_add_test(t, no_descriptor);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
