/* One connection out of a sandbox:
 *
 *      head ── CONNECT, listed ──> connected ──> first bytes ── hello for a host with secrets ──> read
 *       │                                            └── hello with the same name, or a port's ──> copied
 *       └──── http://, listed ───> connected ──────────────────────────────────────────────────> read
 *       └──── else: an answer that says why
 *
 * "Read" means that requests pass through request.h; answers are copied always. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/proxy/end.h"
#include "backend/proxy/hello.h"
#include "backend/proxy/proxy.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hosts.h"

#define PATIENCE 30.0        /* seconds for a head, a name, a connection, a handshake */
#define PIECE 16384u
#define QUEUED (4 * REQUEST_HEAD_MAX)

struct connection {
	const struct proxy *proxy;
	struct end inner, outer;
	char host[HOST_SIZE];
	int port;
	double deadline;             /* of its beginning */
};

/* ---- copying ---- */

/* One direction. */
struct flow {
	struct end *from, *to;
	struct request *request;     /* NULL: bytes are copied */
	struct buffer queued;
	size_t sent;
	bool ended, finished, spoke; /* nothing more comes; and its end was told; something was sent */
	struct end *blocked;         /* on whom it waits */
};

/* 0: it can go on later; -1: the connection is over. */
static int go_on(struct flow *f, struct error *err)
{
	char piece[PIECE];
	ssize_t n;

	err->code = 0;
	for (;;) {
		while (f->sent < f->queued.length) {
			n = end_write(f->to, f->queued.data + f->sent, f->queued.length - f->sent);
			f->blocked = f->to;
			if (n <= 0)
				return n == END_AGAIN ? 0 : -1;
			f->sent += (size_t)n;
			f->spoke = true;
		}
		buffer_clear(&f->queued);
		f->sent = 0;
		f->blocked = NULL;
		if (f->ended) {
			if (!f->finished)
				end_finish(f->to);
			f->finished = true;
			return 0;
		}
		n = end_read(f->from, piece, sizeof piece);
		if (n == END_AGAIN) {
			f->blocked = f->from;
			return 0;
		}
		if (n <= 0)
			f->ended = true;
		else if (f->request ? request_take(f->request, piece, (size_t)n, &f->queued, err) < 0
				    : buffer_append(&f->queued, piece, (size_t)n) < 0)
			return -1;
	}
}

static void answer(struct end *end, const char *status, const char *text);

/* Copies until it is over. Where requests are read, that is with the server's end, or when a client
 * that spoke TLS has gone; else each side may close its half. */
static void copy(struct connection *c, struct request *request)
{
	struct flow out = { .from = &c->inner, .to = &c->outer, .request = request, .queued = BUFFER(QUEUED) };
	struct flow in = { .from = &c->outer, .to = &c->inner, .queued = BUFFER(QUEUED) };
	struct flow *const flows[] = { &out, &in };
	struct error err;

	while (!(in.finished && (request || out.finished)) && !(out.finished && request && c->inner.ssl)) {
		struct pollfd p[2] = { { .fd = -1 }, { .fd = -1 } };

		if (go_on(&out, &err) < 0) {
			if (err.code && !in.spoke)
				answer(&c->inner, "400 Bad Request", err.text);
			break;
		}
		if (go_on(&in, &err) < 0)
			break;
		for (int i = 0; i < 2; i++)
			if (flows[i]->blocked)
				p[i] = (struct pollfd){ .fd = flows[i]->blocked->fd, .events = flows[i]->blocked->wants };
		if ((p[0].fd >= 0 || p[1].fd >= 0) && poll(p, 2, -1) < 0 && errno != EINTR)
			break;
	}
	for (int i = 0; i < 2; i++) {
		if (flows[i]->queued.data)
			explicit_bzero(flows[i]->queued.data, flows[i]->queued.length);
		buffer_free(&flows[i]->queued);
	}
}

/* ---- answers of our own ---- */

static void answer(struct end *end, const char *status, const char *text)
{
	char all[1024];
	int n = snprintf(all, sizeof all, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
			 status, strlen(text) + 1, text);

	if (n > 0 && (size_t)n < sizeof all)
		(void)end_write(end, all, (size_t)n); /* a socket's queue has room for it */
	end_finish(end);
}

