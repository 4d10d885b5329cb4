/* The state directory: names, serials, the lock, and the small files of an object. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fs/state.h"

static char place[] = "/tmp/interpfs-test-state.XXXXXX";
static char path[128];
static struct error err;

static void setup(void)
{
	memcpy(place + sizeof place - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(place));
	(void)snprintf(path, sizeof path, "%s/a/state", place);
	memset(&err, 0, sizeof err);
}

static void teardown(void)
{
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, place, &err), 0);
}

#define good(call) ck_assert_msg((call) == 0, "%s: %s", #call, err.text)
#define bad(call, number) do { \
	ck_assert_int_eq((call), -1); \
	ck_assert_msg(err.code == (number), "%s: code %d, expected %d: %s", #call, err.code, (number), err.text); \
} while (0)

static void write_file(int dir, const char *name, const char *text)
{
	good(file_replace(dir, name, text, strlen(text), 0600, false, &err));
}

START_TEST(opens_once_made)
{
	struct state a, b;
	struct stat st;

	good(state_open(&a, path, &err));
	ck_assert_uint_eq(strlen(a.id), 16);
	ck_assert_int_eq(fstat(a.fd, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	good(state_open(&b, path, &err));
	ck_assert_str_eq(a.id, b.id);
	state_close(&b);
	write_file(a.fd, "version", "2\n");
	bad(state_open(&b, path, &err), ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.text, path));
	write_file(a.fd, "version", "one\n");
	bad(state_open(&b, path, &err), EBADMSG);
	state_close(&a);
	bad(state_open(&b, place, &err), ENOTEMPTY);
}
END_TEST

START_TEST(one_mount)
{
	struct state a, b;

	good(state_open(&a, path, &err));
	good(state_open(&b, path, &err));
	good(state_lock(&a, "/mnt/a b", &err));
	bad(state_lock(&b, "/mnt/b", &err), EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "/mnt/a b"));
	state_close(&a);
	good(state_lock(&b, "/mnt/b", &err));
	state_close(&b);
}
END_TEST

static int count(void *context, const char *name, uint64_t serial)
{
	(void)name;
	(void)serial;
	(*(int *)context)++;
	return 0;
}

static int count_serials(void *context, uint64_t serial)
{
	(void)serial;
	(*(int *)context)++;
	return 0;
}

/* From here on this process has a kernel whose file systems know no flag of a rename. */
static int forget_flags(void)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof steps / sizeof *steps, steps };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -1 : 0;
}

static int rename_without_flags(struct state *s)
{
	uint64_t found;

	if (forget_flags() < 0)
		return 1;
	if (state_rename(s, OBJECT_SANDBOX, "lab", "other", &err) == 0 || err.code != EEXIST)
		return 2;
	if (state_rename(s, OBJECT_SANDBOX, "none", "new", &err) == 0 || err.code != ENOENT)
		return 3;
	return state_rename(s, OBJECT_SANDBOX, "lab", "new", &err) < 0 || state_find(s, OBJECT_SANDBOX, "new", &found, &err) < 0 ? 4 : 0;
}

START_TEST(a_disk_without_the_flags_of_a_rename)
{
	struct state s;
	uint64_t serial;
	int status;
	pid_t child;

	good(state_open(&s, path, &err));
	good(state_add(&s, OBJECT_SANDBOX, "lab", &serial, &err));
	good(state_add(&s, OBJECT_SANDBOX, "other", &serial, &err));
	child = fork();
	ck_assert_int_ge(child, 0);
	if (!child)
		_exit(rename_without_flags(&s));
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
	state_close(&s);
}
END_TEST

