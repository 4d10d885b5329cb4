/* Connections: frames in, frames out, descriptors that ride along. What comes in is hostile as
 * far as the guest can tell: a frame that does not belong closes its connection, and nothing
 * that a connection does can end the guest. */
#include "backend/guest/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIELDS_MAX 4096
#define USES "xcDr" /* operations that somebody asks for who uses the sandbox: EXEC, CONNECT, DIAL, ROOT */

struct link links[LINKS];

struct link *link_add(int fd, int out_fd, bool passes)
{
	for (size_t i = 0; i < LINKS; i++) {
		if (links[i].fd >= 0)
			continue;
		links[i] = (struct link){ .fd = fd, .out_fd = out_fd, .passes = passes,
					  .in = BUFFER(2 * (FRAME_HEADER_SIZE + FRAME_PAYLOAD_MAX)),
					  .out = BUFFER(LINK_OUT + FRAME_HEADER_SIZE + FRAME_PAYLOAD_MAX) };
		return &links[i];
	}
	return NULL;
}

bool link_accept(int listening)
{
	for (;;) {
		int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return errno != EMFILE && errno != ENFILE;
		if ((engine_container && !engine_let_in(fd)) || !link_add(fd, fd, !engine_container))
			close(fd);
	}
}

void link_close(struct link *link)
{
	if (link->fd < 0)
		return;
	close(link->fd);
	if (link->out_fd != link->fd)
		close(link->out_fd);
	link->fd = link->out_fd = -1;
	for (size_t i = 0; i < link->passed_count; i++)
		close(link->passed[i].fd);
	link->passed_count = 0;
	buffer_free(&link->in);
	buffer_free(&link->out);
	jobs_lost(link);
	tunnels_lost(link);
}

bool link_full(const struct link *link)
{
	return link->out.length >= LINK_OUT / 2;
}

/* Whoever does not take the answers to its requests is not asked for more. */
static bool answers_wait(const struct link *link)
{
	return link_full(link) || link->passed_count == LINK_FDS;
}

bool link_put(struct link *link, uint32_t stream, uint8_t type, const void *payload, size_t n)
{
	if (link->fd < 0)
		return false;
	if (frame_append(&link->out, stream, type, payload, n) < 0) {
		link_close(link);
		return false;
	}
	return true;
}

bool link_pass(struct link *link, uint32_t stream, int fd)
{
	if (link->fd < 0 || link->passed_count == LINK_FDS) {
		close(fd);
		return false;
	}
	link->passed[link->passed_count].at = link->out.length;
	link->passed[link->passed_count].fd = fd;
	link->passed_count++;
	return link_put(link, stream, GUEST_PASSED, NULL, 0);
}

void link_end(struct link *link, uint32_t stream, int code, int exit_status, const char *text)
{
	uint8_t payload[8 + 1024];
	size_t n = strlen(text);

	if (n > sizeof payload - 8)
		n = sizeof payload - 8;
	guest_put32(payload, (uint32_t)code);
	guest_put32(payload + 4, (uint32_t)exit_status);
	memcpy(payload + 8, text, n);
	(void)link_put(link, stream, GUEST_END, payload, 8 + n);
}

short link_events(const struct link *link)
{
	return (short)((link->in.length < FRAME_HEADER_SIZE + FRAME_PAYLOAD_MAX && !answers_wait(link) ? POLLIN : 0) |
		       (link->out.length ? POLLOUT : 0));
}

/* Up to the next frame that carries a descriptor; that frame's first bytes take it along. */
static ssize_t send_some(struct link *link)
{
	union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int))]; } control;
	struct iovec part = { link->out.data, link->out.length };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (!link->passes)
		return write(link->out_fd, link->out.data, link->out.length);
	if (link->passed_count && link->passed[0].at == 0) {
		struct cmsghdr *c = &control.header;

		memset(&control, 0, sizeof control);
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof control.bytes;
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &link->passed[0].fd, sizeof(int));
		part.iov_len = FRAME_HEADER_SIZE;
	} else if (link->passed_count) {
		part.iov_len = link->passed[0].at;
	}
	return sendmsg(link->out_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void link_flush(struct link *link)
{
	while (link->fd >= 0 && link->out.length) {
		ssize_t n = send_some(link);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			link_close(link);
			return;
		}
		if (link->passed_count && link->passed[0].at == 0) {
			close(link->passed[0].fd);
			link->passed_count--;
			memmove(link->passed, link->passed + 1, link->passed_count * sizeof *link->passed);
		}
		for (size_t i = 0; i < link->passed_count; i++)
			link->passed[i].at -= (size_t)n;
		buffer_consume(&link->out, (size_t)n);
	}
}

