/* `interpfs mcp PATH`: an MCP server over stdin and stdout whose tools are a notebook's or a
 * sandbox's. It starts in milliseconds and takes nothing until a tool is called, since clients
 * start one only to ask for its version; each call is a conversation of its own with the
 * object's runner, many at once. It ends with its input and on SIGINT and SIGTERM.
 *
 *   stdin --lines--> protocol.c --calls--> tools*.c --talk--> the runner
 *   stdout <--lines-- protocol.c <--results--' */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "commands.h"
#include "mcp/jsonrpc.h"
#include "mcp/protocol.h"
#include "mcp/target.h"

#define OUT_HIGH (4u << 20) /* bytes unsent: nothing more is taken until the client reads */

/* A sandbox of execution_mode none gives nothing but the functions of its interfaces. */
static bool gives_nothing(int folder)
{
	struct buffer text cleanup_buffer = BUFFER(4u << 20);
	struct error ignored;
	const cJSON *mode;
	cJSON *spec;
	bool none;

	if (file_read(folder, "spec.json", &text, &ignored) < 0)
		return false;
	spec = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	mode = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(spec, "fields"), "execution_mode");
	none = cJSON_IsString(mode) && !strcmp(mode->valuestring, "none");
	cJSON_Delete(spec);
	return none;
}

/* The functions of an interface. One that failed, or does not run, has none, and says why. */
static int choose_functions(const struct target *target, struct tool **tools, char **instructions, struct error *err)
{
	struct buffer text cleanup_buffer = BUFFER(1u << 20);
	struct error why;

	if (interface_tools(target, tools, &text, &why) < 0) {
		buffer_clear(&text);
		if (buffer_format(&text, "The functions of this interface cannot be called now: %s.", why.text) < 0)
			return error_memory(err);
		fprintf(stderr, "interpfs mcp: %s\n", why.text);
	}
	*instructions = text.data ? steal_pointer(&text.data) : strdup("These are functions that run in a sandbox.");
	return *instructions ? 0 : error_memory(err);
}

static int choose_tools(const struct target *target, const struct tool **tools, char **instructions,
			struct error *err)
{
	struct buffer text cleanup_buffer = BUFFER(4096);
	const char *what;

	switch (target->kind) {
	case OBJECT_NOTEBOOK:
		*tools = notebook_tools;
		what = "a Jupyter notebook: its cells share one kernel, whose variables stay";
		break;
	case OBJECT_SANDBOX:
		*tools = gives_nothing(target->folder) ? NULL : sandbox_tools;
		what = *tools ? "a sandbox: its commands and files are its own" :
				"a sandbox that offers no tools of its own (execution_mode: none)";
		break;
	default:
		return error_set(err, EINVAL, "a %s has no tools; give a notebook or a sandbox",
				 object_noun[target->kind]);
	}
	if (buffer_format(&text, "These are the tools of %s.", what) < 0)
		return error_memory(err);
	*instructions = steal_pointer(&text.data);
	return 0;
}

/* Sends what can be sent without ever blocking and without making the descriptor non-blocking,
 * which it may share with others: after POLLOUT a pipe takes PIPE_BUF bytes. */
static int send_some(struct buffer *out, struct error *err)
{
	size_t sent = 0;

	while (sent < out->length) {
		struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };
		size_t n = out->length - sent < PIPE_BUF ? out->length - sent : PIPE_BUF;
		ssize_t done;

		if (poll(&p, 1, 0) != 1 || !(p.revents & (POLLOUT | POLLERR | POLLHUP)))
			break;
		done = write(STDOUT_FILENO, out->data + sent, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return error_errno(err, "stdout");
		sent += (size_t)done;
	}
	buffer_consume(out, sent);
	return 0;
}

/* 1: something came, 0: end of file, -1. */
static int read_lines(struct server *s, struct jsonrpc_reader *reader, struct error *err)
{
	char data[65536], *line;
	ssize_t n = read(STDIN_FILENO, data, sizeof data);
	struct error why;
	size_t length;
	int got;

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 1 : error_errno(err, "stdin");
	if (n == 0)
		return 0;
	if (jsonrpc_feed(reader, data, (size_t)n, err) < 0)
		return -1;
	while ((got = jsonrpc_line(reader, &line, &length, &why)) != 0)
		if ((got < 0 ? server_refuse_line(s, why.text, err) :
			       server_take_line(s, line, length, clock_ms(), err)) < 0)
			return -1;
	return 1;
}

