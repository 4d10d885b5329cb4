/* Messages of a kernel: what is written is read back, every wrong offset is refused, and JSON is
 * passed through without losing or letting in anything. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/kernel/wire.h"

static struct json span(const char *text)
{
	return (struct json){ text, strlen(text) };
}

static void put_word(struct buffer *b, size_t index, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		b->data[8 * index + (size_t)i] = (char)(value >> (8 * i));
}

START_TEST(round_trip)
{
	struct buffer b = BUFFER(1 << 20), text = BUFFER(100);
	struct wire_execute execute = { .code = "print('\xc3\xa9\"\\\n\x01')", .length = 15, .store_history = true };
	struct wire_message m;
	struct error err;

	ck_assert_int_eq(wire_execute_request(&b, "abc", "abc-1-0", &execute, &err), 0);
	ck_assert_int_eq(wire_parse(b.data, b.length, &m, &err), 0);
	ck_assert_int_eq(m.type, WIRE_OTHER);
	ck_assert_str_eq(m.parent, "");
	ck_assert_mem_eq(m.channel.data, "shell", 5);
	ck_assert(json_valid(m.content));
	ck_assert_int_eq(json_text(&text, json_get(m.content, "code")), 0);
	ck_assert_uint_eq(text.length, 15);
	ck_assert_mem_eq(text.data, execute.code, 15);
	ck_assert_mem_eq(json_get(m.content, "store_history").data, "true", 4);
	ck_assert_mem_eq(json_get(m.content, "allow_stdin").data, "false", 5);
	/* Cut short anywhere, it is no message. */
	for (size_t n = 0; n < b.length; n++)
		ck_assert_int_eq(wire_parse(b.data, n, &m, &err), -1);
	buffer_free(&b);
	buffer_free(&text);
}
END_TEST

START_TEST(counts)
{
	static const struct {
		const char *id;
		uint64_t count;
	} ids[] = {
		{ "abc_12_7", 7 }, { "a_0", 0 }, { "abc-12-7", 0 }, { "abc", 0 }, { "", 0 }, { "a_1x", 0 },
		{ "_900", 900 }, { "a_99999999999999999999999999", 0 },
	};
	struct error err;

	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		struct buffer b = BUFFER(4096);
		struct wire_message m;

		ck_assert_int_eq(wire_request(&b, "status", "s", ids[i].id, JSON("{}"), &err), 0);
		ck_assert_int_eq(wire_parse(b.data, b.length, &m, &err), 0);
		ck_assert_uint_eq(m.count, ids[i].count);
		buffer_free(&b);
	}
}
END_TEST

START_TEST(wrong_offsets)
{
	static const struct {
		size_t index;
		uint64_t value;
	} wrong[] = {
		{ 0, 0 }, { 0, 5 }, { 0, 7 }, { 0, UINT64_MAX }, { 0, UINT64_MAX / 8 }, { 0, 1u << 20 },
		{ 1, 0 }, { 1, 48 }, { 1, UINT64_MAX }, { 2, 0 }, { 2, UINT64_MAX }, { 3, 57 },
		{ 6, 0 }, { 6, 1u << 30 },
	};
	struct error err;

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct buffer b = BUFFER(4096);
		struct wire_message m;

		ck_assert_int_eq(wire_request(&b, "kernel_info_request", "s", "s-1", JSON("{}"), &err), 0);
		ck_assert_int_eq(wire_parse(b.data, b.length, &m, &err), 0);
		put_word(&b, wrong[i].index, wrong[i].value);
		ck_assert_msg(wire_parse(b.data, b.length, &m, &err) == -1, "word %zu = %llu was taken",
			      wrong[i].index, (unsigned long long)wrong[i].value);
		ck_assert_int_eq(err.code, EPROTO);
		buffer_free(&b);
	}
}
END_TEST

START_TEST(validity)
{
	static const char *const good[] = {
		"null", " true ", "0", "-0.5e+10", "123456789012345678901234567890", "\"\\ud83d\\u0000\\/\"",
		"[]", "[ ]", "{}", "[1,[2,{\"a\":[]}]]", "{\"a\":1, \"b\" : \"x\"}", "\"\xff\"",
	};
	static const char *const bad[] = {
		"", " ", "nul", "01", "1.", ".5", "-", "1e", "+1", "\"", "\"\\x\"", "\"\\u12g4\"", "\"a\nb\"",
		"[1,]", "[1 2]", "[", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}", "{\"a\":1", "1 1", "[]]",
		"NaN", "Infinity", "'a'",
	};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		ck_assert_msg(json_valid(span(good[i])), "%s is valid", good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(!json_valid(span(bad[i])), "%s is not valid", bad[i]);
	ck_assert(!json_valid(JSON_NONE));
}
END_TEST

START_TEST(depth)
{
	char deep[2 * 100000];

	memset(deep, '[', 100000);
	memset(deep + 100000, ']', 100000);
	ck_assert(!json_valid((struct json){ deep, sizeof deep }));
	ck_assert(json_valid((struct json){ deep + 100000 - 60, 120 }));
}
END_TEST

START_TEST(copies)
{
	struct buffer b = BUFFER(4096);

	ck_assert_int_eq(json_copy(&b, span("{ \"a b\" :\n [1e400, 12345678901234567890 ,\"\\u0000 \xff\"]\r}")), 0);
	ck_assert_str_eq(b.data, "{\"a b\":[1e400,12345678901234567890,\"\\u0000 \xef\xbf\xbd\"]}");
	buffer_clear(&b);
	ck_assert_int_eq(json_copy(&b, span("[1")), -1);
	ck_assert_int_eq(json_text(&b, span("\"\\u00e9\\ud83d\\ude00\\ud83d.\\u0000\\n\"")), 0);
	ck_assert_uint_eq(b.length, 2 + 4 + 3 + 1 + 1 + 1);
	ck_assert_mem_eq(b.data, "\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbd.\0\n", b.length);
	buffer_free(&b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wire");
	TCase *tests = tcase_create("wire");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tests, 240);
	tcase_add_test(tests, round_trip);
	tcase_add_test(tests, counts);
	tcase_add_test(tests, wrong_offsets);
	tcase_add_test(tests, validity);
	tcase_add_test(tests, depth);
	tcase_add_test(tests, copies);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
