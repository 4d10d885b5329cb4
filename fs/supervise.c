/* Which objects there are, and what each one's runner is doing (supervise.h).
 *
 *               want lags, or it ran and died                 end of file on its output
 *     REST ------------------------------------> SPAWNING -------------------------------+
 *      ^                                                                                  v
 *      |  the runner has ended                        it listens                      connect
 *      +------------------------- CONNECTED <-----------------------------------------  | |
 *      |                                                                                | |
 *      +--------------- WAITING (a runner lives, nobody listens) <----------------------+ |
 *      +--------------------------------- no runner lives --------------------------------+
 *
 * Every way back to REST reads want and status again and decides anew (drive), so no change is
 * lost, whatever ended between. */
#include "fs/supervise_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

/* What becomes of an object that ran when the machine went down. NULL: its runner is started
 * again and finds out. */
static const struct {
	const char *state, *failure;
} after_reboot[OBJECT_KINDS] = {
	[OBJECT_SANDBOX] = { "died", "the machine was restarted while it ran; write restart to its ctl" },
	[OBJECT_NOTEBOOK] = { "died", "the machine was restarted while it ran; write restart to its ctl" },
	[OBJECT_SESSION] = { "interrupted", "the machine was restarted while it ran" },
};

int64_t supervise_now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void supervise_log(struct supervisor *s, const struct object *o, const char *format, ...)
{
	char text[ERROR_TEXT_SIZE + 128];
	int n = o ? snprintf(text, sizeof text, "%s %" PRIu64 ": ", object_noun[o->kind], o->serial) : 0;
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text + n, sizeof text - (size_t)n, format, args);
	va_end(args);
	if (s->callbacks.log)
		s->callbacks.log(s->context, text);
}

/* Watches, changes what is watched for, or takes over a descriptor. */
int supervise_source(struct supervisor *s, struct source *source, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = source };
	int operation = source->fd == fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (epoll_ctl(s->epoll, operation, fd, &e) < 0)
		return -1;
	source->fd = fd;
	return 0;
}

void supervise_unsource(struct supervisor *s, struct source *source)
{
	if (source->fd >= 0)
		(void)epoll_ctl(s->epoll, EPOLL_CTL_DEL, source->fd, NULL);
	source->fd = -1;
}

static void arm(struct supervisor *s, int64_t in_ms)
{
	struct itimerspec t = { .it_value = { .tv_sec = in_ms / 1000, .tv_nsec = in_ms % 1000 * 1000000 } };

	if (in_ms <= 0)
		t.it_value = (struct timespec){ .tv_nsec = 1 };
	(void)timerfd_settime(s->timer.fd, 0, &t, NULL);
}

void supervise_wake(struct supervisor *s)
{
	arm(s, 0);
}

static struct object **find_slot(const struct supervisor *s, enum object_kind kind, uint64_t serial)
{
	struct object *const *at = &s->buckets[(serial * OBJECT_KINDS + kind) % BUCKETS];

	while (*at && ((*at)->serial != serial || (*at)->kind != kind))
		at = &(*at)->next;
	return (struct object **)at;
}

struct object *supervise_object(struct supervisor *s, enum object_kind kind, uint64_t serial)
{
	return *find_slot(s, kind, serial);
}

struct object *supervise_make_object(struct supervisor *s, enum object_kind kind, uint64_t serial)
{
	struct object **slot = find_slot(s, kind, serial);

	if (!*slot && (*slot = calloc(1, sizeof **slot))) {
		(*slot)->kind = kind;
		(*slot)->serial = serial;
		memcpy((*slot)->status.state, "draft", 6);
	}
	return *slot;
}

static void drop_link(struct supervisor *s, struct object *o)
{
	struct link *l = o->link;

	if (o->phase == PHASE_WAITING)
		s->waiting--;
	o->phase = PHASE_REST;
	o->link = NULL;
	if (!l)
		return;
	if (l->output.fd >= 0) {
		int fd = l->output.fd;

		supervise_unsource(s, &l->output);
		(void)close(fd);
	}
	supervise_unsource(s, &l->watch);
	talk_close(&l->talk);
	free(l);
}

