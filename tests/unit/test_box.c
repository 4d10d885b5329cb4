/* A box's folder between two runs of what nobody has read: whatever lies in it then, what the host
 * makes there is made below it. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/box.h"
#include "base/cleanup.h"
#include "base/file.h"

static char place[64], path[128];
static struct error err;
static struct box box;

#define good(call) ck_assert_msg((call) == 0, "%s: %s", #call, err.text)

static const char *in(const char *name)
{
	(void)snprintf(path, sizeof path, "%s/%s", place, name);
	return path;
}

static void set_up(void)
{
	(void)umask(022);
	(void)snprintf(place, sizeof place, "/tmp/test_box.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(place));
	good(mkdir(in("victim"), 0755));
	good(box_init(&box, place, in("box"), "test", &err));
	good(box_make(&box, &err));
}

static void tear_down(void)
{
	good(rmdir(in("victim"))); /* nothing was put there */
	box_free(&box);
	good(file_remove_tree(AT_FDCWD, place, &err));
}

/* The sandbox has put a link to a folder of the host in the place of its own. */
static void plant(const char *name)
{
	char victim[96];

	(void)snprintf(victim, sizeof victim, "%s/victim", place);
	good(file_remove_tree(AT_FDCWD, in(name), &err));
	good(symlink(victim, path));
}

/* Above a link that was put in a folder's place an overlay would write where it leads on this machine. */
START_TEST(a_link_is_no_upper_folder)
{
	char target[128];

	(void)snprintf(target, sizeof target, "%s/victim", place);
	good(rmdir(in("box/root/srv")));
	good(symlink(target, in("box/root/srv")));
	good(box_make(&box, &err));
	good(box_make_uppers(&box, true, &err));
	ck_assert(!box_has_upper(&box, "srv") && access(in("box/up/srv"), F_OK) < 0);
	ck_assert(box_has_upper(&box, "root") && box_has_upper(&box, "tmp") && !access(in("box/root/tmp"), F_OK));
}
END_TEST

START_TEST(made_once)
{
	struct stat st;

	good(stat(in("box/root/var/tmp"), &st));
	ck_assert_uint_eq(st.st_mode & 07777, 01777);
	good(stat(in("box/ctl"), &st));
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	good(chmod(in("box/root/home"), 0711));
	good(box_make(&box, &err));
	good(stat(in("box/root/home"), &st));
	ck_assert_uint_eq(st.st_mode & 07777, 0711); /* its own since */
}
END_TEST

START_TEST(links_lead_nowhere_on_the_host)
{
	plant("box/root/var");
	good(box_make(&box, &err));
	good(box_folder(&box, "/var/lib/apt/lists/partial", &err));
	good(box_folder(&box, "/usr/local/bin", &err));
	plant("box/up/usr/local");
	good(box_folder(&box, "/usr/local/bin", &err));
	good(box_folder(&box, "/opt/interpfs", &err));
	plant("box/up/opt/interpfs");
	good(box_folder(&box, "/opt/interpfs", &err));
	ck_assert_int_eq(box_open(&box, "/usr/local/bin/x", O_WRONLY | O_CREAT, 0644, &err), -1);
}
END_TEST

START_TEST(links_lead_where_they_do_inside)
{
	struct stat st;

	good(mkdir(in("box/root/data"), 0755));
	good(file_remove_tree(AT_FDCWD, in("box/root/var"), &err));
	good(symlink("/data", path));
	good(box_make(&box, &err));
	good(stat(in("box/root/data/lib"), &st));
}
END_TEST

/* A pipe would be waited for, another file's second name would have that file overwritten. */
START_TEST(what_lies_where_a_file_is_written)
{
	struct buffer b = BUFFER(64);

	good(box_put(&box, "/etc/resolv.conf", "before", 6, 0644, &err));
	good(mkfifo(in("box/up/etc/.resolv.conf~"), 0666));
	good(box_put(&box, "/etc/resolv.conf", "after", 5, 0644, &err));
	good(file_read(AT_FDCWD, in("box/up/etc/resolv.conf"), &b, &err));
	ck_assert_str_eq(b.data, "after");
	good(box_put(&box, "/etc/mine", "mine", 4, 0644, &err));
	good(linkat(box.folder, "up/etc/mine", box.folder, "up/etc/.resolv.conf~", 0));
	good(box_put(&box, "/etc/resolv.conf", "again", 5, 0644, &err));
	buffer_clear(&b);
	good(file_read(AT_FDCWD, in("box/up/etc/mine"), &b, &err));
	ck_assert_str_eq(b.data, "mine");
	buffer_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("box");
	TCase *t = tcase_create("box");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, made_once);
	tcase_add_test(t, a_link_is_no_upper_folder);
	tcase_add_test(t, links_lead_nowhere_on_the_host);
	tcase_add_test(t, links_lead_where_they_do_inside);
	tcase_add_test(t, what_lies_where_a_file_is_written);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
