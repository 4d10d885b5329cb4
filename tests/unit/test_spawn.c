/* Helper programs: what they are given, what they print, and when they have ended. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "backend/sandbox/spawn.h"
#include "base/clock.h"

static struct error err;

/* The shell's exit status; its output is in *out. */
static int shell(const char *script, int timeout_ms, struct buffer *out)
{
	char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, strdup(script), NULL };
	int status = 0, result = spawn_run(argv, timeout_ms, out, &status, &err);

	free(argv[2]);
	return result < 0 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

START_TEST(what_it_prints)
{
	struct buffer out = BUFFER(1000);

	ck_assert_int_eq(shell("echo out; echo err >&2; exit 7", 20000, &out), 7);
	ck_assert_str_eq(out.data, "out\nerr\n");
	buffer_clear(&out);
	ck_assert_int_eq(shell("kill -9 $$", 20000, &out), 137);
	ck_assert_uint_eq(out.length, 0);
	/* More than its owner wants does not keep it from its end. */
	ck_assert_int_eq(shell("head -c 300000 /dev/zero; exit 3", 20000, &out), 3);
	ck_assert_uint_le(out.length, 1000);
	buffer_free(&out);
}
END_TEST

START_TEST(what_it_leaves_behind)
{
	struct buffer out = BUFFER(1000);
	int64_t began = clock_ms();

	ck_assert_int_eq(shell("sleep 100 & echo $!; exit 5", 60000, &out), 5);
	ck_assert_int_lt((int)(clock_ms() - began), 50000);
	ck_assert_int_eq(kill((pid_t)strtol(out.data, NULL, 10), SIGKILL), 0);
	buffer_free(&out);
}
END_TEST

START_TEST(what_takes_too_long)
{
	struct buffer out = BUFFER(1000);

	ck_assert_int_eq(shell("echo begun; exec sleep 100", 300, &out), -1);
	ck_assert_int_eq(err.code, ETIMEDOUT);
	err.code = 0;
	ck_assert_int_eq(shell("exec yes", 300, &out), -1);
	ck_assert_int_eq(err.code, ETIMEDOUT);
	buffer_free(&out);
}
END_TEST

START_TEST(what_is_none)
{
	struct buffer out = BUFFER(1000);
	char *argv[] = { (char[]){ "/nowhere/at-all" }, NULL };
	int status;

	ck_assert_int_eq(spawn_run(argv, 20000, &out, &status, &err), -1);
	ck_assert_int_eq(err.code, ENOENT);
}
END_TEST

START_TEST(what_it_may_know)
{
	struct buffer out = BUFFER(4000);

	ck_assert_int_eq(setenv("SECRET_KEY", "a-value", 1), 0);
	ck_assert_int_eq(shell("env", 20000, &out), 0);
	ck_assert_ptr_null(strstr(out.data, "a-value"));
	ck_assert_ptr_nonnull(strstr(out.data, "PATH="));
	buffer_free(&out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spawn");
	TCase *cases = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(cases, 240);
	tcase_add_test(cases, what_it_prints);
	tcase_add_test(cases, what_it_leaves_behind);
	tcase_add_test(cases, what_takes_too_long);
	tcase_add_test(cases, what_is_none);
	tcase_add_test(cases, what_it_may_know);
	suite_add_tcase(suite, cases);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
