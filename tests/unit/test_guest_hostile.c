/* Whatever a guest, a runner or the machine does wrong: every bad frame, and every allocation failing once. */
#include "tests/unit/guest_setup.h"

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
	Suite *s = suite_create("guest-hostile");
	TCase *t = tcase_create("guest-hostile");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, hostile_guest);
	tcase_add_test(t, too_much_output);
	tcase_add_test(t, hostile_descriptors);
	tcase_add_test(t, a_sentence);
	tcase_add_test(t, hostile_runner);
	tcase_add_test(t, no_memory);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