static struct link *need_link(struct object *o)
{
	if (!o->link && (o->link = calloc(1, sizeof *o->link))) {
		o->link->output = (struct source){ SOURCE_OUTPUT, -1, o };
		o->link->watch = (struct source){ SOURCE_WATCH, -1, o };
		o->link->talk = (struct talk){ .fd = -1, .passed = -1 };
	}
	return o->link;
}

static void forget(struct supervisor *s, struct object *o)
{
	struct object **slot = find_slot(s, o->kind, o->serial);
	enum object_kind kind = o->kind;
	uint64_t serial = o->serial;

	s->forgotten++;
	drop_link(s, o);
	supervise_fail_calls(s, o, ENOTCONN, "it was removed");
	supervise_forget_object(o);
	if (*slot == o)
		*slot = o->next;
	free(o);
	if (s->callbacks.gone)
		s->callbacks.gone(s->context, kind, serial);
}

static void set_status(struct supervisor *s, struct object *o, const struct status *status)
{
	o->status = *status;
	if (s->callbacks.status)
		s->callbacks.status(s->context, o->kind, o->serial, &o->status);
}

static void say_changed(struct supervisor *s, struct object *o, const char *path, int64_t size, int64_t mtime_ns)
{
	if (s->callbacks.changed)
		s->callbacks.changed(s->context, o->kind, o->serial, path, size, mtime_ns);
}

/* Where no runner lives, the mount writes in its place. */
static void write_for_runner(struct supervisor *s, struct object *o, int folder, const char *state,
			     const char *failure)
{
	struct status next = { .generation = o->want.generation };
	cleanup_buffer struct buffer b = BUFFER(2 * ERROR_TEXT_SIZE);
	struct error err;
	struct timespec now = { 0 };

	(void)clock_gettime(CLOCK_REALTIME, &now);
	next.since = (double)now.tv_sec + (double)(now.tv_nsec / 1000000) / 1000;
	(void)snprintf(next.state, sizeof next.state, "%s", state);
	if (buffer_format(&b, "%s\n", failure) < 0 ||
	    file_replace(folder, "failure", b.data, b.length, 0600, true, &err) < 0 ||
	    status_write(folder, &next, true, &err) < 0)
		supervise_log(s, o, "its state could not be written: %s", b.data ? err.text : "out of memory");
	say_changed(s, o, NULL, 0, 0);
	set_status(s, o, &next);
}

/* A runner deletes want last but for the folder itself: it was killed in between. */
static bool finish_removal(struct supervisor *s, struct object *o)
{
	struct error err;
	char path[64];

	(void)snprintf(path, sizeof path, "%s/%" PRIu64, object_folder[o->kind], o->serial);
	if (file_remove_tree(s->state->fd, path, &err) < 0) {
		supervise_log(s, o, "%s", err.text);
		return false;
	}
	forget(s, o);
	return true;
}

/* Reads want and status. -1 when the folder is gone; then the object is, too. */
static int read_object(struct supervisor *s, struct object *o, int *folder)
{
	bool removing = o->want.what == WANT_REMOVED;
	struct error err;
	struct status status;

	*folder = object_open(s->state, o->kind, o->serial, &err);
	if (*folder < 0) {
		if (err.code == ENOENT) {
			forget(s, o);
			return -1;
		}
		supervise_log(s, o, "%s", err.text);
		return 0;
	}
	if (want_read(*folder, &o->want, &err) < 0)
		supervise_log(s, o, "%s", err.text);
	else if (removing && !o->want.generation && finish_removal(s, o))
		return -1;
	if (status_read(*folder, &status, &err) < 0) {
		supervise_log(s, o, "%s", err.text);
		return 0;
	}
	if (status.generation != o->status.generation || strcmp(status.state, o->status.state) != 0 ||
	    status.since != o->status.since) {
		say_changed(s, o, NULL, 0, 0);
		set_status(s, o, &status);
	}
	return 0;
}

static bool lags(const struct object *o)
{
	return o->want.generation > o->status.generation || o->want.what == WANT_REMOVED;
}

