/* The copy of /etc that sandboxes of root get: what others may read, as it was; shared, and gone when
 * nobody uses it. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backend/sandbox/etc.h"
#include "base/cleanup.h"
#include "base/file.h"

static char place[64], path[256];
static struct error err;

#define good(call) ck_assert_msg((call) == 0, "%s: %s", #call, err.text)

static const char *in(const char *name)
{
	(void)snprintf(path, sizeof path, "%s/%s", place, name);
	return path;
}

static void put(const char *name, const char *text, mode_t mode)
{
	good(file_replace(AT_FDCWD, in(name), text, strlen(text), mode, false, &err));
}

static char *take(void)
{
	char host[128];
	char *copy;

	(void)snprintf(host, sizeof host, "%s", in("host"));
	copy = etc_take(place, host, &err);
	ck_assert_msg(copy != NULL, "%s", err.code ? err.text : "too much");
	return copy;
}

static void holds(const char *copy, const char *name, const char *text)
{
	cleanup_buffer struct buffer b = BUFFER(4096);
	char whole[256];

	(void)snprintf(whole, sizeof whole, "%s/%s", copy, name);
	if (!text) {
		struct stat st;

		ck_assert_msg(lstat(whole, &st) < 0 && errno == ENOENT, "%s is there", name);
		return;
	}
	good(file_read(AT_FDCWD, whole, &b, &err));
	ck_assert_str_eq(b.data, text);
}

static void set_up(void)
{
	(void)umask(022);
	(void)snprintf(place, sizeof place, "/tmp/test_etc.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(place));
	good(file_make_folders(AT_FDCWD, in("host/open/deep"), 0755, &err));
	good(file_make_folder(AT_FDCWD, in("host/closed"), 0700, &err));
	put("host/passwd", "root", 0644);
	put("host/shadow", "secret", 0640);
	put("host/open/deep/tool", "#!", 0755);
	put("host/closed/open", "public in a private folder", 0644);
	good(symlink("deep/tool", in("host/open/link")));
	good(mkfifo(in("host/pipe"), 0666));
}

static void tear_down(void)
{
	good(file_remove_tree(AT_FDCWD, place, &err));
}

START_TEST(what_others_may_read)
{
	cleanup_free char *copy = take();
	struct stat st;

	holds(copy, "passwd", "root");
	holds(copy, "open/link", "#!");
	holds(copy, "shadow", NULL);
	holds(copy, "closed", NULL);
	holds(copy, "pipe", NULL);
	(void)snprintf(path, sizeof path, "%s/open/deep/tool", copy);
	good(stat(path, &st));
	ck_assert_uint_eq(st.st_mode & 07777, 0755);
	good(lstat(in("host/open/link"), &st));
	ck_assert(S_ISLNK(st.st_mode));
}
END_TEST

START_TEST(as_it_was)
{
	cleanup_free char *before = take(), *same = take(), *after = NULL;

	ck_assert_str_eq(before, same);
	put("host/key", "made later", 0600);
	put("host/shadow", "changed", 0640);
	after = take();
	ck_assert_str_eq(before, after); /* what nobody sees changes nothing */
	put("host/passwd", "more", 0644);
	free(after);
	after = take();
	ck_assert_str_ne(before, after);
	holds(before, "passwd", "root");
	holds(after, "passwd", "more");
	holds(after, "key", NULL);
}
END_TEST

START_TEST(unused_ones_go)
{
	const struct timespec old[2] = { { .tv_sec = time(NULL) - 7200 }, { .tv_sec = time(NULL) - 7200 } };
	char *copies[4];
	int ctl;

	good(file_make_folders(AT_FDCWD, in("sandboxes/7/box/ctl"), 0700, &err));
	ctl = file_open_folder(AT_FDCWD, path, &err);
	for (int i = 0; i < 4; i++) {
		char text[16];

		(void)snprintf(text, sizeof text, "%d", i);
		put("host/passwd", text, 0644);
		copies[i] = take();
		if (i == 0)
			good(etc_use(ctl, copies[i], &err));
		if (i < 2)
			good(utimensat(AT_FDCWD, copies[i], old, 0));
	}
	ck_assert_int_eq(access(copies[0], F_OK), 0);  /* used */
	ck_assert_int_eq(access(copies[1], F_OK), -1); /* old */
	ck_assert_int_eq(access(copies[2], F_OK), 0);  /* taken a moment ago */
	for (int i = 0; i < 4; i++)
		free(copies[i]);
	close(ctl);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("etc");
	TCase *t = tcase_create("etc");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, what_others_may_read);
	tcase_add_test(t, as_it_was);
	tcase_add_test(t, unused_ones_go);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
