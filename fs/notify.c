/* A pool of one thread. It holds no lock while it tells, for it may wait there for a process that waits for
 * the loop. */
#include "fs/notify.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <fuse_lowlevel.h>

#include "fs/pool.h"

struct notice {
	struct pool_job job;
	uint64_t inode; /* the parent's */
	char name[];
};

static struct {
	struct fuse_session *session;
	struct pool thread;
	bool running, ending;
	atomic_bool silent;      /* what is left is not told any more */
	struct pool_job end;
	struct loop_post *ended;
} notify = { .thread = POOL(1) };

static void tell(struct pool_job *job)
{
	struct notice *notice = (struct notice *)job;

	/* ENOENT: the kernel did not know it; ENODEV: it is unmounted. Neither is an error. */
	if (!atomic_load(&notify.silent))
		(void)fuse_lowlevel_notify_inval_entry(notify.session, notice->inode, notice->name, strlen(notice->name));
	free(notice);
}

int notify_start(struct fuse_session *session, struct error *err)
{
	notify.session = session;
	notify.running = pool_start(&notify.thread, err) == 0;
	return notify.running ? 0 : -1;
}

static void post_end(struct pool_job *job)
{
	(void)job;
	loop_post(notify.ended);
}

void notify_end(struct loop_post *ended)
{
	if (notify.ending)
		return;
	notify.ending = true;
	atomic_store(&notify.silent, true);
	notify.ended = ended;
	notify.end.run = post_end;
	pool_submit(&notify.thread, &notify.end);
}

void notify_stop(void)
{
	if (!notify.running)
		return;
	atomic_store(&notify.silent, true);
	pool_stop(&notify.thread);
	notify.running = false;
}

void notify_attributes(uint64_t inode)
{
	if (notify.session)
		(void)fuse_lowlevel_notify_inval_inode(notify.session, inode, -1, 0);
}

void notify_entry(uint64_t parent, const char *name)
{
	size_t n = strlen(name);
	struct notice *notice = notify.running && n ? malloc(sizeof *notice + n + 1) : NULL;

	if (!notice)
		return; /* the kernel asks again when its cached answer has aged */
	notice->job.run = tell;
	notice->inode = parent;
	memcpy(notice->name, name, n + 1);
	pool_submit(&notify.thread, &notice->job);
}
