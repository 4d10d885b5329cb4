/* Jupyter Server inside the sandbox: started with the first `jupyter` call, found again by a new
 * runner, and started anew at the next call when it died.
 *
 *   unknown ── GET /api/status answers with our token ──────────────────────────> running
 *      └── it does not ──> none ── asked ──> making ──> starting ── GET /api ──────┘ │
 *                            └────────────────────── it ended, or never answered <───┘
 *
 * The token and the port on the host's loopback are kept in jupyter.json (0600), so that `url`s
 * stay good across restarts. */
#include "backend/sandbox/calls_own.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define INSIDE "/run/interpfs/jupyter.sock"
#define KEPT "jupyter.json"
#define PATIENCE 60.0 /* seconds until a server that does not answer has failed */
#define AGAIN 0.02    /* seconds between two tries */
#define WORDS_MAX 4096u

static void probe_now(struct calls *calls);

/* ---- what is kept ---- */

static void read_kept(struct calls *calls)
{
	struct jupyter *j = &calls->jupyter;
	cleanup_buffer struct buffer text = BUFFER(4096);
	struct error ignored;
	cJSON *kept;
	const char *token;

	if (file_read(runner_folder(calls->runner), KEPT, &text, &ignored) < 0 || !text.length)
		return;
	kept = cJSON_ParseWithLength(text.data, text.length);
	token = json_string(kept, "token");
	if (token && strlen(token) == JUPYTER_TOKEN_SIZE - 1) {
		memcpy(j->token, token, JUPYTER_TOKEN_SIZE);
		j->port = (int)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(kept, "port"));
		if (j->port < 0 || j->port > 65535)
			j->port = 0;
		j->state = JUPYTER_UNKNOWN;
	}
	cJSON_Delete(kept);
}

static int keep(struct calls *calls, struct error *err)
{
	char text[256];
	int n = snprintf(text, sizeof text, "{\"token\":\"%s\",\"port\":%d}\n", calls->jupyter.token, calls->jupyter.port);

	return file_replace(runner_folder(calls->runner), KEPT, text, (size_t)n, 0600, false, err);
}

