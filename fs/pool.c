/* Threads that take jobs from one queue. They are few, since disks are: a request for a slow one
 * must not hold up the loop, and a thousand such requests may well hold up one another. */
#include "fs/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#define THREADS 6
#define STACK (1u << 20) /* touched by need alone */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct pool_job *first, **end;
	pthread_t threads[THREADS];
	int started, idle;
	bool stopping;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .end = &pool.first };

static void *serve(void *unused)
{
	(void)unused;
	(void)unshare(CLONE_FS); /* a umask of its own */
	(void)umask(0);
	pthread_mutex_lock(&pool.lock);
	for (;;) {
		struct pool_job *job = pool.first;

		if (job) {
			pool.first = job->next;
			if (!pool.first)
				pool.end = &pool.first;
			pthread_mutex_unlock(&pool.lock);
			job->run(job);
			pthread_mutex_lock(&pool.lock);
		} else if (pool.stopping) {
			break;
		} else {
			pool.idle++;
			pthread_cond_wait(&pool.work, &pool.lock);
			pool.idle--;
		}
	}
	pthread_mutex_unlock(&pool.lock);
	return NULL;
}

/* With the lock held. Signals are the loop's. */
static int start_thread(void)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int code;

	code = pthread_attr_init(&attributes);
	if (code)
		return code;
	(void)pthread_attr_setstacksize(&attributes, STACK);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(&pool.threads[pool.started], &attributes, serve, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attributes);
	if (!code)
		pool.started++;
	return code;
}

int pool_start(struct error *err)
{
	int code;

	pthread_mutex_lock(&pool.lock);
	pool.stopping = false;
	code = start_thread();
	pthread_mutex_unlock(&pool.lock);
	return code ? error_set(err, code, "the threads for files: %s", strerror(code)) : 0;
}

void pool_submit(struct pool_job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&pool.lock);
	*pool.end = job;
	pool.end = &job->next;
	if (!pool.idle && pool.started < THREADS)
		(void)start_thread(); /* else those that there are take it in turn */
	pthread_cond_signal(&pool.work);
	pthread_mutex_unlock(&pool.lock);
}

void pool_stop(void)
{
	pthread_mutex_lock(&pool.lock);
	pool.stopping = true;
	pthread_cond_broadcast(&pool.work);
	pthread_mutex_unlock(&pool.lock);
	for (int i = 0; i < pool.started; i++)
		(void)pthread_join(pool.threads[i], NULL);
	pool.started = 0;
}
