#include "backend/sandbox/guest_own.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/passing.h"
#include "base/talk.h"
#include "base/utf8.h"

#define INPUT_MAX (1u << 20)
#define OUT_MAX (8u << 20)       /* past this no new request is taken: the guest does not read */
#define OUT_LIMIT (2 * OUT_MAX)  /* what belongs to requests under way still finds room */
#define WINDOW_STEP (GUEST_CREDIT / 4)

static struct guest *new_guest(struct error *err)
{
	struct guest *g = calloc(1, sizeof *g);

	if (!g) {
		(void)error_memory(err);
		return NULL;
	}
	g->fd = g->set = g->process = -1;
	g->next_stream = 1;
	g->in = BUFFER(2 * (FRAME_HEADER_SIZE + FRAME_PAYLOAD_MAX));
	g->out = BUFFER(OUT_LIMIT);
	return g;
}

int guest_attach(struct guest **guest, int fd, struct error *err)
{
	struct guest *g = new_guest(err);

	if (!g)
		return -1;
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
		free(g);
		return error_errno(err, "the guest's stream");
	}
	g->fd = fd;
	*guest = g;
	return 0;
}

int guest_attach_carrier(struct guest **guest, const struct guest_carrier *carrier, struct error *err)
{
	struct guest *g = new_guest(err);

	if (!g)
		return -1;
	g->carrier = *carrier;
	if (tunnels_open(g, err)) {
		free(g);
		return -1;
	}
	*guest = g;
	return 0;
}

static void operation_free(struct guest_operation *operation)
{
	buffer_free(&operation->input);
	free(operation);
}

static void end_operation(struct guest_operation *operation, int code, int status, const char *text)
{
	struct guest_operation **p = &operation->guest->operations;

	while (*p != operation)
		p = &(*p)->next;
	*p = operation->next;
	if (operation->callbacks.ended)
		operation->callbacks.ended(operation->context, code, status, text);
	if (operation->tunnel)
		tunnel_ended(operation->tunnel);
	operation_free(operation);
}

void guest_detach(struct guest *g)
{
	if (!g)
		return;
	g->closing = true; /* an `ended` may try again: there is nothing to try it on */
	while (g->operations)
		end_operation(g->operations, ENOTCONN, 0, "the sandbox is gone");
	while (g->passed_count)
		close(g->passed[--g->passed_count]);
	if (g->set >= 0) {
		tunnels_close(g);
		g->carrier.close(g->carrier.context);
	} else {
		close(g->fd);
	}
	root_close(g);
	buffer_free(&g->in);
	buffer_free(&g->out);
	free(g);
}

int guest_fd(const struct guest *g)
{
	return g->set >= 0 ? g->set : g->fd;
}

short guest_events(struct guest *g)
{
	if (g->set >= 0) {
		g->broken = tunnels_arrange(g) < 0 || g->broken;
		return POLLIN;
	}
	return (short)(POLLIN | (g->out.length ? POLLOUT : 0));
}

bool guest_unsent(const struct guest *g)
{
	return g->out.length;
}

static struct guest_operation *find(struct guest *g, uint32_t stream)
{
	for (struct guest_operation *o = g->operations; o; o = o->next)
		if (o->stream == stream)
			return o;
	return NULL;
}

/* Sends as much input as the guest has credit for. */
static int send_input(struct guest_operation *o)
{
	while (o->input.length && o->input_credit) {
		size_t n = o->input.length < o->input_credit ? o->input.length : o->input_credit;

		if (n > FRAME_PAYLOAD_MAX)
			n = FRAME_PAYLOAD_MAX;
		if (frame_append(&o->guest->out, o->stream, GUEST_INPUT, o->input.data, n) < 0)
			return -1;
		buffer_consume(&o->input, n);
		o->input_credit -= n;
	}
	if (!o->input.length && !o->input_closed) {
		o->input_closed = true;
		return frame_append(&o->guest->out, o->stream, GUEST_INPUT_END, NULL, 0);
	}
	return 0;
}