static int make_token(struct jupyter *j, struct error *err)
{
	unsigned char bytes[(JUPYTER_TOKEN_SIZE - 1) / 2];

	if (j->token[0])
		return 0;
	if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
		return error_errno(err, "a token for Jupyter");
	for (size_t i = 0; i < sizeof bytes; i++)
		(void)snprintf(j->token + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

static int open_relay(struct calls *calls, struct error *err)
{
	struct jupyter *j = &calls->jupyter;
	int port = j->port;

	if (j->relay)
		return 0;
	if (relay_open(&j->relay, calls->runner, INSIDE, "run/jupyter.sock", &j->port, err) < 0)
		return -1;
	relay_attach(j->relay, calls->guest);
	return port == j->port ? 0 : keep(calls, err);
}

/* ---- answers ---- */

/* Ends every `jupyter` call: with the address (code 0), or with an errno and a sentence. */
static void jupyter_answer(struct calls *calls, int code, const char *text)
{
	for (struct call *c = calls->list, *next; c; c = next) {
		next = c->next;
		if (!c->jupyter)
			continue;
		if (!code)
			conversation_send(c->conversation, 1, text, strlen(text), -1);
		call_end(c, code, 0, code ? text : "");
	}
}

static void running(struct calls *calls)
{
	struct jupyter *j = &calls->jupyter;
	char url[128], text[4096];
	struct error err;
	int n;

	j->state = JUPYTER_RUNNING;
	j->again = 0;
	n = snprintf(text, sizeof text, "http://127.0.0.1:%d/?token=%s\n", j->port, j->token);
	if (runner_set_value(calls->runner, "jupyter", text, (size_t)n, 0600, &err) < 0)
		runner_log(calls->runner, "jupyter: %s", err.text);
	(void)snprintf(url, sizeof url, "http://127.0.0.1:%d/", j->port);
	cJSON *answer = cJSON_CreateObject();
	char *socket = NULL, *printed = NULL;

	if (answer && asprintf(&socket, "%s/run/jupyter.sock", runner_folder_path(calls->runner)) >= 0 &&
	    cJSON_AddStringToObject(answer, "socket", socket) && cJSON_AddStringToObject(answer, "token", j->token) &&
	    cJSON_AddStringToObject(answer, "url", url) && cJSON_AddStringToObject(answer, "inside", INSIDE))
		printed = cJSON_PrintUnformatted(answer);
	jupyter_answer(calls, printed ? 0 : ENOMEM, printed ? printed : "out of memory");
	free(printed);
	free(socket);
	cJSON_Delete(answer);
}

static void failed(struct calls *calls, int code, const char *text)
{
	struct error ignored;

	calls->jupyter.state = JUPYTER_NONE;
	calls->jupyter.again = 0;
	/* The reason first: who sees that it is gone finds why. */
	runner_log(calls->runner, "jupyter: %s", text);
	(void)runner_set_value(calls->runner, "jupyter", "", 0, 0600, &ignored);
	jupyter_answer(calls, code, text);
}

/* ---- asking whether it answers ---- */

static void end_probe(struct calls *calls)
{
	struct jupyter *j = &calls->jupyter;

	if (j->probe >= 0) {
		runner_unwatch(calls->runner, j->probe);
		close(j->probe);
	}
	j->probe = -1;
	buffer_clear(&j->answer);
}

/* It did not answer (yet). */
static void not_yet(struct calls *calls)
{
	struct jupyter *j = &calls->jupyter;
	double now = calls_now();

	end_probe(calls);
	j->again = 0;
	if (j->state == JUPYTER_UNKNOWN) {
		j->state = JUPYTER_NONE;
	} else if (j->state != JUPYTER_STARTING) {
		return; /* it ended while it was asked */
	} else if (now - j->since >= PATIENCE) {
		if (j->server)
			guest_signal(j->server, 9);
		failed(calls, ETIMEDOUT, "Jupyter Server did not answer within 60 seconds; jupyter.log has what it said");
	} else {
		j->again = now + AGAIN;
	}
}

static void probe_passed(void *context, int fd)
{
	struct calls *calls = context;
	struct jupyter *j = &calls->jupyter;
	char request[256];
	struct error ignored;
	int n;

	if (j->probe >= 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		close(fd);
		return;
	}
	/* /api/status needs the token: an answer proves that it is ours. */
	n = snprintf(request, sizeof request,
		     "GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: token %s\r\nConnection: close\r\n\r\n",
		     j->token);
	j->probe = fd;
	buffer_clear(&j->answer);
	if (send(fd, request, (size_t)n, MSG_NOSIGNAL) != n || runner_watch(calls->runner, fd, POLLIN, &ignored) < 0)
		end_probe(calls);
}

static void probe_ended(void *context, int code, int status, const char *text)
{
	struct calls *calls = context;

	(void)status;
	(void)text;
	calls->jupyter.probe_connect = NULL;
	if (code || calls->jupyter.probe < 0)
		not_yet(calls);
	calls_set_timer(calls);
}

static void probe_now(struct calls *calls)
{
	static const struct guest_callbacks callbacks = { NULL, probe_passed, probe_ended };
	struct jupyter *j = &calls->jupyter;
	struct error ignored;

	if (!calls->guest || j->probe_connect || j->probe >= 0)
		return;
	/* Whoever has the socket may take the connection and never say a word. */
	j->again = (j->state == JUPYTER_STARTING ? j->since : calls_now()) + PATIENCE;
	j->probe_connect = guest_connect(calls->guest, INSIDE, &callbacks, calls, &ignored);
	if (!j->probe_connect)
		not_yet(calls);
}

static void probe_readable(struct calls *calls)
{
	struct jupyter *j = &calls->jupyter;
	char bytes[1024];
	ssize_t n = recv(j->probe, bytes, sizeof bytes, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0 && buffer_append(&j->answer, bytes, (size_t)n) == 0 && j->answer.length < 12)
		return;
	if (j->answer.length >= 12 && !memcmp(j->answer.data, "HTTP/1.1 200", 12)) {
		end_probe(calls);
		if (j->state == JUPYTER_STARTING || j->state == JUPYTER_UNKNOWN)
			running(calls);
		return;
	}
	not_yet(calls);
}

/* ---- the server ---- */

static void server_output(void *context, int channel, const void *data, size_t n)
{
	struct calls *calls = context;
	struct jupyter *j = &calls->jupyter;
	struct error ignored;

	(void)channel;
	(void)runner_append(calls->runner, "jupyter.log", data, n, &ignored);
	(void)buffer_append_last(&j->said, data, n);
	guest_consumed(j->server, n);
}

static void server_ended(void *context, int code, int status, const char *text)
{
	struct calls *calls = context;
	struct jupyter *j = &calls->jupyter;
	char why[ERROR_TEXT_SIZE];

	j->server = NULL;
	end_probe(calls);
	if (code)
		(void)snprintf(why, sizeof why, "Jupyter Server did not start: %.700s", text);
	else
		(void)snprintf(why, sizeof why, "Jupyter Server ended with status %d: %.700s", status,
			       *buffer_last_line(&j->said) ? buffer_last_line(&j->said) : "it said nothing");
	if (j->state == JUPYTER_STARTING || j->state == JUPYTER_RUNNING)
		failed(calls, EIO, why);
}

/* What opens at the server's own address: an interface where the config asks for one (alone, the
 * server has a page that says that it runs). */
static const char *front_page(struct calls *calls)
{
	static const struct {
		const char *package, *option;
	} pages[] = {
		{ "jupyterlab", "--ServerApp.default_url=/lab" },
		{ "notebook", "--ServerApp.default_url=/tree" },
		{ "nbclassic", "--ServerApp.default_url=/tree" },
	};
	const cJSON *packages = cJSON_GetObjectItemCaseSensitive(runner_fields(calls->runner), "notebook_packages"), *item;

	for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
		cJSON_ArrayForEach(item, packages) {
			size_t n = strlen(pages[i].package);
			const char *text = cJSON_IsString(item) ? item->valuestring : "";

			if (!strncasecmp(text, pages[i].package, n) && !isalnum((unsigned char)text[n]) && !strchr("-_.", text[n] ? text[n] : ' '))
				return pages[i].option;
		}
	return NULL;
}

static void launch(struct calls *calls, const struct sandbox_jupyter *made, struct error *err)
{
	static const struct guest_callbacks callbacks = { server_output, NULL, server_ended };
	struct jupyter *j = &calls->jupyter;
	const char *const argv[] = {
		made->python, made->serve ? made->serve : "-mjupyter_server", "--allow-root", "--no-browser", "--ServerApp.sock=" INSIDE,
		"--ServerApp.sock_mode=0600", "--ServerApp.root_dir=/workspace",
		/* limits drop two thirds of what an agent prints; Jupyter Server 1 knows only the first
		 * pair, 2.21 heeds only the second. Without limits it need not look into each message */
		"--ServerApp.iopub_msg_rate_limit=0", "--ServerApp.iopub_data_rate_limit=0",
		"--ZMQChannelsWebsocketConnection.limit_rate=False",
		"--ZMQChannelsWebsocketConnection.iopub_msg_rate_limit=0",
		"--ZMQChannelsWebsocketConnection.iopub_data_rate_limit=0",
		"--KernelManager.transport=ipc", "--ServerApp.terminals_enabled=False", front_page(calls), NULL
	};
	struct guest_command command = { .argv = argv, .cwd = "/workspace", .background = true };
	cJSON *extra = cJSON_CreateObject();
	char **environment = NULL;

	if (extra && cJSON_AddStringToObject(extra, "JUPYTER_TOKEN", j->token) &&
	    (!made->data || cJSON_AddStringToObject(extra, "JUPYTER_PATH", made->data)))
		environment = calls_environment(calls, extra);
	if (environment) {
		command.env = (const char *const *)environment;
		buffer_clear(&j->said);
		j->server = guest_exec(calls->guest, &command, &callbacks, calls, err);
	} else {
		(void)error_memory(err);
	}
	calls_free_environment(environment);
	cJSON_Delete(extra);
}

bool calls_want_jupyter(const struct calls *calls)
{
	if (!calls->guest || calls->jupyter.state != JUPYTER_NONE)
		return false;
	for (const struct call *c = calls->list; c; c = c->next)
		if (c->jupyter)
			return true;
	return false;
}

void calls_jupyter(struct calls *calls, const struct sandbox_jupyter *made, const char *why)
{
	struct jupyter *j = &calls->jupyter;
	struct error err;

	if (!calls->guest)
		return;
	if (!made) {
		failed(calls, EIO, why);
		return;
	}
	if (make_token(j, &err) < 0 || open_relay(calls, &err) < 0 || keep(calls, &err) < 0) {
		failed(calls, err.code, err.text);
		return;
	}
	launch(calls, made, &err);
	if (!j->server) {
		failed(calls, err.code, err.text);
		return;
	}
	j->state = JUPYTER_STARTING;
	j->since = calls_now();
	j->again = j->since + AGAIN;
	(void)runner_watch(calls->runner, guest_fd(calls->guest), guest_events(calls->guest), &err);
	calls_set_timer(calls);
}

void jupyter_asked(struct calls *calls)
{
	if (calls->jupyter.state == JUPYTER_RUNNING && !calls->jupyter.server)
		calls->jupyter.state = JUPYTER_UNKNOWN; /* an earlier runner's: its end is not told to us */
	if (calls->jupyter.state == JUPYTER_RUNNING)
		running(calls);
	else if (calls->jupyter.state == JUPYTER_UNKNOWN)
		probe_now(calls);
}

bool jupyter_descriptor(struct calls *calls, int fd, short revents)
{
	if (fd == calls->jupyter.probe) {
		probe_readable(calls);
		return true;
	}
	return calls->jupyter.relay && relay_descriptor(calls->jupyter.relay, fd, revents);
}

double jupyter_due(const struct calls *calls)
{
	return calls->jupyter.again;
}

void jupyter_timer(struct calls *calls)
{
	struct jupyter *j = &calls->jupyter;

	if (!j->again || j->again > calls_now())
		return;
	if (!j->probe_connect && j->probe < 0) {
		probe_now(calls);
		return;
	}
	if (j->probe_connect)
		guest_forget(j->probe_connect);
	j->probe_connect = NULL;
	not_yet(calls);
}

void jupyter_open(struct calls *calls)
{
	struct jupyter *j = &calls->jupyter;

	j->state = JUPYTER_NONE;
	j->probe = -1;
	j->answer = BUFFER(4096);
	j->said = BUFFER(WORDS_MAX);
	read_kept(calls);
}

/* A guest that was found again may have a server, and notebooks that reconnect to it at once. */
void jupyter_attach(struct calls *calls)
{
	struct jupyter *j = &calls->jupyter;
	struct error err;

	if (j->relay)
		relay_attach(j->relay, calls->guest);
	else if (j->state == JUPYTER_UNKNOWN && open_relay(calls, &err) < 0)
		runner_log(calls->runner, "jupyter: %s", err.text);
}

void jupyter_detach(struct calls *calls)
{
	struct jupyter *j = &calls->jupyter;
	struct error ignored;

	end_probe(calls);
	if (j->server)
		guest_forget(j->server);
	if (j->probe_connect)
		guest_forget(j->probe_connect);
	j->server = j->probe_connect = NULL;
	if (j->relay)
		relay_attach(j->relay, NULL);
	if (calls->guest && j->state != JUPYTER_NONE)
		(void)runner_set_value(calls->runner, "jupyter", "", 0, 0600, &ignored);
	if (calls->guest)
		j->state = JUPYTER_NONE;
	j->again = 0;
}

void jupyter_close(struct calls *calls)
{
	relay_close(calls->jupyter.relay);
	buffer_free(&calls->jupyter.answer);
	buffer_free(&calls->jupyter.said);
}
