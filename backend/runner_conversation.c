/* The sending side of the runner's conversations: answers, and notices, which overtake them.
 * While a notice has found no room in a watcher's socket, nothing is sent to any other client. A
 * watcher that takes nothing for five seconds is let go; it looks at everything again when it
 * comes back. */
#include "backend/runner_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/frame.h"
#include "base/talk.h"

#define FULL (256u << 10)
#define STUCK_MS 5000

void runner_hang_up(struct conversation *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
	for (size_t i = 0; i < c->n_passing; i++)
		(void)close(c->passing[i].fd);
	c->n_passing = 0;
	buffer_free(&c->in);
}

void runner_free_conversation(struct conversation *c)
{
	runner_hang_up(c);
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
void runner_lose(struct conversation *c)
{
	if (c->fd < 0)
		return;
	runner_hang_up(c);
	if (!c->closed)
		c->lost = true;
	if (c->role == ROLE_CALL && c->lost && !c->runner->removed)
		log_unsent(c);
	buffer_free(&c->out);
}

bool runner_notices_wait(const struct runner *r)
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
void runner_flush(struct conversation *c)
{
	size_t done = c->sent;

	if (c->fd < 0 || (c->role != ROLE_WATCHER && runner_notices_wait(c->runner)))
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
			runner_lose(c);
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
			runner_hang_up(c);
	}
}

bool runner_add_notice(struct conversation *c, const char *path, long long size, long long mtime_ns)
{
	char line[PATH_MAX + 64];
	int n = snprintf(line, sizeof line, "%s %lld %lld", path, size, mtime_ns);

	return n > 0 && (size_t)n < sizeof line &&
	       frame_append(&c->out, 0, TALK_NOTICE, line, (size_t)n) == 0;
}

/* A notice that cannot be sent now, or shall not be yet. */
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
		runner_hang_up(c); /* it looks at everything when it comes back */
	else
		c->n_stale++;
	if (c->fd >= 0 && !c->stuck_since && !c->runner->corked)
		c->stuck_since = clock_ms();
}

/* Puts the notices that wait into `out`, as the files are now, up to a frame's worth of them. */
static void gather_stale(struct conversation *c)
{
	size_t n = 0;

	while (n < c->n_stale && c->out.length < FRAME_PAYLOAD_MAX) {
		char *path = c->stale[n++];
		struct stat st;

		if (fstatat(c->runner->folder, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
			(void)runner_add_notice(c, path, (long long)st.st_size,
					 (long long)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
		else
			(void)runner_add_notice(c, path, -1, 0);
		free(path);
	}
	c->n_stale -= n;
	memmove(c->stale, c->stale + n, c->n_stale * sizeof *c->stale);
}

/* Sends what waits, and then the notices that found no room. */
void runner_flush_watcher(struct conversation *c)
{
	size_t before = c->out.length + c->n_stale;

	if (c->runner->corked)
		return;
	runner_flush(c);
	while (c->fd >= 0 && !c->out.length && c->n_stale) {
		gather_stale(c);
		runner_flush(c);
	}
	if (!c->out.length && !c->n_stale)
		c->stuck_since = 0;
	else if (c->out.length + c->n_stale < before || !c->stuck_since)
		c->stuck_since = clock_ms();
	else if (clock_ms() - c->stuck_since > STUCK_MS)
		runner_hang_up(c);
}

void runner_notice(struct runner *r, const char *path, long long size, long long mtime_ns)
{
	failpoint("runner-notice");
	for (struct conversation *c = r->conversations; c; c = c->next) {
		if (c->role != ROLE_WATCHER || c->fd < 0)
			continue;
		if (r->corked || c->out.length || c->n_stale || !runner_add_notice(c, path, size, mtime_ns))
			remember_stale(c, path);
		else
			runner_flush_watcher(c);
	}
}

void runner_cork(struct runner *r)
{
	r->corked = true;
}

void runner_uncork(struct runner *r)
{
	if (!r->corked)
		return;
	r->corked = false;
	for (struct conversation *c = r->conversations; c; c = c->next)
		if (c->role == ROLE_WATCHER)
			runner_flush_watcher(c);
	for (struct conversation *c = r->conversations; c; c = c->next)
		if (c->role != ROLE_WATCHER && c->out.length)
			runner_flush(c);
}

/* Sends an answer, behind the notices of what it speaks of. */
static void flush_answer(struct conversation *c)
{
	bool corked = c->runner->corked;

	if (corked && c->out.length <= FRAME_PAYLOAD_MAX)
		return;
	runner_uncork(c->runner);
	c->runner->corked = corked;
	if (!corked)
		runner_flush(c);
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
	flush_answer(c);
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
		runner_lose(c);
	free(json);
	flush_answer(c);
}
