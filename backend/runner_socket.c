/* The receiving side of the runner's socket: watchers, commands and calls (base/talk.h draws the
 * protocol; runner_conversation.c sends). */
#include "backend/runner_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/frame.h"
#include "base/talk.h"

#define REQUEST_MAX (16u << 20)
#define OUT_MAX (64u << 20)

int runner_listen(struct runner *r, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (r->listener < 0)
		return error_errno(err, "socket");
	/* A path of ours may be longer than the 108 bytes that an address has. */
	(void)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/run/sock~", r->folder);
	if (unlinkat(r->folder, "run/sock~", 0) < 0 && errno != ENOENT)
		return error_errno(err, "run/sock");
	if (bind(r->listener, (struct sockaddr *)&address, sizeof address) < 0)
		return error_errno(err, "run/sock: bind");
	if (listen(r->listener, SOMAXCONN) < 0)
		return error_errno(err, "run/sock: listen");
	/* Whoever finds the name finds somebody who listens. */
	if (renameat(r->folder, "run/sock~", r->folder, "run/sock") < 0)
		return error_errno(err, "run/sock");
	return 0;
}

static void become_watcher(struct conversation *c)
{
	struct stat st;

	c->role = ROLE_WATCHER;
	/* The first notice says that from now on none is missed. */
	if (fstatat(c->runner->folder, "status", &st, 0) == 0)
		(void)runner_add_notice(c, "status", (long long)st.st_size,
				 (long long)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
	else
		(void)runner_add_notice(c, "status", -1, 0);
	runner_flush_watcher(c);
}

/* Serves one frame; false when it does not belong. */
static bool serve(struct conversation *c, const struct frame *f)
{
	struct runner *r = c->runner;

	switch (f->type) {
	case TALK_WATCH:
		if (c->role != ROLE_NEW && c->role != ROLE_WATCHER)
			return false;
		runner_take_secrets(r, f->payload, f->length);
		if (c->role == ROLE_NEW)
			become_watcher(c);
		return true;
	case TALK_POKE:
		r->poked = true;
		return true;
	case TALK_COMMAND:
	case TALK_CALL:
		if (c->role != ROLE_NEW || memchr(f->payload, 0, f->length))
			return false;
		c->name = strndup((const char *)f->payload, f->length);
		if (!c->name)
			return false;
		c->role = f->type == TALK_CALL ? ROLE_CALL : ROLE_COMMAND;
		c->complete = c->role == ROLE_COMMAND;
		return true;
	case TALK_DATA:
		if (c->role != ROLE_CALL || c->complete)
			return false;
		if (!c->ended && buffer_append(&c->request, f->payload, f->length) < 0) {
			buffer_free(&c->request);
			conversation_end(c, EMSGSIZE, 0, "a request has at most %u bytes", REQUEST_MAX);
		}
		return true;
	case TALK_GO:
		if (c->role != ROLE_CALL || c->complete)
			return false;
		c->complete = true;
		/* What was sent to a client that closes unread would be gone with its socket. */
		if (f->length == strlen(TALK_UNREAD) && !memcmp(f->payload, TALK_UNREAD, f->length))
			runner_lose(c);
		return true;
	case TALK_CLOSE:
		c->closed = true;
		return true;
	default:
		return false;
	}
}

static void receive(struct conversation *c)
{
	char piece[65536];

	while (c->fd >= 0) {
		ssize_t n = recv(c->fd, piece, sizeof piece, 0);
		struct frame frame;
		struct error ignored;
		size_t at = 0;
		long size = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n <= 0) {
			runner_lose(c);
			return;
		}
		if (buffer_append(&c->in, piece, (size_t)n) < 0)
			size = -1;
		while (size >= 0 && c->fd >= 0 && at < c->in.length &&
		       (size = frame_parse(c->in.data + at, c->in.length - at, &frame, &ignored)) > 0) {
			at += (size_t)size;
			if (!serve(c, &frame))
				size = -1;
		}
		if (size < 0) {
			runner_lose(c);
			return;
		}
		buffer_consume(&c->in, at < c->in.length ? at : c->in.length);
		if (!c->in.length)
			buffer_free(&c->in);
		if (c->closed)
			runner_hang_up(c);
	}
}

static void accept_clients(struct runner *r)
{
	for (;;) {
		int fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct conversation *c;

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
				r->deaf = true;
			else if (errno == ECONNABORTED || errno == EINTR)
				continue;
			return;
		}
		c = calloc(1, sizeof *c);
		if (!c) {
			(void)close(fd);
			return;
		}
		c->runner = r;
		c->fd = fd;
		c->in = BUFFER(2 * (FRAME_PAYLOAD_MAX + FRAME_HEADER_SIZE));
		c->out = BUFFER(OUT_MAX);
		c->request = BUFFER(REQUEST_MAX);
		/* At the end: clients are served in the order in which they came. */
		struct conversation **end = &r->conversations;

		while (*end)
			end = &(*end)->next;
		*end = c;
		receive(c);
	}
}

