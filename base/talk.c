/* See talk.h. What is received is appended to `in` piece by piece, so that a conversation that
 * waits holds next to no memory. */
#include "base/talk.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/passing.h"

#define OUT_MAX (64u << 20)
#define IN_MAX (2u * (FRAME_HEADER_SIZE + FRAME_PAYLOAD_MAX))

static const struct talk fresh = { .fd = -1, .in = { .limit = IN_MAX }, .out = { .limit = OUT_MAX }, .passed = -1 };

int talk_attach(struct talk *talk, int fd, struct error *err)
{
	*talk = fresh;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return error_errno(err, "a connection");
	talk->fd = fd;
	return 0;
}

int talk_connect(struct talk *talk, int folder, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*talk = fresh;
	if (fd < 0)
		return error_errno(err, "socket");
	(void)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/run/sock", folder);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			return error_set(err, ENOTCONN, "nothing of it runs");
		return error_errno(err, "its runner");
	}
	talk->fd = steal_fd(&fd);
	return 0;
}

void talk_close(struct talk *talk)
{
	if (talk->fd >= 0)
		(void)close(talk->fd);
	if (talk->passed >= 0)
		(void)close(talk->passed);
	talk->fd = talk->passed = -1;
	talk->taken = 0;
	buffer_free(&talk->in);
	buffer_free(&talk->out);
}

int talk_flush(struct talk *talk, struct error *err)
{
	size_t done = 0;

	if (talk->fd < 0)
		return error_set(err, EPIPE, "the conversation is over");
	while (done < talk->out.length) {
		ssize_t n = send(talk->fd, talk->out.data + done, talk->out.length - done, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0) {
			(void)error_errno(err, "its runner is gone");
			err->code = EPIPE;
			buffer_clear(&talk->out);
			return -1;
		}
		done += (size_t)n;
	}
	buffer_consume(&talk->out, done);
	if (!talk->out.length)
		buffer_free(&talk->out);
	return talk->out.length ? 0 : 1;
}

static int put_frame(struct talk *talk, enum talk_type type, const void *payload, size_t n,
		     struct error *err)
{
	if (frame_append(&talk->out, 0, (uint8_t)type, payload, n) < 0)
		return error_errno(err, "a message to its runner");
	return 0;
}

int talk_send(struct talk *talk, enum talk_type type, const void *payload, size_t n, struct error *err)
{
	if (put_frame(talk, type, payload, n, err) < 0)
		return -1;
	return talk_flush(talk, err) < 0 ? -1 : 0;
}

static int put_data(struct talk *talk, const void *data, size_t n, struct error *err)
{
	const char *p = data;

	while (n) {
		size_t piece = n < FRAME_PAYLOAD_MAX ? n : FRAME_PAYLOAD_MAX;

		if (put_frame(talk, TALK_DATA, p, piece, err) < 0)
			return -1;
		p += piece;
		n -= piece;
	}
	return 0;
}

int talk_put(struct talk *talk, const void *data, size_t n, struct error *err)
{
	return put_data(talk, data, n, err) < 0 || talk_flush(talk, err) < 0 ? -1 : 0;
}

static int ask(struct talk *talk, const char *name, const void *request, size_t n, const char *how,
	       struct error *err)
{
	return put_frame(talk, TALK_CALL, name, strlen(name), err) < 0 || put_data(talk, request, n, err) < 0 ||
	       put_frame(talk, TALK_GO, how, strlen(how), err) < 0 || talk_flush(talk, err) < 0 ? -1 : 0;
}

int talk_ask(struct talk *talk, const char *name, const void *request, size_t n, struct error *err)
{
	return ask(talk, name, request, n, "", err);
}

int talk_ask_unread(struct talk *talk, const char *name, const void *request, size_t n, struct error *err)
{
	return ask(talk, name, request, n, TALK_UNREAD, err);
}

