/* HTTP/1.0 (RFC 1945) as a client that sends one request a connection. A server sends such a client no
 * pieces and nothing in between (RFC 9110 15.2, RFC 9112 6.1), so an answer is a head and the bytes up
 * to the length that it names, or up to the connection's end. What answers may be anything that runs in
 * the sandbox.
 *
 * libwebsockets, which carries the kernel's messages (socket.c), has an HTTP client as well. It would take
 * a context of its own beside that connection's, and callbacks for the head, the body and each piece of
 * the answer around this same buffer, its bounds and the deadline: no fewer lines, and more memory. */
#include "backend/kernel/rest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"

#define HEAD_MAX 65536u
#define BODY_MAX (4u << 20)
#define PATIENCE_SECONDS 90 /* a kernel that does not start is told of by Jupyter after a minute */
#define RETRY_MS 20         /* to connect, while as many as may be wait there already */
#define PIECE 16384

struct rest {
	int fd;            /* -1: no request is under way */
	bool connected;
	struct sockaddr_un address;
	struct buffer request, come;
	size_t sent;
	double deadline;   /* CLOCK_MONOTONIC, seconds */
	struct rest_answer answer;
};

/* ---- an answer ---- */

/* The value of a header, with its length; NULL when there is none. */
static const char *find_header(const char *head, size_t n, const char *name, size_t *length)
{
	const char *end = head + n, *newline;
	size_t name_length = strlen(name);

	for (const char *line = head; line < end; line = newline + 1) {
		newline = memchr(line, '\n', (size_t)(end - line));
		if (!newline)
			return NULL;
		if ((size_t)(newline - line) <= name_length || line[name_length] != ':' ||
		    strncasecmp(line, name, name_length) != 0)
			continue;
		line += name_length + 1;
		while (line < newline && (*line == ' ' || *line == '\t'))
			line++;
		*length = (size_t)(newline - line);
		while (*length && strchr(" \t\r", line[*length - 1]))
			--*length;
		return line;
	}
	return NULL;
}

/* A number of at most nine digits, or -1. */
static long read_number(const char *text, size_t n)
{
	long value = 0;

	if (!n || n > 9)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		value = value * 10 + (text[i] - '0');
	}
	return value;
}

static int refuse_answer(struct error *err)
{
	return error_set(err, EPROTO, "what answers in the place of Jupyter Server speaks no HTTP/1.0");
}

int rest_parse(const char *data, size_t n, bool ended, struct rest_answer *answer, struct error *err)
{
	const char *end = n ? memmem(data, n, "\r\n\r\n", 4) : NULL, *length_text;
	size_t head = end ? (size_t)(end - data) + 4 : n, length_length, come = n - head;
	long status, length = -1;

	if (head > HEAD_MAX || come > BODY_MAX)
		return refuse_answer(err);
	if (!end)
		return ended ? error_set(err, ECONNREFUSED, "Jupyter Server closed the connection") : 0;
	status = head >= 16 && !memcmp(data, "HTTP/1.", 7) && data[8] == ' ' && strchr(" \r", data[12])
			 ? read_number(data + 9, 3) : -1;
	if (status < 200 || find_header(data, head, "Transfer-Encoding", &length_length))
		return refuse_answer(err);
	length_text = find_header(data, head, "Content-Length", &length_length);
	if (length_text) {
		length = read_number(length_text, length_length);
		if (length < 0 || length > (long)BODY_MAX)
			return refuse_answer(err);
	}
	if (status == 204 || status == 304)
		length = 0;
	if (length < 0 ? !ended : come < (size_t)length)
		return ended ? error_set(err, ECONNREFUSED, "Jupyter Server closed the connection") : 0;
	*answer = (struct rest_answer){ status, { data + head, length < 0 ? come : (size_t)length } };
	return 1;
}

/* ---- the connection ---- */

struct rest *rest_new(struct error *err)
{
	struct rest *h = calloc(1, sizeof *h);

	if (!h) {
		(void)error_memory(err);
		return NULL;
	}
	h->fd = -1;
	h->request = BUFFER(64u << 10);
	h->come = BUFFER(HEAD_MAX + BODY_MAX + PIECE);
	return h;
}

