/* Paths below a root, while names change elsewhere on the machine. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/inside.h"

static char place[] = "/tmp/interpfs-test-inside.XXXXXX";
static int above, root;
static atomic_bool over;

static void setup(void)
{
	struct error err;

	memcpy(place + sizeof place - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(place));
	above = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(mkdirat(above, "root", 0755) | mkdirat(above, "etc", 0755), 0);
	root = openat(above, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(mkdirat(root, "etc", 0755) | mkdirat(root, "run", 0755), 0);
	ck_assert_int_eq(file_replace(above, "etc/host", "host", 4, 0644, false, &err), 0);
	ck_assert_int_eq(file_replace(root, "run/conf", "inside", 6, 0644, false, &err), 0);
	ck_assert_int_eq(symlinkat("../run/conf", root, "etc/conf") | symlinkat("../../etc/host", root, "etc/out") |
			 symlinkat("/run/conf", root, "etc/absolute"), 0);
}

static void teardown(void)
{
	struct error err;

	(void)close(root);
	(void)close(above);
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, place, &err), 0);
}

static void holds(const char *path, const char *text)
{
	int fd = inside_open(root, path, O_RDONLY, 0, INSIDE_LINKS);
	char got[16] = "";

	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	ck_assert_int_ge(read(fd, got, sizeof got - 1), 0);
	ck_assert_str_eq(got, text);
	(void)close(fd);
}

START_TEST(nothing_leads_out)
{
	holds("etc/conf", "inside");
	holds("/etc/absolute", "inside");
	holds("../../run/conf", "inside");
	ck_assert_int_eq(inside_open(root, "etc/out", O_RDONLY, 0, INSIDE_LINKS), -1);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(inside_open(root, "etc/conf", O_RDONLY, 0, INSIDE_NO_LINKS), -1);
	ck_assert_int_eq(errno, ELOOP);
}
END_TEST

static void *rename_for_ever(void *name)
{
	while (!atomic_load(&over))
		if (renameat(above, "x", above, name) < 0 || renameat(above, name, above, "x") < 0)
			return "rename";
	return NULL;
}

START_TEST(names_change_elsewhere)
{
	pthread_t thread;
	void *failed;
	int fd, code = 0;

	ck_assert_int_eq(mkdirat(above, "x", 0755), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, rename_for_ever, (char[]){ "y" }), 0);
	for (int i = 0; i < 30000 && !code; i++) {
		fd = inside_open(root, "etc/conf", O_RDONLY, 0, INSIDE_LINKS);
		code = fd < 0 ? errno : 0;
		if (fd >= 0)
			(void)close(fd);
	}
	atomic_store(&over, true);
	ck_assert_int_eq(pthread_join(thread, &failed), 0);
	ck_assert_ptr_null(failed);
	ck_assert_msg(!code, "%s", strerror(code));
}
END_TEST

/* What is in memory is opened; EAGAIN may come at any time (names change elsewhere), but not for ever. */
static int at_once(int folder, const char *path)
{
	int fd = -1;

	for (int i = 0; i < 100000 && (fd = inside_open(folder, path, O_RDONLY, 0, INSIDE_AT_ONCE)) < 0 && errno == EAGAIN; i++)
		;
	return fd;
}

START_TEST(at_once_or_not_at_all)
{
	int top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), fd;

	holds("run/conf", "inside");
	fd = at_once(root, "run/conf");
	ck_assert_msg(fd >= 0, "%s", strerror(errno));
	(void)close(fd);
	ck_assert_int_lt(at_once(root, "etc/conf"), 0);
	ck_assert_int_eq(errno, ELOOP);
	/* Another mount may be a network's, or another program's. */
	fd = inside_open(top, "dev/null", O_RDONLY, 0, INSIDE_NO_LINKS);
	ck_assert_int_ge(fd, 0);
	(void)close(fd);
	ck_assert_int_lt(inside_open(top, "dev/null", O_RDONLY, 0, INSIDE_AT_ONCE), 0);
	ck_assert_int_eq(errno, EAGAIN);
	(void)close(top);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("inside");
	TCase *cases = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(cases, 240);
	tcase_add_checked_fixture(cases, setup, teardown);
	tcase_add_test(cases, nothing_leads_out);
	tcase_add_test(cases, names_change_elsewhere);
	tcase_add_test(cases, at_once_or_not_at_all);
	suite_add_tcase(suite, cases);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
