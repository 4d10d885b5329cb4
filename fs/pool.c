/* See pool.h. They are few, since disks are: a request for a slow one must not hold up the loop, and a
 * thousand such requests may well hold up one another. */
#include "fs/pool.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#define STACK (1u << 20) /* touched by need alone */

struct pool file_pool = POOL(POOL_MOST);

static void *serve(void *data)
{
	struct pool *pool = data;

	(void)unshare(CLONE_FS); /* a umask of its own */
	(void)umask(0);
	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct pool_job *job = pool->first;

		if (job) {
			pool->first = job->next;
			pool->queued--;
			pthread_mutex_unlock(&pool->lock);
			job->run(job);
			pthread_mutex_lock(&pool->lock);
		} else if (pool->stopping) {
			break;
		} else {
			pool->idle++;
			pthread_cond_wait(&pool->work, &pool->lock);
			pool->idle--;
		}
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* With the lock held. Signals are the loop's. */
static int start_thread(struct pool *pool)
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
	code = pthread_create(&pool->threads[pool->started], &attributes, serve, pool);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attributes);
	if (!code)
		pool->started++;
	return code;
}

int pool_start(struct pool *pool, struct error *err)
{
	int code;

	pthread_mutex_lock(&pool->lock);
	pool->stopping = false;
	code = start_thread(pool);
	pthread_mutex_unlock(&pool->lock);
	return code ? error_set(err, code, "a thread could not be made: %s", strerror(code)) : 0;
}

void pool_submit(struct pool *pool, struct pool_job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&pool->lock);
	if (!pool->first)
		pool->end = &pool->first;
	*pool->end = job;
	pool->end = &job->next;
	/* One that was woken for the job before is idle until it runs: each takes one job, no more. */
	if (++pool->queued > pool->idle && pool->started < pool->most)
		(void)start_thread(pool); /* else those that there are take it in turn */
	pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
}

void pool_stop(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (int i = 0; i < pool->started; i++)
		(void)pthread_join(pool->threads[i], NULL);
	pool->started = 0;
	while (pool->first) { /* no thread could be made for it */
		struct pool_job *job = pool->first;

		pool->first = job->next;
		pool->queued--;
		job->run(job);
	}
}