static void end_request(struct rest *h)
{
	if (h->fd >= 0)
		(void)close(h->fd);
	h->fd = -1;
	buffer_free(&h->request);
}

void rest_free(struct rest *h)
{
	if (!h)
		return;
	end_request(h);
	buffer_free(&h->come);
	free(h);
}

static int connect_server(struct rest *h, struct error *err)
{
	h->connected = connect(h->fd, (struct sockaddr *)&h->address, sizeof h->address) == 0;
	if (h->connected || errno == EAGAIN)
		return 0;
	return error_set(err, ECONNREFUSED, "Jupyter Server: %s", strerror(errno));
}

int rest_start(struct rest *h, const char *socket_path, const char *token, const char *method,
	       const char *path, const char *body, struct error *err)
{
	size_t n = strlen(socket_path);

	end_request(h);
	buffer_free(&h->come);
	h->answer = (struct rest_answer){ 0 };
	h->sent = 0;
	h->deadline = clock_seconds() + PATIENCE_SECONDS;
	h->address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (n >= sizeof h->address.sun_path)
		return error_set(err, ENAMETOOLONG, "Jupyter's socket %s", socket_path);
	memcpy(h->address.sun_path, socket_path, n);
	if (buffer_format(&h->request, "%s %s HTTP/1.0\r\nHost: localhost\r\nAuthorization: token %s\r\n"
			  "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
			  method, path, token, body ? strlen(body) : 0, body ? body : "") < 0)
		return error_errno(err, "a request to Jupyter Server");
	h->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->fd < 0)
		return error_errno(err, "a socket");
	if (connect_server(h, err) == 0)
		return 0;
	end_request(h);
	return -1;
}

int rest_fd(const struct rest *h)
{
	return h->connected ? h->fd : -1;
}

short rest_events(const struct rest *h)
{
	return (short)(POLLIN | (h->sent < h->request.length ? POLLOUT : 0));
}

int rest_timeout(const struct rest *h)
{
	double left = h->deadline - clock_seconds();

	if (h->fd < 0)
		return -1;
	if (!h->connected)
		return RETRY_MS;
	return left <= 0 ? 0 : (int)(left * 1000) + 1;
}

static void send_request(struct rest *h)
{
	ssize_t n = 1;

	while (h->sent < h->request.length && n > 0) {
		n = send(h->fd, h->request.data + h->sent, h->request.length - h->sent, MSG_NOSIGNAL);
		if (n > 0)
			h->sent += (size_t)n;
	}
	/* A server may answer, and close, before it has read all. */
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		h->sent = h->request.length;
}

/* Reads what is there. 1: the end, 0, -1. */
static int receive_answer(struct rest *h, struct error *err)
{
	ssize_t n;

	while (h->come.length <= HEAD_MAX + BODY_MAX) {
		if (buffer_reserve(&h->come, PIECE) < 0)
			return error_errno(err, "Jupyter Server's answer");
		n = recv(h->fd, h->come.data + h->come.length, PIECE, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && errno == EAGAIN ? 0 : 1;
		h->come.length += (size_t)n;
	}
	return 0;
}

static int go_on(struct rest *h, struct error *err)
{
	int ended = 0, whole = 0;

	if (!h->connected && connect_server(h, err) < 0)
		return -1;
	if (h->connected) {
		send_request(h);
		ended = receive_answer(h, err);
		whole = ended < 0 ? -1 : rest_parse(h->come.data, h->come.length, ended, &h->answer, err);
	}
	return whole || clock_seconds() < h->deadline ? whole : error_set(err, ETIMEDOUT, "Jupyter Server does not answer");
}

int rest_service(struct rest *h, struct error *err)
{
	int whole = h->fd < 0 ? error_set(err, EINVAL, "no request was begun") : go_on(h, err);

	if (whole)
		end_request(h);
	return whole;
}

long rest_status(const struct rest *h)
{
	return h->answer.status;
}

struct json rest_body(const struct rest *h)
{
	return h->answer.body;
}
