/* Models: how the tree calls them, where a hub is, and what a prompt says. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/fetch.h"
#include "backend/sandbox/loading.h"
#include "base/hubname.h"

START_TEST(names)
{
	char out[HUBNAME_MAX], name[HUBNAME_MAX + 1] = "";

	ck_assert_int_eq(hubname(out, "google/gemma-2-9b", NULL), 0);
	ck_assert_str_eq(out, "google--gemma-2-9b");
	ck_assert_int_eq(hubname(out, "gpt2", "refs/pr/1"), 0);
	ck_assert_str_eq(out, "gpt2@refs--pr--1");
	for (size_t i = 0; i < HUBNAME_MAX; i++)
		name[i] = 'a';
	ck_assert_int_eq(hubname(out, name, NULL), -1);
	name[HUBNAME_MAX - 1] = '\0';
	ck_assert_int_eq(hubname(out, name, NULL), 0);
	ck_assert_int_eq(hubname(out, name, "v1"), -1);
	name[HUBNAME_MAX - 2] = '/';
	ck_assert_int_eq(hubname(out, name, NULL), -1);
}
END_TEST

static void leads(const char *endpoint, const char *address, const char *host)
{
	char a[64], h[64];

	ck_assert_msg(fetch_on_loopback(endpoint, a, h, sizeof a), "%s", endpoint);
	ck_assert_str_eq(a, address);
	ck_assert_str_eq(h, host);
}

START_TEST(loopback)
{
	char a[64], h[64];
	static const char *const others[] = { NULL, "", "https://huggingface.co", "http://10.0.0.1:80", "127.0.0.1:80", "ftp://127.0.0.1",
					      "http://localhost.example.org", "http://", "://127.0.0.1",
					      "http://127.0.0.1/0123456789012345678901234567890123456789012345678901234567890123" };

	leads("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1:8080");
	leads("http://127.0.0.1:8080/hub", "http://127.0.0.1:8080/hub", "127.0.0.1:8080");
	leads("HTTP://LOCALHOST:99/", "HTTP://127.0.0.1:99/", "127.0.0.1:99");
	leads("http://localhost", "http://127.0.0.1", "127.0.0.1:80");
	leads("https://127.1.2.3/x", "https://127.1.2.3/x", "127.1.2.3:443");
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		ck_assert_msg(!fetch_on_loopback(others[i], a, h, sizeof a), "%s", others[i]);
}
END_TEST

static char *told(const char *models, const char *why)
{
	struct buffer out = BUFFER(LOADING_MAX);
	cJSON *list = cJSON_Parse(models);
	struct error err;

	ck_assert_int_eq(loading_info(list, why, &out, &err), 0);
	cJSON_Delete(list);
	return out.data;
}

START_TEST(prompts)
{
	char *text = told("[]", NULL);

	ck_assert_str_eq(text, "No models are configured in this notebook's sandbox.\n");
	free(text);
	text = told("[{\"name\": \"secret/one\", \"var_name\": \"m\", \"hidden\": true, \"is_peft\": true, \"base_model\": \"secret/base\"}]", NULL);
	ck_assert_ptr_null(strstr(text, "secret"));
	ck_assert_ptr_nonnull(strstr(text, "`m_tokenizer`"));
	ck_assert_ptr_nonnull(strstr(text, "/models/m_base"));
	free(text);
	text = told("[{\"name\": \"a/b\", \"var_name\": \"model\", \"is_peft\": true, \"base_model\": \"c/d\"}]", "why not");
	ck_assert_ptr_nonnull(strstr(text, "a/b, an adapter (PEFT) on c/d"));
	ck_assert_ptr_nonnull(strstr(text, "(why not)"));
	ck_assert_ptr_null(strstr(text, "tokenizer"));
	free(text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("models");
	TCase *t = tcase_create("models");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(t, 240);
	suite_add_tcase(suite, t);
	tcase_add_test(t, names);
	tcase_add_test(t, loopback);
	tcase_add_test(t, prompts);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
