/* Whose a range of subordinate ids is, and what an id of an image is on this machine. */
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/sandbox/ids.h"
#include "base/file.h"

#define FREE 100000u

static struct ids_map look(const char *text, uint32_t *free_from)
{
	struct ids_map map = { .own = 1000 };

	*free_from = FREE;
	ids_look_up(text, "me", 1000, &map, free_from);
	return map;
}

START_TEST(finds_the_largest_range)
{
	uint32_t free_from;
	struct ids_map map = look("you:200000:65536\nme:100000:10\nme:300000:65536\n1000:400000:100\nmeow:500000:900000\n", &free_from);

	ck_assert_uint_eq(map.first, 300000);
	ck_assert_uint_eq(map.count, 65536);
	ck_assert_uint_eq(free_from, 1400000);
	map = look("1000:165536:65536", &free_from);
	ck_assert_uint_eq(map.first, 165536);
	ck_assert_uint_eq(free_from, 231072);
}
END_TEST

START_TEST(takes_no_line_that_is_none)
{
	static const char *const bad[] = {
		"", "\n", "me", "me:", "me:1", "me:1:", "me::5", "me:-1:5", "me:5:x", "me:5:5x", "me:0:5", "me:5:0", ":5:5", "me: 5:5",
		"me:4294967295:1", "me:4294967000:5000", "me:99999999999999999999:1", "me:1:99999999999999999999",
		"me:900:200", /* its own id is in it */
		"m:100000:65536", "mee:100000:65536", "100:100000:65536",
	};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		uint32_t free_from;
		struct ids_map map = look(bad[i], &free_from);

		ck_assert_msg(!map.count, "%s: %u ids", bad[i], map.count);
	}
}
END_TEST

START_TEST(knows_what_is_inside)
{
	const struct ids_map map = { .own = 1000, .first = 100000, .count = 10 }, one = { .own = 1000 };
	static const struct { uint32_t inside, outside; bool known; } rows[] = {
		{ 0, 1000, true }, { 1, 100000, true }, { 10, 100009, true }, { 11, 1000, false }, { UINT32_MAX, 1000, false },
	};
	bool known;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ck_assert_uint_eq(ids_outside(&map, rows[i].inside, &known), rows[i].outside);
		ck_assert_int_eq(known, rows[i].known);
		if (known)
			ck_assert_uint_eq(ids_inside(&map, rows[i].outside), rows[i].inside);
	}
	ck_assert_uint_eq(ids_outside(&one, 33, &known), 1000);
	ck_assert(!known);
	/* Neither the user's nor of the range: a folder that the machine's root made. */
	ck_assert_uint_eq(ids_inside(&map, 33), 33);
	ck_assert_uint_eq(ids_inside(&map, 100010), 100010);
}
END_TEST

START_TEST(is_kept_in_a_file)
{
	char place[] = "/tmp/test_ids.XXXXXX";
	const struct ids ids = { { 1000, 100000, 65536 }, { 1001, UINT32_MAX - 9, 9 } };
	struct ids read;
	struct error err;
	int folder;

	ck_assert_ptr_nonnull(mkdtemp(place));
	folder = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(ids_read(&read, folder, &err), 0);
	ck_assert_uint_eq(read.users.count, 0);
	ck_assert_uint_eq(read.users.own, geteuid());
	ck_assert_int_eq(ids_write(&ids, folder, false, &err), 0);
	ck_assert_int_eq(ids_read(&read, folder, &err), 1);
	ck_assert(ids_same(&ids, &read));
	ck_assert_int_eq(file_replace(folder, IDS_FILE, "1:2", 3, 0600, false, &err), 0);
	ck_assert_int_eq(ids_read(&read, folder, &err), -1);
	(void)close(folder);
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, place, &err), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ids");
	TCase *tests = tcase_create("ids");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, finds_the_largest_range);
	tcase_add_test(tests, takes_no_line_that_is_none);
	tcase_add_test(tests, knows_what_is_inside);
	tcase_add_test(tests, is_kept_in_a_file);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
