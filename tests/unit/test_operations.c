/* What the mount answers at all. An operation without a function is ENOSYS, which the kernel takes for the
 * whole mount: it never asks again, and some it answers with success from then on. */
#include <check.h>
#include <stddef.h>
#include <stdlib.h>

#include "fs/files.h"
#include "fs/treefile.h"

START_TEST(whatever_a_tree_answers_reaches_it)
{
	void *const *mount = (void *const *)&mount_operations, *const *tree = (void *const *)&treefile_operations;

	for (size_t i = 0; i < sizeof mount_operations / sizeof *mount; i++)
		ck_assert_msg(!tree[i] || mount[i], "member %zu of struct fuse_lowlevel_ops", i);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("operations");
	TCase *t = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_test(t, whatever_a_tree_answers_reaches_it);
	suite_add_tcase(suite, t);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