/* The last line that a runner printed before it ended, for a failure's sentence. */
static void last_words(int folder, char *text, size_t size)
{
	cleanup_buffer struct buffer b = BUFFER(1 << 20);
	struct error ignored;
	char *line;

	text[0] = '\0';
	if (file_read(folder, "run/stderr", &b, &ignored) < 0 && !b.length)
		return;
	while (b.length && b.data[b.length - 1] == '\n')
		b.data[--b.length] = '\0';
	line = b.length ? strrchr(b.data, '\n') : NULL;
	(void)snprintf(text, size, ": %.*s", (int)(size > 4 ? size - 4 : 0), line ? line + 1 : b.length ? b.data : "");
	if (!b.length)
		text[0] = '\0';
}

/* Notes that a runner ended before its time; false when it did so too often. */
static bool may_restart(struct object *o)
{
	int64_t now = supervise_now_ms();
	int oldest = 0, recent = 0;

	for (int i = 0; i < DEATHS; i++) {
		if (o->deaths[i] && now - o->deaths[i] < DEATHS_WITHIN_MS)
			recent++;
		if (o->deaths[i] < o->deaths[oldest])
			oldest = i;
	}
	o->deaths[oldest] = now;
	return recent < DEATHS;
}

static void wait_for_child(struct supervisor *s, pid_t pid)
{
	struct child *c = calloc(1, sizeof *c);
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (!c || fd < 0)
		goto lost;
	c->pid = pid;
	c->source = (struct source){ SOURCE_PROCESS, -1, c };
	if (supervise_source(s, &c->source, fd, EPOLLIN) < 0)
		goto lost;
	c->next = s->children;
	s->children = c;
	return;
lost:
	/* It stays a zombie until the mount ends. */
	if (fd >= 0)
		(void)close(fd);
	free(c);
}

static void reap(struct supervisor *s, struct child *c)
{
	int fd = c->source.fd;

	if (waitpid(c->pid, NULL, WNOHANG) == 0)
		return;
	supervise_unsource(s, &c->source);
	(void)close(fd);
	for (struct child **at = &s->children; *at; at = &(*at)->next) {
		if (*at == c) {
			*at = c->next;
			break;
		}
	}
	free(c);
}

static void spawn(struct supervisor *s, struct object *o, int folder)
{
	struct error err;
	int output;
	pid_t pid;

	if (!need_link(o)) {
		(void)error_memory(&err);
	} else if (supervise_spawn(s, o, folder, &output, &pid, &err) == 0) {
		wait_for_child(s, pid);
		o->phase = PHASE_SPAWNING;
		o->spawned_for = o->want.generation;
		if (supervise_source(s, &o->link->output, output, EPOLLIN) == 0) {
			failpoint("supervise-spawned");
			return;
		}
		(void)error_errno(&err, "epoll");
		(void)close(output);
	}
	drop_link(s, o);
	supervise_log(s, o, "cannot be started: %s", err.text);
	if (o->want.what != WANT_REMOVED)
		write_for_runner(s, o, folder, "failed", err.text);
	supervise_fail_calls(s, o, ENOTCONN, err.text);
}

/* The sentence for a call to something at rest. */
void supervise_refuse_calls(struct supervisor *s, struct object *o, int folder)
{
	cleanup_buffer struct buffer b = BUFFER(4096);
	struct error ignored;
	char text[256];

	if (!o->calls)
		return;
	if (folder >= 0 && file_read(folder, "failure", &b, &ignored) == 0 && b.length) {
		b.data[b.length - 1] = '\0';
		(void)snprintf(text, sizeof text, "the %s is %s: %s", object_noun[o->kind], o->status.state, b.data);
	} else {
		(void)snprintf(text, sizeof text, "the %s is %s", object_noun[o->kind], o->status.state);
	}
	supervise_fail_calls(s, o, ENOTCONN, text);
}

static void wait_longer(struct supervisor *s, struct object *o)
{
	struct link *l = need_link(o);

	if (!l)
		return;
	if (o->phase != PHASE_WAITING)
		s->waiting++;
	o->phase = PHASE_WAITING;
	l->retry_pause = l->retry_pause ? l->retry_pause * 2 : 5;
	if (l->retry_pause > 500)
		l->retry_pause = 500;
	l->retry_at = supervise_now_ms() + l->retry_pause;
	arm(s, l->retry_pause);
}

