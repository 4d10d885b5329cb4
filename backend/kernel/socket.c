/* The descriptor behind a WebSocket: bytes go from it into one buffer, in which a message that
 * comes in one frame lies as a whole and is lent to the owner where it is; so megabytes of output
 * are copied by recv(2) alone. */
#include "backend/kernel/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "backend/kernel/websocket.h"
#include "base/buffer.h"
#include "base/cleanup.h"

#define PROTOCOL "v1.kernel.websocket.jupyter.org"
#define PATIENCE_MS 90000       /* the kernel may take a minute to answer the server */
#define PIECE (256u << 10)      /* read at once, and kept for the next time */
#define TURN (4u << 20)         /* read in one service: others want their turn, too */
#define OUT_MAX (64u << 20)

struct socket {
	int fd;
	enum socket_state state;
	char key[WEBSOCKET_KEY_SIZE];
	int64_t deadline;      /* ms, while it connects */
	struct buffer in;
	size_t taken;          /* of in */
	size_t needed;         /* behind taken, before anything more can be taken */
	uint64_t skip;         /* bytes to come of a frame that nobody wants */
	struct buffer message; /* the pieces of one that comes in several frames */
	bool assembling;       /* one does */
	bool dropping;         /* and it is too long */
	struct buffer out;     /* the handshake, and frames behind it */
	size_t sent, handshake;
	socket_receive *receive;
	void *owner;
	struct error failure;
};

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void over(struct socket *s, int code, const char *why)
{
	if (s->state == SOCKET_CLOSED)
		return;
	(void)error_set(&s->failure, code, "%s", why);
	s->state = SOCKET_CLOSED;
}

/* Sends what the socket takes; before the server has agreed nothing but the handshake. */
static void flush(struct socket *s)
{
	size_t end = s->state == SOCKET_CONNECTING ? s->handshake : s->out.length;

	while (s->state != SOCKET_CLOSED && s->sent < end) {
		ssize_t n = send(s->fd, s->out.data + s->sent, end - s->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n < 0)
			over(s, ECONNRESET, "Jupyter Server closed the connection");
		else
			s->sent += (size_t)n;
	}
	if (s->sent < s->out.length)
		return;
	s->sent = s->handshake = 0;
	if (s->out.capacity > PIECE)
		buffer_free(&s->out);
	else
		buffer_clear(&s->out);
}

static void put(struct socket *s, enum websocket_opcode opcode, const void *data, size_t n)
{
	struct error err;

	if (websocket_append(&s->out, opcode, data, n, &err) < 0)
		over(s, err.code, err.text);
	else
		flush(s);
}

static void take_control(struct socket *s, const struct websocket_frame *frame, const char *payload)
{
	if (frame->opcode == WEBSOCKET_PING)
		put(s, WEBSOCKET_PONG, payload, (size_t)frame->length);
	if (frame->opcode != WEBSOCKET_CLOSE)
		return;
	put(s, WEBSOCKET_CLOSE, payload, frame->length >= 2 ? 2 : 0);
	over(s, ECONNRESET, "Jupyter Server closed the connection");
}

static void end_message(struct socket *s)
{
	if (s->dropping)
		s->receive(s->owner, NULL, 0);
	else
		s->receive(s->owner, s->message.data ? s->message.data : "", s->message.length);
	s->assembling = s->dropping = false;
	buffer_free(&s->message);
}

/* A frame that carries a message or a piece of one, and is here as a whole. */
static void take_data(struct socket *s, const struct websocket_frame *frame, const char *payload)
{
	if (frame->final && !s->assembling) {
		s->receive(s->owner, payload, (size_t)frame->length);
		return;
	}
	s->assembling = true;
	if (!s->dropping && buffer_append(&s->message, payload, (size_t)frame->length) < 0)
		s->dropping = true;
	if (frame->final)
		end_message(s);
}

