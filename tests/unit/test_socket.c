/* The WebSocket to a kernel: what it says to a server, what it takes from one, and what it refuses.
 * The test is the server, on the other end of a socket pair. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/kernel/socket.h"
#include "base/buffer.h"

#define PROTOCOL "v1.kernel.websocket.jupyter.org"

enum { CLOSE = 8, BINARY = 2, PONG = 10 }; /* RFC 6455's opcodes */

static int server;
static struct socket *s;
static struct error err;
static struct buffer taken = BUFFER(64 << 20); /* messages, each in brackets */
static unsigned int messages, left_out;
static bool endless; /* whoever takes a message finds the next one there */

static void receive(void *context, const void *data, size_t n)
{
	ck_assert_ptr_eq(context, &server);
	messages++;
	if (!data) {
		left_out++;
		return;
	}
	ck_assert_int_eq(buffer_text(&taken, "[") | buffer_append(&taken, data, n) | buffer_text(&taken, "]"), 0);
	if (endless)
		ck_assert_int_eq(send(server, "\x82\x01x", 3, MSG_NOSIGNAL), 3);
}

/* Until the request is with the server. */
static void ask(void)
{
	struct pollfd p = { .fd = server, .events = POLLIN };

	while (poll(&p, 1, 0) == 0)
		ck_assert_msg(socket_service(s, &err) == 0, "%s", err.text);
}

static void begin(void)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	server = pair[1];
	struct socket_address address = { .fd = pair[0], .kernel = "k-1", .session = "abc", .token = "secret" };
	s = socket_connect(&address, receive, &server, &err);
	ck_assert_msg(s != NULL, "%s", err.text);
	ck_assert_int_eq(socket_state(s), SOCKET_CONNECTING);
	ask();
}

static void tear_down(void)
{
	socket_close(s);
	close(server);
	buffer_free(&taken);
	messages = left_out = 0;
}

/* What the client has sent by now. */
static struct buffer sent(void)
{
	struct buffer b = BUFFER(64 << 20);
	char piece[65536];
	ssize_t n;

	while ((n = recv(server, piece, sizeof piece, MSG_DONTWAIT)) > 0)
		ck_assert_int_eq(buffer_append(&b, piece, (size_t)n), 0);
	return b;
}

static size_t answered;

