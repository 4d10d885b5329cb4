/* JSON-RPC lines and the text helpers: what is right passes, everything else is refused. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mcp/jsonrpc.h"
#include "mcp/text.h"

static int parse(const char *text, struct jsonrpc_message *m, int *reply)
{
	static char line[4096];
	struct error err;

	strncpy(line, text, sizeof line - 1);
	return jsonrpc_parse(line, strlen(line), m, reply, &err);
}

START_TEST(kinds)
{
	static const struct { const char *line; enum jsonrpc_kind kind; } rows[] = {
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}", JSONRPC_REQUEST },
		{ "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"ping\",\"params\":{}} ", JSONRPC_REQUEST },
		{ "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}", JSONRPC_NOTIFICATION },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", JSONRPC_RESULT },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-1,\"message\":\"m\"}}", JSONRPC_ERROR },
		{ "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-1,\"message\":\"m\"}}", JSONRPC_ERROR },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct jsonrpc_message m;
		int reply;

		ck_assert_msg(parse(rows[i].line, &m, &reply) == 0, "%s", rows[i].line);
		ck_assert_int_eq(m.kind, rows[i].kind);
		jsonrpc_message_free(&m);
	}
}
END_TEST

START_TEST(refusals)
{
	static const struct { const char *line; int reply; bool id; } rows[] = {
		{ "", JSONRPC_PARSE_ERROR, false },
		{ "{", JSONRPC_PARSE_ERROR, false },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\xff\"}", JSONRPC_PARSE_ERROR, false },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\"} {}", JSONRPC_PARSE_ERROR, false },
		{ "[]", JSONRPC_INVALID_REQUEST, false },
		{ "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\"}]", JSONRPC_INVALID_REQUEST, false },
		{ "3", JSONRPC_INVALID_REQUEST, false },
		{ "{\"id\":1,\"method\":\"a\"}", JSONRPC_INVALID_REQUEST, true },
		{ "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"a\"}", JSONRPC_INVALID_REQUEST, true },
		{ "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"a\"}", JSONRPC_INVALID_REQUEST, false },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"a\"}", JSONRPC_INVALID_REQUEST, false },
		{ "{\"jsonrpc\":\"2.0\",\"id\":[],\"method\":\"a\"}", JSONRPC_INVALID_REQUEST, false },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":5}", JSONRPC_INVALID_REQUEST, true },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":[1]}", JSONRPC_INVALID_REQUEST, true },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"result\":1}", JSONRPC_INVALID_REQUEST, true },
		{ "{\"jsonrpc\":\"2.0\",\"result\":{}}", JSONRPC_INVALID_REQUEST, false },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":\"x\",\"message\":\"m\"}}", JSONRPC_INVALID_REQUEST, true },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1}", JSONRPC_INVALID_REQUEST, true },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct jsonrpc_message m;
		int reply = 0;

		ck_assert_msg(parse(rows[i].line, &m, &reply) == -1, "%s", rows[i].line);
		ck_assert_msg(reply == rows[i].reply, "%s: %d", rows[i].line, reply);
		ck_assert_msg(!!m.id == rows[i].id, "%s", rows[i].line);
		jsonrpc_message_free(&m);
	}
}
END_TEST

START_TEST(escaped_nul)
{
	struct jsonrpc_message m;
	int reply;

	ck_assert_int_eq(parse("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"a\\u0000b\\\\u0000\"}", &m, &reply), 0);
	ck_assert_str_eq(m.result->valuestring, "a\xef\xbf\xbd" "b\\u0000");
	jsonrpc_message_free(&m);
}
END_TEST

START_TEST(lines)
{
	static const char text[] = "one\r\n\n\ntwo\nthr";
	struct error err;
	char *line;
	size_t n;

	for (size_t piece = 1; piece < sizeof text; piece++) {
		struct jsonrpc_reader r = JSONRPC_READER;
		struct buffer seen cleanup_buffer = BUFFER(100);

		for (size_t at = 0; at < sizeof text - 1; at += piece) {
			size_t take = sizeof text - 1 - at < piece ? sizeof text - 1 - at : piece;

			ck_assert_int_eq(jsonrpc_feed(&r, text + at, take, &err), 0);
			while (jsonrpc_line(&r, &line, &n, &err) == 1) {
				ck_assert_uint_eq(strlen(line), n);
				ck_assert_int_eq(buffer_format(&seen, "<%s>", line), 0);
			}
		}
		ck_assert_str_eq(seen.data, "<one><two>");
		jsonrpc_reader_free(&r);
	}
}
END_TEST

START_TEST(long_line)
{
	struct jsonrpc_reader r = JSONRPC_READER;
	static char piece[65536];
	struct error err;
	char *line;
	size_t n, refused = 0;

	memset(piece, 'x', sizeof piece);
	for (size_t fed = 0; fed < 2 * (size_t)JSONRPC_LINE_MAX; fed += sizeof piece) {
		ck_assert_int_eq(jsonrpc_feed(&r, piece, sizeof piece, &err), 0);
		switch (jsonrpc_line(&r, &line, &n, &err)) {
		case 0: break;
		case -1: refused++; ck_assert_int_eq(err.code, EMSGSIZE); break;
		default: ck_abort();
		}
		ck_assert_uint_le(r.in.length, JSONRPC_LINE_MAX + sizeof piece);
	}
	ck_assert_uint_eq(refused, 1);
	ck_assert_int_eq(jsonrpc_feed(&r, "y\nnext\n", 7, &err), 0);
	ck_assert_int_eq(jsonrpc_line(&r, &line, &n, &err), 1);
	ck_assert_str_eq(line, "next");
	jsonrpc_reader_free(&r);
}
END_TEST

START_TEST(clean)
{
	static const struct { const char *in, *out; } rows[] = {
		{ "plain\ttext\n", "plain\ttext\n" },
		{ "\x1b[0;31mred\x1b[0m \x1b[38;5;1mx\x1b[K", "red x" },
		{ "\x1b]0;title\x07" "a\x1b]8;;http://x\x1b\\link\x1b(Bb", "alinkb" },
		{ " 10%\r 50%\r100%\ndone\n", "100%\ndone\n" },
		{ "kept\r\nalso\r\n", "kept\nalso\n" },
		{ "abc\b\bd", "ad" },
		{ "gr\xc3\xbc\xc3\x9f" "e \xff \xc3", "gr\xc3\xbc\xc3\x9f" "e \xef\xbf\xbd \xef\xbf\xbd" },
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "bell\x07 and \x1b", "bell and " },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct buffer out cleanup_buffer = BUFFER(1000);

		ck_assert_int_eq(text_clean(&out, rows[i].in, strlen(rows[i].in)), 0);
		ck_assert_str_eq(out.data, rows[i].out);
	}
}
END_TEST

START_TEST(excerpts)
{
	/* Whatever the pieces, the result is the same: head, what is missing, tail. */
	char text[101];

	for (int i = 0; i < 100; i++)
		text[i] = (char)('a' + i % 26);
	text[100] = '\0';
	for (size_t total = 0; total <= 100; total += 7) {
		for (size_t piece = 1; piece <= 40; piece++) {
			struct buffer out cleanup_buffer = BUFFER(1000), want cleanup_buffer = BUFFER(1000);
			struct excerpt e;

			excerpt_init(&e, 20);
			for (size_t at = 0; at < total; at += piece)
				ck_assert_int_eq(excerpt_add(&e, text + at, total - at < piece ? total - at : piece), 0);
			ck_assert_int_eq(excerpt_text(&e, &out), 0);
			if (total <= 20)
				ck_assert_int_eq(buffer_append(&want, text, total), 0);
			else
				ck_assert_int_eq(buffer_format(&want, "%.10s\n[\xe2\x80\xa6 %zu bytes left out \xe2\x80\xa6]\n%.10s",
					text, total - 20, text + total - 10), 0);
			ck_assert_uint_eq(out.length, want.length);
			ck_assert_mem_eq(out.length ? out.data : "", want.length ? want.data : "", want.length);
			excerpt_free(&e);
		}
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("jsonrpc");
	TCase *t = tcase_create("jsonrpc");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_test(t, kinds);
	tcase_add_test(t, refusals);
	tcase_add_test(t, escaped_nul);
	tcase_add_test(t, lines);
	tcase_add_test(t, long_line);
	tcase_add_test(t, clean);
	tcase_add_test(t, excerpts);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
