/* libwebsockets without its loop. A distribution's build has no external poll, but
 * lws_service(context, -1) polls its descriptors without waiting and does what is ready. There
 * is one connection, so the owner can wait for its descriptor with its own poll and call that.
 * What libwebsockets holds back in memory (a second frame in what it read) makes no descriptor
 * ready; lws_service_adjust_timeout tells.
 *
 * It makes connections but takes none. One that is there already comes in by a side door: lws
 * connects to a listening socket of ours that leads nowhere, and before it has sent anything, the
 * other connection is put under the same number. */
#include "backend/kernel/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libwebsockets.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"

#define PROTOCOL "v1.kernel.websocket.jupyter.org"
#define READ_SIZE (64u << 10)   /* at most at once */
#define WHOLE_SIZE (128u << 10) /* a message up to this comes in one piece and is lent where it is */
#define ROUNDS 32 /* of reading; then the owner sees to what else there is, since a kernel may print for ever */

struct outgoing {
	struct outgoing *next;
	size_t length;
	unsigned char bytes[]; /* LWS_PRE bytes of room, then the message */
};

struct socket {
	struct lws_context *context;
	struct lws *wsi;
	int passed;    /* the connection that it shall have, until it has; else -1 */
	int nowhere;   /* where it is connected to until then */
	enum socket_state state;
	bool asked;    /* the handshake was sent: nothing to write until it is answered */
	bool received; /* something came in this round */
	bool dropping; /* the message that is coming is too long */
	struct buffer message;
	struct outgoing *first, **last;
	socket_receive *receive;
	void *owner;
	char *authorization;
	struct error failure;
};

static void receive_piece(struct socket *s, struct lws *wsi, const void *data, size_t n)
{
	bool last = lws_is_final_fragment(wsi) && !lws_remaining_packet_payload(wsi);

	s->received = true;
	if (last && !s->message.length && !s->dropping) {
		s->receive(s->owner, data, n);
		return;
	}
	if (!s->dropping && buffer_append(&s->message, data, n) < 0)
		s->dropping = true;
	if (!last)
		return;
	if (s->dropping)
		s->receive(s->owner, NULL, 0);
	else
		s->receive(s->owner, s->message.data, s->message.length);
	s->dropping = false;
	buffer_free(&s->message);
}

/* Sends the first message that waits. Returns -1 when it cannot: the connection is to be closed. */
static int write_message(struct socket *s, struct lws *wsi)
{
	struct outgoing *o = s->first;

	if (!o)
		return 0;
	/* What the socket does not take, libwebsockets keeps and sends before it asks again. */
	if (lws_write(wsi, o->bytes + LWS_PRE, o->length, LWS_WRITE_BINARY) < (int)o->length)
		return -1;
	s->first = o->next;
	if (!s->first)
		s->last = &s->first;
	free(o);
	if (s->first)
		lws_callback_on_writable(wsi);
	return 0;
}

static void connection_over(struct socket *s, int code, const char *why)
{
	if (s->state != SOCKET_CLOSED)
		error_set(&s->failure, code, "%s", why);
	s->state = SOCKET_CLOSED;
	s->wsi = NULL;
}

static void close_passed(struct socket *s)
{
	if (s->passed >= 0)
		(void)close(s->passed);
	if (s->nowhere >= 0)
		(void)close(s->nowhere);
	s->passed = s->nowhere = -1;
}

/* Nothing has been sent yet. */
static int take_passed(struct socket *s, struct lws *wsi)
{
	int result = 0;

	if (s->passed >= 0 && dup3(s->passed, lws_get_socket_fd(wsi), O_CLOEXEC) < 0)
		result = -1;
	close_passed(s);
	return result;
}

static int add_authorization(struct socket *s, struct lws *wsi, unsigned char **p, size_t room)
{
	return lws_add_http_header_by_name(wsi, (const unsigned char *)"authorization:",
					   (const unsigned char *)s->authorization,
					   (int)strlen(s->authorization), p, *p + room) ? -1 : 0;
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t n)
{
	struct socket *s = lws_context_user(lws_get_context(wsi));

	(void)user;
	switch (reason) {
	case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
		s->asked = true;
		return take_passed(s, wsi) < 0 ? -1 : add_authorization(s, wsi, in, n);
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		s->state = SOCKET_OPEN;
		if (s->first)
			lws_callback_on_writable(wsi);
		return 0;
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		connection_over(s, ECONNREFUSED, in && n ? (const char *)in : "no connection");
		return 0;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		receive_piece(s, wsi, in, n);
		return 0;
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return write_message(s, wsi);
	case LWS_CALLBACK_CLIENT_CLOSED:
		connection_over(s, ECONNRESET, "Jupyter Server closed the connection");
		return 0;
	default:
		return 0;
	}
}

static const struct lws_protocols protocols[] = {
	{ .name = PROTOCOL, .callback = callback, .rx_buffer_size = WHOLE_SIZE },
	{ .name = NULL },
};

/* Neither pings nor gives up by itself: the server pings, and a unix socket's death is seen. */
static const lws_retry_bo_t patience = { .secs_since_valid_ping = 0 };

/* Something to connect to, under a name that the kernel chooses. */
static int open_nowhere(struct socket *s, struct buffer *name, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = sizeof address;

	s->nowhere = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->nowhere < 0 || fcntl(s->passed, F_SETFL, O_NONBLOCK) < 0 ||
	    bind(s->nowhere, (struct sockaddr *)&address, sizeof address.sun_family) < 0 || listen(s->nowhere, 1) < 0 ||
	    getsockname(s->nowhere, (struct sockaddr *)&address, &size) < 0)
		return error_errno(err, "a socket");
	return buffer_format(name, "+@%.*s", (int)(size - offsetof(struct sockaddr_un, sun_path) - 1),
			     address.sun_path + 1) < 0 ? error_errno(err, "a socket") : 0;
}

