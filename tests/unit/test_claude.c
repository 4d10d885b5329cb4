/* The Messages API: answers are assembled verbatim, requests extend one another. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/llm/claude_request.h"
#include "backend/llm/claude_stream.h"

#define START "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",\"usage\":" \
	      "{\"input_tokens\":10,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}"

static enum piece_kind feed(struct claude_stream *s, struct piece *p, const char *const *events)
{
	enum piece_kind kind = PIECE_NONE;

	for (; *events; events++) {
		kind = claude_stream_event(s, *events, strlen(*events), p);
		if (kind == PIECE_TROUBLE || kind == PIECE_ANSWER)
			break;
	}
	return kind;
}

START_TEST(assembles)
{
	struct claude_stream s = { 0 };
	struct piece p;
	const char *const events[] = {
		START,
		"{\"type\":\"ping\"}",
		"{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}",
		"{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm \"}}",
		"{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"yes\"}}",
		"{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"c2ln\"}}",
		"{\"type\":\"content_block_stop\",\"index\":0}",
		"{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"redacted_thinking\",\"data\":\"ZGF0YQ==\"}}",
		"{\"type\":\"content_block_stop\",\"index\":1}",
		"{\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}",
		"{\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"text_delta\",\"text\":\"I \xe2\x82\xac\"}}",
		"{\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"unheard_of\"}}",
		"{\"type\":\"content_block_stop\",\"index\":2}",
		"{\"type\":\"content_block_start\",\"index\":3,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"run\",\"input\":{}}}",
		"{\"type\":\"content_block_delta\",\"index\":3,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"x\\\": 1.0,\\n \"}}",
		"{\"type\":\"content_block_delta\",\"index\":3,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"\\\"y\\\": 12345678901234567890}\"}}",
		"{\"type\":\"content_block_stop\",\"index\":3}",
		"{\"type\":\"content_block_start\",\"index\":4,\"content_block\":{\"type\":\"new_kind\",\"a\":[1,{\"b\":null}]}}",
		"{\"type\":\"content_block_stop\",\"index\":4}",
		"{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":42,\"output_tokens_details\":{\"thinking_tokens\":7}}}",
		"{\"type\":\"something_new\"}",
		"{\"type\":\"message_stop\"}", NULL,
	};

	ck_assert_int_eq(feed(&s, &p, events), PIECE_ANSWER);
	ck_assert_str_eq(p.answer.content,
		"[{\"type\":\"thinking\",\"thinking\":\"hm yes\",\"signature\":\"c2ln\"},"
		"{\"type\":\"redacted_thinking\",\"data\":\"ZGF0YQ==\"},{\"type\":\"text\",\"text\":\"I \xe2\x82\xac\"},"
		"{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"run\",\"input\":{\"x\":1.0,\"y\":12345678901234567890}},"
		"{\"type\":\"new_kind\",\"a\":[1,{\"b\":null}]}]");
	ck_assert_int_eq(p.answer.stop, STOP_CALLS);
	ck_assert_str_eq(p.answer.text, "I \xe2\x82\xac");
	ck_assert_uint_eq(p.answer.count, 1);
	ck_assert_str_eq(p.answer.calls[0].id, "toolu_1");
	ck_assert_double_eq(cJSON_GetObjectItem(p.answer.calls[0].arguments, "x")->valuedouble, 1);
	ck_assert_double_eq(cJSON_GetObjectItem(p.answer.usage, "output_tokens")->valuedouble, 42);
	ck_assert_double_eq(cJSON_GetObjectItem(p.answer.usage, "cache_read_tokens")->valuedouble, 5);
	ck_assert_double_eq(cJSON_GetObjectItem(p.answer.usage, "thinking_tokens")->valuedouble, 7);
	answer_free(&p.answer);
	claude_stream_free(&s);
}
END_TEST

START_TEST(truncated_arguments)
{
	struct claude_stream s = { 0 };
	struct piece p;
	const char *const events[] = {
		START,
		"{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"run\",\"input\":{}}}",
		"{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"code\\\": \\\"imp\"}}",
		"{\"type\":\"content_block_stop\",\"index\":0}",
		"{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"}}",
		"{\"type\":\"message_stop\"}", NULL,
	};

	ck_assert_int_eq(feed(&s, &p, events), PIECE_ANSWER);
	ck_assert_int_eq(p.answer.stop, STOP_CUT);
	ck_assert_ptr_null(p.answer.calls[0].arguments);
	ck_assert_str_eq(p.answer.calls[0].raw, "{\"code\": \"imp");
	ck_assert_str_eq(p.answer.content, "[{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"run\",\"input\":{}}]");
	answer_free(&p.answer);
	claude_stream_free(&s);
}
END_TEST

START_TEST(no_arguments)
{
	struct claude_stream s = { 0 };
	struct piece p;
	const char *const events[] = {
		START,
		"{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}",
		"{\"type\":\"content_block_stop\",\"index\":0}",
		"{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"interrupt\"}}",
		"{\"type\":\"content_block_stop\",\"index\":1}",
		"{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}",
		"{\"type\":\"message_stop\"}", NULL,
	};

	ck_assert_int_eq(feed(&s, &p, events), PIECE_ANSWER);
	ck_assert(cJSON_IsObject(p.answer.calls[0].arguments));
	/* empty text is refused when it comes back */
	ck_assert_str_eq(p.answer.content, "[{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"interrupt\",\"input\":{}}]");
	answer_free(&p.answer);
	claude_stream_free(&s);
}
END_TEST