/* Cuts an OPEN's fields into a command. The strings are copies in one piece of memory that
 * `arguments` owns. -1 with errno EPROTO when they are none, or ENOMEM. */
static int parse_fields(const uint8_t *p, size_t n, struct fields *fields)
{
	size_t argument = 0, variable = 0;
	char **table = calloc(2 * (FIELDS_MAX + 1), sizeof *table);
	char *text = malloc(n + 1), *out = text;

	*fields = (struct fields){ .arguments = table, .variables = table ? table + FIELDS_MAX + 1 : NULL };
	if (!table || !text) {
		errno = ENOMEM;
		goto bad;
	}
	errno = EPROTO;
	table[2 * FIELDS_MAX + 1] = text; /* behind both lists' ends: freed with the table */
	while (n) {
		size_t length;

		if (n < 5)
			goto bad;
		length = guest_get32(p + 1);
		if (length > n - 5 || memchr(p + 5, '\0', length))
			goto bad;
		memcpy(out, p + 5, length);
		out[length] = '\0';
		switch (p[0]) {
		case GUEST_ARGUMENT:
			if (argument == FIELDS_MAX - 1)
				goto bad;
			fields->arguments[argument++] = out;
			break;
		case GUEST_VARIABLE:
			if (variable == FIELDS_MAX - 1)
				goto bad;
			fields->variables[variable++] = out;
			break;
		case GUEST_FOLDER:
			fields->folder = out;
			break;
		case GUEST_HAS_INPUT:
			fields->input = true;
			break;
		case GUEST_BACKGROUND:
			fields->background = true;
			break;
		default:
			goto bad;
		}
		out += length + 1; /* a field has 5 bytes before it, so this never passes n + 1 */
		p += 5 + length;
		n -= 5 + length;
	}
	return 0;
bad:
	free(text);
	free(table);
	return -1;
}

static void free_fields(struct fields *fields)
{
	free(fields->arguments[2 * FIELDS_MAX + 1]);
	free(fields->arguments);
}

int parse_seconds(const char *text, uint64_t *seconds)
{
	char *end;

	errno = 0;
	*seconds = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno) {
		errno = EINVAL;
		return -1;
	}
	return 0;
}

/* -1: the connection is to be closed. */
static int open_stream(struct link *link, const struct frame *frame)
{
	struct fields fields;
	uint64_t seconds;
	const char *first;

	if (!frame->length || !frame->stream || job_find(link, frame->stream) || tunnel_find(link, frame->stream))
		return -1;
	if (parse_fields(frame->payload + 1, frame->length - 1, &fields) < 0) {
		if (errno == EPROTO)
			return -1;
		link_end(link, frame->stream, ENOMEM, 0, "the guest has no memory left");
		return 0;
	}
	first = fields.arguments[0] ? fields.arguments[0] : "";
	if (strchr(USES, frame->payload[0]) && !fields.background)
		idle_touch();
	switch (frame->payload[0]) {
	case GUEST_PING:
		link_end(link, frame->stream, 0, 0, "");
		break;
	case GUEST_EXEC:
		job_start(link, frame->stream, &fields);
		break;
	case GUEST_ENVIRONMENT:
		link_end(link, frame->stream, job_environment(fields.variables) < 0 ? ENOMEM : 0, 0, "");
		break;
	case GUEST_CONNECT:
		inside_connect(link, frame->stream, first);
		break;
	case GUEST_LISTEN:
		inside_listen(link, frame->stream, first);
		break;
	case GUEST_DIAL:
	case GUEST_ACCEPT:
		tunnel_open(link, frame->stream, first, frame->payload[0] == GUEST_ACCEPT);
		break;
	case GUEST_ROOT:
		inside_root(link, frame->stream);
		break;
	case GUEST_PROCESSES:
		inside_processes(link, frame->stream);
		break;
	case GUEST_DEADLINE:
	case GUEST_IDLE:
		if (parse_seconds(first, &seconds) < 0) {
			link_end(link, frame->stream, EINVAL, 0, "a deadline is a number of seconds");
		} else {
			(frame->payload[0] == GUEST_IDLE ? idle_set : guest_set_deadline)(seconds);
			link_end(link, frame->stream, 0, 0, "");
		}
		break;
	case GUEST_TOUCH:
		idle_touch();
		link_end(link, frame->stream, 0, 0, "");
		break;
	case GUEST_QUIT:
		link_end(link, frame->stream, 0, 0, "");
		free_fields(&fields);
		guest_leave("stopped", 0, "the sandbox was stopped");
	default:
		link_end(link, frame->stream, ENOSYS, 0, "the guest does not know this operation");
	}
	free_fields(&fields);
	return 0;
}

