/* The runner's socket: watchers, commands and calls (base/talk.h draws the protocol).
 *
 * Notices overtake answers: while a notice has found no room in a watcher's socket, nothing is
 * sent to any other client. A watcher that takes nothing for five seconds is let go; it looks at
 * everything again when it comes back. */
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
#include "base/failpoint.h"
#include "base/frame.h"
#include "base/talk.h"

#define REQUEST_MAX (16u << 20)
#define OUT_MAX (64u << 20)
#define FULL (256u << 10)
#define ROOM_AGAIN (64u << 10)
#define STUCK_MS 5000

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

static void hang_up(struct conversation *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
	for (size_t i = 0; i < c->n_passing; i++)
		(void)close(c->passing[i].fd);
	c->n_passing = 0;
	buffer_free(&c->in);
}

static void free_conversation(struct conversation *c)
{
	hang_up(c);
	for (size_t i = 0; i < c->n_stale; i++)
		free(c->stale[i]);
	free(c->stale);
	buffer_free(&c->out);
	buffer_free(&c->request);
	free(c->name);
	free(c);
}

/* What a client that got lost did not take any more goes into the object's log. */
static void log_unsent(struct conversation *c)
{
	size_t at = 0;
	struct frame frame;
	struct error ignored;
	long size;

	while (at < c->out.length &&
	       (size = frame_parse(c->out.data + at, c->out.length - at, &frame, &ignored)) > 0) {
		if (frame.type == TALK_DATA && frame.length > 1)
			(void)runner_append(c->runner, "log", frame.payload + 1, frame.length - 1, &ignored);
		at += (size_t)size;
	}
}

/* The connection has ended without CLOSE. */
static void lose(struct conversation *c)
{
	if (c->fd < 0)
		return;
	hang_up(c);
	if (!c->closed)
		c->lost = true;
	if (c->role == ROLE_CALL && c->lost && !c->runner->removed)
		log_unsent(c);
	buffer_free(&c->out);
}

static bool notices_wait(const struct runner *r)
{
	for (const struct conversation *c = r->conversations; c; c = c->next)
		if (c->role == ROLE_WATCHER && c->fd >= 0 && (c->out.length || c->n_stale))
			return true;
	return false;
}

