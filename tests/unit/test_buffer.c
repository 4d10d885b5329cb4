/* Buffers: what is past the limit leaves them as they were; their last line. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

START_TEST(limit)
{
	struct buffer b = BUFFER(4);

	ck_assert_int_eq(buffer_text(&b, "abc"), 0);
	ck_assert_int_eq(buffer_text(&b, "de"), -1);
	ck_assert_int_eq(errno, EFBIG);
	ck_assert_str_eq(b.data, "abc");
	ck_assert_int_eq(buffer_format(&b, "%d", 4), 0);
	buffer_consume(&b, 2);
	ck_assert_str_eq(b.data, "c4");
	buffer_free(&b);
}
END_TEST

START_TEST(last_line)
{
	static const char *const texts[][2] = {
		{ "one", "one" }, { "one\n", "one" }, { "one\ntwo\n\n", "two" }, { "\ntwo", "two" }, { "\n\n", "" }, { "", "" },
	};
	struct buffer b = BUFFER(64);

	ck_assert_str_eq(buffer_last_line(&b), "");
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		buffer_clear(&b);
		ck_assert_int_eq(buffer_text(&b, texts[i][0]), 0);
		ck_assert_str_eq(buffer_last_line(&b), texts[i][1]);
	}
	buffer_free(&b);
}
END_TEST

START_TEST(append_last)
{
	struct buffer b = BUFFER(4);

	ck_assert_int_eq(buffer_append_last(&b, "ab", 2), 0);
	ck_assert_str_eq(b.data, "ab");
	ck_assert_int_eq(buffer_append_last(&b, "cde", 3), 0);
	ck_assert_str_eq(b.data, "bcde");
	ck_assert_int_eq(buffer_append_last(&b, "", 0), 0);
	ck_assert_str_eq(b.data, "bcde");
	ck_assert_int_eq(buffer_append_last(&b, "123456", 6), 0);
	ck_assert_str_eq(b.data, "3456");
	buffer_free(&b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("buffer");
	TCase *cases = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(cases, 240);
	tcase_add_test(cases, limit);
	tcase_add_test(cases, last_line);
	tcase_add_test(cases, append_last);
	suite_add_tcase(suite, cases);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
