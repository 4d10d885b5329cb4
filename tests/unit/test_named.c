/* Files without a row: names, folders, how long one lives, and what it costs to find one. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/named.h"

static struct row row_a = { .name = "a" }, row_b = { .name = "b" };
static const struct node folder_a = { .row = &row_a }, folder_b = { .row = &row_b }, cell_7 = { .row = &row_a, .index = 7 };

static struct named *make(const struct node *folder, const char *name, bool listed)
{
	struct named *named = named_make(folder, name, listed);

	ck_assert_ptr_nonnull(named);
	return named;
}

START_TEST(names_are_private_to_their_folder)
{
	struct named *a = make(&folder_a, "x", false), *b = make(&folder_b, "x", false), *c = make(&cell_7, "x", false);

	ck_assert_ptr_eq(named_find(&folder_a, "x"), a);
	ck_assert_ptr_eq(named_find(&folder_b, "x"), b);
	ck_assert_ptr_eq(named_find(&cell_7, "x"), c);
	ck_assert_ptr_null(named_find(&folder_a, "y"));
	ck_assert_ptr_eq(named_by_inode(a->inode), a);
	ck_assert_int_eq(named_rename(a, "y", false), 0);
	ck_assert_ptr_null(named_find(&folder_a, "x"));
	ck_assert_ptr_eq(named_find(&folder_a, "y"), a);
	named_unlink(a);
	ck_assert_ptr_null(named_find(&folder_a, "y"));
	named_unlink(b);
	ck_assert_ptr_eq(named_find(&cell_7, "x"), c);
	named_unlink(c);
}
END_TEST

START_TEST(an_inode_is_never_used_again)
{
	struct named *named = make(&folder_a, "x", true);
	uint64_t inode = named->inode;

	named_looked_up(named);
	named_looked_up(named);
	named_forget(inode, 1);
	ck_assert_ptr_eq(named_by_inode(inode), named);
	named_forget(inode, 1);
	ck_assert_ptr_null(named_by_inode(inode));
	ck_assert_ptr_null(named_find(&folder_a, "x"));
	named = make(&folder_a, "x", true);
	ck_assert(named->inode != inode);
	named_looked_up(named);
	named_forget(named->inode, 1);
}
END_TEST

/* An editor has it open while it becomes the document's text. */
START_TEST(an_alias_has_no_name)
{
	struct named *named = make(&folder_a, "new", false);

	named_open(named);
	named_become(named, &folder_b);
	ck_assert(named->alias && named->directory.row == &row_b);
	ck_assert_ptr_null(named_find(&folder_a, "new"));
	ck_assert_ptr_null(named_find(&folder_b, "new"));
	named_close(named);
}
END_TEST

static int note(void *context, const struct named *named)
{
	strcat(context, named->name);
	return 0;
}

START_TEST(scratch_files_are_listed_and_few)
{
	struct named *made[64], *other = make(&folder_b, "o", false), *picture = make(&folder_a, "p", true);
	char name[16], seen[512] = "";

	named_looked_up(picture);
	for (int i = 0; i < 64; i++) {
		(void)snprintf(name, sizeof name, "f%d", i);
		made[i] = make(&folder_a, name, false);
	}
	ck_assert_ptr_null(named_make(&folder_a, "more", false));
	ck_assert_int_eq(errno, ENOSPC);
	for (int i = 0; i < 64; i++)
		if (i != 7 && i != 9)
			named_unlink(made[i]);
	ck_assert_int_eq(named_each(&folder_a, note, seen), 0);
	ck_assert(strlen(seen) == 4 && strstr(seen, "f7") && strstr(seen, "f9"));
	named_unlink(made[9]);
	named_unlink(made[7]);
	named_unlink(other);
	named_forget(picture->inode, 1);
}
END_TEST

/* An editor's backup of a kept file, and a text that is saved by renaming. */
START_TEST(a_file_becomes_a_scratch_file_and_the_reverse)
{
	struct named *kept = make(&folder_a, "kept.py", true), *text = make(&folder_a, "text~", false);
	char seen[64] = "";

	named_looked_up(kept);
	ck_assert_int_eq(named_rename(kept, "kept.py~", false), 0);
	ck_assert_int_eq(named_rename(text, "kept.py", true), 0);
	ck_assert(!kept->listed && text->listed);
	ck_assert_ptr_eq(named_find(&folder_a, "kept.py"), text);
	ck_assert_int_eq(named_each(&folder_a, note, seen), 0);
	ck_assert_str_eq(seen, "kept.py~");
	named_forget(kept->inode, 1);
	ck_assert_ptr_eq(named_find(&folder_a, "kept.py~"), kept);
	named_unlink(text);
	named_unlink(kept);
	seen[0] = '\0';
	ck_assert_int_eq(named_each(&folder_a, note, seen), 0);
	ck_assert_str_eq(seen, "");
}
END_TEST

/* Seconds of this process to look for each of n pictures that the kernel knows. */
static double find_all(int n)
{
	struct named **made = calloc((size_t)n, sizeof *made);
	struct timespec begin, end;
	char name[32];

	ck_assert_ptr_nonnull(made);
	for (int i = 0; i < n; i++) {
		(void)snprintf(name, sizeof name, "cell-%d-0.png", i);
		named_looked_up(made[i] = make(&folder_a, name, true));
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	for (int i = 0; i < n; i++) {
		(void)snprintf(name, sizeof name, "cell-%d-0.png", i);
		ck_assert_ptr_eq(named_find(&folder_a, name), made[i]);
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	for (int i = 0; i < n; i++)
		named_forget(made[i]->inode, 1);
	free(made);
	return (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
}

START_TEST(a_name_costs_the_same_among_many)
{
	double few = find_all(5000), many = find_all(50000);

	ck_assert_msg(many < 40 * few + 0.2, "%.3f s for 5,000, %.3f s for 50,000", few, many);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("named");
	TCase *cases = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(cases, 240);
	tcase_add_test(cases, names_are_private_to_their_folder);
	tcase_add_test(cases, an_inode_is_never_used_again);
	tcase_add_test(cases, an_alias_has_no_name);
	tcase_add_test(cases, scratch_files_are_listed_and_few);
	tcase_add_test(cases, a_file_becomes_a_scratch_file_and_the_reverse);
	tcase_add_test(cases, a_name_costs_the_same_among_many);
	suite_add_tcase(suite, cases);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