static void refuse(struct connection *c, const char *why)
{
	char text[HOST_SIZE + 128];

	(void)snprintf(text, sizeof text, "%s:%d %s", c->host, c->port, why);
	proxy_say("refused: %s", text);
	answer(&c->inner, "403 Forbidden", text);
}

/* ---- whereto ---- */

static bool any_match(char *const *patterns, const struct connection *c, bool (*match)(const char *, const char *, int))
{
	for (; *patterns; patterns++)
		if (match(*patterns, c->host, c->port))
			return true;
	return false;
}

static bool gets_secrets(const struct connection *c)
{
	for (size_t i = 0; i < c->proxy->secret_count; i++)
		if (any_match(c->proxy->secrets[i].hosts, c, hosts_match))
			return c->proxy->authority != NULL;
	return false;
}

static int connect_one(const struct addrinfo *a, double deadline)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), code = 0, one = 1;
	socklen_t size = sizeof code;

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
		code = errno;
		if (code == EINPROGRESS) {
			code = ETIMEDOUT;
			if (end_wait(fd, POLLOUT, deadline) && getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) < 0)
				code = errno;
		}
	}
	if (!code)
		return fd;
	(void)close(fd);
	errno = code;
	return -1;
}

/* A name never leads to this machine's own services; an address that is listed as such may. */
static int connect_out(struct connection *c)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV }, *list = NULL;
	bool literal = hosts_is_address(c->host) || !strcmp(c->host, "localhost"), near = false;
	char service[8], text[HOST_SIZE + 128];
	int code;

	(void)snprintf(service, sizeof service, "%d", c->port);
	code = getaddrinfo(c->host, service, &hints, &list);
	errno = 0;
	for (struct addrinfo *a = list; a && c->outer.fd < 0; a = a->ai_next) {
		near = near || (!literal && hosts_is_near(a->ai_addr));
		if (literal || !hosts_is_near(a->ai_addr))
			c->outer.fd = connect_one(a, c->deadline);
	}
	if (list)
		freeaddrinfo(list);
	if (c->outer.fd >= 0)
		return 0;
	if (near && !errno) {
		refuse(c, "leads to an address of this machine");
		return -1;
	}
	(void)snprintf(text, sizeof text, "%s:%d: %s", c->host, c->port, code ? gai_strerror(code) : strerror(errno));
	answer(&c->inner, "502 Bad Gateway", text);
	return -1;
}

/* ---- the beginning ---- */

/* Waits for more than `have` bytes, which stay in the socket's queue. */
static ssize_t peek_more(int fd, void *data, size_t size, size_t have, double deadline)
{
	int low = (int)have + 1, one = 1;
	ssize_t n;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low);
	n = end_wait(fd, POLLIN, deadline) ? recv(fd, data, size, MSG_PEEK | MSG_DONTWAIT) : -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
	return n > (ssize_t)have ? n : -1; /* the same again: it was closed */
}

/* The first request's line. Its head stays in the queue, for whoever reads or skips it. */
static long peek_head(struct connection *c, char *data, struct request_line *line, struct error *err)
{
	ssize_t n = 0;
	long length = 0;

	while (!length) {
		n = peek_more(c->inner.fd, data, REQUEST_HEAD_MAX, (size_t)n, c->deadline);
		if (n < 0)
			return error_set(err, ECONNRESET, "no request");
		data[n] = '\0';
		length = request_head(data, (size_t)n, line, err);
		if (!length && n == REQUEST_HEAD_MAX)
			return error_set(err, EFBIG, "the head of the request is too long");
	}
	return length;
}

/* "host:port" of CONNECT, or of "http://host[:port]/path". */
static int take_target(struct connection *c, const struct request_line *line, bool connect)
{
	char text[HOST_SIZE + 16];
	const char *begin = line->target, *end = begin + line->target_length;

	if (!connect) {
		if (line->target_length < 8 || strncasecmp(begin, "http://", 7))
			return -1;
		begin += 7;
		end = begin + strcspn(begin, "/?# \r\n");
	}
	if ((size_t)(end - begin) >= sizeof text)
		return -1;
	memcpy(text, begin, (size_t)(end - begin));
	text[end - begin] = '\0';
	c->port = connect ? 0 : 80;
	return hosts_split(text, c->host, &c->port) < 0 || !c->port ? -1 : 0;
}

static int skip(struct connection *c, char *data, size_t n)
{
	return recv(c->inner.fd, data, n, MSG_DONTWAIT) == (ssize_t)n ? 0 : -1;
}

