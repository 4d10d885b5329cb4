/* Entries: a pool of one thread. It holds no lock while it tells, for it may wait there for a process that waits
 * for the loop.
 *
 * Attributes: a LOOKUP's reply makes the inode in the kernel only when the process that asked runs again. Until
 * then the kernel says that it knows of no such inode, and afterwards takes the attributes of that reply, which
 * may be an hour old before it asks again. So what was shown lately, and was not known, is told again. */
#include "fs/notify.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <fuse_lowlevel.h>

#include "base/clock.h"
#include "fs/pool.h"

#define SHOWN_BITS 11
#define LATE_MS 60000 /* by which a reply has arrived: a process may wait for a processor that long */
#define FIRST_PAUSE_MS 2
#define LAST_PAUSE_MS 1000

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

/* The inodes that were shown last; each has one place, which another one may take. */
static struct shown {
	uint64_t inode;
	int64_t at;
	bool untold; /* its attributes have changed since, and the kernel did not know it */
} shown[1 << SHOWN_BITS];

static struct {
	unsigned count; /* of untold ones */
	int64_t pause;
	struct loop_timer timer;
} untold;

static struct shown *place_of(uint64_t inode)
{
	return &shown[inode * UINT64_C(0x9E3779B97F4A7C15) >> (64 - SHOWN_BITS)];
}

/* Whether the kernel had to be told, and did not know of it. */
static bool is_unknown(uint64_t inode)
{
	return fuse_lowlevel_notify_inval_inode(notify.session, inode, -1, 0) == -ENOENT;
}

static void set_untold(struct shown *s, bool is)
{
	untold.count += (unsigned)is - (unsigned)s->untold;
	s->untold = is;
}

static void tell_again(struct loop_timer *timer)
{
	int64_t now = clock_ms();

	for (size_t i = 0; untold.count && i < sizeof shown / sizeof *shown; i++)
		if (shown[i].untold && (!is_unknown(shown[i].inode) || now - shown[i].at > LATE_MS))
			set_untold(&shown[i], false);
	if (!untold.count)
		return;
	untold.pause = untold.pause * 2 < LAST_PAUSE_MS ? untold.pause * 2 : LAST_PAUSE_MS;
	loop_set_timer(timer, untold.pause);
}

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
	struct shown *s = place_of(inode);

	if (!notify.session)
		return;
	if (!is_unknown(inode)) {
		if (s->inode == inode)
			set_untold(s, false);
	} else if (s->inode == inode && clock_ms() - s->at <= LATE_MS) {
		set_untold(s, true);
		untold.pause = FIRST_PAUSE_MS;
		untold.timer.fire = tell_again;
		loop_set_timer(&untold.timer, untold.pause);
	}
}

void notify_shown(uint64_t inode)
{
	struct shown *s = place_of(inode);

	if (s->inode != inode) {
		if (s->untold)
			(void)is_unknown(s->inode); /* its last chance */
		set_untold(s, false);
		s->inode = inode;
	}
	s->at = clock_ms();
}

void notify_known(uint64_t inode)
{
	const struct shown *s = place_of(inode);

	if (s->untold && s->inode == inode)
		notify_attributes(inode);
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
