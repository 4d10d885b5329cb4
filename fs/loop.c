/* One thread, one epoll. Requests are taken from /dev/fuse one at a time and answered or parked
 * by their handler, so that a command sees every write that was closed before it.
 *
 * The interruption of the loop from other threads is an eventfd and a list under a lock, the only
 * lock there is; it is held for the time of a pointer's assignment. */
#include "fs/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <fuse_lowlevel.h>

#include "base/clock.h"

#define EVENTS 64

static struct {
	int epoll;
	struct loop_watch post_watch, signal_watch, fuse_watch;
	struct fuse_session *session;
	void (*stopped)(void); /* by a signal */
	struct fuse_buf buffer;
	struct loop_timer *timers; /* sorted, the next one first */
	pthread_mutex_t lock;
	struct loop_post *first, **last; /* under lock */
	struct epoll_event events[EVENTS]; /* being delivered */
	int delivering;
	int failure; /* what ended the session, 0 when it was unmounted */
} loop = { .epoll = -1, .post_watch = { .fd = -1 }, .signal_watch = { .fd = -1 },
	   .lock = PTHREAD_MUTEX_INITIALIZER };

int loop_watch(struct loop_watch *watch, uint32_t events, struct error *err)
{
	struct epoll_event e = { .events = events, .data.ptr = watch };
	int how = watch->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (epoll_ctl(loop.epoll, how, watch->fd, &e) < 0)
		return error_errno(err, "watching a descriptor");
	watch->events = events;
	watch->gone = false;
	return 0;
}

void loop_unwatch(struct loop_watch *watch)
{
	if (!watch->events)
		return;
	(void)epoll_ctl(loop.epoll, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->events = 0;
	watch->gone = true;
	/* Its owner may free it now: what was already delivered for it must not reach it. */
	for (int i = 0; i < loop.delivering; i++)
		if (loop.events[i].data.ptr == watch)
			loop.events[i].data.ptr = NULL;
}

void loop_clear_timer(struct loop_timer *timer)
{
	if (!timer->armed)
		return;
	for (struct loop_timer **t = &loop.timers; *t; t = &(*t)->next)
		if (*t == timer) {
			*t = timer->next;
			break;
		}
	timer->armed = false;
}

void loop_set_timer(struct loop_timer *timer, int64_t in_ms)
{
	struct loop_timer **t = &loop.timers;

	loop_clear_timer(timer);
	timer->at = clock_ms() + in_ms;
	while (*t && (*t)->at <= timer->at)
		t = &(*t)->next;
	timer->next = *t;
	timer->armed = true;
	*t = timer;
}

static void fire_timers(void)
{
	int64_t now = clock_ms();

	while (loop.timers && loop.timers->at <= now) {
		struct loop_timer *timer = loop.timers;

		loop.timers = timer->next;
		timer->armed = false;
		timer->fire(timer);
	}
}

void loop_post(struct loop_post *post)
{
	uint64_t one = 1;

	post->next = NULL;
	pthread_mutex_lock(&loop.lock);
	*loop.last = post;
	loop.last = &post->next;
	pthread_mutex_unlock(&loop.lock);
	while (write(loop.post_watch.fd, &one, sizeof one) < 0 && errno == EINTR)
		;
}

void loop_take_posts(void)
{
	struct loop_post *post;

	pthread_mutex_lock(&loop.lock);
	post = loop.first;
	loop.first = NULL;
	loop.last = &loop.first;
	pthread_mutex_unlock(&loop.lock);
	while (post) {
		struct loop_post *next = post->next; /* call() may free post */

		post->call(post);
		post = next;
	}
}

static void take_posts(struct loop_watch *watch, uint32_t events)
{
	uint64_t count;

	(void)events;
	if (read(watch->fd, &count, sizeof count) < 0 && errno != EAGAIN)
		loop.failure = errno;
	loop_take_posts();
}

static void take_signals(struct loop_watch *watch, uint32_t events)
{
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof info) == (ssize_t)sizeof info)
		loop.stopped();
}

static void take_requests(struct loop_watch *watch, uint32_t events)
{
	int n;

	(void)watch;
	(void)events;
	/* One a turn: looking for another costs a system call that most often finds none, and the
	 * sockets get their turn in between. */
	n = fuse_session_receive_buf(loop.session, &loop.buffer);
	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n <= 0) { /* 0: unmounted */
		if (n < 0 && n != -ENODEV)
			loop.failure = -n;
		fuse_session_exit(loop.session);
		return;
	}
	fuse_session_process_buf(loop.session, &loop.buffer);
}

int loop_open(struct error *err)
{
	sigset_t signals;

	loop.last = &loop.first;
	loop.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop.epoll < 0)
		return error_errno(err, "epoll");
	loop.post_watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop.post_watch.fd < 0)
		return error_errno(err, "eventfd");
	/* Blocked here, before any thread is made, so that they arrive in the loop alone. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	if (pthread_sigmask(SIG_BLOCK, &signals, NULL))
		return error_set(err, EINVAL, "blocking signals");
	loop.signal_watch.fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (loop.signal_watch.fd < 0)
		return error_errno(err, "signalfd");
	loop.post_watch.ready = take_posts;
	loop.signal_watch.ready = take_signals;
	if (loop_watch(&loop.post_watch, EPOLLIN, err) < 0)
		return -1;
	return loop_watch(&loop.signal_watch, EPOLLIN, err);
}

static int wait_time(void)
{
	int64_t ms;

	if (!loop.timers)
		return -1;
	ms = loop.timers->at - clock_ms();
	return ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

int loop_run(struct fuse_session *session, void (*stopped)(void), struct error *err)
{
	int flags = fcntl(fuse_session_fd(session), F_GETFL);

	if (flags < 0 || fcntl(fuse_session_fd(session), F_SETFL, flags | O_NONBLOCK) < 0)
		return error_errno(err, "/dev/fuse");
	loop.session = session;
	loop.stopped = stopped;
	loop.fuse_watch = (struct loop_watch){ .fd = fuse_session_fd(session), .ready = take_requests };
	if (loop_watch(&loop.fuse_watch, EPOLLIN, err) < 0)
		return -1;
	while (!fuse_session_exited(session) && !loop.failure) {
		int n = epoll_wait(loop.epoll, loop.events, EVENTS, wait_time());

		if (n < 0 && errno != EINTR)
			return error_errno(err, "epoll");
		loop.delivering = n > 0 ? n : 0;
		for (int i = 0; i < loop.delivering; i++) {
			struct loop_watch *watch = loop.events[i].data.ptr;

			if (watch)
				watch->ready(watch, loop.events[i].events);
		}
		loop.delivering = 0;
		fire_timers();
	}
	loop_unwatch(&loop.fuse_watch);
	if (loop.failure)
		return error_set(err, loop.failure, "/dev/fuse: %s", strerror(loop.failure));
	return 0;
}

void loop_close(void)
{
	/* What other threads posted at the end still runs: storage's last replies. */
	if (loop.post_watch.fd >= 0) {
		loop_take_posts();
		(void)close(loop.post_watch.fd);
	}
	if (loop.signal_watch.fd >= 0)
		(void)close(loop.signal_watch.fd);
	if (loop.epoll >= 0)
		(void)close(loop.epoll);
	loop.epoll = loop.post_watch.fd = loop.signal_watch.fd = -1;
	free(loop.buffer.mem);
	loop.buffer.mem = NULL;
}