/* ---- requests ---- */

static int put_field(struct buffer *b, uint8_t tag, const char *text)
{
	uint8_t head[5] = { tag };
	size_t n = strlen(text);

	if (n > FRAME_PAYLOAD_MAX) {
		errno = E2BIG;
		return -1;
	}
	guest_put32(head + 1, (uint32_t)n);
	return buffer_append(b, head, sizeof head) < 0 || buffer_append(b, text, n) < 0 ? -1 : 0;
}

static struct guest_operation *begin(struct guest *g, const struct buffer *request, const struct guest_callbacks *cb,
				     void *context, struct error *err)
{
	struct guest_operation *o;

	if (g->closing || g->broken || g->out.length > OUT_MAX) {
		(void)error_set(err, g->out.length > OUT_MAX ? EBUSY : ENOTCONN, g->out.length > OUT_MAX ?
				"the guest does not take any more requests" : "the sandbox is gone");
		return NULL;
	}
	o = calloc(1, sizeof *o);
	if (!o) {
		(void)error_memory(err);
		return NULL;
	}
	do {
		o->stream = g->next_stream++;
	} while (!o->stream || find(g, o->stream));
	*o = (struct guest_operation){ .guest = g, .next = g->operations, .stream = o->stream,
				       .kind = request->data[0], .callbacks = *cb, .context = context, .input = BUFFER(INPUT_MAX), .input_closed = true,
				       .input_credit = GUEST_INPUT_CREDIT, .credit = GUEST_CREDIT };
	if (frame_append(&g->out, o->stream, GUEST_OPEN, request->data, request->length) < 0) {
		(void)error_set(err, errno == EMSGSIZE ? E2BIG : errno, "the request is too long for the guest");
		free(o);
		return NULL;
	}
	g->operations = o;
	return o;
}

struct guest_operation *guest_begin(struct guest *g, char kind, const char *argument, const struct guest_callbacks *cb,
				    void *context, struct error *err)
{
	cleanup_buffer struct buffer request = BUFFER(FRAME_PAYLOAD_MAX);

	if (buffer_append(&request, &kind, 1) < 0 || (argument && put_field(&request, GUEST_ARGUMENT, argument) < 0)) {
		(void)error_set(err, errno, "the request is too long for the guest");
		return NULL;
	}
	return begin(g, &request, cb, context, err);
}

struct guest_operation *guest_ping(struct guest *g, const struct guest_callbacks *cb, void *context, struct error *err)
{
	return guest_begin(g, GUEST_PING, NULL, cb, context, err);
}

struct guest_operation *guest_connect(struct guest *g, const char *address, const struct guest_callbacks *cb,
				      void *context, struct error *err)
{
	return g->set >= 0 ? tunnel_begin(g, GUEST_DIAL, address, cb, context, err)
			   : guest_begin(g, GUEST_CONNECT, address, cb, context, err);
}

struct guest_operation *guest_listen(struct guest *g, const char *address, const struct guest_callbacks *cb,
				     void *context, struct error *err)
{
	return guest_begin(g, GUEST_LISTEN, address, cb, context, err);
}

bool guest_is_carried(const struct guest *g)
{
	return g->set >= 0;
}

struct guest_operation *guest_accept(struct guest *g, const char *address, const struct guest_callbacks *cb,
				     void *context, struct error *err)
{
	return tunnel_begin(g, GUEST_ACCEPT, address, cb, context, err);
}

struct guest_operation *guest_processes(struct guest *g, const struct guest_callbacks *cb, void *context,
					struct error *err)
{
	return guest_begin(g, GUEST_PROCESSES, NULL, cb, context, err);
}

struct guest_operation *guest_deadline(struct guest *g, uint64_t seconds, const struct guest_callbacks *cb,
				       void *context, struct error *err)
{
	char text[24];

	(void)snprintf(text, sizeof text, "%llu", (unsigned long long)seconds);
	return guest_begin(g, GUEST_DEADLINE, text, cb, context, err);
}

