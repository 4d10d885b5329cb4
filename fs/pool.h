/* A small pool of threads for what may wait for a disk: the files of trees (fs/treefile.c). */
#ifndef INTERPFS_FS_POOL_H
#define INTERPFS_FS_POOL_H

#include "base/error.h"

struct pool_job {
	void (*run)(struct pool_job *job); /* in a thread of the pool; owns the job from here on */
	struct pool_job *next;
};

/* Threads are started when there is work for them. Each has its own umask, 0: modes are the
 * kernel's to mask, and were. */
int pool_start(struct error *err);
void pool_submit(struct pool_job *job); /* any thread; jobs begin in this order */
void pool_stop(void);                   /* finishes what was submitted */

#endif
