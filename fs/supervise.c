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
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

void supervise_log(struct supervisor *s, const struct object *o, const char *format, ...)
{
	char text[ERROR_TEXT_SIZE + 128];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (s->callbacks.log)
		s->callbacks.log(s->context, o ? o->kind : OBJECT_SANDBOX, o ? o->serial : 0, text);
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

void supervise_arm(struct supervisor *s, int64_t in_ms)
{
	struct itimerspec t = { .it_value = { .tv_sec = in_ms / 1000, .tv_nsec = in_ms % 1000 * 1000000 } };

	if (in_ms <= 0)
		t.it_value = (struct timespec){ .tv_nsec = 1 };
	(void)timerfd_settime(s->timer.fd, 0, &t, NULL);
}

void supervise_wake(struct supervisor *s)
{
	supervise_arm(s, 0);
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

void supervise_drop_link(struct supervisor *s, struct object *o)
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

struct link *supervise_need_link(struct object *o)
{
	if (!o->link && (o->link = calloc(1, sizeof *o->link))) {
		o->link->output = (struct source){ SOURCE_OUTPUT, -1, o };
		o->link->watch = (struct source){ SOURCE_WATCH, -1, o };
		o->link->talk = (struct talk){ .fd = -1, .passed = -1 };
	}
	return o->link;
}

void supervise_forget(struct supervisor *s, struct object *o)
{
	struct object **slot = find_slot(s, o->kind, o->serial);
	enum object_kind kind = o->kind;
	uint64_t serial = o->serial;

	s->forgotten++;
	supervise_drop_link(s, o);
	supervise_fail_calls(s, o, ENOTCONN, "it was removed");
	supervise_forget_object(o);
	if (*slot == o)
		*slot = o->next;
	free(o);
	if (s->callbacks.gone)
		s->callbacks.gone(s->context, kind, serial);
}

void supervise_wait_for_child(struct supervisor *s, pid_t pid)
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

static void take_notice(struct supervisor *s, struct object *o, const struct talk_message *m)
{
	char line[PATH_MAX + 64];
	struct error err;
	char *mtime, *size, *end;
	bool first = !o->link->synced;
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
	o->link->synced = true;
	if (first)
		supervise_say_changed(s, o, NULL, 0, 0);
	else
		supervise_say_changed(s, o, line, n, t);
	if (!strcmp(line, "status")) {
		cleanup_close int folder = object_open(s->state, o->kind, o->serial, &err);
		struct status status;

		if (folder >= 0 && status_read(folder, &status, &err) == 0)
			supervise_set_status(s, o, &status);
	}
	if (first && supervise_answers(o))
		supervise_begin_calls(s, o);
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
	if (folder >= 0 && supervise_attach(s, o, folder, &err) == 0)
		return;
	if (folder >= 0 && runner_alive(folder, NULL))
		supervise_wait_longer(s, o);
	else
		supervise_lost(s, o);
}

static void retry_waiting(struct supervisor *s)
{
	int64_t now = clock_ms(), next = INT64_MAX;

	for (size_t i = 0; s->waiting && i < BUCKETS; i++) {
		for (struct object *o = s->buckets[i]; o;) {
			unsigned before = s->forgotten;

			if (o->phase == PHASE_WAITING && o->link->retry_at <= now)
				supervise_drive(s, o);
			o = before == s->forgotten ? o->next : s->buckets[i];
		}
	}
	for (size_t i = 0; s->waiting && i < BUCKETS; i++)
		for (struct object *o = s->buckets[i]; o; o = o->next)
			if (o->phase == PHASE_WAITING && o->link->retry_at < next)
				next = o->link->retry_at;
	if (next != INT64_MAX)
		supervise_arm(s, next - now);
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
		supervise_drive(s, o);
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
			supervise_drop_link(s, o);
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