/* Tries to connect to a runner. 0: connected; -1 ENOTCONN: nobody listens. */
static int attach(struct supervisor *s, struct object *o, int folder, struct error *err)
{
	struct link *l = need_link(o);
	cleanup_free char *text = NULL;

	if (!l)
		return error_memory(err);
	if (talk_connect(&l->talk, folder, err) < 0)
		return -1;
	text = supervise_watch_text(s, o, folder);
	if (!text) {
		talk_close(&l->talk);
		return error_memory(err);
	}
	/* One that was started just now has read all there is; another may have been told nothing of
	 * what a mount wrote before it was killed. */
	if (talk_send(&l->talk, TALK_WATCH, text, strlen(text), err) < 0 ||
	    ((l->poked || o->phase != PHASE_SPAWNING) && talk_send(&l->talk, TALK_POKE, NULL, 0, err) < 0)) {
		talk_close(&l->talk);
		return -1;
	}
	if (supervise_source(s, &l->watch, l->talk.fd, EPOLLIN | (l->talk.out.length ? EPOLLOUT : 0)) < 0) {
		(void)error_errno(err, "epoll");
		talk_close(&l->talk);
		return -1;
	}
	if (o->phase == PHASE_WAITING)
		s->waiting--;
	o->phase = PHASE_CONNECTED;
	l->synced = l->poked = false;
	l->retry_pause = 0;
	supervise_begin_calls(s, o);
	return 0;
}

/* Whether a runner ended before its time, where it has to run again. One that came to rest when
 * it was just wanted again did not; it has taken its socket away. */
