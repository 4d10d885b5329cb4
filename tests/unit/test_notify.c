/* What is told to a kernel that does not know of it yet. The kernel and the loop's timers are the test's own. */
#include "fs/notify.h"

#include <check.h>
#include <errno.h>
#include <fuse_lowlevel.h>

static struct {
	unsigned told[3]; /* by inode, how often; those that it does not know, too */
	bool knows[3];
	struct loop_timer *timer;
	int64_t in_ms;
} kernel;

int fuse_lowlevel_notify_inval_inode(struct fuse_session *session, fuse_ino_t inode, off_t offset, off_t length)
{
	(void)session;
	ck_assert_int_eq(offset, -1);
	ck_assert_int_eq(length, 0);
	kernel.told[inode]++;
	return kernel.knows[inode] ? 0 : -ENOENT;
}

void loop_set_timer(struct loop_timer *timer, int64_t in_ms)
{
	kernel.timer = timer;
	kernel.in_ms = in_ms;
}

void loop_post(struct loop_post *post)
{
	(void)post;
}

static bool fire(void)
{
	struct loop_timer *timer = kernel.timer;

	kernel.timer = NULL;
	if (timer)
		timer->fire(timer);
	return timer;
}

static void setup(void)
{
	struct error err;
	static char session;

	ck_assert_int_eq(notify_start((struct fuse_session *)(void *)&session, &err), 0);
}

/* The reply of a LOOKUP arrives in the kernel after the notice of a change. */
START_TEST(told_again_until_it_is_known)
{
	int64_t pause;

	notify_shown(1);
	notify_attributes(1);
	ck_assert_uint_eq(kernel.told[1], 1);
	pause = kernel.in_ms;
	for (unsigned i = 0; i < 20; i++) {
		ck_assert(fire());
		ck_assert_int_ge(kernel.in_ms, pause);
		pause = kernel.in_ms;
	}
	ck_assert_int_le(pause, 1000);
	kernel.knows[1] = true;
	ck_assert(fire());
	ck_assert_uint_eq(kernel.told[1], 22);
	ck_assert(!fire());
}
END_TEST

START_TEST(told_before_its_open_is_answered)
{
	notify_shown(1);
	notify_known(1);
	ck_assert_uint_eq(kernel.told[1], 0);
	notify_attributes(1);
	kernel.knows[1] = true;
	notify_known(1);
	ck_assert_uint_eq(kernel.told[1], 2);
	notify_known(1);
	fire();
	ck_assert_uint_eq(kernel.told[1], 2);
}
END_TEST

/* What nobody looked at is told of once, and so is what is known. */
START_TEST(told_once)
{
	notify_attributes(1);
	kernel.knows[2] = true;
	notify_shown(2);
	notify_attributes(2);
	ck_assert(!fire());
	ck_assert_uint_eq(kernel.told[1], 1);
	ck_assert_uint_eq(kernel.told[2], 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("notify");
	TCase *t = tcase_create("attributes");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, notify_stop);
	tcase_add_test(t, told_again_until_it_is_known);
	tcase_add_test(t, told_before_its_open_is_answered);
	tcase_add_test(t, told_once);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