START_TEST(names)
{
	struct state s;
	uint64_t first, second, found;
	char longest[257];
	int n = 0, folders = 0;

	good(state_open(&s, path, &err));
	good(state_add(&s, OBJECT_SANDBOX, "lab", &first, &err));
	bad(state_add(&s, OBJECT_SANDBOX, "lab", &second, &err), EEXIST);
	good(state_add(&s, OBJECT_NOTEBOOK, "lab", &second, &err));
	ck_assert_uint_ne(first, second);
	good(state_find(&s, OBJECT_SANDBOX, "lab", &found, &err));
	ck_assert_uint_eq(found, first);
	bad(state_find(&s, OBJECT_SANDBOX, "labor", &found, &err), ENOENT);
	good(state_add(&s, OBJECT_SANDBOX, "other", &second, &err));
	bad(state_rename(&s, OBJECT_SANDBOX, "lab", "other", &err), EEXIST);
	bad(state_rename(&s, OBJECT_SANDBOX, "none", "new", &err), ENOENT);
	good(state_rename(&s, OBJECT_SANDBOX, "lab", "new", &err));
	good(state_find(&s, OBJECT_SANDBOX, "new", &found, &err));
	ck_assert_uint_eq(found, first);
	good(state_forget_name(&s, OBJECT_SANDBOX, "new", &err));
	bad(state_forget_name(&s, OBJECT_SANDBOX, "new", &err), ENOENT);
	good(state_add(&s, OBJECT_SANDBOX, "lab", &found, &err));
	ck_assert_uint_gt(found, second);
	good(state_each_name(&s, OBJECT_SANDBOX, count, &n, &err));
	ck_assert_int_eq(n, 2);
	good(state_each_serial(&s, OBJECT_SANDBOX, count_serials, &folders, &err));
	ck_assert_int_eq(folders, 3);

	memset(longest, 'a', sizeof longest);
	longest[256] = '\0';
	bad(state_add(&s, OBJECT_SANDBOX, longest, &found, &err), ENAMETOOLONG);
	longest[255] = '\0';
	good(state_add(&s, OBJECT_SANDBOX, longest, &found, &err));
	bad(state_add(&s, OBJECT_SANDBOX, "", &found, &err), EINVAL);
	bad(state_add(&s, OBJECT_SANDBOX, ".hidden", &found, &err), EINVAL);
	bad(state_add(&s, OBJECT_SANDBOX, "a/b", &found, &err), EINVAL);
	bad(state_add(&s, OBJECT_SANDBOX, "a\nb", &found, &err), EINVAL);
	bad(state_add(&s, OBJECT_SANDBOX, "a\xc2\x9b" "31mb", &found, &err), EINVAL); /* a terminal's CSI */
	bad(state_add(&s, OBJECT_SANDBOX, "a\xff", &found, &err), EINVAL);
	bad(state_add(&s, OBJECT_SANDBOX, "a\xc3", &found, &err), EINVAL);
	state_close(&s);
}
END_TEST

START_TEST(serials_never_come_back)
{
	struct state s;
	uint64_t before = 0, serial;
	char name[32];

	for (int round = 0; round < 3; round++) {
		good(state_open(&s, path, &err));
		for (int i = 0; i < 70; i++) {
			(void)snprintf(name, sizeof name, "n%d-%d", round, i);
			good(state_add(&s, OBJECT_SESSION, name, &serial, &err));
			ck_assert_uint_gt(serial, before);
			before = serial;
		}
		state_close(&s);
	}
	good(state_open(&s, path, &err));
	write_file(s.fd, "serial", "17x\n");
	bad(state_add(&s, OBJECT_SESSION, "x", &serial, &err), EBADMSG);
	state_close(&s);
}
END_TEST