/* Receives what is there. 1: something came, 0: nothing now, -1. */
static int receive(struct talk *talk, struct error *err)
{
	char piece[65536];
	union {
		char bytes[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec v = { .iov_base = piece, .iov_len = sizeof piece };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control.bytes,
			    .msg_controllen = sizeof control.bytes };
	ssize_t n;

	do {
		n = recvmsg(talk->fd, &m, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	if (n <= 0)
		return error_set(err, ECONNRESET, "its runner is gone");
	/* The first descriptor is kept, any other closed. */
	(void)passing_take(&m, &talk->passed, talk->passed < 0);
	if (buffer_append(&talk->in, piece, (size_t)n) < 0)
		return error_errno(err, "a message from its runner");
	return 1;
}

static int read_end(struct talk_message *message, const struct frame *frame, struct error *err)
{
	cJSON *json = cJSON_ParseWithLength((const char *)frame->payload, frame->length);
	const cJSON *code = cJSON_GetObjectItemCaseSensitive(json, "errno");
	const cJSON *text = cJSON_GetObjectItemCaseSensitive(json, "text");
	const cJSON *status = cJSON_GetObjectItemCaseSensitive(json, "exit");

	if (!cJSON_IsNumber(code) || !cJSON_IsNumber(status) || code->valueint < 0) {
		cJSON_Delete(json);
		return error_set(err, EPROTO, "an end that is none");
	}
	message->code = code->valueint;
	message->exit = status->valueint;
	if (cJSON_IsString(text))
		(void)snprintf(message->text, sizeof message->text, "%s", text->valuestring);
	cJSON_Delete(json);
	return 0;
}

static int read_message(struct talk_message *message, const struct frame *frame, struct error *err)
{
	*message = (struct talk_message){ .type = (enum talk_type)frame->type };
	message->data = (const char *)frame->payload;
	message->length = frame->length;
	switch (frame->type) {
	case TALK_DATA:
		if (!frame->length || (frame->payload[0] != TALK_STDOUT && frame->payload[0] != TALK_STDERR))
			return error_set(err, EPROTO, "data on no channel");
		message->channel = (enum talk_channel)frame->payload[0];
		message->data++;
		message->length--;
		return 0;
	case TALK_NOTICE:
		return 0;
	case TALK_END:
		return read_end(message, frame, err);
	default:
		return error_set(err, EPROTO, "a message of an unknown type");
	}
}

static int take(struct talk *talk, bool more, struct talk_message *message, struct error *err)
{
	if (talk->fd < 0)
		return error_set(err, ECONNRESET, "the conversation is over");
	for (;;) {
		struct frame frame;
		long size = talk->in.length - talk->taken
				    ? frame_parse(talk->in.data + talk->taken,
						  talk->in.length - talk->taken, &frame, err)
				    : 0;
		int got;

		if (size < 0)
			return -1;
		if (size > 0) {
			talk->taken += (size_t)size;
			return read_message(message, &frame, err) < 0 ? -1 : 1;
		}
		buffer_consume(&talk->in, talk->taken);
		talk->taken = 0;
		if (!talk->in.length)
			buffer_free(&talk->in);
		got = more ? receive(talk, err) : 0;
		if (got <= 0)
			return got;
	}
}

int talk_take(struct talk *talk, struct talk_message *message, struct error *err)
{
	return take(talk, true, message, err);
}

int talk_take_kept(struct talk *talk, struct talk_message *message, struct error *err)
{
	return take(talk, false, message, err);
}

int talk_wait(struct talk *talk, int timeout_ms, struct talk_message *message, struct error *err)
{
	int64_t end = timeout_ms < 0 ? INT64_MAX : clock_ms() + timeout_ms;

	for (;;) {
		struct pollfd p = { .fd = talk->fd, .events = POLLIN };
		int got = talk_take(talk, message, err);
		int64_t left;

		if (got)
			return got;
		left = end == INT64_MAX ? -1 : end - clock_ms();
		if (end != INT64_MAX && left <= 0)
			return error_set(err, ETIMEDOUT, "no answer within %d ms", timeout_ms);
		if (talk->out.length)
			p.events |= POLLOUT;
		if (poll(&p, 1, (int)left) < 0 && errno != EINTR)
			return error_errno(err, "poll");
		/* A peer that ended the conversation early has said why: read that first. */
		if ((p.revents & POLLOUT) && talk_flush(talk, err) < 0)
			buffer_clear(&talk->out);
	}
}

int talk_call(int folder, const char *name, const void *request, size_t n, int timeout_ms,
	      struct buffer *out, int *exit, int *passed, struct error *err)
{
	struct talk talk;
	struct talk_message m;
	int64_t end = timeout_ms < 0 ? -1 : clock_ms() + timeout_ms;
	int result = -1;

	if (passed)
		*passed = -1;
	if (talk_connect(&talk, folder, err) < 0)
		return -1;
	if (talk_ask(&talk, name, request, n, err) < 0)
		goto done;
	for (;;) {
		int64_t left = end < 0 ? -1 : end - clock_ms();
		struct error ignored;

		if (talk_wait(&talk, end < 0 ? -1 : left > 0 ? (int)left : 0, &m, err) < 0) {
			if (err->code == ETIMEDOUT)
				(void)talk_send(&talk, TALK_CLOSE, NULL, 0, &ignored);
			goto done;
		}
		if (m.type == TALK_DATA && m.channel == TALK_STDOUT &&
		    buffer_append(out, m.data, m.length) < 0) {
			(void)error_errno(err, "the answer");
			(void)talk_send(&talk, TALK_CLOSE, NULL, 0, &ignored);
			goto done;
		}
		if (m.type == TALK_END)
			break;
	}
	if (m.code) {
		(void)error_set(err, m.code, "%s", m.text[0] ? m.text : strerror(m.code));
		goto done;
	}
	if (exit)
		*exit = m.exit;
	if (passed)
		*passed = steal_fd(&talk.passed);
	result = 0;
done:
	talk_close(&talk);
	return result;
}

int talk_command(int folder, const char *line, int timeout_ms, struct error *err)
{
	struct talk talk;
	struct talk_message m = { 0 };
	int got;

	if (talk_connect(&talk, folder, err) < 0)
		return -1;
	if (talk_send(&talk, TALK_COMMAND, line, strlen(line), err) < 0) {
		talk_close(&talk);
		return -1;
	}
	do {
		got = talk_wait(&talk, timeout_ms, &m, err);
	} while (got > 0 && m.type != TALK_END);
	talk_close(&talk);
	if (got < 0)
		return -1;
	if (m.code)
		return error_set(err, m.code, "%s", m.text[0] ? m.text : strerror(m.code));
	return 0;
}
