/* A tar is what tar(1) unpacks: names and targets past 100 bytes, links that stay links, empty files,
 * sizes about a block, files that cannot be read; in pieces of any size. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/sandbox/tar.h"
#include "base/file.h"

static char folder[] = "/tmp/test_tar.XXXXXX";
static char long_name[201];

static void run(const char *script)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		execl("/bin/sh", "sh", "-ec", script, "sh", folder, long_name, (char *)NULL);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "%s", script);
}

static void set_up(void)
{
	memset(long_name, 'n', sizeof long_name - 1);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	run("cd $1; mkdir -p tree/deep/$2/$2 tree/empty; for n in 0 1 511 512 513 1024 100000; do head -c $n /dev/urandom >tree/$n; done;"
	    "chmod 0751 tree/511; echo long >tree/deep/$2/$2/$2; ln -s ../nowhere tree/link; ln -s $2$2 tree/far; ln -s /etc/passwd tree/out;"
	    "touch -d 2001-02-03 tree/512; mkfifo tree/fifo; echo alone >alone; mkdir unpacked");
}

static void tear_down(void)
{
	run("rm -rf $1");
	memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
}

static char *path_of(const char *name)
{
	static char path[512];

	(void)snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static int write_tar(struct tar *tar, size_t piece, struct error *err)
{
	int fd = open(path_of("made.tar"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char *bytes = malloc(piece);
	long n;

	while ((n = tar_read(tar, bytes, piece, err)) > 0)
		ck_assert_int_eq(file_write_all(fd, bytes, (size_t)n, err), 0);
	free(bytes);
	close(fd);
	return (int)n;
}

START_TEST(whole)
{
	static const size_t pieces[] = { 1, 511, 512, 65536 };

	for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
		struct error err;
		struct tar *tar = tar_new(&err);

		ck_assert_int_eq(tar_add_tree(tar, path_of("tree"), "in/side", &err), 0);
		ck_assert_int_eq(tar_add_file(tar, path_of("alone"), "alone", 0755, &err), 0);
		ck_assert_int_eq(tar_add_link(tar, "alone", "linked", &err), 0);
		ck_assert_msg(write_tar(tar, pieces[i], &err) == 0, "%s", err.text);
		tar_free(tar);
		run("cd $1; rm -rf unpacked; mkdir unpacked; tar -C unpacked -xf made.tar 2>said; test ! -s said;"
		    "rm -f tree/fifo; diff -r --no-dereference tree unpacked/in/side; test \"$(readlink unpacked/linked)\" = alone;"
		    "test \"$(stat -c %a unpacked/alone unpacked/in/side/511 | tr '\\n' ' ')\" = '755 751 ';"
		    "test \"$(stat -c %Y tree/512)\" = \"$(stat -c %Y unpacked/in/side/512)\"");
	}
}
END_TEST

/* Past 8 GiB a size has another form. The file is sparse, and its bytes are not read to their end. */
START_TEST(large)
{
	struct error err;
	struct tar *tar = tar_new(&err);
	char block[512];

	run("cd $1; truncate -s 10G large");
	ck_assert_int_eq(tar_add_file(tar, path_of("large"), "large", 0, &err), 0);
	ck_assert_int_eq(tar_read(tar, block, sizeof block, &err), 512);
	tar_free(tar);
	ck_assert_int_eq((unsigned char)block[124], 0x80);
	ck_assert_int_eq(block[131], 2); /* 10 GiB = 0x280000000 */
	ck_assert_int_eq((unsigned char)block[132], 0x80);
}
END_TEST

START_TEST(what_cannot_be_read)
{
	static const char *const wrong[] = { "none", "tree" };
	struct error err;

	for (size_t i = 0; i < 2; i++) {
		struct tar *tar = tar_new(&err);

		ck_assert_int_eq(tar_add_file(tar, path_of(wrong[i]), "x", 0, &err), 0);
		ck_assert_int_eq(write_tar(tar, 4096, &err), -1);
		ck_assert_ptr_nonnull(strstr(err.text, wrong[i]));
		tar_free(tar);
	}
}
END_TEST

/* A file that becomes shorter meanwhile would put everything behind it out of place. */
START_TEST(shorter)
{
	struct error err;
	struct tar *tar = tar_new(&err);
	char bytes[1024];

	ck_assert_int_eq(tar_add_file(tar, path_of("tree/100000"), "x", 0, &err), 0);
	ck_assert_int_gt(tar_read(tar, bytes, sizeof bytes, &err), 0);
	run("truncate -s 1000 $1/tree/100000");
	ck_assert_int_eq(write_tar(tar, 4096, &err), -1);
	ck_assert_int_eq(err.code, EIO);
	tar_free(tar);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tar");
	TCase *t = tcase_create("tar");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, whole);
	tcase_add_test(t, large);
	tcase_add_test(t, what_cannot_be_read);
	tcase_add_test(t, shorter);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
