/* A copy of a tree in which somebody writes who means harm: nothing outside of the tree gets into it. */
#include <check.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/copy.h"
#include "base/file.h"

#define good(call) ck_assert_msg((call) == 0, "%s: %s", #call, err.text)

static char place[] = "/tmp/test_copy.XXXXXX";
static int top = -1;
static struct error err;

/* Some file systems list a name twice, where it was removed and made again meanwhile. The folder that is listed
 * so has an inode of this number. */
static ino_t twice;
static int turn;

static struct dirent *entry(const char *name, unsigned char type)
{
	static struct dirent e;

	e = (struct dirent){ .d_type = type };
	(void)snprintf(e.d_name, sizeof e.d_name, "%s", name);
	return &e;
}

/* tree/d becomes a link to what is outside. */
static void swap(void)
{
	ck_assert_int_eq(renameat(top, "tree/d", top, "gone"), 0);
	ck_assert_int_eq(symlinkat("../outside", top, "tree/d"), 0);
}

struct dirent *readdir(DIR *dir)
{
	static struct dirent *(*real)(DIR *dir);
	struct stat st;

	if (!real) {
		void *found = dlsym(RTLD_NEXT, "readdir");

		memcpy(&real, &found, sizeof real);
	}
	if (!twice || fstat(dirfd(dir), &st) || st.st_ino != twice)
		return real(dir);
	switch (turn++) {
	case 0:
		return entry("d", DT_DIR);
	case 1:
		swap();
		return entry("d", DT_LNK);
	case 2:
		return entry("z", DT_REG);
	default:
		return NULL;
	}
}

static void put(const char *path, const char *text)
{
	good(file_replace(top, path, text, strlen(text), 0600, false, &err));
}

static void text_is(const char *path, const char *text)
{
	struct buffer found = BUFFER(100);

	good(file_read(top, path, &found, &err));
	ck_assert_str_eq(found.data, text);
	buffer_free(&found);
}

static void set_up(void)
{
	ck_assert_ptr_nonnull(mkdtemp(place));
	top = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	good(file_make_folders(top, "tree/d", 0755, &err));
	good(file_make_folders(top, "outside", 0755, &err));
	put("tree/d/a", "inside");
	put("outside/a", "outside");
	good(linkat(top, "tree/d/a", top, "tree/z", 0));
	twice = 0;
	turn = 0;
}

static void tear_down(void)
{
	(void)close(top);
	good(file_remove_tree(AT_FDCWD, place, &err));
	memcpy(place + sizeof place - 7, "XXXXXX", 6);
}

static size_t pass(struct copy *copy)
{
	size_t changed = 0;

	good(copy_pass(copy, top, "tree", top, "copy", &changed, &err));
	return changed;
}

START_TEST(names_of_one_file)
{
	struct stat a, z;
	struct copy *copy;

	good(copy_open(&copy, NULL, NULL, &err));
	(void)pass(copy);
	text_is("copy/d/a", "inside");
	ck_assert(!fstatat(top, "copy/d/a", &a, 0) && !fstatat(top, "copy/z", &z, 0) && a.st_ino == z.st_ino && a.st_nlink == 2);
	copy_close(copy);
}
END_TEST

START_TEST(a_link_in_a_folders_place)
{
	struct stat st;
	struct copy *copy;

	ck_assert(!fstatat(top, "tree", &st, 0));
	twice = st.st_ino;
	good(copy_open(&copy, NULL, NULL, &err));
	(void)pass(copy);
	twice = 0;
	text_is("copy/z", "inside");
	ck_assert(!fstatat(top, "outside/a", &st, 0) && st.st_nlink == 1);
	/* So does the next pass, which may have nothing to do: what is older than the clock's step is not copied again. */
	(void)pass(copy);
	text_is("copy/z", "inside");
	ck_assert(!fstatat(top, "copy/d", &st, AT_SYMLINK_NOFOLLOW) && S_ISLNK(st.st_mode));
	copy_close(copy);
}
END_TEST

START_TEST(what_is_no_folder_any_more)
{
	size_t changed = 0;
	struct copy *copy;

	good(copy_open(&copy, NULL, NULL, &err));
	ck_assert_int_eq(copy_pass(copy, top, "none", top, "copy", &changed, &err), 1);
	good(symlinkat("tree", top, "link"));
	ck_assert_int_eq(copy_pass(copy, top, "link", top, "copy", &changed, &err), 1);
	ck_assert_int_ne(faccessat(top, "copy", F_OK, 0), 0);
	copy_close(copy);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("copy");
	TCase *all = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(all, 240);
	tcase_add_checked_fixture(all, set_up, tear_down);
	tcase_add_test(all, names_of_one_file);
	tcase_add_test(all, a_link_in_a_folders_place);
	tcase_add_test(all, what_is_no_folder_any_more);
	suite_add_tcase(suite, all);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
