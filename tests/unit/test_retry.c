/* When to ask again and how long to wait; what models cost. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "backend/llm/retry.h"
#include "backend/llm/usage.h"

#define TEN "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac-"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static const struct {
	long status;
	const char *should, *ms, *after, *body;
	bool retry;
	double delay;
	const char *reason;
} cases[] = {
	{ 400, "", "", "", "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"bad\"}}", false, -1,
	  "400 invalid_request_error: bad" },
	{ 401, "", "", "", "{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":\"x\"}}", false, -1,
	  "401 authentication_error: x" },
	{ 403, "", "", "", "", false, -1, "403 without a body" },
	{ 404, "", "", "", "<html>", false, -1, "404: <html>" },
	{ 502, "", "", "", "<" HUNDRED HUNDRED HUNDRED, true, -1, "502: <" HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac" },
	{ 502, "", "", "", "a\xe9\tb", true, -1, "502: a? b" },
	{ 200, "", "", "", "<html>", false, -1, "200 with something in place of a stream of events: <html>" },
	{ 413, "", "", "", "", false, -1, "413 without a body" },
	{ 408, "", "", "", "", true, -1, "408 without a body" },
	{ 409, "", "", "", "", true, -1, "409 without a body" },
	{ 429, "", "", "7", "", true, 7, "429 without a body" },
	{ 429, "", "250", "7", "", true, 0.25, "429 without a body" },
	{ 429, "", "", "Thu, 01 Jan 1970 00:16:50 GMT", "", true, 10, "429 without a body" },
	{ 429, "", "", "", "{\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\",\"details\":{\"error_code\":"
	  "\"enforced_spend_limit_reached\"}}}", false, -1, "429 rate_limit_error: m" },
	{ 500, "", "", "", "", true, -1, "500 without a body" },
	{ 529, "", "", "", "{\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}", true, -1,
	  "529 overloaded_error: Overloaded" },
	{ 529, "false", "", "", "", false, -1, "529 without a body" },
	{ 400, "true", "", "nonsense", "", true, -1, "400 without a body" },
	{ 200, "", "", "", "{\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}", true, -1, "200 api_error: m" },
};

START_TEST(judges)
{
	struct retry_headers h = { .request_id = "req_1" };
	struct trouble t;

	strncpy(h.should_retry, cases[_i].should, sizeof h.should_retry - 1);
	strncpy(h.retry_after_ms, cases[_i].ms, sizeof h.retry_after_ms - 1);
	strncpy(h.retry_after, cases[_i].after, sizeof h.retry_after - 1);
	retry_judge(cases[_i].status, &h, cases[_i].body, strlen(cases[_i].body), 1000, &t);
	ck_assert_msg(t.retry == cases[_i].retry, "%s", t.reason);
	ck_assert_double_eq(t.delay, cases[_i].delay);
	ck_assert_str_eq(t.reason, cases[_i].reason);
	ck_assert_str_eq(t.request_id, "req_1");
}
END_TEST

START_TEST(delays)
{
	struct trouble t = { .delay = -1 };

	ck_assert_double_eq(retry_delay(&t, 1, 0), 0.5);
	ck_assert_double_eq(retry_delay(&t, 2, 0), 1);
	ck_assert_double_eq(retry_delay(&t, 5, 0), 8);
	ck_assert_double_eq(retry_delay(&t, 30, 0), 8);
	ck_assert_double_eq(retry_delay(&t, 5, 1), 6);
	t.delay = 33;
	ck_assert_double_eq(retry_delay(&t, 1, 1), 33);
}
END_TEST

START_TEST(costs)
{
	struct models m;
	struct usage u = { 0 };
	struct error err;
	cJSON *one = cJSON_Parse("{\"input_tokens\":1000000,\"cache_write_tokens\":1000000,\"cache_write_1h_tokens\":500000,"
				 "\"cache_read_tokens\":1000000,\"output_tokens\":100000}"), *out;
	double cost;

	ck_assert_int_eq(models_open(&m, "share/prices.json", &err), 0);
	ck_assert(models_cost(&m, "claude-opus-5-5", one, &cost));
	ck_assert_double_eq_tol(cost, 4 + 0.5 * 5 + 0.5 * 8 + 0.2 + 2, 1e-9);
	ck_assert(models_cost(&m, "claude-haiku-5-5", one, &cost)); /* above 100,000 the higher tier */
	ck_assert_double_eq_tol(cost, 0.5 + 0.5 * 0.625 + 0.5 * 1 + 0.05 + 0.25, 1e-9);
	ck_assert(models_priced(&m, "claude-haiku-4-5-20251001"));
	ck_assert(!models_priced(&m, "claude-unheard-of"));
	ck_assert_str_eq(models_default(&m, "claude"), "claude-opus-5-5");

	ck_assert_int_eq(usage_add(&u, "claude-opus-5-5", one, 12.7, true), 0);
	out = usage_render(&u);
	ck_assert_double_eq_tol(cJSON_GetObjectItem(out, "cost")->valuedouble, 12.7, 1e-9);
	cJSON_Delete(out);
	ck_assert_int_eq(usage_add(&u, "claude-unheard-of", one, -1, true), 0);
	out = usage_render(&u);
	ck_assert(cJSON_IsNull(cJSON_GetObjectItem(out, "cost"))); /* never a sum that leaves something out */
	ck_assert(cJSON_IsFalse(cJSON_GetObjectItem(out, "priced")));
	ck_assert_double_eq(cJSON_GetObjectItem(out, "turns")->valuedouble, 2);
	cJSON_Delete(out);
	cJSON_Delete(one);
	usage_free(&u);
	models_close(&m);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("retry");
	TCase *t = tcase_create("retry");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_loop_test(t, judges, 0, sizeof cases / sizeof *cases);
	tcase_add_test(t, delays);
	tcase_add_test(t, costs);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
