/* A queue of what the kernel is to forget, and the thread that tells it. The thread holds no lock
 * while it tells, for it may wait there for a process that waits for the loop. */
#include "fs/notify.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <fuse_lowlevel.h>

struct notice {
	uint64_t inode; /* the parent's, where there is a name */
	struct notice *next;
	char name[];    /* empty: the inode's data */
};

static struct {
	struct fuse_session *session;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct notice *first, **last; /* under lock */
	bool stop;                    /* under lock */
	struct loop_post *ended;      /* under lock; posted when nothing is told any more */
} notify = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

static void *tell(void *unused)
{
	(void)unused;
	for (;;) {
		struct notice *notice;

		pthread_mutex_lock(&notify.lock);
		while (!notify.first && !notify.stop)
			pthread_cond_wait(&notify.wake, &notify.lock);
		if (notify.stop)
			break;
		notice = notify.first;
		if (!(notify.first = notice->next))
			notify.last = &notify.first;
		pthread_mutex_unlock(&notify.lock);
		/* ENOENT: the kernel did not know it; ENODEV: it is unmounted. Neither is an error. */
		if (notice->name[0])
			(void)fuse_lowlevel_notify_inval_entry(notify.session, notice->inode, notice->name,
							       strlen(notice->name));
		else
			(void)fuse_lowlevel_notify_inval_inode(notify.session, notice->inode, 0, 0);
		free(notice);
	}
	if (notify.ended)
		loop_post(notify.ended);
	pthread_mutex_unlock(&notify.lock);
	return NULL;
}

int notify_start(struct fuse_session *session, struct error *err)
{
	int code;

	notify.session = session;
	notify.last = &notify.first;
	notify.stop = false;
	code = pthread_create(&notify.thread, NULL, tell, NULL);
	if (code)
		return error_set(err, code, "the notifier thread could not be made");
	notify.running = true;
	return 0;
}

static void stop(struct loop_post *ended)
{
	pthread_mutex_lock(&notify.lock);
	notify.stop = true;
	notify.ended = ended;
	pthread_cond_signal(&notify.wake);
	pthread_mutex_unlock(&notify.lock);
}

void notify_end(struct loop_post *ended)
{
	if (notify.running && !notify.stop)
		stop(ended);
	else if (!notify.running)
		loop_post(ended);
}

void notify_stop(void)
{
	if (!notify.running)
		return;
	stop(NULL);
	pthread_join(notify.thread, NULL);
	notify.running = false;
	while (notify.first) {
		struct notice *notice = notify.first;

		notify.first = notice->next;
		free(notice);
	}
}

void notify_attributes(uint64_t inode)
{
	if (notify.session)
		(void)fuse_lowlevel_notify_inval_inode(notify.session, inode, -1, 0);
}

static void queue(uint64_t inode, const char *name)
{
	size_t n = strlen(name);
	struct notice *notice = malloc(sizeof *notice + n + 1);

	if (!notice)
		return; /* the kernel asks again when its cached answer has aged */
	notice->inode = inode;
	notice->next = NULL;
	memcpy(notice->name, name, n + 1);
	pthread_mutex_lock(&notify.lock);
	*notify.last = notice;
	notify.last = &notice->next;
	pthread_cond_signal(&notify.wake);
	pthread_mutex_unlock(&notify.lock);
}

void notify_entry(uint64_t parent, const char *name)
{
	if (notify.running && *name)
		queue(parent, name);
}

void notify_data(uint64_t inode)
{
	if (notify.running)
		queue(inode, "");
}
