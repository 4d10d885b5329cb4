/* The mount's arguments, in the forms in which people, mount(8) and fstab give them. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/options.h"

static struct mount_options options;
static struct error err;

static int parse(char *const *argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	options_free(&options);
	memset(&err, 0, sizeof err);
	return options_parse(&options, argc, (char **)argv, &err);
}

#define PARSE(...) parse((char *[]){ __VA_ARGS__, NULL })

START_TEST(subcommand)
{
	ck_assert_int_eq(PARSE("mount", "/mnt"), 0);
	ck_assert_str_eq(options.directory, "/mnt");
	ck_assert_str_eq(options.source, "interpfs");
	ck_assert(!options.foreground && !options.debug && !options.fake && !options.state);
	ck_assert_int_eq(PARSE("mount", "-f", "-o", "state=/s,env_file=/e,runtime=runsc", "/mnt"), 0);
	ck_assert(options.foreground && !options.fake);
	ck_assert_str_eq(options.state, "/s");
	ck_assert_str_eq(options.env_file, "/e");
	ck_assert_str_eq(options.runtime, "runsc");
	ck_assert_int_eq(PARSE("mount", "/mnt", "-ostate=/s", "-d"), 0);
	ck_assert(options.foreground && options.debug);
	ck_assert_int_eq(PARSE("mount", "--", "-odd"), 0);
	ck_assert_str_eq(options.directory + strlen(options.directory) - 5, "/-odd");
}
END_TEST

START_TEST(commas)
{
	ck_assert_int_eq(PARSE("mount", "-o", "state=/a\\,b\\\\c\\d,ro,,env_file=/e", "/mnt"), 0);
	ck_assert_str_eq(options.state, "/a,b\\c\\d");
	ck_assert_str_eq(options.env_file, "/e");
	ck_assert(options.read_only);
	ck_assert_int_eq(PARSE("mount", "-o", "state=/a\\", "/mnt"), 0);
	ck_assert_str_eq(options.state, "/a\\");
}
END_TEST

START_TEST(helper)
{
	/* As util-linux calls it for fstab's "user,noauto,nofail,_netdev,x-systemd.automount". */
	ck_assert_int_eq(PARSE("mount.interpfs", "lab", "/mnt", "-n", "-v", "-o",
			       "rw,noexec,nosuid,nodev,user=me,nofail,_netdev,relatime,state=/s"), 0);
	ck_assert_str_eq(options.source, "lab");
	ck_assert_str_eq(options.directory, "/mnt");
	ck_assert_str_eq(options.state, "/s");
	ck_assert(!options.read_only);
	ck_assert_int_eq(PARSE("mount.interpfs", "lab", "/mnt", "-f", "-o", "ro"), 0);
	ck_assert(options.fake && options.read_only && !options.foreground);
	ck_assert_int_eq(PARSE("mount.fuse.interpfs", "lab", "/mnt", "-s"), 0);
}
END_TEST

START_TEST(relative)
{
	ck_assert_int_eq(chdir("/tmp"), 0);
	ck_assert_int_eq(PARSE("mount", "-o", "state=s", "m"), 0);
	ck_assert_str_eq(options.state, "/tmp/s");
	ck_assert_str_eq(options.directory, "/tmp/m");
}
END_TEST

START_TEST(refused)
{
	ck_assert_int_lt(PARSE("mount"), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "usage"));
	ck_assert_int_lt(PARSE("mount.interpfs", "lab"), 0);
	ck_assert_int_lt(PARSE("mount", "/a", "/b"), 0);
	ck_assert_int_lt(PARSE("mount", "-x", "/a"), 0);
	ck_assert_int_lt(PARSE("mount", "/a", "-o"), 0);
	ck_assert_int_lt(PARSE("mount", "-o", "colour=red", "/a"), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "colour=red"));
	ck_assert_int_lt(PARSE("mount", "-o", "allow_other", "/a"), 0);
	ck_assert_int_lt(PARSE("mount", "-o", "state=", "/a"), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options");
	TCase *t = tcase_create("options");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_test(t, subcommand);
	tcase_add_test(t, commas);
	tcase_add_test(t, helper);
	tcase_add_test(t, relative);
	tcase_add_test(t, refused);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	options_free(&options);
	return failed != 0;
}
