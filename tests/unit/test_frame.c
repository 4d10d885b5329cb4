/* Frames: what is written is read back; what is no frame is refused. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/frame.h"

START_TEST(round_trip)
{
	struct buffer b = BUFFER(1 << 20);
	struct frame f;
	struct error err;

	ck_assert_int_eq(frame_append(&b, 7, 'D', "hello", 5), 0);
	for (size_t n = 0; n < b.length; n++)
		ck_assert_int_eq(frame_parse(b.data, n, &f, &err), 0);
	ck_assert_int_eq(frame_parse(b.data, b.length, &f, &err), (long)b.length);
	ck_assert_uint_eq(f.stream, 7);
	ck_assert_uint_eq(f.type, 'D');
	ck_assert_uint_eq(f.length, 5);
	ck_assert_mem_eq(f.payload, "hello", 5);
	buffer_free(&b);
}
END_TEST

START_TEST(refusals)
{
	unsigned char bytes[FRAME_HEADER_SIZE] = { 0 };
	struct frame f;
	struct error err;

	bytes[2] = 2; /* 131072 bytes */
	ck_assert_int_eq(frame_parse(bytes, sizeof bytes, &f, &err), -1);
	ck_assert_int_eq(err.code, EPROTO);
	memset(bytes, 0, sizeof bytes);
	bytes[10] = 1;
	ck_assert_int_eq(frame_parse(bytes, sizeof bytes, &f, &err), -1);
}
END_TEST

START_TEST(limits)
{
	struct buffer b = BUFFER(20);
	static char big[FRAME_PAYLOAD_MAX + 1];

	ck_assert_int_eq(frame_append(&b, 0, 'D', big, sizeof big), -1);
	ck_assert_int_eq(errno, EMSGSIZE);
	ck_assert_int_eq(frame_append(&b, 0, 'D', big, 9), -1);
	ck_assert_int_eq(errno, EFBIG);
	ck_assert_uint_eq(b.length, 0);
	buffer_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("frame");
	TCase *t = tcase_create("frame");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_test(t, round_trip);
	tcase_add_test(t, refusals);
	tcase_add_test(t, limits);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