/* One turn: waits, then does what can be done. 1: go on, 0: the end, -1. */
static int turn(struct server *s, struct jsonrpc_reader *reader, int signals, struct error *err)
{
	struct pollfd fds[3 + CALLS_MAX];
	struct server_call *calls[CALLS_MAX], *call;
	bool full = s->out.length > OUT_HIGH;
	nfds_t n = 3;
	int status = 1, wait = server_tell_progress(s, clock_ms());

	fds[0] = (struct pollfd){ .fd = signals, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = full ? -1 : STDIN_FILENO, .events = POLLIN };
	/* Even with nothing to send: its other end may go away. */
	fds[2] = (struct pollfd){ .fd = STDOUT_FILENO, .events = s->out.length ? POLLOUT : 0 };
	for (call = s->calls; call && !full; call = call->next) {
		calls[n - 3] = call;
		if (call->tool.waits_until && (wait < 0 || wait > TARGET_LOOK_MS))
			wait = TARGET_LOOK_MS;
		fds[n++] = (struct pollfd){ .fd = tool_call_fd(&call->tool), .events = tool_call_events(&call->tool) };
	}
	if (poll(fds, n, wait) < 0)
		return errno == EINTR ? 1 : error_errno(err, "poll");
	if (fds[0].revents || (fds[2].revents & (POLLERR | POLLNVAL)))
		return 0;
	for (nfds_t i = 3; i < n; i++)
		if ((fds[i].revents || calls[i - 3]->tool.waits_until) && server_step_call(s, calls[i - 3], clock_ms(), err) < 0)
			return -1;
	if (fds[1].revents)
		status = read_lines(s, reader, err);
	if (status >= 0 && send_some(&s->out, err) < 0)
		return -1;
	return status;
}

/* What is ready when the end comes is still sent, if the client takes it soon. */
static void send_rest(struct buffer *out)
{
	int64_t until = clock_ms() + 1000;
	struct error ignored;

	while (out->length && clock_ms() < until) {
		struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };

		if (poll(&p, 1, 100) < 0 || (p.revents & POLLERR) || send_some(out, &ignored) < 0)
			return;
	}
}

static int serve(const struct target *target, const struct tool *tools, char *instructions, struct error *err)
{
	struct jsonrpc_reader reader = JSONRPC_READER;
	int signals cleanup_close = -1;
	struct server s;
	sigset_t set;
	int status;

	server_init(&s, target, tools, instructions);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	(void)signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || (signals = signalfd(-1, &set, SFD_CLOEXEC)) < 0) {
		server_free(&s);
		return error_errno(err, "signals");
	}
	do
		status = turn(&s, &reader, signals, err);
	while (status > 0);
	if (status == 0)
		send_rest(&s.out);
	server_free(&s);
	jsonrpc_reader_free(&reader);
	return status;
}

static int take_limit(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '1' || *text > '9' || *end || n < 1024 || n > 4u << 20)
		return -1;
	tool_text_max = n;
	return 0;
}

int command_mcp(int argc, char **argv)
{
	struct target target;
	const struct tool *tools = NULL;
	struct tool *functions = NULL;
	struct error err;
	char *instructions = NULL;
	int status;

	if (argc == 4 && !strcmp(argv[1], "--text") && take_limit(argv[2]) == 0) {
		argv += 2;
		argc -= 2;
	}
	if (argc != 2 || argv[1][0] == '-') {
		bool asked = argc == 2 && !strcmp(argv[1], "--help");

		fputs("usage: interpfs mcp [--text BYTES] PATH\n\n"
		      "An MCP server over stdin and stdout with the tools of a notebook or a sandbox, or with the\n"
		      "functions of an interface of one (sandboxes/NAME/interfaces/IF). PATH is its folder in a\n"
		      "mount; its mcp.json there is what to give to a client. Of what a program prints a\n"
		      "result has at most BYTES (32768; up to 4194304), head and tail.\n", asked ? stdout : stderr);
		return asked ? 0 : 64;
	}
	if (target_open(&target, argv[1], &err) < 0) {
		fprintf(stderr, "interpfs mcp: %s\n", err.text);
		return 66;
	}
	status = target.interface ? choose_functions(&target, &functions, &instructions, &err) :
				    choose_tools(&target, &tools, &instructions, &err);
	if (status == 0 && chdir("/") < 0) /* the folder it was started in may be in a mount */
		fprintf(stderr, "interpfs mcp: /: %s\n", strerror(errno));
	if (status == 0)
		status = serve(&target, functions ? functions : tools, instructions, &err);
	interface_tools_free(functions);
	target_close(&target);
	if (status < 0)
		fprintf(stderr, "interpfs mcp: %s\n", err.text);
	return status < 0 ? 1 : 0;
}
