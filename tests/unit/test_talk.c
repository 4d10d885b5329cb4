/* The client's side of a conversation, against the raw bytes of a peer. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/talk.h"

static struct error err;
static struct talk talk;
static int peer;

static void setup(void)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	talk = (struct talk){ .fd = pair[0], .in = BUFFER(1 << 20), .out = BUFFER(1 << 24), .passed = -1 };
	peer = pair[1];
}

static void teardown(void)
{
	talk_close(&talk);
	(void)close(peer);
}

static void say(uint8_t type, const void *payload, size_t n)
{
	struct buffer b = BUFFER(1 << 20);

	ck_assert_int_eq(frame_append(&b, 0, type, payload, n), 0);
	ck_assert_int_eq(write(peer, b.data, b.length), (ssize_t)b.length);
	buffer_free(&b);
}

START_TEST(messages)
{
	struct talk_message m;
	static const char end[] = "{\"errno\":5,\"text\":\"a \\\"b\\\"\",\"exit\":7}";

	ck_assert_int_eq(talk_take(&talk, &m, &err), 0);
	say(TALK_DATA, "\1out", 4);
	say(TALK_DATA, "\2", 1);
	say(TALK_NOTICE, "log 3 4", 7);
	say(TALK_END, end, sizeof end - 1);
	ck_assert_int_eq(talk_take(&talk, &m, &err), 1);
	ck_assert(m.type == TALK_DATA && m.channel == TALK_STDOUT && m.length == 3 && !memcmp(m.data, "out", 3));
	ck_assert_int_eq(talk_take(&talk, &m, &err), 1);
	ck_assert(m.type == TALK_DATA && m.channel == TALK_STDERR && m.length == 0);
	ck_assert_int_eq(talk_take(&talk, &m, &err), 1);
	ck_assert(m.type == TALK_NOTICE && m.length == 7);
	ck_assert_int_eq(talk_take(&talk, &m, &err), 1);
	ck_assert(m.type == TALK_END && m.code == 5 && m.exit == 7);
	ck_assert_str_eq(m.text, "a \"b\"");
	ck_assert_int_eq(talk_take(&talk, &m, &err), 0);
	ck_assert_int_eq(talk_wait(&talk, 20, &m, &err), -1);
	ck_assert_int_eq(err.code, ETIMEDOUT);
	(void)shutdown(peer, SHUT_WR);
	ck_assert_int_eq(talk_wait(&talk, 1000, &m, &err), -1);
	ck_assert_int_eq(err.code, ECONNRESET);
}
END_TEST

/* What was received is taken, and nothing is received: whoever sends without an end is left there. */
START_TEST(what_is_kept)
{
	struct talk_message m;

	ck_assert_int_eq(talk_take_kept(&talk, &m, &err), 0);
	for (int i = 0; i < 3; i++)
		say(TALK_DATA, "\1x", 2);
	ck_assert_int_eq(talk_take_kept(&talk, &m, &err), 0);
	ck_assert_int_eq(talk_take(&talk, &m, &err), 1);
	say(TALK_DATA, "\1late", 5);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(talk_take_kept(&talk, &m, &err), 1);
		ck_assert_uint_eq(m.length, 1);
	}
	ck_assert_int_eq(talk_take_kept(&talk, &m, &err), 0);
	ck_assert_int_eq(talk_take(&talk, &m, &err), 1);
	ck_assert_uint_eq(m.length, 4);
}
END_TEST

START_TEST(a_byte_at_a_time)
{
	struct buffer b = BUFFER(1 << 20);
	struct talk_message m;

	ck_assert_int_eq(frame_append(&b, 0, TALK_DATA, "\1slow", 5), 0);
	for (size_t i = 0; i < b.length; i++) {
		ck_assert_int_eq(talk_take(&talk, &m, &err), 0);
		ck_assert_int_eq(write(peer, b.data + i, 1), 1);
	}
	ck_assert_int_eq(talk_take(&talk, &m, &err), 1);
	ck_assert_uint_eq(m.length, 4);
	buffer_free(&b);
}
END_TEST

static const struct {
	uint8_t type;
	const char *payload;
	size_t n;
} nonsense[] = {
	{ TALK_DATA, "", 0 },
	{ TALK_DATA, "\3x", 2 },
	{ TALK_END, "{", 1 },
	{ TALK_END, "{\"errno\":-1,\"exit\":0}", 21 },
	{ TALK_END, "{\"errno\":\"x\",\"exit\":0}", 22 },
	{ TALK_END, "[]", 2 },
	{ TALK_POKE, "", 0 },
	{ 'z', "", 0 },
};

START_TEST(nonsense_ends_it)
{
	struct talk_message m;

	say(nonsense[_i].type, nonsense[_i].payload, nonsense[_i].n);
	ck_assert_int_eq(talk_take(&talk, &m, &err), -1);
	ck_assert_int_eq(err.code, EPROTO);
}
END_TEST

START_TEST(sent_in_frames)
{
	static char big[200000], got[300000];
	size_t n = 0;
	int all;

	memset(big, 'x', sizeof big);
	ck_assert_int_eq(talk_put(&talk, big, sizeof big, &err), 0);
	ck_assert_int_eq(talk_send(&talk, TALK_GO, NULL, 0, &err), 0);
	do {
		ssize_t one = read(peer, got + n, sizeof got - n);

		ck_assert_int_gt(one, 0);
		n += (size_t)one;
		all = talk_flush(&talk, &err);
		ck_assert_int_ge(all, 0);
	} while (n < sizeof big + 5 * FRAME_HEADER_SIZE);
	ck_assert_int_eq(all, 1);
	size_t at = 0, bytes = 0;
	struct frame f;
	long size;

	while ((size = frame_parse(got + at, n - at, &f, &err)) > 0) {
		at += (size_t)size;
		bytes += f.length;
	}
	ck_assert_uint_eq(bytes, sizeof big);
	ck_assert_uint_eq(f.type, TALK_GO);
	(void)close(peer);
	peer = -1;
	ck_assert_int_eq(talk_send(&talk, TALK_CLOSE, NULL, 0, &err), -1);
	ck_assert_int_eq(err.code, EPIPE);
}
END_TEST

START_TEST(one_descriptor)
{
	struct talk_message m;
	char frame[FRAME_HEADER_SIZE + 1] = { 1, 0, 0, 0, 0, 0, 0, 0, TALK_DATA, 0, 0, 0, 1 };
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec v = { frame, sizeof frame };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control.bytes,
			    .msg_controllen = sizeof control.bytes };
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	int pipes[2], probe;

	/* Two come where one belongs: the first is kept, the second is closed. */
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof pipes);
	memcpy(CMSG_DATA(c), pipes, sizeof pipes);
	probe = dup(0);
	(void)close(probe);
	ck_assert_int_eq(sendmsg(peer, &h, 0), sizeof frame);
	ck_assert_int_eq(talk_take(&talk, &m, &err), 1);
	ck_assert_int_eq(talk.passed, probe);
	ck_assert_int_eq(fcntl(talk.passed, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(dup(0), probe + 1);
	(void)close(probe + 1);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("talk");
	TCase *t = tcase_create("talk");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, messages);
	tcase_add_test(t, what_is_kept);
	tcase_add_test(t, a_byte_at_a_time);
	tcase_add_loop_test(t, nonsense_ends_it, 0, sizeof nonsense / sizeof *nonsense);
	tcase_add_test(t, sent_in_frames);
	tcase_add_test(t, one_descriptor);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