static int connect_lws(struct socket *s, const struct socket_address *address, struct error *err)
{
	struct lws_context_creation_info creation = {
		.port = CONTEXT_PORT_NO_LISTEN,
		.protocols = protocols,
		.pt_serv_buf_size = READ_SIZE,
		.fd_limit_per_thread = 8,
		.timeout_secs = 90, /* the kernel may take a minute to answer the server */
		.retry_and_idle_policy = &patience,
		.user = s,
	};
	struct lws_client_connect_info info = { .port = 80, .host = "localhost", .protocol = PROTOCOL,
						.retry_and_idle_policy = &patience, .pwsi = &s->wsi };
	cleanup_buffer struct buffer path = BUFFER(1024), name = BUFFER(sizeof ((struct sockaddr_un *)0)->sun_path),
				     token = BUFFER(4096);

	if (buffer_format(&path, "/api/kernels/%s/channels?session_id=%s", address->kernel, address->session) < 0 ||
	    buffer_format(&token, "token %s", address->token) < 0)
		return error_errno(err, "kernel %s", address->kernel);
	s->authorization = steal_pointer(&token.data);
	if (s->passed >= 0 ? open_nowhere(s, &name, err) < 0 : buffer_format(&name, "+%s", address->path) < 0)
		return s->passed >= 0 ? -1 : error_errno(err, "Jupyter's socket %s", address->path);
	lws_set_log_level(0, NULL);
	s->context = lws_create_context(&creation);
	if (!s->context)
		return error_set(err, ENOMEM, "libwebsockets does not start");
	info.context = s->context;
	info.address = name.data;
	info.path = path.data;
	if (lws_client_connect_via_info(&info) && s->state != SOCKET_CLOSED)
		return 0;
	if (s->state != SOCKET_CLOSED)
		return error_set(err, ECONNREFUSED, "no connection to Jupyter Server");
	*err = s->failure;
	return error_wrap(err, "Jupyter Server");
}

struct socket *socket_connect(const struct socket_address *address, socket_receive *receive,
			      void *context, struct error *err)
{
	cleanup_close int passed = address->fd;
	struct socket *s = calloc(1, sizeof *s);

	if (!s) {
		(void)error_memory(err);
		return NULL;
	}
	*s = (struct socket){ .passed = steal_fd(&passed), .nowhere = -1, .message = BUFFER(SOCKET_RECEIVE_MAX),
			      .last = &s->first, .receive = receive, .owner = context };
	if (connect_lws(s, address, err) == 0)
		return s;
	socket_close(s);
	return NULL;
}

void socket_close(struct socket *s)
{
	struct outgoing *o, *next;

	if (!s)
		return;
	if (s->context)
		lws_context_destroy(s->context);
	for (o = s->first; o; o = next) {
		next = o->next;
		free(o);
	}
	close_passed(s);
	buffer_free(&s->message);
	free(s->authorization);
	free(s);
}

enum socket_state socket_state(const struct socket *s)
{
	return s->state;
}

int socket_fd(const struct socket *s)
{
	return s->state != SOCKET_CLOSED && s->wsi ? lws_get_socket_fd(s->wsi) : -1;
}

short socket_events(const struct socket *s)
{
	bool writes = s->state == SOCKET_CONNECTING ? !s->asked
						    : s->first || (s->wsi && lws_partial_buffered(s->wsi));

	return (short)(POLLIN | (writes ? POLLOUT : 0));
}

int socket_timeout(const struct socket *s)
{
	if (s->state == SOCKET_CLOSED)
		return 0;
	/* libwebsockets keeps its own deadline for the handshake, which only a call can notice. */
	return lws_service_adjust_timeout(s->context, s->state == SOCKET_OPEN ? 60000 : 2000, 0);
}

int socket_service(struct socket *s, struct error *err)
{
	unsigned int rounds = 0;

	do {
		s->received = false;
		if (s->state != SOCKET_CLOSED && lws_service(s->context, -1) < 0)
			connection_over(s, EIO, "libwebsockets has failed");
	} while (s->state != SOCKET_CLOSED && ++rounds < ROUNDS &&
		 (s->received || !lws_service_adjust_timeout(s->context, 1, 0)));
	if (s->state != SOCKET_CLOSED)
		return 0;
	*err = s->failure;
	return -1;
}

int socket_send(struct socket *s, const void *data, size_t n, struct error *err)
{
	struct outgoing *o;

	if (n > SOCKET_SEND_MAX)
		return error_set(err, EMSGSIZE, "Jupyter Server takes at most %u bytes of code",
				 SOCKET_SEND_MAX);
	if (s->state == SOCKET_CLOSED)
		return error_set(err, ENOTCONN, "the connection to Jupyter Server is lost");
	o = malloc(sizeof *o + LWS_PRE + n);
	if (!o)
		return error_memory(err);
	o->next = NULL;
	o->length = n;
	memcpy(o->bytes + LWS_PRE, data, n);
	*s->last = o;
	s->last = &o->next;
	/* At once, if it can be: libwebsockets would wait for its next turn. */
	if (s->state == SOCKET_OPEN && s->first == o && !lws_partial_buffered(s->wsi) && !lws_send_pipe_choked(s->wsi) &&
	    write_message(s, s->wsi) == 0)
		return 0;
	if (s->state == SOCKET_OPEN)
		lws_callback_on_writable(s->wsi);
	return 0;
}