static ssize_t send_piece(int fd, const char *data, size_t n, int passed)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec v = { .iov_base = (void *)data, .iov_len = n };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	ssize_t sent;

	if (passed >= 0) {
		struct cmsghdr *c;

		m.msg_control = control.bytes;
		m.msg_controllen = sizeof control.bytes;
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof passed);
		memcpy(CMSG_DATA(c), &passed, sizeof passed);
	}
	do {
		sent = sendmsg(fd, &m, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent;
}

/* Forgets the frames that were sent to their last byte; `out` always begins with a frame's head. */
static void forget_sent(struct conversation *c)
{
	size_t at = 0;
	struct frame frame;
	struct error ignored;
	long size;

	while (at < c->sent &&
	       (size = frame_parse(c->out.data + at, c->out.length - at, &frame, &ignored)) > 0 &&
	       at + (size_t)size <= c->sent)
		at += (size_t)size;
	buffer_consume(&c->out, at);
	c->sent -= at;
	for (size_t i = 0; i < c->n_passing; i++)
		c->passing[i].at -= at;
}

/* Sends what can be sent. */
static void flush(struct conversation *c)
{
	size_t done = c->sent;

	if (c->fd < 0 || (c->role != ROLE_WATCHER && notices_wait(c->runner)))
		return;
	while (done < c->out.length) {
		size_t n = c->out.length - done;
		int passed = -1;
		ssize_t sent;

		if (c->n_passing && c->passing[0].at > done)
			n = c->passing[0].at - done;
		else if (c->n_passing) {
			passed = c->passing[0].fd;
			if (c->n_passing > 1)
				n = c->passing[1].at - done;
		}
		sent = send_piece(c->fd, c->out.data + done, n, passed);
		if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (sent < 0) {
			c->sent = done;
			forget_sent(c);
			lose(c);
			return;
		}
		if (passed >= 0) {
			(void)close(passed);
			c->n_passing--;
			memmove(c->passing, c->passing + 1, c->n_passing * sizeof *c->passing);
		}
		done += (size_t)sent;
	}
	c->sent = done;
	forget_sent(c);
	if (!c->out.length) {
		buffer_free(&c->out);
		if (c->ended)
			hang_up(c);
	}
}

static bool add_notice(struct conversation *c, const char *path, long long size, long long mtime_ns)
{
	char line[PATH_MAX + 64];
	int n = snprintf(line, sizeof line, "%s %lld %lld", path, size, mtime_ns);

	return n > 0 && (size_t)n < sizeof line &&
	       frame_append(&c->out, 0, TALK_NOTICE, line, (size_t)n) == 0;
}

static void remember_stale(struct conversation *c, const char *path)
{
	char **more;

	for (size_t i = 0; i < c->n_stale; i++)
		if (!strcmp(c->stale[i], path))
			return;
	more = realloc(c->stale, (c->n_stale + 1) * sizeof *more);
	if (more)
		c->stale = more;
	if (!more || !(c->stale[c->n_stale] = strdup(path)))
		hang_up(c); /* it looks at everything when it comes back */
	else
		c->n_stale++;
	if (c->fd >= 0 && !c->stuck_since)
		c->stuck_since = runner_now_ms();
}

/* Notices that found no room, as the files are now. */
static void flush_watcher(struct conversation *c)
{
	size_t before = c->out.length + c->n_stale;

	flush(c);
	while (c->fd >= 0 && !c->out.length && c->n_stale) {
		char *path = c->stale[--c->n_stale];
		struct stat st;

		if (fstatat(c->runner->folder, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
			(void)add_notice(c, path, (long long)st.st_size,
					 (long long)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
		else
			(void)add_notice(c, path, -1, 0);
		free(path);
		flush(c);
	}
	if (!c->out.length && !c->n_stale)
		c->stuck_since = 0;
	else if (c->out.length + c->n_stale < before || !c->stuck_since)
		c->stuck_since = runner_now_ms();
	else if (runner_now_ms() - c->stuck_since > STUCK_MS)
		hang_up(c);
}

void runner_notice(struct runner *r, const char *path, long long size, long long mtime_ns)
{
	failpoint("runner-notice");
	for (struct conversation *c = r->conversations; c; c = c->next) {
		if (c->role != ROLE_WATCHER || c->fd < 0)
			continue;
		if (c->out.length || c->n_stale || !add_notice(c, path, size, mtime_ns))
			remember_stale(c, path);
		else
			flush_watcher(c);
	}
}

int conversation_send(struct conversation *c, int channel, const void *data, size_t n, int passed)
{
	const char *p = data;

	if (c->fd < 0 || c->ended || c->closed) {
		/* Lost a moment ago, and the story does not know it yet. */
		struct error ignored;

		if (c->lost && !c->closed_told && c->role == ROLE_CALL && n && !c->runner->removed)
			(void)runner_append(c->runner, "log", data, n, &ignored);
		return 0;
	}
	if (passed >= 0 && c->n_passing < sizeof c->passing / sizeof *c->passing) {
		int copy = fcntl(passed, F_DUPFD_CLOEXEC, 3);

		if (copy >= 0)
			c->passing[c->n_passing++] = (struct passing){ c->out.length, copy };
	}
	if (!n && passed < 0)
		return 0;
	do {
		size_t piece = n < FRAME_PAYLOAD_MAX - 1 ? n : FRAME_PAYLOAD_MAX - 1;
		char frame[FRAME_PAYLOAD_MAX];

		frame[0] = (char)channel;
		if (piece)
			memcpy(frame + 1, p, piece);
		if (frame_append(&c->out, 0, TALK_DATA, frame, piece + 1) < 0)
			return -1;
		p += piece;
		n -= piece;
	} while (n);
	flush(c);
	if (c->out.length > FULL)
		c->was_full = true;
	return 0;
}

bool conversation_full(const struct conversation *c)
{
	return c->fd >= 0 && c->out.length > FULL;
}

void conversation_set_data(struct conversation *c, void *data)
{
	c->data = data;
}

void *conversation_data(const struct conversation *c)
{
	return c->data;
}

void conversation_end(struct conversation *c, int code, int exit, const char *format, ...)
{
	char text[ERROR_TEXT_SIZE] = "", *json = NULL;
	cJSON *end;
	va_list args;

	if (c->ended)
		return;
	c->ended = true;
	c->data = NULL;
	if (c->fd < 0)
		return;
	va_start(args, format);
	if (format)
		(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	end = cJSON_CreateObject();
	if (cJSON_AddNumberToObject(end, "errno", code) && cJSON_AddStringToObject(end, "text", text) &&
	    cJSON_AddNumberToObject(end, "exit", exit))
		json = cJSON_PrintUnformatted(end);
	cJSON_Delete(end);
	failpoint("runner-end");
	if (!json || frame_append(&c->out, 0, TALK_END, json, strlen(json)) < 0)
		lose(c);
	free(json);
	flush(c);
}

static void take_secrets(struct runner *r, const struct frame *f)
{
	cJSON *json = cJSON_ParseWithLength((const char *)f->payload, f->length);
	cJSON *secrets = cJSON_DetachItemFromObjectCaseSensitive(json, "secrets");

	while (cJSON_IsObject(secrets) && secrets->child) {
		cJSON *item = cJSON_DetachItemViaPointer(secrets, secrets->child);

		if (cJSON_IsString(item) && item->string && (r->secrets || (r->secrets = cJSON_CreateObject()))) {
			char *name = strdup(item->string);

			cJSON_DeleteItemFromObjectCaseSensitive(r->secrets, item->string);
			if (name && cJSON_AddItemToObject(r->secrets, name, item))
				item = NULL;
			free(name);
		}
		cJSON_Delete(item);
	}
	cJSON_Delete(secrets);
	cJSON_Delete(json);
}

static void become_watcher(struct conversation *c)
{
	struct stat st;

	c->role = ROLE_WATCHER;
	/* The first notice says that from now on none is missed. */
	if (fstatat(c->runner->folder, "status", &st, 0) == 0)
		(void)add_notice(c, "status", (long long)st.st_size,
				 (long long)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
	else
		(void)add_notice(c, "status", -1, 0);
	flush_watcher(c);
}

/* Serves one frame; false when it does not belong. */
static bool serve(struct conversation *c, const struct frame *f)
{
	struct runner *r = c->runner;

	switch (f->type) {
	case TALK_WATCH:
		if (c->role != ROLE_NEW && c->role != ROLE_WATCHER)
			return false;
		take_secrets(r, f);
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
			lose(c);
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
			lose(c);
			return;
		}
		buffer_consume(&c->in, at < c->in.length ? at : c->in.length);
		if (!c->in.length)
			buffer_free(&c->in);
		if (c->closed)
			hang_up(c);
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
		free_conversation(c);
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
	bool held = notices_wait(r);
	int got;

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
			flush_watcher(c);
	}
	for (struct conversation *c = notices_wait(r) ? NULL : r->conversations; c; c = c->next)
		if (c->role != ROLE_WATCHER && c->out.length)
			flush(c);
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
	int64_t end = runner_now_ms() + timeout_ms;
	struct error ignored;

	for (;;) {
		int64_t left = end - runner_now_ms();
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
		free_conversation(c);
	}
}
