/* What an archive may take of a disk: not only its files' bytes count, and not only what it names. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/sandbox/untar.h"
#include "base/file.h"

static char place[] = "/tmp/test_untar.XXXXXX";
static int top = -1;
static struct error err;

static void set_up(void)
{
	ck_assert_ptr_nonnull(mkdtemp(place));
	top = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void tear_down(void)
{
	(void)close(top);
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, place, &err), 0);
	memcpy(place + sizeof place - 7, "XXXXXX", 6);
}

/* An entry without bytes. */
static void put(int fd, const char *name, char type)
{
	char block[512] = { 0 };
	unsigned sum = 0;

	ck_assert_uint_lt(strlen(name), 100);
	memcpy(block, name, strlen(name));
	(void)snprintf(block + 100, 8, "%07o", 0755u);
	(void)snprintf(block + 108, 8, "%07o", 0u);
	(void)snprintf(block + 116, 8, "%07o", 0u);
	(void)snprintf(block + 124, 12, "%011o", 0u);
	(void)snprintf(block + 136, 12, "%011o", 0u);
	memset(block + 148, ' ', 8);
	block[156] = type;
	memcpy(block + 257, "ustar", 6);
	memcpy(block + 263, "00", 2);
	for (size_t i = 0; i < sizeof block; i++)
		sum += (unsigned char)block[i];
	(void)snprintf(block + 148, 8, "%06o", sum);
	ck_assert_int_eq(file_write_all(fd, block, sizeof block, &err), 0);
}

static int unpack(int fd, uint64_t room, uint64_t entries)
{
	static const char end[1024];
	struct untar u = { .root = top, .room = room, .entries = entries };
	int result;

	ck_assert_int_eq(file_write_all(fd, end, sizeof end, &err), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	result = untar(&u, fd, &err);
	(void)close(fd);
	return result;
}

static int begin(void)
{
	int fd = memfd_create("tar", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(empty_files_and_folders)
{
	static const char types[] = { '0', '5' };

	for (size_t t = 0; t < 2; t++)
		for (int fits = 0; fits < 2; fits++) {
			int fd = begin(), result;
			char name[16];

			for (int i = 0; i < 20; i++) {
				(void)snprintf(name, sizeof name, "%c%d-%d", types[t], fits, i);
				put(fd, name, types[t]);
			}
			result = unpack(fd, fits ? 20 * 4096 : 19 * 4096, 100);
			ck_assert_int_eq(result, fits ? 0 : -1);
			if (!fits)
				ck_assert_int_eq(err.code, EFBIG);
		}
}
END_TEST

START_TEST(folders_that_are_not_named)
{
	static const char deep[] = "a/b/c/d/e/f/g/h/i/j/file"; /* eleven */

	for (int fits = 0; fits < 2; fits++) {
		int fd = begin();

		put(fd, deep + (fits ? 0 : 2), '0');
		ck_assert_int_eq(unpack(fd, 1 << 20, fits ? 11 : 9), fits ? 0 : -1);
		if (!fits)
			ck_assert_int_eq(err.code, EFBIG);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("untar");
	TCase *all = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(all, 240);
	tcase_add_checked_fixture(all, set_up, tear_down);
	tcase_add_test(all, empty_files_and_folders);
	tcase_add_test(all, folders_that_are_not_named);
	suite_add_tcase(suite, all);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
