/* SHA-256 against the standard's examples and against libcrypto's EVP. */
#include <check.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"

START_TEST(the_standards_examples)
{
	static const struct { const char *text, *hex; } examples[] = {
		{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
		{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	};
	char hex[SHA256_HEX_SIZE], half[33];

	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
		sha256_hex(examples[i].text, strlen(examples[i].text), hex, sizeof hex);
		ck_assert_str_eq(hex, examples[i].hex);
		sha256_hex(examples[i].text, strlen(examples[i].text), half, sizeof half);
		ck_assert(!strncmp(half, examples[i].hex, 32) && !half[32]);
	}
}
END_TEST

static void compare(const unsigned char *data, size_t n)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char hex[SHA256_HEX_SIZE], theirs[SHA256_HEX_SIZE];

	ck_assert_int_eq(EVP_Digest(data, n, digest, NULL, EVP_sha256(), NULL), 1);
	for (int i = 0; i < 32; i++)
		snprintf(theirs + 2 * i, 3, "%02x", digest[i]);
	sha256_hex(data, n, hex, sizeof hex);
	ck_assert_str_eq(hex, theirs);
}

START_TEST(every_length)
{
	size_t most = 1000003;
	unsigned char *data = malloc(most);

	ck_assert_ptr_nonnull(data);
	for (size_t i = 0; i < most; i++)
		data[i] = (unsigned char)(i * 2654435761u >> 24);
	for (size_t n = 0; n < 300; n++)
		compare(data, n);
	compare(data, most);
	free(data);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sha256");
	TCase *tests = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tests, 240);
	tcase_add_test(tests, the_standards_examples);
	tcase_add_test(tests, every_length);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