static bool ended_early(const struct object *o, int folder)
{
	return !status_resting(o->kind, o->status.state) || o->status.generation < o->spawned_for ||
	       o->want.what == WANT_REMOVED || faccessat(folder, "run/sock", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* An object without a connection: what it is now decides what it needs. false when it is gone. */
static bool drive_once(struct supervisor *s, struct object *o)
{
	cleanup_close int folder = -1;
	char words[400], text[ERROR_TEXT_SIZE];
	bool was_waiting = o->phase == PHASE_WAITING;
	struct error err;

	if (read_object(s, o, &folder) < 0)
		return false;
	if (folder < 0)
		return true;
	if (runner_alive(folder, NULL)) {
		/* One that has just let go of us is most likely in the middle of its end. */
		if ((o->died && !was_waiting) || attach(s, o, folder, &err) < 0)
			wait_longer(s, o);
		else
			o->died = false;
		return true;
	}
	drop_link(s, o);
	if (!lags(o) && status_resting(o->kind, o->status.state)) {
		o->died = false;
		supervise_refuse_calls(s, o, folder);
		return true;
	}
	if (!lags(o) && !o->died && runner_of_earlier_boot(folder) && after_reboot[o->kind].state) {
		write_for_runner(s, o, folder, after_reboot[o->kind].state, after_reboot[o->kind].failure);
		supervise_refuse_calls(s, o, folder);
		return true;
	}
	if ((was_waiting || o->died) && ended_early(o, folder)) {
		o->died = false;
		last_words(folder, words, sizeof words);
		if (!may_restart(o)) {
			(void)snprintf(text, sizeof text, "its runner ended unexpectedly %d times within a minute%s",
				       DEATHS + 1, words);
			supervise_log(s, o, "%s", text);
			if (o->want.what != WANT_REMOVED)
				write_for_runner(s, o, folder, "failed", text);
			supervise_refuse_calls(s, o, folder);
			return true;
		}
		supervise_log(s, o, "its runner ended unexpectedly and is started again%s", words);
	}
	o->died = false;
	spawn(s, o, folder);
	return true;
}

/* Callbacks inside may ask for the same object again: that is done when they have returned. */
static void drive(struct supervisor *s, struct object *o)
{
	o->again = true;
	if (o->driving)
		return;
	o->driving = true;
	while (o->again && (o->phase == PHASE_REST || o->phase == PHASE_WAITING)) {
		o->again = false;
		if (!drive_once(s, o))
			return;
	}
	o->driving = false;
}

/* Its runner has ended; whether it should have is seen in what it left. */
void supervise_lost(struct supervisor *s, struct object *o)
{
	drop_link(s, o);
	o->died = true;
	drive(s, o);
}

static void take_notice(struct supervisor *s, struct object *o, const struct talk_message *m)
{
	char line[PATH_MAX + 64];
	struct error err;
	char *mtime, *size, *end;
	long long n, t;

	if (m->length >= sizeof line)
		return;
	memcpy(line, m->data, m->length);
	line[m->length] = '\0';
	/* The path may hold spaces; the last two words are numbers. */
	mtime = strrchr(line, ' ');
	if (!mtime)
		return;
	*mtime++ = '\0';
	size = strrchr(line, ' ');
	if (!size)
		return;
	*size++ = '\0';
	n = strtoll(size, &end, 10);
	if (*end || end == size)
		return;
	t = strtoll(mtime, &end, 10);
	if (*end || end == mtime)
		return;
	if (!o->link->synced) {
		o->link->synced = true;
		say_changed(s, o, NULL, 0, 0);
	} else {
		say_changed(s, o, line, n, t);
	}
	if (!strcmp(line, "status")) {
		cleanup_close int folder = object_open(s->state, o->kind, o->serial, &err);
		struct status status;

		if (folder >= 0 && status_read(folder, &status, &err) == 0)
			set_status(s, o, &status);
	}
}

void supervise_take_notices(struct supervisor *s, struct object *o)
{
	struct talk_message m;
	struct error err;
	int got = 0;

	while (o->phase == PHASE_CONNECTED && (got = talk_take(&o->link->talk, &m, &err)) > 0)
		if (m.type == TALK_NOTICE)
			take_notice(s, o, &m);
	if (o->phase == PHASE_CONNECTED && got < 0)
		supervise_lost(s, o);
}

static void watch_event(struct supervisor *s, struct object *o, uint32_t events)
{
	struct error ignored;

	if (events & EPOLLOUT) {
		if (talk_flush(&o->link->talk, &ignored) != 0)
			(void)supervise_source(s, &o->link->watch, o->link->talk.fd, EPOLLIN);
	}
	supervise_take_notices(s, o);
}

/* A started runner has closed its output: it listens, or it has ended. */
static void output_event(struct supervisor *s, struct object *o)
{
	cleanup_close int folder = -1;
	struct error err;
	char ignored[512];
	ssize_t n = read(o->link->output.fd, ignored, sizeof ignored);
	int fd = o->link->output.fd;

	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	supervise_unsource(s, &o->link->output);
	(void)close(fd);
	folder = object_open(s->state, o->kind, o->serial, &err);
	if (folder >= 0 && attach(s, o, folder, &err) == 0)
		return;
	if (folder >= 0 && runner_alive(folder, NULL))
		wait_longer(s, o);
	else
		supervise_lost(s, o);
}

static void retry_waiting(struct supervisor *s)
{
	int64_t now = supervise_now_ms(), next = INT64_MAX;

	for (size_t i = 0; s->waiting && i < BUCKETS; i++) {
		for (struct object *o = s->buckets[i]; o;) {
			unsigned before = s->forgotten;

			if (o->phase == PHASE_WAITING && o->link->retry_at <= now)
				drive(s, o);
			o = before == s->forgotten ? o->next : s->buckets[i];
		}
	}
	for (size_t i = 0; s->waiting && i < BUCKETS; i++)
		for (struct object *o = s->buckets[i]; o; o = o->next)
			if (o->phase == PHASE_WAITING && o->link->retry_at < next)
				next = o->link->retry_at;
	if (next != INT64_MAX)
		arm(s, next - now);
}

int supervise_fd(const struct supervisor *s)
{
	return s->epoll;
}

void supervise_step(struct supervisor *s)
{
	/* One at a time: what an event does may free what another one points to. */
	for (int i = 0; i < 256; i++) {
		struct epoll_event e;
		struct source *source;
		uint64_t expirations;

		if (epoll_wait(s->epoll, &e, 1, 0) != 1)
			return;
		source = e.data.ptr;
		switch (source->type) {
		case SOURCE_OUTPUT:
			output_event(s, source->owner);
			break;
		case SOURCE_PROCESS:
			reap(s, source->owner);
			break;
		case SOURCE_WATCH:
			watch_event(s, source->owner, e.events);
			break;
		case SOURCE_CALL:
			supervise_call_event(source->owner);
			break;
		case SOURCE_TIMER:
			if (read(source->fd, &expirations, sizeof expirations) == sizeof expirations) {
				supervise_ready_calls(s);
				retry_waiting(s);
			}
			break;
		}
	}
}

void supervise_expect(struct supervisor *s, enum object_kind kind, uint64_t serial)
{
	struct object *o = supervise_make_object(s, kind, serial);

	if (o)
		o->expected++;
}

void supervise_poke(struct supervisor *s, enum object_kind kind, uint64_t serial)
{
	struct object *o = supervise_make_object(s, kind, serial);
	cleanup_close int folder = -1;
	cleanup_free char *text = NULL;
	struct link *l;
	struct error err;

	if (!o) {
		supervise_log(s, NULL, "out of memory");
		return;
	}
	if (o->expected)
		o->expected--;
	l = o->link;
	if (o->phase == PHASE_REST) {
		drive(s, o);
		o = supervise_object(s, kind, serial);
		if (o && o->phase == PHASE_REST && !o->expected && o->calls) {
			folder = object_open(s->state, kind, serial, &err);
			supervise_refuse_calls(s, o, folder);
		}
		return;
	}
	l->poked = true;
	if (o->phase != PHASE_CONNECTED)
		return;
	folder = object_open(s->state, kind, serial, &err);
	/* Without its folder the runner is ending. */
	if (folder < 0 || want_read(folder, &o->want, &err) < 0)
		return;
	/* The secrets first: what is wanted now may need new ones. */
	text = supervise_watch_text(s, o, folder);
	if (!text)
		return;
	l->poked = false;
	if (talk_send(&l->talk, TALK_WATCH, text, strlen(text), &err) < 0 ||
	    talk_send(&l->talk, TALK_POKE, NULL, 0, &err) < 0)
		return; /* it is ending; the end of its connection decides anew */
	if (l->talk.out.length)
		(void)supervise_source(s, &l->watch, l->talk.fd, EPOLLIN | EPOLLOUT);
}

bool supervise_look(const struct supervisor *s, enum object_kind kind, uint64_t serial,
		    struct status *status, struct want *want)
{
	const struct object *o = *find_slot(s, kind, serial);

	if (!o)
		return false;
	if (status)
		*status = o->status;
	if (want)
		*want = o->want;
	return true;
}

static const struct source no_source = { SOURCE_TIMER, -1, NULL };

int supervise_open(struct supervisor **supervisor, struct state *state,
		   const struct supervise_callbacks *callbacks, void *context, struct error *err)
{
	struct supervisor *s = calloc(1, sizeof *s);
	int fd;

	if (!s)
		return error_memory(err);
	s->state = state;
	s->callbacks = *callbacks;
	s->context = context;
	s->timer = no_source;
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->epoll < 0 || fd < 0 || supervise_source(s, &s->timer, fd, EPOLLIN) < 0) {
		(void)error_errno(err, "epoll");
		if (fd >= 0)
			(void)close(fd);
		if (s->epoll >= 0)
			(void)close(s->epoll);
		free(s);
		return -1;
	}
	*supervisor = s;
	return 0;
}

void supervise_close(struct supervisor *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (s->buckets[i]) {
			struct object *o = s->buckets[i];

			s->buckets[i] = o->next;
			drop_link(s, o);
			supervise_drop_calls(s, o);
			free(o);
		}
	}
	supervise_drop_calls(s, NULL);
	while (s->children) {
		struct child *c = s->children;

		s->children = c->next;
		(void)close(c->source.fd);
		free(c);
	}
	(void)close(s->timer.fd);
	(void)close(s->epoll);
	cJSON_Delete(s->environment);
	free(s);
}