struct guest_operation *guest_idle(struct guest *g, uint64_t seconds, const struct guest_callbacks *cb, void *context,
				   struct error *err)
{
	char text[24];

	(void)snprintf(text, sizeof text, "%llu", (unsigned long long)seconds);
	return guest_begin(g, GUEST_IDLE, text, cb, context, err);
}

struct guest_operation *guest_touch(struct guest *g, const struct guest_callbacks *cb, void *context, struct error *err)
{
	return guest_begin(g, GUEST_TOUCH, NULL, cb, context, err);
}

struct guest_operation *guest_quit(struct guest *g, const struct guest_callbacks *cb, void *context, struct error *err)
{
	return guest_begin(g, GUEST_QUIT, NULL, cb, context, err);
}

struct guest_operation *guest_environment(struct guest *g, const char *const *variables,
					  const struct guest_callbacks *cb, void *context, struct error *err)
{
	cleanup_buffer struct buffer request = BUFFER(FRAME_PAYLOAD_MAX);
	char kind = GUEST_ENVIRONMENT;
	int result = buffer_append(&request, &kind, 1);

	for (const char *const *v = variables; !result && *v; v++)
		result = put_field(&request, GUEST_VARIABLE, *v);
	if (result) {
		(void)error_set(err, errno == EFBIG ? E2BIG : errno, "the environment is longer than %u bytes", FRAME_PAYLOAD_MAX);
		return NULL;
	}
	return begin(g, &request, cb, context, err);
}

static int describe(struct buffer *request, const struct guest_command *command)
{
	char kind = GUEST_EXEC;

	if (buffer_append(request, &kind, 1) < 0)
		return -1;
	for (const char *const *a = command->argv; *a; a++)
		if (put_field(request, GUEST_ARGUMENT, *a) < 0)
			return -1;
	for (const char *const *v = command->env; v && *v; v++)
		if (put_field(request, GUEST_VARIABLE, *v) < 0)
			return -1;
	if (command->cwd && put_field(request, GUEST_FOLDER, command->cwd) < 0)
		return -1;
	if (command->background && put_field(request, GUEST_BACKGROUND, "") < 0)
		return -1;
	return command->input ? put_field(request, GUEST_HAS_INPUT, "") : 0;
}

struct guest_operation *guest_exec(struct guest *g, const struct guest_command *command,
				   const struct guest_callbacks *cb, void *context, struct error *err)
{
	cleanup_buffer struct buffer request = BUFFER(FRAME_PAYLOAD_MAX);
	struct guest_operation *o;

	if (describe(&request, command) < 0) {
		(void)error_set(err, errno == EFBIG ? E2BIG : errno, "the command is longer than %u bytes", FRAME_PAYLOAD_MAX);
		return NULL;
	}
	if (command->input_length > INPUT_MAX) {
		(void)error_set(err, E2BIG, "the command's input is longer than %u bytes", INPUT_MAX);
		return NULL;
	}
	o = begin(g, &request, cb, context, err);
	if (!o || !command->input)
		return o;
	o->input_closed = false;
	if (buffer_append(&o->input, command->input, command->input_length) < 0 || send_input(o) < 0) {
		(void)error_set(err, errno, "the command's input");
		guest_forget(o);
		guest_signal(o, 9);
		return NULL;
	}
	return o;
}

static void send_number(struct guest_operation *o, uint8_t type, uint32_t number)
{
	uint8_t payload[4];

	guest_put32(payload, number);
	if (frame_append(&o->guest->out, o->stream, type, payload, sizeof payload) < 0)
		o->guest->broken = true;
}

void guest_signal(struct guest_operation *o, int signal)
{
	send_number(o, GUEST_SIGNAL, (uint32_t)signal);
}

void guest_forget(struct guest_operation *o)
{
	o->callbacks = (struct guest_callbacks){ NULL, NULL, NULL };
	o->forgotten = true;
	if (o->tunnel)
		guest_signal(o, 9);
	guest_consumed(o, GUEST_CREDIT - (size_t)(o->credit < GUEST_CREDIT ? o->credit : GUEST_CREDIT) - (size_t)o->owed);
}

