/* `interpfs exec PATH -- CMD ARG…`: a command in a sandbox, its output and errors apart and as
 * they come, its exit status ours. SIGINT, SIGTERM and SIGHUP end the command; a second one does
 * not wait for that. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/talk.h"
#include "commands.h"
#include "mcp/target.h"
#include "mcp/text.h"

#define INPUT_MAX (1u << 20)
#define UNREAD_MS 1000
enum { EXIT_TIMED_OUT = 124, EXIT_OURS = 125 };

struct options {
	const char *path;
	double seconds;    /* 0: no limit */
	bool input;        /* hand our standard input on */
	char **argv;
	int argc;
};

static void usage(FILE *out)
{
	fputs("usage: interpfs exec PATH [-t SECONDS] [-i] [--] COMMAND [ARGUMENT...]\n\n"
	      "Runs a command in a sandbox. Its exit status is returned; 124 after SECONDS, 125 when it\n"
	      "could not be run. -i hands on the standard input, at most 1 MiB of text.\n", out);
}

static int parse(int argc, char **argv, struct options *o)
{
	int i = 1;

	*o = (struct options){ 0 };
	for (; i < argc; i++) {
		if (!strcmp(argv[i], "--")) {
			i++;
			break;
		}
		if (!strcmp(argv[i], "-i")) {
			o->input = true;
		} else if (!strcmp(argv[i], "-t") && i + 1 < argc) {
			char *end;

			o->seconds = strtod(argv[++i], &end);
			if (end == argv[i] || *end || !isfinite(o->seconds) || o->seconds <= 0)
				return -1;
		} else if (argv[i][0] == '-' && argv[i][1]) {
			return -1;
		} else if (!o->path) {
			o->path = argv[i];
		} else {
			break; /* the command, without -- */
		}
	}
	o->argv = argv + i;
	o->argc = argc - i;
	return o->path && o->argc > 0 ? 0 : -1;
}

static int add_input(cJSON *request, struct error *err)
{
	struct buffer text cleanup_buffer = BUFFER(INPUT_MAX);
	char piece[65536];

	for (;;) {
		ssize_t n = read(STDIN_FILENO, piece, sizeof piece);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "standard input");
		if (n == 0)
			break;
		if (buffer_append(&text, piece, (size_t)n) < 0)
			return error_errno(err, "standard input");
	}
	if (text.length && (memchr(text.data, '\0', text.length) || !text_is_utf8(text.data, text.length)))
		return error_set(err, EILSEQ, "standard input is not text");
	return cJSON_AddStringToObject(request, "input", text.data ? text.data : "") ? 0 : error_memory(err);
}

static char *make_request(const struct options *o, struct error *err)
{
	cJSON *request = cJSON_CreateObject();
	cJSON *argv = cJSON_CreateStringArray((const char *const *)o->argv, o->argc);
	char *text = NULL;

	if (!request || !argv || !cJSON_AddItemToObject(request, "argv", argv)) {
		cJSON_Delete(argv);
		(void)error_memory(err);
	} else if (o->seconds > 0 && !cJSON_AddNumberToObject(request, "timeout", o->seconds)) {
		(void)error_memory(err);
	} else if (!o->input || add_input(request, err) == 0) {
		text = cJSON_PrintUnformatted(request);
		if (!text)
			(void)error_memory(err);
	}
	cJSON_Delete(request);
	return text;
}

/* What goes on until the command has ended. */
struct following {
	struct talk talk;
	int signals;
	int signalled; /* the signal that came first, 0 without */
};

enum { GIVEN_UP = -2 }; /* a second signal; nobody reads what still comes after the first */

/* Waits for the connection, or for room in one of our outputs, or for a signal, with which the command
 * is ended. 1: the first is ready; 0: look again; GIVEN_UP (also after timeout_ms), -1. */
