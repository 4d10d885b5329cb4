/* What the guest does for a runner that asks well. */
#include "tests/unit/guest_setup.h"

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
	(void)unlink(address.sun_path);
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

int main(void)
{
	Suite *s = suite_create("guest");
	TCase *t = tcase_create("guest");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 240);
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
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
