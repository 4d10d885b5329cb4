/* Server-sent events: every way to end a line, cut at every byte, bounded. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/llm/sse.h"

/* All events of text, as "name=data;" each, put in pieces of `piece` bytes. */
static char *events(const char *text, size_t n, size_t piece)
{
	static char out[4096];
	struct sse sse;
	struct sse_event event;
	struct error err;
	size_t at = 0, used = 0;

	sse_init(&sse, 1024);
	out[0] = '\0';
	while (at < n) {
		size_t more = n - at < piece ? n - at : piece;

		ck_assert_int_eq(sse_put(&sse, text + at, more, &err), 0);
		at += more;
		while (sse_take(&sse, at == n, &event, &err) == 1)
			used += (size_t)snprintf(out + used, sizeof out - used, "%s=%.*s;", event.name,
						 (int)event.length, event.data);
	}
	sse_free(&sse);
	return out;
}

static void same(const char *text, const char *expected)
{
	for (size_t piece = 1; piece <= strlen(text); piece++)
		ck_assert_str_eq(events(text, strlen(text), piece), expected);
}

START_TEST(line_ends)
{
	same("event: a\ndata: 1\n\nevent: b\ndata: 2\n\n", "a=1;b=2;");
	same("event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", "a=1;message=2;");
	same("event: a\rdata: 1\r\rdata: 2\r\r", "a=1;message=2;");
}
END_TEST

START_TEST(fields)
{
	same(": comment\ndata: a\n:another\ndata: b\n\n", "message=a\nb;");
	same("data\n\ndata:\n\ndata:x\n\ndata:  y\n\n", "message=;message=;message=x;message= y;");
	same("id: 1\nretry: 5\nunknown: z\n\nevent: lost\n\ndata: kept\n\n", "message=kept;");
	same("\xef\xbb\xbf" "data: bom\n\n", "message=bom;");
	same("data: \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n\n", "message=\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80;");
}
END_TEST

START_TEST(end_without_empty_line)
{
	same("data: a\n\ndata: last", "message=a;message=last;");
	same("data: last\n", "message=last;");
	same("event: x", "");
}
END_TEST

START_TEST(bounded)
{
	struct sse sse;
	struct sse_event event;
	struct error err;
	char line[64];

	sse_init(&sse, 100);
	memset(line, 'x', sizeof line);
	ck_assert_int_eq(sse_put(&sse, line, 64, &err), 0);
	ck_assert_int_eq(sse_take(&sse, false, &event, &err), 0);
	ck_assert_int_eq(sse_put(&sse, line, 64, &err), -1);
	ck_assert_int_eq(err.code, EFBIG);
	sse_free(&sse);

	sse_init(&sse, 100);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(sse_put(&sse, "data: 0123456789012345678901234567890123456789012345678\n", 56, &err), 0);
		ck_assert_int_eq(sse_take(&sse, false, &event, &err), 0);
	}
	ck_assert_int_eq(sse_put(&sse, "data: 0123456789\n", 17, &err), 0);
	ck_assert_int_eq(sse_take(&sse, false, &event, &err), -1);
	ck_assert_int_eq(err.code, EFBIG);
	sse_free(&sse);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sse");
	TCase *t = tcase_create("sse");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_test(t, line_ends);
	tcase_add_test(t, fields);
	tcase_add_test(t, end_without_empty_line);
	tcase_add_test(t, bounded);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