static void answer(const void *data, size_t n)
{
	answered = n;
	ck_assert_int_eq(send(server, data, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void serve_well(void)
{
	struct pollfd p = { .fd = socket_fd(s), .events = socket_events(s) };

	do {
		ck_assert_msg(socket_service(s, &err) == 0, "%s", err.text);
		p.events = socket_events(s);
	} while (poll(&p, 1, 0) > 0 && p.revents & POLLIN);
}

/* The client must give up, with this errno. */
static void serve_badly(int code)
{
	for (int i = 0; i < 100 && socket_service(s, &err) == 0; i++)
		;
	ck_assert_int_eq(err.code, code);
	ck_assert_uint_gt(strlen(err.text), 0);
	ck_assert_msg(socket_fd(s) == -1, "still open after %zu bytes", answered);
	ck_assert_int_eq(socket_state(s), SOCKET_CLOSED);
	ck_assert_int_eq(socket_timeout(s), 0);
	ck_assert_int_eq(socket_send(s, "x", 1, &err), -1);
	ck_assert_int_eq(err.code, ENOTCONN);
	ck_assert_int_eq(socket_service(s, &err), -1);
}

/* The head of a good answer to the request that was read from the client, with `more` behind it. */
static void agree(const char *request, const char *protocol, const char *more)
{
	const char *key = strcasestr(request, "Sec-WebSocket-Key: ");
	unsigned char digest[EVP_MAX_MD_SIZE], accept[40];
	char text[512];
	unsigned int size;

	ck_assert_ptr_nonnull(key);
	snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 19);
	ck_assert_int_eq(EVP_Digest(text, strlen(text), digest, &size, EVP_sha1(), NULL), 1);
	EVP_EncodeBlock(accept, digest, (int)size);
	snprintf(text, sizeof text, "HTTP/1.1 101 Switching Protocols\r\nServer: T\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n%s", accept, protocol, more);
	answer(text, strlen(text));
}

static void open_it(void)
{
	begin();
	struct buffer request = sent();
	agree(request.data, PROTOCOL, "");
	buffer_free(&request);
	serve_well();
	ck_assert_int_eq(socket_state(s), SOCKET_OPEN);
}

/* One frame of a client: its payload without the mask. Appends to `out`, returns the opcode. */
static int unmask(const struct buffer *b, size_t *at, struct buffer *out)
{
	const unsigned char *p = (const unsigned char *)b->data + *at;
	size_t n, header = 2;

	ck_assert_uint_ge(b->length - *at, 6);
	ck_assert_uint_eq(p[0] & 0xf0, 0x80);
	ck_assert_uint_eq(p[1] & 0x80, 0x80);
	n = p[1] & 127;
	if (n >= 126) {
		size_t bytes = n == 126 ? 2 : 8;

		n = 0;
		for (size_t i = 0; i < bytes; i++)
			n = n << 8 | p[header++];
	}
	ck_assert_uint_le(*at + header + 4 + n, b->length);
	ck_assert_int_eq(buffer_append(out, p + header + 4, n), 0);
	for (size_t i = 0; i < n; i++)
		out->data[out->length - n + i] ^= (char)p[header + (i & 3)];
	*at += header + 4 + n;
	return p[0] & 15;
}

START_TEST(opening)
{
	struct buffer b, payload = BUFFER(4096);
	size_t at = 0;

	begin();
	b = sent();
	ck_assert_int_eq(strncmp(b.data, "GET /api/kernels/k-1/channels?session_id=abc HTTP/1.1\r\n", 55), 0);
	ck_assert_ptr_nonnull(strcasestr(b.data, "\r\nAuthorization: token secret\r\n"));
	ck_assert_ptr_nonnull(strcasestr(b.data, "\r\nSec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org\r\n"));
	ck_assert_ptr_nonnull(strcasestr(b.data, "\r\nSec-WebSocket-Version: 13\r\n"));
	ck_assert_str_eq(b.data + b.length - 4, "\r\n\r\n");

	/* What is sent before the server has agreed waits for that. */
	ck_assert_int_eq(socket_send(s, "early", 5, &err), 0);
	ck_assert_int_eq(socket_events(s), POLLIN);
	serve_well();
	char byte;
	ck_assert_int_eq(recv(server, &byte, 1, MSG_DONTWAIT), -1);
	agree(b.data, PROTOCOL, "\x82\x05" "first\x82");
	buffer_free(&b);
	serve_well();
	ck_assert_int_eq(socket_state(s), SOCKET_OPEN);
	ck_assert_str_eq(taken.data, "[first]");
	b = sent();
	ck_assert_int_eq(unmask(&b, &at, &payload), BINARY);
	ck_assert_str_eq(payload.data, "early");
	ck_assert_uint_eq(at, b.length);
	buffer_free(&b);
	buffer_free(&payload);
}
END_TEST

START_TEST(refusals)
{
	static const char *const answers[] = {
		"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 101 Yes\r\n\r\n",
		"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
		begin();
		answer(answers[i], strlen(answers[i]));
		serve_badly(ECONNREFUSED);
		tear_down();
	}
	begin();
	struct buffer b = sent();
	agree(b.data, "v2.kernel", "");
	buffer_free(&b);
	serve_badly(ECONNREFUSED);
	tear_down();
	begin();
	close(server);
	server = -1;
	serve_badly(ECONNREFUSED);
}
END_TEST

START_TEST(frames)
{
	static const char text[] =
		"\x82\x03one"
		"\x02\x01t\x89\x04ping\x80\x02wo"  /* in two frames, with a ping between them */
		"\x8a\x00"                         /* a pong that nobody asked for */
		"\x82\x00"
		"\x02\x00\x00\x00\x80\x05three"
		"\x81\x04text";
	static const char expected[] = "[one][two][][three][text]";
	struct buffer b, payload = BUFFER(4096);
	size_t at = 0;

	open_it();
	answer(text, sizeof text - 1);
	serve_well();
	ck_assert_str_eq(taken.data, expected);
	b = sent();
	ck_assert_int_eq(unmask(&b, &at, &payload), PONG);
	ck_assert_str_eq(payload.data, "ping");
	ck_assert_uint_eq(at, b.length);
	buffer_free(&b);
	buffer_free(&payload);

	/* The same, a byte at a time. */
	buffer_clear(&taken);
	for (size_t i = 0; i < sizeof text - 1; i++) {
		answer(text + i, 1);
		serve_well();
	}
	ck_assert_str_eq(taken.data, expected);
	b = sent();
	buffer_free(&b);

	answer("\x82\x04last\x88\x02\x03\xe9\x82\x04more", 16);
	serve_badly(ECONNRESET);
	ck_assert_ptr_nonnull(strstr(taken.data, "[last]"));
	ck_assert_ptr_null(strstr(taken.data, "more"));
	b = sent();
	at = 0;
	ck_assert_int_eq(unmask(&b, &at, &payload), CLOSE);
	ck_assert_mem_eq(payload.data, "\x03\xe9", 2);
	buffer_free(&b);
	buffer_free(&payload);
}
END_TEST

START_TEST(nonsense)
{
	static const struct {
		const char *bytes;
		size_t n;
	} cases[] = {
		{ "\xc2\x01x", 3 },                  /* an extension's bit */
		{ "\x83\x01x", 3 },                  /* no such kind of frame */
		{ "\x8b\x00", 2 },
		{ "\x09\x01x", 3 },                  /* a ping in pieces */
		{ "\x89\x7e\x00\x7e", 4 },           /* one that is too long */
		{ "\x80\x01x", 3 },                  /* the end of nothing */
		{ "\x02\x01x\x82\x01y", 6 },         /* a beginning in the middle */
		{ "\x82\x7f\x80\0\0\0\0\0\0\0", 10 }, /* 2^63 bytes */
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		open_it();
		answer(cases[i].bytes, cases[i].n);
		serve_badly(ECONNRESET);
		tear_down();
	}
	open_it();
	close(server);
	server = -1;
	serve_badly(ECONNRESET);
}
END_TEST

/* Writes n bytes to the client while it takes them. */
static void pour(const char *data, size_t n)
{
	(void)fcntl(server, F_SETFL, O_NONBLOCK);
	while (n) {
		ssize_t k = send(server, data, n, MSG_NOSIGNAL);

		if (k > 0) {
			data += k;
			n -= (size_t)k;
		}
		serve_well();
	}
	(void)fcntl(server, F_SETFL, 0);
	serve_well();
}

START_TEST(long_messages)
{
	const size_t sizes[] = { 125, 126, 65535, 65536, 80000, 300000, 9 << 20 };
	char *data = malloc((9 << 20) + 10);

	ck_assert_ptr_nonnull(data);
	open_it();
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		size_t n = sizes[i], header = 2;

		data[0] = (char)0x82;
		data[1] = (char)(n > 65535 ? 127 : n > 125 ? 126 : n);
		for (int bytes = n > 65535 ? 8 : n > 125 ? 2 : 0; bytes; bytes--)
			data[header++] = (char)(n >> 8 * (bytes - 1));
		for (size_t k = 0; k < n; k++)
			data[header + k] = (char)(k * 7 + k / 256);
		buffer_clear(&taken);
		pour(data, header + n);
		ck_assert_uint_eq(taken.length, n + 2);
		ck_assert(!memcmp(taken.data + 1, data + header, n));
	}
	free(data);
}
END_TEST

/* A kernel that prints faster than it is read does not keep the owner from everything else. */
START_TEST(without_end)
{
	open_it();
	endless = true;
	answer("\x82\x01x", 3);
	ck_assert_int_eq(socket_service(s, &err), 0);
	ck_assert_uint_gt(messages, 1);
	endless = false;
	serve_well();
	ck_assert_uint_eq(taken.length, 3 * messages);
}
END_TEST

START_TEST(too_long)
{
	static char zeros[1 << 20];
	const size_t n = (size_t)SOCKET_RECEIVE_MAX + 5;
	char head[10] = "\x82\x7f";

	open_it();
	for (int i = 0; i < 8; i++)
		head[2 + i] = (char)((uint64_t)n >> 8 * (7 - i));
	pour(head, sizeof head);
	for (size_t left = n; left;) {
		size_t k = left < sizeof zeros ? left : sizeof zeros;

		pour(zeros, k);
		left -= k;
	}
	pour("\x82\x04next", 6);
	ck_assert_uint_eq(left_out, 1);
	ck_assert_uint_eq(messages, 2);
	ck_assert_str_eq(taken.data, "[next]");
}
END_TEST

START_TEST(sending)
{
	const size_t n = 5 << 20;
	char *data = malloc(n);
	struct buffer all = BUFFER(64 << 20), payload = BUFFER(64 << 20);
	size_t at = 0;

	ck_assert_ptr_nonnull(data);
	for (size_t i = 0; i < n; i++)
		data[i] = (char)(i * 13 + i / 512);
	open_it();
	ck_assert_int_eq(socket_send(s, data, n, &err), 0);
	ck_assert_int_eq(socket_send(s, "behind", 6, &err), 0);
	ck_assert(socket_events(s) & POLLOUT);
	while (socket_events(s) & POLLOUT) {
		struct buffer b = sent();

		ck_assert_int_eq(b.length ? buffer_append(&all, b.data, b.length) : 0, 0);
		buffer_free(&b);
		serve_well();
	}
	struct buffer b = sent();
	ck_assert_int_eq(b.length ? buffer_append(&all, b.data, b.length) : 0, 0);
	buffer_free(&b);
	ck_assert_int_eq(unmask(&all, &at, &payload), BINARY);
	ck_assert_uint_eq(payload.length, n);
	ck_assert(!memcmp(payload.data, data, n));
	buffer_clear(&payload);
	ck_assert_int_eq(unmask(&all, &at, &payload), BINARY);
	ck_assert_str_eq(payload.data, "behind");
	ck_assert_int_eq(socket_send(s, data, (size_t)SOCKET_SEND_MAX + 1, &err), -1);
	ck_assert_int_eq(err.code, EMSGSIZE);
	buffer_free(&all);
	buffer_free(&payload);
	free(data);
}
END_TEST

START_TEST(by_path)
{
	char folder[] = "/tmp/interpfs-test-socket.XXXXXX";
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	struct socket_address address = { .fd = -1, .path = name.sun_path, .kernel = "k", .session = "s", .token = "t" };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(name.sun_path, sizeof name.sun_path, "%s/sock", folder);
	server = -1;
	s = socket_connect(&address, receive, &server, &err);
	ck_assert_ptr_null(s);
	ck_assert_int_eq(err.code, ECONNREFUSED);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	s = socket_connect(&address, receive, &server, &err);
	ck_assert_msg(s != NULL, "%s", err.text);
	server = accept(listener, NULL, NULL);
	ask();
	struct buffer b = sent();
	agree(b.data, PROTOCOL, "\x82\x02hi");
	buffer_free(&b);
	serve_well();
	ck_assert_str_eq(taken.data, "[hi]");
	close(listener);
	unlink(name.sun_path);
	rmdir(folder);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("socket");
	TCase *tests = tcase_create("socket");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tests, NULL, tear_down);
	tcase_set_timeout(tests, 240);
	tcase_add_test(tests, opening);
	tcase_add_test(tests, refusals);
	tcase_add_test(tests, frames);
	tcase_add_test(tests, nonsense);
	tcase_add_test(tests, long_messages);
	tcase_add_test(tests, without_end);
	tcase_add_test(tests, too_long);
	tcase_add_test(tests, sending);
	tcase_add_test(tests, by_path);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
