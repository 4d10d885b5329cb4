/* The guest's stream where somebody else's connection carries it, and the connections that go through it. */
#include "tests/unit/guest_setup.h"

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
	int64_t end = guest_now() + 50000;

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
	struct seen s[2] = { SEEN, SEEN };
	struct carrier c;
	struct error err;

	carry(&c, 1u << 20, 1000000);
	s[0].operation = guest_connect(guest, "/no/such/socket", &callbacks, &s[0], &err);
	s[1].operation = guest_connect(guest, "nothing", &callbacks, &s[1], &err);
	for (int i = 0; i < 2; i++) {
		carried_wait(&s[i]);
		ck_assert_int_eq(s[i].fd, -1);
	}
	ck_assert_int_eq(s[0].code, ENOENT);
	ck_assert_str_eq(s[0].text, "/no/such/socket: No such file or directory");
	ck_assert_int_eq(s[1].code, EINVAL);
	ck_assert_ptr_null(guest->tunnels);
}
END_TEST

/* Where no descriptor can be passed, the root is that of the process which the backend has found; refused without
 * one, and gone with it, whoever gets its number. */
START_TEST(root_of_a_process)
{
	struct seen s[2] = { SEEN, SEEN };
	struct carrier c;
	struct error err;
	struct stat root, passed;
	char path[32];
	pid_t child;

	carry(&c, 1u << 20, 1000000);
	guest_lead_to_root(guest, -1, "not available: for a reason");
	ck_assert_ptr_null(guest_root(guest, &callbacks, &s[0], &err));
	ck_assert_int_eq(err.code, EOPNOTSUPP);
	ck_assert_str_eq(err.text, "fs is not available: for a reason");
	guest_lead_to_root(guest, open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "");
	s[0].operation = guest_root(guest, &callbacks, &s[0], &err);
	carried_wait(&s[0]);
	ck_assert_int_eq(s[0].code, 0);
	ck_assert_int_eq(stat("/", &root), 0);
	ck_assert_int_eq(fstat(s[0].fd, &passed), 0);
	ck_assert(root.st_dev == passed.st_dev && root.st_ino == passed.st_ino);
	ck_assert(fcntl(s[0].fd, F_GETFL) & O_PATH);
	close(s[0].fd);
	child = fork();
	if (!child) {
		(void)pause();
		_exit(0);
	}
	(void)snprintf(path, sizeof path, "/proc/%d", (int)child);
	guest_lead_to_root(guest, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "");
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	s[1].operation = guest_root(guest, &callbacks, &s[1], &err);
	carried_wait(&s[1]);
	ck_assert_int_eq(s[1].code, ENOTCONN);
	ck_assert_int_eq(s[1].fd, -1);
}
END_TEST

/* Two wait for who connects inside: each gets one, the third connection waits for the next. An address is kept
 * by the guest, and who only waits is no use of the sandbox. */
START_TEST(tunnels_accepted)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct seen s[3] = { SEEN, SEEN, SEEN }, ping = SEEN;
	int peers[3], before;
	struct carrier c;
	struct error err;

	(void)snprintf(address.sun_path, sizeof address.sun_path, "/tmp/test_accept.%d", (int)getpid());
	carry(&c, 4096, 3);
	for (int i = 0; i < 2; i++)
		s[i].operation = guest_accept(guest, address.sun_path, &callbacks, &s[i], &err);
	ping.operation = guest_ping(guest, &callbacks, &ping, &err);
	carried_wait(&ping);
	before = open_descriptors();
	ck_assert(!s[0].ended && !s[1].ended);
	ck_assert(!commands_run());
	for (int i = 0; i < 3; i++) {
		peers[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(connect(peers[i], (const struct sockaddr *)&address, sizeof address), 0);
		ck_assert_int_eq(fcntl(peers[i], F_SETFL, O_NONBLOCK), 0);
	}
	carried_wait(&s[0]);
	carried_wait(&s[1]);
	ck_assert(commands_run());
	for (int i = 0; i < 20; i++)
		carried_turn();
	s[2].operation = guest_accept(guest, address.sun_path, &callbacks, &s[2], &err);
	carried_wait(&s[2]);
	for (int i = 0; i < 3; i++) {
		char byte = (char)('a' + i);
		int who = -1;

		ck_assert_int_eq(s[i].code, 0);
		ck_assert_int_eq(send(s[i].fd, &byte, 1, 0), 1);
		while (who < 0) {
			carried_turn();
			for (int k = 0; k < 3; k++)
				if (recv(peers[k], &byte, 1, MSG_DONTWAIT) == 1)
					who = k;
		}
		ck_assert_int_eq(byte, 'a' + i);
		copy_through(peers[who], s[i].fd, 100000);
		copy_through(s[i].fd, peers[who], 100000);
	}
	for (int i = 0; i < 3; i++) {
		close(peers[i]);
		done(&s[i]);
	}
	for (int k = 0; k < 1000 && guest->tunnels; k++)
		carried_turn();
	ck_assert_ptr_null(guest->tunnels);
	ck_assert_int_eq(open_descriptors(), before - 2); /* the two that waited held the address once more each */
	/* One that is given up waits no more. */
	s[0] = SEEN;
	s[0].operation = guest_accept(guest, address.sun_path, &callbacks, &s[0], &err);
	guest_forget(s[0].operation);
	for (int k = 0; k < 1000 && guest->operations; k++)
		carried_turn();
	ck_assert_ptr_null(guest->operations);
	ck_assert_ptr_null(tunnels[0].link);
	s[1] = SEEN;
	s[1].operation = guest_accept(guest, "nothing", &callbacks, &s[1], &err);
	carried_wait(&s[1]);
	ck_assert_int_eq(s[1].code, EINVAL);
	(void)unlink(address.sun_path);
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

int main(void)
{
	Suite *s = suite_create("guest-tunnels");
	TCase *t = tcase_create("guest-tunnels");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, tunnels_both_ways);
	tcase_add_test(t, tunnels_accepted);
	tcase_add_test(t, tunnels_refused);
	tcase_add_test(t, root_of_a_process);
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