START_TEST(want_and_status)
{
	struct state s;
	struct want w = { 7, WANT_STOPPED }, w2;
	struct status t = { 9, "ready", 1764060000.125 }, t2;
	uint64_t serial;
	int folder, grown;
	static const char *const wrong[] = { "1", "1 run", "1  run\n", "-1 run\n", "1 rune\n",
		"99999999999999999999 run\n", "1 run\n\n", " 1 run\n", NULL };
	static const char *const wrong_status[] = { "1 ready\n", "1 ready \n", "1 ready 1x\n", "1 ready nan\n",
		"1 Ready 1.0\n", "1 readyreadyreadyready 1.0\n", "1 ready -1\n", "1 ready 1.0", NULL };

	good(state_open(&s, path, &err));
	good(state_add(&s, OBJECT_SANDBOX, "x", &serial, &err));
	folder = object_open(&s, OBJECT_SANDBOX, serial, &err);
	ck_assert_int_ge(folder, 0);
	good(want_read(folder, &w2, &err));
	ck_assert(w2.generation == 0 && w2.what == WANT_NOTHING);
	good(status_read(folder, &t2, &err));
	ck_assert(t2.generation == 0 && !strcmp(t2.state, "draft"));
	good(want_write(folder, &w, true, &err));
	good(want_read(folder, &w2, &err));
	ck_assert(w2.generation == 7 && w2.what == WANT_STOPPED);
	good(status_write(folder, &t, true, &err));
	good(status_read(folder, &t2, &err));
	ck_assert(t2.generation == 9 && !strcmp(t2.state, "ready") && t2.since == t.since);
	for (int i = 0; wrong[i]; i++) {
		write_file(folder, "want", wrong[i]);
		bad(want_read(folder, &w2, &err), EBADMSG);
	}
	for (int i = 0; wrong_status[i]; i++) {
		write_file(folder, "status", wrong_status[i]);
		bad(status_read(folder, &t2, &err), EBADMSG);
	}
	/* What a full disk makes of a shorter line, and a power cut of one that grew there. */
	write_file(folder, "want", "007 run\n");
	good(want_read(folder, &w2, &err));
	ck_assert(w2.generation == 7 && w2.what == WANT_RUN);
	write_file(folder, "want", "6 run\n");
	grown = openat(folder, "want", O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(ftruncate(grown, 10), 0);
	(void)close(grown);
	good(want_read(folder, &w2, &err));
	ck_assert(w2.generation == 6 && w2.what == WANT_RUN);
	/* What a power cut right after mkdir leaves. */
	write_file(folder, "want", "");
	write_file(folder, "status", "");
	good(want_read(folder, &w2, &err));
	ck_assert(w2.generation == 0 && w2.what == WANT_NOTHING);
	good(status_read(folder, &t2, &err));
	ck_assert(t2.generation == 0 && !strcmp(t2.state, "draft"));
	ck_assert_int_eq(unlinkat(folder, "want", 0), 0);
	good(want_read(folder, &w2, &err));
	ck_assert(w2.generation == 0 && w2.what == WANT_NOTHING);
	(void)close(folder);
	state_close(&s);
}
END_TEST

START_TEST(which_states_rest)
{
	ck_assert(status_resting(OBJECT_SANDBOX, "died"));
	ck_assert(!status_resting(OBJECT_SANDBOX, "ready"));
	ck_assert(status_settled(OBJECT_SANDBOX, "ready"));
	ck_assert(!status_settled(OBJECT_SANDBOX, "starting"));
	ck_assert(!status_resting(OBJECT_SANDBOX, "die"));
	ck_assert(!status_resting(OBJECT_SANDBOX, ""));
	ck_assert(status_settled(OBJECT_NOTEBOOK, "idle"));
	ck_assert(status_resting(OBJECT_SESSION, "done"));
	ck_assert(!status_resting(OBJECT_SESSION, "running"));
}
END_TEST

START_TEST(who_lives)
{
	struct state s;
	struct runner_record r;
	uint64_t serial;
	int folder, pid = 0, child, status;

	good(state_open(&s, path, &err));
	good(state_add(&s, OBJECT_SANDBOX, "x", &serial, &err));
	folder = object_open(&s, OBJECT_SANDBOX, serial, &err);
	ck_assert(!runner_alive(folder, &pid));
	ck_assert(runner_of_earlier_boot(folder));
	good(runner_record_self(&r, &err));
	good(runner_record_write(folder, &r, &err));
	ck_assert(runner_alive(folder, &pid));
	ck_assert_int_eq(pid, (int)getpid());
	ck_assert(!runner_of_earlier_boot(folder));
	/* The same pid that started at another time is another process. */
	r.start++;
	good(runner_record_write(folder, &r, &err));
	ck_assert(!runner_alive(folder, &pid));
	r.start--;
	r.boot[0] = r.boot[0] == '0' ? '1' : '0';
	good(runner_record_write(folder, &r, &err));
	ck_assert(!runner_alive(folder, &pid));
	ck_assert(runner_of_earlier_boot(folder));
	/* A zombie has ended. */
	child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		if (runner_record_self(&r, &err) < 0 || runner_record_write(folder, &r, &err) < 0)
			_exit(1);
		_exit(0);
	}
	{
		siginfo_t info;

		ck_assert_int_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
		ck_assert_int_eq(info.si_status, 0);
	}
	ck_assert(!runner_alive(folder, &pid));
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	(void)close(folder);
	state_close(&s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("state");
	TCase *t = tcase_create("state");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, opens_once_made);
	tcase_add_test(t, one_mount);
	tcase_add_test(t, names);
	tcase_add_test(t, a_disk_without_the_flags_of_a_rename);
	tcase_add_test(t, serials_never_come_back);
	tcase_add_test(t, want_and_status);
	tcase_add_test(t, which_states_rest);
	tcase_add_test(t, who_lives);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