/* One that is too long to be taken; its bytes are thrown away as they come. */
static void leave_out(struct socket *s, const struct websocket_frame *frame)
{
	s->taken += frame->header;
	s->skip = frame->length;
	s->assembling = s->dropping = true;
	if (frame->final)
		end_message(s);
}

static bool take_answer(struct socket *s, const char *data, size_t n)
{
	struct error err;
	long length = websocket_answer(data, n, PROTOCOL, s->key, &err);

	if (length < 0)
		over(s, err.code, err.text);
	if (length <= 0)
		return false;
	s->taken += (size_t)length;
	s->state = SOCKET_OPEN;
	flush(s);
	return true;
}

/* Takes the next thing in what has come; false when it has to wait for more, or all is over. */
static bool take_next(struct socket *s)
{
	const char *data = s->in.data + s->taken;
	size_t n = s->in.length - s->taken;
	struct websocket_frame frame;
	struct error err;
	int got;

	if (s->skip) {
		size_t less = s->skip < n ? (size_t)s->skip : n;

		s->taken += less;
		s->skip -= less;
		return less;
	}
	if (s->state == SOCKET_CONNECTING)
		return take_answer(s, data, n);
	got = websocket_parse(data, n, &frame, &err);
	if (got < 0 || (got && frame.opcode < WEBSOCKET_CLOSE &&
			(frame.opcode == WEBSOCKET_CONTINUATION) != s->assembling)) {
		over(s, EPROTO, got < 0 ? err.text : "a frame out of its turn");
		return false;
	}
	if (!got)
		return false;
	if (frame.length > SOCKET_RECEIVE_MAX) {
		leave_out(s, &frame);
		return true;
	}
	if (n < frame.header + frame.length) {
		s->needed = frame.header + (size_t)frame.length;
		return false;
	}
	s->taken += frame.header + (size_t)frame.length;
	if (frame.opcode >= WEBSOCKET_CLOSE)
		take_control(s, &frame, data + frame.header);
	else
		take_data(s, &frame, data + frame.header);
	return s->state != SOCKET_CLOSED;
}

/* Room to read into. The frame that is on its way shall lie in one piece, but the buffer is never
 * more than doubled for it: a frame may say that it is long and never come. */
static int make_room(struct socket *s)
{
	size_t have = s->in.length - s->taken, rest = s->needed > have ? s->needed - have : 0;
	size_t room = s->in.capacity - s->in.length, most = have > PIECE ? have : PIECE;

	if (s->in.data && room >= PIECE / 4 && room >= rest)
		return 0;
	buffer_consume(&s->in, s->taken);
	s->taken = 0;
	return buffer_reserve(&s->in, rest > PIECE && rest < most ? rest : most);
}