void guest_consumed(struct guest_operation *o, size_t n)
{
	o->owed += n;
	if (o->owed < WINDOW_STEP)
		return;
	send_number(o, GUEST_WINDOW, (uint32_t)o->owed);
	o->credit += o->owed;
	o->owed = 0;
}

/* ---- answers ---- */

static int take_output(struct guest_operation *o, const struct frame *frame, struct error *err)
{
	if (!frame->length || (o->kind != GUEST_EXEC && o->kind != GUEST_PROCESSES))
		return error_set(err, EPROTO, "the guest sent output where there is none");
	if (frame->length > o->credit)
		return error_set(err, EPROTO, "the guest sent more output than it has credit for");
	o->credit -= frame->length;
	if (o->callbacks.output)
		o->callbacks.output(o->context, frame->type == GUEST_STDOUT ? TALK_STDOUT : TALK_STDERR, frame->payload,
				    frame->length);
	else
		guest_consumed(o, frame->length);
	return 0;
}

/* -1 when it has none. */
static int socket_option(int fd, int name)
{
	int value = 0;
	socklen_t size = sizeof value;

	return getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -1 : value;
}

/* Whether a descriptor is what the operation asked for; anything else could be one whose use alone
 * has an effect. A folder beside the root may be /proc, where the kernel answers to who asks. */
static bool is_asked_for(const struct guest_operation *o, int fd)
{
	struct stat st;

	if (o->passed || !o->callbacks.passed || fstat(fd, &st) < 0)
		return false;
	if (o->kind == GUEST_CONNECT || o->kind == GUEST_LISTEN)
		return S_ISSOCK(st.st_mode) && socket_option(fd, SO_TYPE) == SOCK_STREAM &&
		       socket_option(fd, SO_ACCEPTCONN) == (o->kind == GUEST_LISTEN);
	return o->kind == GUEST_ROOT && S_ISDIR(st.st_mode) && fcntl(fd, F_GETFL) & O_PATH &&
	       (!o->guest->root_file || (st.st_dev == o->guest->root_device && st.st_ino == o->guest->root_file));
}

static int take_descriptor(struct guest *g, struct guest_operation *o, struct error *err)
{
	int fd;

	if (!g->passed_count)
		return error_set(err, EPROTO, "the guest announced a descriptor that did not come");
	fd = g->passed[0];
	g->passed_count--;
	memmove(g->passed, g->passed + 1, g->passed_count * sizeof *g->passed);
	if (o->forgotten) {
		close(fd);
		return 0;
	}
	if (!is_asked_for(o, fd)) {
		close(fd);
		return error_set(err, EPROTO, "the guest passed a descriptor that nobody asked for");
	}
	o->passed = true;
	o->callbacks.passed(o->context, fd);
	return 0;
}

/* The sentence as one line of text. It may have been cut in the middle of a character. */
static void read_sentence(const struct frame *frame, char text[ERROR_TEXT_SIZE])
{
	const char *p = (const char *)frame->payload;
	size_t n = 0;

	for (size_t i = 8, length; i < frame->length && n + 4 < ERROR_TEXT_SIZE; i += length ? length : 1) {
		length = utf8_length(p + i, frame->length - i);
		if (length > 1) {
			memcpy(text + n, p + i, length);
			n += length;
		} else {
			text[n++] = length && p[i] >= ' ' && p[i] != 127 ? p[i] : length ? ' ' : '?';
		}
	}
	text[n] = '\0';
}

static int take_end(struct guest_operation *o, const struct frame *frame, struct error *err)
{
	char text[ERROR_TEXT_SIZE];
	int code;

	if (frame->length < 8)
		return error_set(err, EPROTO, "the guest sent an end of %u bytes", frame->length);
	code = (int)guest_get32(frame->payload);
	if (code < 0 || code > 4095)
		return error_set(err, EPROTO, "the guest sent an errno of %d", code);
	read_sentence(frame, text);
	if (!code)
		code = root_pass(o);
	end_operation(o, code, (int)(guest_get32(frame->payload + 4) & 0xff), text);
	return 0;
}

