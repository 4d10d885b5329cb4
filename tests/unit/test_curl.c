/* What is kept of an answer's headers, and that libcurl is there. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/curl.h"
#include "base/mounts.h"

START_TEST(headers)
{
	char kind[8] = "", server[16] = "before";
	const struct kept_header kept[] = { { "Content-Type", kind, sizeof kind }, { "Server", server, sizeof server } };
	static const char *const lines[] = {
		"HTTP/1.1 200 OK\r\n", "content-type: \t a/b \r\n", "Serverless: no\r\n", "Serve: no\r\n", "Server\r\n", "\r\n", "",
	};

	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		curl_keep_header(lines[i], strlen(lines[i]), kept, 2);
	ck_assert_str_eq(kind, "a/b");
	ck_assert_str_eq(server, "before");
	curl_keep_header("Content-Type: application/json", 30, kept, 2);
	ck_assert_str_eq(kind, "applica");
	curl_keep_header("SERVER:   \r\n", 12, kept, 2);
	ck_assert_str_eq(server, "");
}
END_TEST

START_TEST(loaded_once)
{
	struct error err;

	ck_assert_int_eq(curl_load(&err), 0);
	ck_assert_int_eq(curl_load(&err), 0);
	ck_assert_str_eq(curl_easy_strerror(CURLE_OK), "No error");
}
END_TEST

START_TEST(table_of_mounts)
{
	static const struct { const char *escaped, *text; } examples[] = {
		{ "/mnt", "/mnt" }, { "/my\\040lab", "/my lab" }, { "\\134\\011\\012", "\\\t\n" }, { "/a\\", "/a\\" }, { "", "" },
	};
	char text[32];

	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
		memcpy(text, examples[i].escaped, strlen(examples[i].escaped) + 1);
		mounts_unescape(text);
		ck_assert_str_eq(text, examples[i].text);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("curl");
	TCase *cases = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(cases, 240);
	tcase_add_test(cases, headers);
	tcase_add_test(cases, loaded_once);
	tcase_add_test(cases, table_of_mounts);
	suite_add_tcase(suite, cases);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