static int to_job(struct job *job, const struct frame *frame)
{
	switch (frame->type) {
	case GUEST_INPUT:
		return job_input(job, frame->payload, frame->length);
	case GUEST_INPUT_END:
		job_input_end(job);
		return 0;
	case GUEST_SIGNAL:
		job_signal(job, (int)guest_get32(frame->payload));
		return 0;
	default:
		job_window(job, guest_get32(frame->payload));
		return 0;
	}
}

static int to_tunnel(struct tunnel *tunnel, const struct frame *frame)
{
	switch (frame->type) {
	case GUEST_INPUT:
		return tunnel_input(tunnel, frame->payload, frame->length);
	case GUEST_INPUT_END:
		tunnel_input_end(tunnel);
		return 0;
	case GUEST_SIGNAL:
		tunnel_give_up(tunnel);
		return 0;
	default:
		tunnel_window(tunnel, guest_get32(frame->payload));
		return 0;
	}
}

static int handle(struct link *link, const struct frame *frame)
{
	struct tunnel *tunnel;
	struct job *job;

	switch (frame->type) {
	case GUEST_OPEN:
		return open_stream(link, frame);
	case GUEST_INPUT:
	case GUEST_INPUT_END:
		break;
	case GUEST_SIGNAL:
	case GUEST_WINDOW:
		if (frame->length != 4)
			return -1;
		break;
	default:
		return -1;
	}
	job = job_find(link, frame->stream);
	if (job)
		return to_job(job, frame);
	tunnel = tunnel_find(link, frame->stream);
	/* Frames for a stream that has ended meanwhile are late, not wrong. */
	return tunnel ? to_tunnel(tunnel, frame) : 0;
}

/* Handles the frames that are there, as long as their answers find room. */
static void handle_all(struct link *link)
{
	struct frame frame;
	struct error err;
	size_t done = 0;
	long size = 0;

	while (link->fd >= 0 && !answers_wait(link) &&
	       (size = frame_parse(link->in.data + done, link->in.length - done, &frame, &err)) > 0) {
		if (handle(link, &frame) < 0) {
			size = -1;
			break;
		}
		done += (size_t)size;
	}
	if (link->fd < 0)
		return;
	if (size < 0) {
		link_close(link);
		return;
	}
	link->waits = answers_wait(link);
	buffer_consume(&link->in, done);
}

void link_go_on(struct link *link)
{
	do {
		handle_all(link);
		link_flush(link);
	} while (link->fd >= 0 && link->waits && !answers_wait(link));
}

void link_readable(struct link *link)
{
	ssize_t n;

	if (buffer_reserve(&link->in, FRAME_PAYLOAD_MAX) < 0) {
		link_close(link);
		return;
	}
	n = read(link->fd, link->in.data + link->in.length, FRAME_PAYLOAD_MAX);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		link_close(link);
		return;
	}
	link->in.length += (size_t)n;
	link_go_on(link);
}