/* What a model may write as arguments: how it goes back, and what the tool gets (NULL: it is not run). */
static const struct {
	const char *partial; /* as the value of partial_json */
	const char *input, *code;
} arguments[] = {
	{ "{\\\"p\\\": \\\"C:\\\\\\\\\\\", \\\"code\\\": \\\"a b // c\\\"}", "{\"p\":\"C:\\\\\",\"code\":\"a b // c\"}", "a b // c" },
	{ "{\\\"code\\\": \\\"a\\n\\tb\\\"}", "{\"code\":\"a\\u000a\\u0009b\"}", "a\n\tb" }, /* raw in the string */
	{ " {\\\"code\\\" :\\n\\\"/* \\\\\\\" */\\\" } ", "{\"code\":\"/* \\\" */\"}", "/* \" */" },
	{ "{\\\"code\\\":\\\"x\\\",\\\"n\\\":-0.5e+7}", "{\"code\":\"x\",\"n\":-0.5e+7}", "x" },
	{ "{\\\"code\\\":\\\"x\\\",\\\"n\\\":01}", "{}", NULL },
	{ "{\\\"code\\\":\\\"x\\\",\\\"n\\\":1.}", "{}", NULL },
	{ "{\\\"code\\\":\\\"x\\\"} x", "{}", NULL },
	{ "[1]", "{}", NULL },
	{ "{\\\"code\\\":\\\"\\\\ud800\\\"}", "{}", NULL },
	/* No tool can have a NUL; cut there, the code would be another. */
	{ "{\\\"code\\\":\\\"a\\\\u0000b\\\"}", "{\"code\":\"a\\u0000b\"}", NULL },
	{ "{\\\"code\\\":\\\"a\\\\\\\\u0000b\\\"}", "{\"code\":\"a\\\\u0000b\"}", "a\\u0000b" },
};

START_TEST(arguments_as_written)
{
	struct claude_stream s = { 0 };
	struct piece p;
	char delta[512], expected[512];
	const char *const events[] = {
		START,
		"{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"run\",\"input\":{}}}",
		delta,
		"{\"type\":\"content_block_stop\",\"index\":0}",
		"{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}",
		"{\"type\":\"message_stop\"}", NULL,
	};

	snprintf(delta, sizeof delta, "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\","
		 "\"partial_json\":\"%s\"}}", arguments[_i].partial);
	snprintf(expected, sizeof expected, "[{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"run\",\"input\":%s}]", arguments[_i].input);
	ck_assert_int_eq(feed(&s, &p, events), PIECE_ANSWER);
	ck_assert_str_eq(p.answer.content, expected);
	if (arguments[_i].code)
		ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(p.answer.calls[0].arguments, "code")), arguments[_i].code);
	else
		ck_assert_ptr_null(p.answer.calls[0].arguments);
	ck_assert((p.answer.calls[0].raw != NULL) == (arguments[_i].code == NULL));
	answer_free(&p.answer);
	claude_stream_free(&s);
}
END_TEST

/* Thinking that was cut off unsigned is refused when it comes back; what was signed before it stays. */
START_TEST(thinking_cut_off)
{
	struct claude_stream s = { 0 };
	struct piece p;
	const char *const events[] = {
		START,
		"{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"a\",\"signature\":\"c2ln\"}}",
		"{\"type\":\"content_block_stop\",\"index\":0}",
		"{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"b\"}}",
		"{\"type\":\"content_block_stop\",\"index\":1}",
		"{\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"c\",\"signature\":\"\"}}",
		"{\"type\":\"content_block_stop\",\"index\":2}",
		"{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"}}",
		"{\"type\":\"message_stop\"}", NULL,
	};

	ck_assert_int_eq(feed(&s, &p, events), PIECE_ANSWER);
	ck_assert_str_eq(p.answer.content, "[{\"type\":\"thinking\",\"thinking\":\"a\",\"signature\":\"c2ln\"},{\"type\":\"text\",\"text\":\"b\"}]");
	ck_assert(!p.answer.hollow);
	answer_free(&p.answer);
	claude_stream_free(&s);
}
END_TEST