/* Frees what neither the story nor a client holds any more. */
static void sweep(struct runner *r)
{
	for (struct conversation **at = &r->conversations; *at;) {
		struct conversation *c = *at;
		bool dropped = c->fd < 0 && (c->ended || (!c->told && (c->closed || !c->complete)));

		if (c->role == ROLE_WATCHER || c->role == ROLE_NEW)
			dropped = c->fd < 0;
		if (!dropped) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		runner_free_conversation(c);
		r->deaf = false;
	}
}

static struct pollfd *poll_room(struct runner *r)
{
	size_t need = 2 + r->n_watched;
	struct pollfd *p;

	for (struct conversation *c = r->conversations; c; c = c->next)
		need++;
	if (need <= r->polled_size)
		return r->polled;
	p = realloc(r->polled, need * sizeof *p);
	if (p) {
		r->polled = p;
		r->polled_size = need;
	}
	return p;
}

int runner_pump(struct runner *r, int64_t timeout_ms, long *ready, short *revents, struct error *err)
{
	struct pollfd *p;
	size_t n = 0, first;
	bool held;
	int got;

	runner_uncork(r);
	held = runner_notices_wait(r);
	if (ready)
		*ready = -1;
	sweep(r);
	p = poll_room(r);
	if (!p)
		return error_memory(err);
	p[n++] = (struct pollfd){ .fd = r->deaf ? -1 : r->listener, .events = POLLIN };
	p[n++] = (struct pollfd){ .fd = r->signals, .events = POLLIN };
	for (struct conversation *c = r->conversations; c; c = c->next) {
		bool more = c->role == ROLE_WATCHER ? c->out.length || c->n_stale : c->out.length && !held;

		if (c->role == ROLE_WATCHER && more && (timeout_ms < 0 || timeout_ms > 1000))
			timeout_ms = 1000; /* to notice that it is stuck */
		p[n++] = (struct pollfd){ .fd = c->fd, .events = (short)(POLLIN | (more ? POLLOUT : 0)) };
	}
	first = n;
	for (size_t i = 0; ready && i < r->n_watched; i++)
		p[n++] = (struct pollfd){ .fd = r->watched[i].events ? r->watched[i].fd : -1,
					  .events = r->watched[i].events };
	if (timeout_ms > INT_MAX)
		timeout_ms = INT_MAX;
	got = poll(p, n, (int)timeout_ms);
	if (got < 0 && errno != EINTR)
		return error_errno(err, "poll");
	if (got < 0)
		return 0;
	n = 2;
	for (struct conversation *c = r->conversations; c; c = c->next, n++) {
		if (c->fd >= 0 && (p[n].revents & (POLLIN | POLLHUP | POLLERR)))
			receive(c);
		if (c->role == ROLE_WATCHER)
			runner_flush_watcher(c);
	}
	for (struct conversation *c = runner_notices_wait(r) ? NULL : r->conversations; c; c = c->next)
		if (c->role != ROLE_WATCHER && c->out.length)
			runner_flush(c);
	if (p[1].revents) {
		struct signalfd_siginfo info;

		if (read(r->signals, &info, sizeof info) == sizeof info)
			r->terminated = true;
	}
	for (size_t i = 0; ready && i < r->n_watched; i++) {
		size_t at = (r->turn + i) % r->n_watched;

		if (!p[first + at].revents)
			continue;
		*ready = (long)at;
		*revents = p[first + at].revents;
		r->turn = at + 1;
		break;
	}
	/* Last: a new client must not shift the indices above. */
	if (p[0].revents)
		accept_clients(r);
	return 0;
}

void runner_end_all(struct runner *r, int code, const char *text)
{
	for (struct conversation *c = r->conversations; c; c = c->next)
		if (c->role == ROLE_CALL || c->role == ROLE_COMMAND)
			conversation_end(c, code, 0, "%s", text);
}

void runner_drain(struct runner *r, int timeout_ms)
{
	int64_t end = clock_ms() + timeout_ms;
	struct error ignored;

	for (;;) {
		int64_t left = end - clock_ms();
		bool unsent = false;

		for (struct conversation *c = r->conversations; c; c = c->next)
			unsent |= c->fd >= 0 && (c->out.length || c->n_stale);
		if (!unsent || left <= 0 || runner_pump(r, left, NULL, NULL, &ignored) < 0)
			return;
	}
}

void runner_close_all(struct runner *r)
{
	while (r->conversations) {
		struct conversation *c = r->conversations;

		r->conversations = c->next;
		runner_free_conversation(c);
	}
}

