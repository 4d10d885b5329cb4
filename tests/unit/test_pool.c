/* The mount's threads: a job that waits keeps nobody from the others. */
#include <check.h>
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>

#include "fs/pool.h"

static struct pool pool = POOL(POOL_MOST);
static struct error err;
static sem_t second_ran, both_ran;
static bool in_time;

static struct timespec in_seconds(int seconds)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += seconds;
	return t;
}

/* As a request for a file whose disk answers when another request has been served. */
static void waits(struct pool_job *job)
{
	struct timespec end = in_seconds(50);

	(void)job;
	in_time = sem_timedwait(&second_ran, &end) == 0;
	sem_post(&both_ran);
}

static void runs(struct pool_job *job)
{
	(void)job;
	sem_post(&second_ran);
}

static int idle(void)
{
	int n;

	pthread_mutex_lock(&pool.lock);
	n = pool.idle;
	pthread_mutex_unlock(&pool.lock);
	return n;
}

/* The only thread is idle when both jobs come, and takes the first of them. */
START_TEST(a_job_behind_one_that_waits)
{
	for (int i = 0; i < 200; i++) {
		struct pool_job first = { .run = waits }, second = { .run = runs };

		sem_init(&second_ran, 0, 0);
		sem_init(&both_ran, 0, 0);
		ck_assert_int_eq(pool_start(&pool, &err), 0);
		while (!idle())
			sched_yield();
		pool_submit(&pool, &first);
		pool_submit(&pool, &second);
		while (sem_wait(&both_ran) < 0)
			ck_assert_int_eq(errno, EINTR);
		ck_assert_msg(in_time, "round %d: the second job did not run beside the first", i);
		pool_stop(&pool);
	}
}
END_TEST

static int order[1000], done;

struct numbered {
	struct pool_job job;
	int number;
};

static void note(struct pool_job *job)
{
	order[done++] = ((struct numbered *)job)->number;
}

START_TEST(one_thread_keeps_the_order)
{
	struct pool single = POOL(1);
	struct numbered *jobs = calloc(1000, sizeof *jobs);

	ck_assert_ptr_nonnull(jobs);
	ck_assert_int_eq(pool_start(&single, &err), 0);
	for (int i = 0; i < 1000; i++) {
		jobs[i] = (struct numbered){ { .run = note }, i };
		pool_submit(&single, &jobs[i].job);
	}
	pool_stop(&single);
	ck_assert_int_eq(done, 1000);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(order[i], i);
	free(jobs);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pool");
	TCase *cases = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(cases, 240);
	tcase_add_test(cases, a_job_behind_one_that_waits);
	tcase_add_test(cases, one_thread_keeps_the_order);
	suite_add_tcase(suite, cases);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