/* What the client begins with, or OTHER when the server speaks first. */
static enum hello first_bytes(struct connection *c, char name[HOST_SIZE])
{
	cleanup_free uint8_t *data = malloc(HELLO_MAX);
	struct pollfd p[2] = { { .fd = c->inner.fd, .events = POLLIN }, { .fd = c->outer.fd, .events = POLLIN } };
	enum hello hello = HELLO_MORE;
	ssize_t n = 0;
	int ready;

	do
		ready = poll(p, 2, (int)(PATIENCE * 1000));
	while (ready < 0 && errno == EINTR);
	if (!data || ready <= 0 || !p[0].revents)
		return HELLO_OTHER;
	while (hello == HELLO_MORE) {
		n = peek_more(c->inner.fd, data, HELLO_MAX, (size_t)n, c->deadline);
		if (n < 0)
			return HELLO_OTHER;
		hello = hello_read(data, (size_t)n, name);
		if (hello == HELLO_MORE && (size_t)n == HELLO_MAX)
			return HELLO_OTHER;
	}
	return hello;
}

/* Ends the TLS of both sides here, and reads what the sandbox asks. */
static void serve_between(struct connection *c)
{
	SSL_CTX *inside = NULL;
	struct request request;
	struct error err;

	if (end_secure(&c->outer, c->proxy->outside, c->host, c->deadline, &err) < 0 ||
	    !(inside = authority_context(c->proxy->authority, c->host, &err)) ||
	    end_secure(&c->inner, inside, NULL, c->deadline, &err) < 0) {
		proxy_say("%s:%d: %s", c->host, c->port, err.text);
	} else {
		request_open(&request, c->host, c->port, c->proxy->secrets, c->proxy->secret_count);
		copy(c, &request);
		request_close(&request);
	}
	SSL_CTX_free(inside);
}

static void serve_tunnel(struct connection *c)
{
	static const char good[] = "HTTP/1.1 200 Connection established\r\n\r\n";
	bool any = any_match(c->proxy->hosts, c, hosts_match_port);
	char name[HOST_SIZE] = "";
	enum hello hello;

	if (end_write(&c->inner, good, sizeof good - 1) != (ssize_t)sizeof good - 1)
		return;
	hello = first_bytes(c, name);
	if (hello == HELLO_OTHER && !any)
		proxy_say("refused: %s:%d something other than TLS", c->host, c->port);
	else if (hello == HELLO_NAMED && strcmp(name, c->host))
		proxy_say("refused: %s:%d a TLS connection for another name, %s", c->host, c->port, name);
	else if (hello == HELLO_NONE && !any && !hosts_is_address(c->host))
		proxy_say("refused: %s:%d a TLS connection without a name", c->host, c->port);
	else if (hello != HELLO_OTHER && gets_secrets(c))
		serve_between(c);
	else
		copy(c, NULL);
}

static void serve_plain(struct connection *c)
{
	struct request request;

	request_open(&request, c->host, c->port, c->proxy->secrets, c->proxy->secret_count);
	request.once = true;
	copy(c, &request);
	request_close(&request);
}

void connection_serve(const struct proxy *proxy, int fd)
{
	struct connection c = { .proxy = proxy, .inner = { .fd = fd }, .outer = { .fd = -1 }, .deadline = clock_seconds() + PATIENCE };
	cleanup_free char *data = malloc(REQUEST_HEAD_MAX + 1);
	struct request_line line;
	struct error err;
	long length = data ? peek_head(&c, data, &line, &err) : -1;
	bool tunnel = length > 0 && line.method_length == 7 && !memcmp(line.method, "CONNECT", 7);

	if (length <= 0) {
		if (data && err.code != ECONNRESET)
			answer(&c.inner, "400 Bad Request", err.text);
	} else if (take_target(&c, &line, tunnel) < 0) {
		answer(&c.inner, "400 Bad Request", "this is a proxy: ask for http://host/path, or CONNECT host:port");
	} else if (!any_match(proxy->hosts, &c, hosts_match)) {
		refuse(&c, "is not in the sandbox's network list");
	} else if (!connect_out(&c)) {
		if (!tunnel)
			serve_plain(&c);
		else if (!skip(&c, data, (size_t)length))
			serve_tunnel(&c);
	}
	end_close(&c.inner);
	end_close(&c.outer);
}