/* Reads once. Whether there may be more to read. */
static bool receive_piece(struct socket *s)
{
	size_t room;
	ssize_t n;

	if (make_room(s) < 0) {
		over(s, ENOMEM, "out of memory");
		return false;
	}
	room = s->in.capacity - s->in.length;
	do {
		n = recv(s->fd, s->in.data + s->in.length, room, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return false;
	if (n <= 0) {
		over(s, ECONNRESET, s->state == SOCKET_CONNECTING ? "Jupyter Server closed the connection unanswered"
								  : "Jupyter Server closed the connection");
		return false;
	}
	s->in.length += (size_t)n;
	s->in.data[s->in.length] = '\0';
	return (size_t)n == room;
}

static void receive(struct socket *s)
{
	size_t before, all = 0;
	bool more;

	do {
		before = s->in.length - s->taken;
		more = receive_piece(s);
		all += s->in.length - s->taken - before;
		s->needed = 0;
		while (s->state != SOCKET_CLOSED && s->taken < s->in.length && take_next(s))
			;
		if (s->taken < s->in.length)
			continue;
		s->taken = 0;
		if (s->in.capacity > 2 * PIECE)
			buffer_free(&s->in);
		else
			buffer_clear(&s->in);
	} while (more && s->state != SOCKET_CLOSED && all < TURN);
}

static int dial(const char *path, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return error_errno(err, "socket");
	if ((size_t)snprintf(address.sun_path, sizeof address.sun_path, "%s", path) >= sizeof address.sun_path)
		return error_set(err, ENAMETOOLONG, "Jupyter's socket %s: the path is too long", path);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		/* EAGAIN: whoever listens has more to take than it can. */
		bool nobody = errno == ENOENT || errno == EAGAIN;

		(void)error_errno(err, "Jupyter's socket %s", path);
		if (nobody)
			err->code = ECONNREFUSED;
		return -1;
	}
	return steal_fd(&fd);
}

static int begin(struct socket *s, const struct socket_address *address, struct error *err)
{
	cleanup_buffer struct buffer path = BUFFER(1024);

	if (s->fd < 0)
		s->fd = dial(address->path, err);
	if (s->fd < 0)
		return -1;
	if (buffer_format(&path, "/api/kernels/%s/channels?session_id=%s", address->kernel, address->session) < 0)
		return error_errno(err, "kernel %s", address->kernel);
	if (websocket_key(s->key, err) < 0 ||
	    websocket_request(&s->out, path.data, address->token, PROTOCOL, s->key, err) < 0)
		return -1;
	s->handshake = s->out.length;
	s->deadline = now_ms() + PATIENCE_MS;
	flush(s);
	return 0;
}

struct socket *socket_connect(const struct socket_address *address, socket_receive *receive_message,
			      void *context, struct error *err)
{
	cleanup_close int fd = address->fd;
	struct socket *s = calloc(1, sizeof *s);

	if (!s) {
		(void)error_memory(err);
		return NULL;
	}
	*s = (struct socket){ .fd = steal_fd(&fd), .in = BUFFER(SOCKET_RECEIVE_MAX + 2 * PIECE),
			      .message = BUFFER(SOCKET_RECEIVE_MAX), .out = BUFFER(OUT_MAX),
			      .receive = receive_message, .owner = context };
	if (begin(s, address, err) == 0)
		return s;
	socket_close(s);
	return NULL;
}

void socket_close(struct socket *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		(void)close(s->fd);
	buffer_free(&s->in);
	buffer_free(&s->message);
	buffer_free(&s->out);
	free(s);
}

enum socket_state socket_state(const struct socket *s)
{
	return s->state;
}

int socket_fd(const struct socket *s)
{
	return s->fd;
}

short socket_events(const struct socket *s)
{
	size_t end = s->state == SOCKET_CONNECTING ? s->handshake : s->out.length;

	return (short)(POLLIN | (s->sent < end ? POLLOUT : 0));
}

int socket_timeout(const struct socket *s)
{
	int64_t left;

	if (s->state == SOCKET_OPEN)
		return -1;
	left = s->state == SOCKET_CLOSED ? 0 : s->deadline - now_ms();
	return left < 0 ? 0 : (int)left;
}

int socket_service(struct socket *s, struct error *err)
{
	if (s->state != SOCKET_CLOSED)
		flush(s);
	if (s->state != SOCKET_CLOSED)
		receive(s);
	if (s->state == SOCKET_CONNECTING && now_ms() >= s->deadline)
		over(s, ETIMEDOUT, "Jupyter Server does not open the kernel's channels");
	if (s->state != SOCKET_CLOSED)
		return 0;
	*err = s->failure;
	return -1;
}

int socket_send(struct socket *s, const void *data, size_t n, struct error *err)
{
	if (n > SOCKET_SEND_MAX)
		return error_set(err, EMSGSIZE, "Jupyter Server takes at most %u bytes of code", SOCKET_SEND_MAX);
	if (s->state == SOCKET_CLOSED)
		return error_set(err, ENOTCONN, "the connection to Jupyter Server is lost");
	if (websocket_append(&s->out, WEBSOCKET_BINARY, data, n, err) < 0)
		return -1;
	if (s->state == SOCKET_OPEN)
		flush(s);
	return 0;
}