static int wait_for(struct following *f, int fd, short events, int timeout_ms, struct error *err)
{
	struct pollfd fds[2] = { { .fd = fd, .events = events }, { .fd = f->signals, .events = POLLIN } };
	struct signalfd_siginfo info;
	int n = poll(fds, 2, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : error_errno(err, "poll");
	if (n == 0)
		return GIVEN_UP;
	if (!(fds[1].revents & POLLIN) || read(f->signals, &info, sizeof info) != (ssize_t)sizeof info)
		return fds[0].revents != 0;
	if (f->signalled)
		return GIVEN_UP;
	f->signalled = (int)info.ssi_signo;
	return talk_send(&f->talk, TALK_CLOSE, NULL, 0, err) < 0 ? -1 : 0;
}

/* A reader that does not read must not keep a signal from being heard: after POLLOUT a pipe takes
 * PIPE_BUF bytes. */
static int hand_on(struct following *f, int fd, const char *data, size_t n, struct error *err)
{
	while (n) {
		size_t piece = n < PIPE_BUF ? n : PIPE_BUF;
		int ready = wait_for(f, fd, POLLOUT, f->signalled ? UNREAD_MS : -1, err);

		if (ready < 0)
			return ready;
		if (!ready)
			continue;
		if (file_write_all(fd, data, piece, err) < 0)
			return -1;
		data += piece;
		n -= piece;
	}
	return 0;
}

/* Takes what has come. 1: the command has ended with *status; 0: later; GIVEN_UP, -1. */
static int take(struct following *f, int *status, struct error *err)
{
	struct talk_message m;
	int got, rc;

	while ((got = talk_take(&f->talk, &m, err)) > 0) {
		if (m.type == TALK_DATA) {
			rc = hand_on(f, m.channel == TALK_STDERR ? STDERR_FILENO : STDOUT_FILENO, m.data, m.length, err);
			if (rc < 0)
				return rc;
		}
		if (m.type != TALK_END)
			continue;
		if (m.code)
			return error_set(err, m.code, "%s", m.text[0] ? m.text : strerror(m.code));
		*status = m.exit;
		return 1;
	}
	return got;
}

/* Returns the exit status, or -1. */
static int follow(struct following *f, struct error *err)
{
	int status = 0, got;

	while ((got = take(f, &status, err)) == 0) {
		got = wait_for(f, f->talk.fd, (short)(POLLIN | (f->talk.out.length ? POLLOUT : 0)), -1, err);
		if (got < 0)
			break;
		/* A runner that refused has said why; that is read next, whatever becomes of the rest. */
		if (f->talk.out.length && talk_flush(&f->talk, err) < 0)
			buffer_clear(&f->talk.out);
	}
	return got == GIVEN_UP ? 128 + f->signalled : got < 0 ? -1 : status;
}

/* Also waits for a sandbox whose config was closed just now. */
static int connect_to(const struct target *target, struct talk *talk, struct error *err)
{
	for (int waited = 0;; waited += TARGET_LOOK_MS) {
		int status = target_connect(target, talk, err);

		if (status == 0 || err->code != EAGAIN || waited >= TARGET_MS)
			return status;
		(void)poll(NULL, 0, TARGET_LOOK_MS);
	}
}

static int run(const struct options *o, int *signalled, struct error *err)
{
	struct target target;
	char *request cleanup_free = NULL;
	int signals cleanup_close = -1;
	struct following f = { .signalled = 0 };
	struct error ignored;
	sigset_t set;
	int status;

	if (target_open(&target, o->path, err) < 0)
		return -1;
	if (target.kind != OBJECT_SANDBOX)
		status = error_set(err, EINVAL, "%s is a %s; commands run in sandboxes", o->path, object_noun[target.kind]);
	else
		status = connect_to(&target, &f.talk, err);
	target_close(&target);
	if (status < 0)
		return -1;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	request = make_request(o, err);
	if (!request) {
		status = -1;
	} else if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || (signals = signalfd(-1, &set, SFD_CLOEXEC)) < 0) {
		status = error_errno(err, "signals");
	} else if (talk_ask(&f.talk, "run", request, strlen(request), err) < 0) {
		status = -1;
	} else {
		(void)signal(SIGPIPE, SIG_IGN); /* a reader that is gone is an error of write(2) */
		f.signals = signals;
		status = follow(&f, err);
		if (status < 0)
			(void)talk_send(&f.talk, TALK_CLOSE, NULL, 0, &ignored);
	}
	*signalled = f.signalled;
	talk_close(&f.talk);
	return status;
}

int command_exec(int argc, char **argv)
{
	struct options o;
	struct error err;
	int status, signalled = 0;

	if (argc == 2 && !strcmp(argv[1], "--help")) {
		usage(stdout);
		return 0;
	}
	if (parse(argc, argv, &o) < 0) {
		usage(stderr);
		return 64;
	}
	status = run(&o, &signalled, &err);
	if (signalled)
		return 128 + signalled;
	if (status >= 0)
		return status;
	if (err.code == EPIPE)
		return 128 + SIGPIPE; /* nobody reads: as silent as any other command */
	fprintf(stderr, "interpfs exec: %s\n", err.text);
	return err.code == ETIMEDOUT ? EXIT_TIMED_OUT : EXIT_OURS;
}
