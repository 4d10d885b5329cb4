/* The Messages API: answers are assembled verbatim, requests extend one another. */
#include <check.h>
#include <fcntl.h>
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

	tcase_add_test(t, assembles);
	tcase_add_test(t, truncated_arguments);
	tcase_add_test(t, no_arguments);
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
