/* Why a cell failed, in one sentence. */
#include <check.h>
#include <stdlib.h>

#include "backend/kernel/sentence.h"

START_TEST(sentences)
{
	static const struct {
		const char *output, *sentence;
	} cases[] = {
		{ "---\nZeroDivisionError      Traceback (most recent call last)\nCell In[1], line 4\n      1 import os\n----> 4 1/0\n\n"
		  "ZeroDivisionError: division by zero\n[error ZeroDivisionError]\n", "line 4: ZeroDivisionError: division by zero" },
		{ "  Cell In[1], line 1\n    x = (\n         ^\nSyntaxError: incomplete input\n\n[error SyntaxError]\n",
		  "line 1: SyntaxError: incomplete input" },
		{ "printed\nthe kernel died\n[error DeadKernelError]\n", "the kernel died" },
		{ "Cell In[1]\n], line 7\nlast", "last" },
		{ "", "it failed" },
		{ "\n \n", "it failed" },
	};
	char text[64];

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		sentence_of_failure(cases[i].output, text, sizeof text);
		ck_assert_str_eq(text, cases[i].sentence);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sentence");
	TCase *t = tcase_create("sentence");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_test(t, sentences);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