static int take(struct guest *g, const struct frame *frame, struct error *err)
{
	struct guest_operation *o = find(g, frame->stream);

	if (!o)
		return error_set(err, EPROTO, "the guest answered what nobody asked");
	if (o->tunnel && frame->type != GUEST_END)
		return tunnel_take(o, frame, err);
	switch (frame->type) {
	case GUEST_PASSED:
		return take_descriptor(g, o, err);
	case GUEST_STDOUT:
	case GUEST_STDERR:
		return take_output(o, frame, err);
	case GUEST_TAKEN:
		if (frame->length != 4 || !guest_get32(frame->payload) ||
		    guest_get32(frame->payload) > GUEST_INPUT_CREDIT)
			return error_set(err, EPROTO, "the guest sent a credit that is none");
		o->input_credit += guest_get32(frame->payload);
		if (o->input_credit > GUEST_INPUT_CREDIT)
			return error_set(err, EPROTO, "the guest gave more credit than was used");
		return o->input_closed || send_input(o) == 0 ? 0 : error_memory(err);
	case GUEST_END:
		return take_end(o, frame, err);
	default:
		return error_set(err, EPROTO, "the guest sent a frame of unknown type %u", frame->type);
	}
}

static int take_all(struct guest *g, struct error *err)
{
	struct frame frame;
	size_t done = 0;
	long size;

	while ((size = frame_parse(g->in.data + done, g->in.length - done, &frame, err)) > 0) {
		if (take(g, &frame, err) < 0)
			return -1;
		done += (size_t)size;
	}
	if (size < 0)
		return -1;
	buffer_consume(&g->in, done);
	return 0;
}

/* 1: something came, 0: nothing now, -1. */
static int receive(struct guest *g, struct error *err)
{
	union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int) * 8)]; } control;
	struct iovec part;
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
				  .msg_controllen = sizeof control.bytes };
	ssize_t n;

	if (buffer_reserve(&g->in, FRAME_PAYLOAD_MAX) < 0)
		return error_memory(err);
	if (g->set >= 0) {
		n = g->carrier.receive(g->carrier.context, g->in.data + g->in.length, FRAME_PAYLOAD_MAX);
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0)
			return error_set(err, ECONNRESET, "the connection to the guest has ended");
		g->in.length += (size_t)n;
		return 1;
	}
	part = (struct iovec){ g->in.data + g->in.length, FRAME_PAYLOAD_MAX };
	n = recvmsg(g->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return error_set(err, ECONNRESET, "the guest is gone");
	/* Of one that finds no room the frame will find none, and that ends the link. */
	g->passed_count += passing_take(&message, g->passed + g->passed_count, GUEST_PASSED_MAX - g->passed_count);
	g->in.length += (size_t)n;
	return 1;
}

static void flush(struct guest *g)
{
	while (g->out.length) {
		ssize_t n = g->set >= 0 ? g->carrier.send(g->carrier.context, g->out.data, g->out.length)
					: send(g->fd, g->out.data, g->out.length, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			/* It is gone, and what it said before that is still to be read: receive() comes to the end. */
			buffer_clear(&g->out);
			return;
		}
		buffer_consume(&g->out, (size_t)n);
	}
}

int guest_step(struct guest *g, struct error *err)
{
	/* A turn is bounded: what is left stays readable for the next. */
	for (int turn = 0; turn < 16; turn++) {
		int came = receive(g, err);

		if (came < 0)
			return -1;
		if (!came)
			break;
		if (take_all(g, err) < 0)
			return -1;
	}
	if (g->set >= 0)
		tunnels_step(g);
	flush(g);
	return g->broken ? error_memory(err) : 0;
}
