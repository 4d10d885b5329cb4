/* The mount's one loop: /dev/fuse, runners' sockets, timers, and what other threads hand back, in
 * the order in which they came. Nothing that it calls may wait. */
#ifndef INTERPFS_FS_LOOP_H
#define INTERPFS_FS_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct fuse_session;

/* A descriptor in the loop. The caller owns the struct and keeps it until loop_unwatch. */
struct loop_watch {
	int fd;
	void (*ready)(struct loop_watch *watch, uint32_t events); /* EPOLLIN …; may unwatch itself and others */
	void *data;
	uint32_t events; /* set by loop_watch */
	bool gone;       /* the loop's: unwatched while its events were being delivered */
};

int loop_watch(struct loop_watch *watch, uint32_t events, struct error *err); /* also changes events */
void loop_unwatch(struct loop_watch *watch); /* before its fd is closed */

/* A timer: fires once, at `at` (CLOCK_MONOTONIC, ms). Setting it again moves it. */
struct loop_timer {
	int64_t at;
	void (*fire)(struct loop_timer *timer);
	void *data;
	bool armed;
	struct loop_timer *next;
};

void loop_set_timer(struct loop_timer *timer, int64_t in_ms);
void loop_clear_timer(struct loop_timer *timer);

int loop_open(struct error *err);
/* Runs until the session has ended: unmounted, or fuse_session_exit. stopped() is called at each
 * signal that asks the process to end. */
int loop_run(struct fuse_session *session, void (*stopped)(void), struct error *err);
void loop_close(void);

/* From any thread: call(data) runs in the loop, in the order of posting. The caller owns the struct,
 * which must stay until it has run. */
struct loop_post {
	void (*call)(struct loop_post *post);
	void *data;
	struct loop_post *next;
};
void loop_post(struct loop_post *post);
void loop_take_posts(void); /* in the loop: runs what was posted, now */

#endif
