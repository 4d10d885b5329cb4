/* Threads that take jobs from one queue, in order. One of a single thread is a sequence: the writes that are
 * synced (storage.c), what the kernel is to forget (notify.c). A few serve what may wait for a disk: the
 * files of trees (treefile.c), long values (assembly.c). */
#ifndef INTERPFS_FS_POOL_H
#define INTERPFS_FS_POOL_H

#include <pthread.h>
#include <stdbool.h>

#include "base/error.h"

#define POOL_MOST 6

struct pool_job {
	void (*run)(struct pool_job *job); /* in a thread of the pool; owns the job from here on */
	struct pool_job *next;
};

/* Private to pool.c. */
struct pool {
	int most;                       /* threads */
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct pool_job *first, **end;
	pthread_t threads[POOL_MOST];
	int started, idle, queued;
	bool stopping;
};

#define POOL(threads_) { .most = (threads_), .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER }

extern struct pool file_pool; /* whatever may wait for a disk and is in no order */

/* Threads are started when there is work for them. Each has its own umask, 0: modes are the
 * kernel's to mask, and were. */
int pool_start(struct pool *pool, struct error *err);
void pool_submit(struct pool *pool, struct pool_job *job); /* jobs begin in this order */
/* Finishes what was submitted. What is submitted afterwards needs another call. */
void pool_stop(struct pool *pool);

#endif
