/* Fuzzes what a process of interpfs reads that another one, or a power cut, has left: want, status,
 * run/pid, the torn tails of logs, and the frames on both sides of a runner's socket. The first
 * byte of the input says which. What parses is written again and must read the same. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/runner_private.h"
#include "backend/runners.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/talk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

runner_story *runner_story_of(enum object_kind kind)
{
	(void)kind;
	return NULL;
}

static int folder = -1;
static char place[] = "/dev/shm/interpfs-fuzz-state.XXXXXX";

static void leave(void)
{
	struct error ignored;

	(void)file_remove_tree(AT_FDCWD, place, &ignored);
}

static void enter(void)
{
	struct error err;

	if (folder >= 0)
		return;
	if (!mkdtemp(place) || (folder = file_open_folder(AT_FDCWD, place, &err)) < 0 ||
	    file_make_folder(folder, "run", 0700, &err) < 0 || atexit(leave) != 0)
		abort();
}

static void put(const char *path, const void *data, size_t n)
{
	struct error err;
	int fd = openat(folder, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || file_write_all(fd, data, n, &err) < 0)
		abort();
	(void)close(fd);
}

static void fuzz_want(const uint8_t *data, size_t size)
{
	struct want want, again;
	struct error err;

	put("want", data, size);
	if (want_read(folder, &want, &err) < 0)
		return;
	if (want_write(folder, &want, false, &err) < 0 || want_read(folder, &again, &err) < 0 ||
	    again.generation != want.generation || again.what != want.what)
		abort();
}

static void fuzz_status(const uint8_t *data, size_t size)
{
	struct status status, again;
	struct error err;

	put("status", data, size);
	if (status_read(folder, &status, &err) < 0)
		return;
	for (int kind = 0; kind < OBJECT_KINDS; kind++)
		if (status_resting((enum object_kind)kind, status.state) &&
		    !status_settled((enum object_kind)kind, status.state))
			abort();
#ifdef PLANTED
	if (status.generation == 77 && status.since > 3)
		__builtin_trap();
#endif
	/* Past this the milliseconds are not exact. */
	if (status.since > 1e12)
		return;
	if (status_write(folder, &status, false, &err) < 0 || status_read(folder, &again, &err) < 0 ||
	    again.generation != status.generation || strcmp(again.state, status.state) != 0)
		abort();
}

static void fuzz_record(const uint8_t *data, size_t size)
{
	struct runner_record record, again;
	struct error err;

	put("run/pid", data, size);
	(void)runner_alive(folder, NULL);
	if (runner_record_read(folder, &record, &err) < 0)
		return;
	if (runner_record_write(folder, &record, &err) < 0 || runner_record_read(folder, &again, &err) < 0 ||
	    again.pid != record.pid || again.start != record.start || strcmp(again.boot, record.boot) != 0)
		abort();
}

static void fresh(struct runner *r)
{
	*r = (struct runner){ .folder = folder, .lock = -1, .listener = -1, .signals = -1 };
	for (size_t i = 0; i < OPEN_LOGS; i++)
		r->logs[i].fd = -1;
}

/* Whatever the tail, what follows is whole lines behind whole lines, and nothing whole is cut. */
static void fuzz_tail(const uint8_t *data, size_t size)
{
	struct buffer b = BUFFER(1 << 20);
	struct runner r;
	struct error err;
	const uint8_t *newline = size ? memrchr(data, '\n', size) : NULL;
	size_t whole = newline ? (size_t)(newline - data) + 1 : 0;

	fresh(&r);
	put("x.jsonl", data, size);
	put("log", data, size);
	if (runner_append(&r, "x.jsonl", "{}\n", 3, &err) < 0 || runner_append(&r, "log", "new\n", 4, &err) < 0)
		abort();
	if (file_read(folder, "x.jsonl", &b, &err) < 0 || b.length != whole + 3 ||
	    (whole && memcmp(b.data, data, whole) != 0) || memcmp(b.data + whole, "{}\n", 3) != 0)
		abort();
	buffer_clear(&b);
	if (file_read(folder, "log", &b, &err) < 0 || b.length < size + 4 || (size && memcmp(b.data, data, size) != 0))
		abort();
	if (b.length > 4 && b.data[b.length - 5] != '\n')
		abort();
	buffer_free(&b);
	runner_close_logs(&r);
}

/* A client that says anything. The story answers each call and command that comes of it. */
static void fuzz_server(const uint8_t *data, size_t size)
{
	struct conversation *c = calloc(1, sizeof *c);
	struct runner_event event;
	struct runner r;
	struct error err;
	int pair[2];

	fresh(&r);
	if (!c || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	c->runner = &r;
	c->fd = pair[0];
	c->in = BUFFER(2 * (FRAME_PAYLOAD_MAX + FRAME_HEADER_SIZE));
	c->out = BUFFER(1 << 20);
	c->request = BUFFER(1 << 20);
	r.conversations = c;
	if (write(pair[1], data, size) != (ssize_t)size)
		abort();
	if (size & 1)
		(void)shutdown(pair[1], SHUT_WR);
	put("want", "1 run\n", 6);
	for (int i = 0; i < 8; i++) {
		if (runner_next(&r, 0, &event, &err) < 0)
			abort();
		if (event.kind == RUNNER_TIMEOUT)
			break;
		if (event.kind == RUNNER_CALL || event.kind == RUNNER_COMMAND) {
			(void)conversation_send(event.conversation, 1, event.request, event.length, -1);
			runner_notice(&r, "x", 1, 1);
		}
		if (event.conversation && event.kind != RUNNER_DRAINED)
			conversation_end(event.conversation, 0, 0, "%s", event.text ? event.text : "");
	}
	runner_end_all(&r, ENOTCONN, "over");
	runner_close_all(&r);
	runner_close_logs(&r);
	(void)close(pair[1]);
	free(r.polled);
	cJSON_Delete(r.secrets);
	cJSON_Delete(r.spec);
}

/* A runner that says anything. */
static void fuzz_client(const uint8_t *data, size_t size)
{
	struct talk talk = { .fd = -1, .passed = -1, .in = BUFFER(1 << 18), .out = BUFFER(1 << 18) };
	struct talk_message m;
	struct error err;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0 ||
	    write(pair[1], data, size) != (ssize_t)size)
		abort();
	talk.fd = pair[0];
	while (talk_take(&talk, &m, &err) > 0)
		if (m.type == TALK_END && (m.code < 0 || strlen(m.text) >= sizeof m.text))
			abort();
	talk_close(&talk);
	(void)close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const parts[])(const uint8_t *, size_t) = { fuzz_want, fuzz_status, fuzz_record,
								  fuzz_tail, fuzz_server, fuzz_client };

	if (!size || data[0] < 'a' || data[0] >= 'a' + sizeof parts / sizeof *parts)
		return 0;
	enter();
	parts[data[0] - 'a'](data + 1, size - 1);
	return 0;
}
