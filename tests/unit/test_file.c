/* Files: whole reads, replacements that are never half done, removal of any tree. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static char place[] = "/tmp/interpfs-test-file.XXXXXX";
static struct error err;
static int dir;

#define good(call) ck_assert_msg((call) == 0, "%s: %s", #call, err.text)
#define bad(call, number) do { \
	ck_assert_int_eq((call), -1); \
	ck_assert_msg(err.code == (number), "%s: code %d, expected %d: %s", #call, err.code, (number), err.text); \
} while (0)

static void setup(void)
{
	memcpy(place + sizeof place - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(place));
	dir = file_open_folder(AT_FDCWD, place, &err);
	ck_assert_int_ge(dir, 0);
}

static void teardown(void)
{
	(void)close(dir);
	good(file_remove_tree(AT_FDCWD, place, &err));
	ck_assert_int_eq(access(place, F_OK), -1);
}

START_TEST(replaced_whole)
{
	struct buffer b = BUFFER(8);
	struct stat st;

	good(file_replace(dir, "a", "12345678", 8, 0640, true, &err));
	good(file_read(dir, "a", &b, &err));
	ck_assert_str_eq(b.data, "12345678");
	good(file_replace(dir, "a", "9", 1, 0600, false, &err));
	buffer_clear(&b);
	good(file_read(dir, "a", &b, &err));
	ck_assert_str_eq(b.data, "9");
	ck_assert_int_eq(fstatat(dir, "a", &st, 0), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(faccessat(dir, ".a~", F_OK, 0), -1);
	good(file_replace(dir, "a", "123456789", 9, 0600, false, &err));
	buffer_clear(&b);
	bad(file_read(dir, "a", &b, &err), EFBIG);
	bad(file_read(dir, "none", &b, &err), ENOENT);
	ck_assert_int_eq(mkfifoat(dir, "pipe", 0600), 0);
	bad(file_read(dir, "pipe", &b, &err), EINVAL); /* and is not waited for */
	bad(file_read(dir, ".", &b, &err), EISDIR);
	bad(file_replace(dir, "none/a", "", 0, 0600, false, &err), ENOENT);
	bad(file_replace(dir, "none/", "", 0, 0600, false, &err), EINVAL);
	buffer_free(&b);
}
END_TEST

START_TEST(a_long_name)
{
	char name[256];
	struct buffer b = BUFFER(8);

	memset(name, 'n', 255);
	name[255] = '\0';
	good(file_replace(dir, name, "x", 1, 0600, false, &err));
	good(file_read(dir, name, &b, &err));
	ck_assert_str_eq(b.data, "x");
	buffer_free(&b);
}
END_TEST

START_TEST(a_full_disk_leaves_the_old)
{
	struct buffer b = BUFFER(64);

	/* /dev/full is what a full disk looks like to write(2). */
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	ck_assert_int_ge(full, 0);
	bad(file_write_all(full, "x", 1, &err), ENOSPC);
	(void)close(full);
	good(file_replace(dir, "a", "old", 3, 0600, false, &err));
	/* A folder in the temporary file's place stays. */
	ck_assert_int_eq(mkdirat(dir, ".a~", 0700), 0);
	bad(file_replace(dir, "a", "new", 3, 0600, false, &err), EISDIR);
	good(file_read(dir, "a", &b, &err));
	ck_assert_str_eq(b.data, "old");
	/* A link is not followed, a pipe not waited for: they go. */
	ck_assert_int_eq(unlinkat(dir, ".a~", AT_REMOVEDIR), 0);
	ck_assert_int_eq(symlinkat("/dev/full", dir, ".a~"), 0);
	good(file_replace(dir, "a", "new", 3, 0600, false, &err));
	ck_assert_int_eq(mkfifoat(dir, ".a~", 0600), 0);
	good(file_replace(dir, "a", "newer", 5, 0600, false, &err));
	buffer_clear(&b);
	good(file_read(dir, "a", &b, &err));
	ck_assert_str_eq(b.data, "newer");
	buffer_free(&b);
}
END_TEST

START_TEST(folders)
{
	good(file_make_folders(dir, "a/b//c", 0700, &err));
	good(file_make_folders(dir, "a/b/c", 0700, &err));
	good(file_replace(dir, "a/b/c/f", "", 0, 0600, true, &err));
	bad(file_make_folder(dir, "a/b/c/f", 0700, &err), ENOTDIR);
	bad(file_make_folders(dir, "a/b/c/f/g", 0700, &err), ENOTDIR);
	good(file_sync_folder(dir, "a/b", &err));
	ck_assert_int_eq(file_open_folder(dir, "a/b/c/f", &err), -1);
}
END_TEST

START_TEST(removed_whatever_it_is)
{
	char path[8192] = "deep";

	good(file_remove_tree(dir, "none", &err));
	good(file_replace(dir, "kept", "kept", 4, 0600, false, &err));
	good(file_make_folders(dir, "t/work/work", 0700, &err));
	good(file_replace(dir, "t/work/f", "", 0, 0400, false, &err));
	ck_assert_int_eq(symlinkat("../kept", dir, "t/link"), 0);
	ck_assert_int_eq(symlinkat("..", dir, "t/up"), 0);
	ck_assert_int_eq(fchmodat(dir, "t/work/work", 0, 0), 0);
	ck_assert_int_eq(fchmodat(dir, "t/work", 0500, 0), 0);
	good(file_remove_tree(dir, "t", &err));
	ck_assert_int_eq(faccessat(dir, "t", F_OK, 0), -1);
	good(faccessat(dir, "kept", F_OK, 0));
	/* A link to a folder is a link. */
	ck_assert_int_eq(symlinkat("kept", dir, "alias"), 0);
	good(file_remove_tree(dir, "alias", &err));
	good(faccessat(dir, "kept", F_OK, 0));
	/* Deeper than descriptors reach, with something on every level. */
	for (int i = 0; i < 500; i++) {
		good(file_make_folder(dir, path, 0700, &err));
		strncat(path, "/f", sizeof path - strlen(path) - 1);
		good(file_replace(dir, path, "", 0, 0600, false, &err));
		path[strlen(path) - 1] = 'd';
	}
	good(file_remove_tree(dir, "deep", &err));
	ck_assert_int_eq(faccessat(dir, "deep", F_OK, 0), -1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("file");
	TCase *t = tcase_create("file");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, replaced_whole);
	tcase_add_test(t, a_long_name);
	tcase_add_test(t, a_full_disk_leaves_the_old);
	tcase_add_test(t, folders);
	tcase_add_test(t, removed_whatever_it_is);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