START_TEST(nothing_but_thinking)
{
	struct claude_stream s = { 0 };
	struct piece p;
	const char *const events[] = {
		START,
		"{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"a\",\"signature\":\"c2ln\"}}",
		"{\"type\":\"content_block_stop\",\"index\":0}",
		"{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\" \"}}",
		"{\"type\":\"content_block_stop\",\"index\":1}",
		"{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}",
		"{\"type\":\"message_stop\"}", NULL,
	};

	ck_assert_int_eq(feed(&s, &p, events), PIECE_ANSWER);
	ck_assert(p.answer.hollow);
	answer_free(&p.answer);
	claude_stream_free(&s);
}
END_TEST

START_TEST(no_end)
{
	struct claude_stream s = { 0 };
	struct piece p;
	size_t n = 1 << 20;
	char *delta = malloc(n + 200);
	int i;

	ck_assert_ptr_nonnull(delta);
	feed(&s, &p, (const char *const[]){ START, "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}", NULL });
	i = snprintf(delta, 200, "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"");
	memset(delta + i, 'x', n);
	memcpy(delta + i + n, "\"}}", 4);
	for (i = 0; i < 40 && claude_stream_event(&s, delta, strlen(delta), &p) == PIECE_TEXT; i++)
		;
	ck_assert_int_eq(i, 32);
	ck_assert_int_eq(p.kind, PIECE_TROUBLE);
	ck_assert_str_eq(p.trouble.reason, "the stream is broken: it is too long");
	cJSON_Delete(p.usage);
	free(delta);
	claude_stream_free(&s);
}
END_TEST

static const struct {
	const char *events[6];
	bool retry;
} broken[] = {
	{ { "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\"}}" }, true },
	{ { START, START }, true },
	{ { START, "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}" }, true },
	{ { START, "{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\"}}" }, true },
	{ { START, "{\"type\":\"message_stop\"}" }, true },
	{ { START, "{\"type\":\"content_blo" }, true },
	{ { START, "{\"type\":\"ping\",\"x\":\"\xe2\x82\"}" }, true }, /* no UTF-8 */
	{ { START, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}" }, true },
	{ { START, "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"no\"}}" }, false },
};

START_TEST(breaks)
{
	struct claude_stream s = { 0 };
	struct piece p;

	ck_assert_int_eq(feed(&s, &p, broken[_i].events), PIECE_TROUBLE);
	ck_assert_int_eq(p.trouble.retry, broken[_i].retry);
	ck_assert(p.trouble.reason[0]);
	cJSON_Delete(p.usage);
	claude_stream_free(&s);
}
END_TEST

START_TEST(refusal)
{
	struct claude_stream s = { 0 };
	struct piece p;
	const char *const events[] = {
		START,
		"{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"refusal\",\"stop_details\":{\"category\":\"reasoning_extraction\",\"explanation\":\"It asks for hidden reasoning.\"}}}",
		"{\"type\":\"message_stop\"}", NULL,
	};

	ck_assert_int_eq(feed(&s, &p, events), PIECE_ANSWER);
	ck_assert_int_eq(p.answer.stop, STOP_REFUSED);
	ck_assert_str_eq(p.answer.detail, "reasoning_extraction: It asks for hidden reasoning.");
	answer_free(&p.answer);
	claude_stream_free(&s);
}
END_TEST

static int add(struct dialogue *d, enum item_kind kind, const char *json)
{
	struct error err;

	return dialogue_add(d, kind, json, json ? strlen(json) : 0, &err);
}

START_TEST(requests)
{
	static const char *const head = "{\"model\":\"claude-opus-5-5\",\"max_tokens\":64000,\"thinking\":{\"type\":\"adaptive\","
		"\"display\":\"summarized\"},\"stream\":true,\"tools\":[{\"name\":\"run\",\"input_schema\":{\"type\":\"object\"}}],"
		"\"system\":[{\"type\":\"text\",\"text\":\"Be brief.\",\"cache_control\":{\"type\":\"ephemeral\"}}],\"messages\":[";
	struct dialogue d = { .model = strdup("claude-opus-5-5"), .system = strdup("Be brief."), .folder = AT_FDCWD,
			      .tools = cJSON_Parse("[{\"name\":\"run\",\"inputSchema\":{\"type\":\"object\"}}]") };
	struct models models;
	struct buffer body = BUFFER(1 << 20), expected = BUFFER(1 << 20);
	struct error err;

	ck_assert_msg(models_open(&models, "share/prices.json", &err) == 0, "%s", err.text);
	add(&d, ITEM_USER, "[{\"type\":\"text\",\"text\":\"go\"}]");
	ck_assert_int_eq(claude_request(&d, &models, NULL, &body, &err), 0);
	buffer_format(&expected, "%s{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"go\",\"cache_control\":"
		      "{\"type\":\"ephemeral\"}}]}]}", head);
	ck_assert_str_eq(body.data, expected.data);

	/* What the assistant said goes back byte for byte; results of one turn in one message, text after
	 * them in the same; what follows a request in a new one. */
	add(&d, ITEM_ASKED, NULL);
	add(&d, ITEM_ASSISTANT, "[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"run\",\"input\":{\"x\":1.0}}]");
	add(&d, ITEM_RESULT, "{\"id\":\"a\",\"is_error\":false,\"content\":[{\"type\":\"text\",\"text\":\"\"},{\"type\":\"text\",\"text\":\"3\"}]}");
	add(&d, ITEM_RESULT, "{\"id\":\"b\",\"is_error\":true,\"content\":[]}");
	add(&d, ITEM_USER, "[{\"type\":\"text\",\"text\":\"note\"}]");
	add(&d, ITEM_ASKED, NULL);
	add(&d, ITEM_ASKED, NULL);
	add(&d, ITEM_USER, "[{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"text\",\"text\":\"y\"}]");
	buffer_clear(&body);
	buffer_clear(&expected);
	ck_assert_int_eq(claude_request(&d, &models, NULL, &body, &err), 0);
	buffer_format(&expected, "%s{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"go\"}]},"
		"{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"run\",\"input\":{\"x\":1.0}}]},"
		"{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":[{\"type\":\"text\",\"text\":\"3\"}]},"
		"{\"type\":\"tool_result\",\"tool_use_id\":\"b\",\"is_error\":true},{\"type\":\"text\",\"text\":\"note\"}]},"
		"{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"text\",\"text\":\"y\","
		"\"cache_control\":{\"type\":\"ephemeral\"}}]}]}", head);
	ck_assert_str_eq(body.data, expected.data);
	buffer_free(&body);
	buffer_free(&expected);
	dialogue_free(&d);
	models_close(&models);
}
END_TEST

START_TEST(options)
{
	struct dialogue d = { .model = strdup("llama"), .system = strdup(""), .folder = AT_FDCWD,
			      .tools = cJSON_Parse("[{\"name\":\"run\"}]") };
	struct models models;
	struct buffer body = BUFFER(1 << 20);
	struct error err;
	cJSON *o = cJSON_Parse("{\"max_tokens\":99,\"stop_sequences\":[\"x\"],\"betas\":[\"b\"],\"thinking\":null}");

	ck_assert_int_eq(models_open(&models, "share/prices.json", &err), 0);
	ck_assert_int_eq(claude_check_options(o, &err), 0);
	ck_assert_int_eq(claude_request(&d, &models, o, &body, &err), -1); /* nothing was said yet */
	add(&d, ITEM_USER, "[{\"type\":\"text\",\"text\":\"go\"}]");
	buffer_clear(&body);
	ck_assert_int_eq(claude_request(&d, &models, o, &body, &err), 0);
	ck_assert_str_eq(body.data, "{\"model\":\"llama\",\"stream\":true,\"max_tokens\":99,\"stop_sequences\":[\"x\"],\"tools\":"
		"[{\"name\":\"run\",\"input_schema\":{},\"cache_control\":{\"type\":\"ephemeral\"}}],\"messages\":[{\"role\":\"user\","
		"\"content\":[{\"type\":\"text\",\"text\":\"go\",\"cache_control\":{\"type\":\"ephemeral\"}}]}]}");
	cJSON_Delete(o);
	o = cJSON_Parse("{\"messages\":[]}");
	ck_assert_int_eq(claude_check_options(o, &err), -1);
	cJSON_Delete(o);
	buffer_free(&body);
	dialogue_free(&d);
	models_close(&models);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("claude");
	TCase *t = tcase_create("claude");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_test(t, assembles);
	tcase_add_test(t, truncated_arguments);
	tcase_add_test(t, no_arguments);
	tcase_add_loop_test(t, arguments_as_written, 0, sizeof arguments / sizeof *arguments);
	tcase_add_test(t, thinking_cut_off);
	tcase_add_test(t, nothing_but_thinking);
	tcase_add_test(t, no_end);
	tcase_add_loop_test(t, breaks, 0, sizeof broken / sizeof *broken);
	tcase_add_test(t, refusal);
	tcase_add_test(t, requests);
	tcase_add_test(t, options);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
