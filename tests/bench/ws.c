/* The yardstick for cells: the least that a client of Jupyter's kernel WebSocket can be.
 *
 *   ws SANDBOX-FOLDER TOKEN
 *
 * Blocking reads and writes on a descriptor that leads straight to the server inside the sandbox
 * (no relay, no runner, no notebook), a kernel of its own, the same execute_request as a
 * notebook's cell. For each number of cells on its standard input it runs as many, and prints p10,
 * p50, p90 in ms of a cell `1`, from sending it until both its reply and its idle have come, as
 * JSON: its cells come between a notebook's, on kernels of the same age. */
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/talk.h"

static unsigned char message[1 << 20];

static void die(const char *what)
{
	fprintf(stderr, "ws: %s\n", what);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int dial(const char *folder)
{
	static const char address[] = "/run/interpfs/jupyter.sock";
	struct buffer out = BUFFER(4096);
	struct error err;
	int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1, status;

	if (dir < 0 || talk_call(dir, "connect", address, strlen(address), 10000, &out, &status, &fd, &err) < 0 || fd < 0)
		die("connect");
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	close(dir);
	buffer_free(&out);
	return fd;
}

static void put(int fd, const void *data, size_t n)
{
	const char *p = data;

	while (n) {
		ssize_t k = write(fd, p, n);

		if (k <= 0)
			die("write");
		p += k;
		n -= (size_t)k;
	}
}

static void get(int fd, void *data, size_t n)
{
	char *p = data;

	while (n) {
		ssize_t k = read(fd, p, n);

		if (k <= 0)
			die("the server closed the connection");
		p += k;
		n -= (size_t)k;
	}
}

/* Reads an HTTP answer's head, leaving what follows it unread. */
static void head(int fd, char *text, size_t size)
{
	size_t n = 0;

	while (n + 1 < size) {
		get(fd, text + n, 1);
		text[++n] = '\0';
		if (n >= 4 && !memcmp(text + n - 4, "\r\n\r\n", 4))
			return;
	}
	die("a head without an end");
}

static void start_kernel(const char *folder, const char *token, char *kernel, size_t size)
{
	static char text[1 << 16];
	int fd = dial(folder), n = 0;
	ssize_t k;
	char *id;

	(void)snprintf(text, sizeof text,
		       "POST /api/kernels HTTP/1.1\r\nHost: localhost\r\nAuthorization: token %s\r\nConnection: close\r\n"
		       "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", token);
	put(fd, text, strlen(text));
	while ((k = read(fd, text + n, sizeof text - 1 - (size_t)n)) > 0)
		n += (int)k;
	text[n] = '\0';
	close(fd);
	id = strstr(text, "\"id\"");
	id = id ? strchr(id + 4, '"') : NULL;
	if (!id || !strchr(id + 1, '"'))
		die("no kernel");
	(void)snprintf(kernel, size, "%.*s", (int)strcspn(id + 1, "\""), id + 1);
}

/* One unfragmented or fragmented message into `message`; pings are answered. Its length. */
static size_t receive(int fd)
{
	size_t n = 0;

	for (;;) {
		unsigned char h[2], extended[8];
		uint64_t length;

		get(fd, h, 2);
		length = h[1] & 127;
		if (length >= 126) {
			size_t bytes = length == 126 ? 2 : 8;

			get(fd, extended, bytes);
			length = 0;
			for (size_t i = 0; i < bytes; i++)
				length = length << 8 | extended[i];
		}
		if (length > sizeof message - n)
			die("a message that is too long");
		get(fd, message + n, length);
		if ((h[0] & 15) == 8)
			die("closed");
		if ((h[0] & 15) == 9) {
			unsigned char pong[6] = { 0x8a, 0x80 };

			put(fd, pong, 6);
			continue;
		}
		n += length;
		if (h[0] & 128)
			return n;
	}
}

static void send_frame(int fd, const void *payload, size_t n)
{
	static unsigned char frame[1 << 16];

	frame[0] = 0x82;
	frame[1] = 0x80 | 126;
	frame[2] = (unsigned char)(n >> 8);
	frame[3] = (unsigned char)n;
	memset(frame + 4, 0, 4); /* a mask of zeros */
	memcpy(frame + 8, payload, n);
	put(fd, frame, n + 8);
}

static void execute(int fd, const char *id)
{
	static const char content[] = "{\"code\":\"1\",\"silent\":false,\"store_history\":true,"
				      "\"user_expressions\":{},\"allow_stdin\":false,\"stop_on_error\":true}";
	char header[400];
	const char *parts[5] = { "shell", header, "{}", "{}", content };
	unsigned char frame[2048];
	uint64_t offsets[7] = { 6 }, at = sizeof offsets;
	int reply = 0, idle = 0;

	(void)snprintf(header, sizeof header,
		       "{\"msg_id\":\"%s\",\"session\":\"bench\",\"username\":\"bench\",\"date\":\"2026-01-01T00:00:00Z\","
		       "\"msg_type\":\"execute_request\",\"version\":\"5.3\"}", id);
	for (int i = 0; i < 5; i++) {
		offsets[1 + i] = at;
		memcpy(frame + at, parts[i], strlen(parts[i]));
		at += strlen(parts[i]);
	}
	offsets[6] = at;
	memcpy(frame, offsets, sizeof offsets);
	send_frame(fd, frame, at);
	while (!reply || !idle) {
		size_t n = receive(fd);
		uint64_t o[7];

		if (n < sizeof o)
			continue;
		memcpy(o, message, sizeof o);
		if (o[0] < 6 || o[6] > n || !memmem(message + o[3], o[4] - o[3], id, strlen(id)))
			continue;
		if (memmem(message + o[2], o[3] - o[2], "execute_reply", 13))
			reply = 1;
		else if (memmem(message + o[2], o[3] - o[2], "\"status\"", 8) &&
			 memmem(message + o[5], o[6] - o[5], "idle", 4))
			idle = 1;
	}
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void run_cells(int fd, int rounds)
{
	static int cells;
	double *times = calloc((size_t)rounds, sizeof *times);
	char id[32];

	if (!times)
		die("no memory");
	for (int i = 0; i < rounds; i++) {
		double start = now();

		(void)snprintf(id, sizeof id, "bench-%d", cells++);
		execute(fd, id);
		times[i] = now() - start;
	}
	qsort(times, (size_t)rounds, sizeof *times, ascending);
	printf("{\"rounds\": %d, \"p10_ms\": %.3f, \"p50_ms\": %.3f, \"p90_ms\": %.3f}\n", rounds, times[rounds / 10],
	       times[rounds / 2], times[rounds * 9 / 10]);
	fflush(stdout);
	free(times);
}

int main(int argc, char **argv)
{
	char kernel[80], text[2048];
	int fd, rounds;

	if (argc != 3)
		return 64;
	start_kernel(argv[1], argv[2], kernel, sizeof kernel);
	fd = dial(argv[1]);
	(void)snprintf(text, sizeof text,
		       "GET /api/kernels/%s/channels?session_id=bench HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
		       "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
		       "Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org\r\nAuthorization: token %s\r\n\r\n",
		       kernel, argv[2]);
	put(fd, text, strlen(text));
	head(fd, text, sizeof text);
	if (!strstr(text, " 101 "))
		die("no WebSocket");
	while (fgets(text, sizeof text, stdin) && (rounds = (int)strtol(text, NULL, 10)) > 0)
		run_cells(fd, rounds);
	return 0;
}
