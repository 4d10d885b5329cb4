/* A client of one MCP server over stdio: see client.h.
 *
 *   INITIALIZING --initialize answered--> LISTING --last page--> READY
 *        |                                  ^                      |
 *        '--no such method--> DISCOVERING --'     (2026-07-28)     '--> ENDED, from any state
 */
#include "mcp/client_private.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "mcp/text.h"

static void keep_words(struct client *c, const char *data, size_t n)
{
	if (n > CLIENT_TAIL_MAX) {
		data += n - CLIENT_TAIL_MAX;
		n = CLIENT_TAIL_MAX;
	}
	if (c->tail.length + n > CLIENT_TAIL_MAX)
		buffer_consume(&c->tail, c->tail.length + n - CLIENT_TAIL_MAX);
	(void)buffer_append(&c->tail, data, n); /* lost words are no error */
}

const char *client_stderr(const struct client *client)
{
	struct client *c = (struct client *)client; /* `words` is a cache */

	buffer_clear(&c->words);
	if (c->tail.length && text_clean(&c->words, c->tail.data, c->tail.length) < 0)
		return "";
	return c->words.data ? c->words.data : "";
}

/* The last line of what it wrote to standard error, for a sentence. */
static const char *last_words(struct client *c)
{
	(void)client_stderr(c);
	return buffer_last_line(&c->words);
}

/* The server is of no use any more: ends every call with err's sentence. Returns -1. */
static int end(struct client *c, struct error *err)
{
	(void)error_wrap(err, "MCP server %s", c->name);
	c->phase = ENDED;
	c->end = *err;
	while (c->calls) {
		struct pending *call = c->calls;

		c->calls = call->next;
		call->callbacks.done(call->context, NULL, &c->end);
		free(call);
	}
	return -1;
}

static int gone(struct client *c, struct error *err)
{
	const char *words = last_words(c);

	(void)error_set(err, ECONNRESET, "it has ended%s%.300s", *words ? ": " : "", words);
	return end(c, err);
}

/* Room to write or nothing to write: tells epoll which. */
static int watch_writing(struct client *c, bool on, struct error *err)
{
	struct epoll_event event = { .events = EPOLLOUT, .data.fd = c->process.in };

	if (on == c->writing)
		return 0;
	if (epoll_ctl(c->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, c->process.in, &event) < 0)
		return error_errno(err, "epoll");
	c->writing = on;
	return 0;
}

/* Sends what can be sent. A server that is gone is noticed at its output's end, not here. */
static int flush(struct client *c, struct error *err)
{
	size_t sent = 0;

	while (c->process.in >= 0 && sent < c->out.length) {
		ssize_t n = write(c->process.in, c->out.data + sent, c->out.length - sent);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EPIPE) {
			if (watch_writing(c, false, err) < 0)
				return -1;
			(void)close(steal_fd(&c->process.in));
			break;
		}
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return error_errno(err, "write");
		sent += (size_t)n;
	}
	if (c->process.in < 0) {
		buffer_clear(&c->out);
		return 0;
	}
	buffer_consume(&c->out, sent);
	return watch_writing(c, c->out.length > 0, err);
}

static struct pending **find(struct client *c, uint64_t id)
{
	struct pending **at = &c->calls;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static void answered(struct client *c, uint64_t id, const struct jsonrpc_message *m)
{
	struct pending **at = find(c, id), *call = *at;
	struct error failure = { 0 };
	const cJSON *result = m->kind == JSONRPC_RESULT ? m->result : NULL;

	if (!call)
		return; /* cancelled, or never asked */
	*at = call->next;
	if (m->kind == JSONRPC_ERROR)
		(void)error_set(&failure, EINVAL, "%.900s", m->text);
	else if (!cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(result, "content")))
		result = (error_set(&failure, EPROTO, "the answer has no content"), NULL);
	call->callbacks.done(call->context, result, &failure);
	free(call);
}

static void progressed(struct client *c, const cJSON *params)
{
	const cJSON *token = cJSON_GetObjectItemCaseSensitive(params, "progressToken");
	const cJSON *done = cJSON_GetObjectItemCaseSensitive(params, "progress");
	const cJSON *total = cJSON_GetObjectItemCaseSensitive(params, "total");
	const cJSON *text = cJSON_GetObjectItemCaseSensitive(params, "message");
	struct pending *call;

	if (!cJSON_IsNumber(token) || token->valuedouble < 1 || token->valuedouble > 1e15 || !cJSON_IsNumber(done))
		return;
	call = *find(c, (uint64_t)token->valuedouble);
	if (call && call->callbacks.progress)
		call->callbacks.progress(call->context, done->valuedouble,
					 cJSON_IsNumber(total) ? total->valuedouble : 0,
					 cJSON_IsString(text) ? text->valuestring : "");
}

static int take_message(struct client *c, const struct jsonrpc_message *m, struct error *err)
{
	uint64_t id;

	switch (m->kind) {
	case JSONRPC_REQUEST:
		if (!strcmp(m->method, "ping"))
			return jsonrpc_put_result(&c->out, m->id, cJSON_CreateObject(), err);
		return jsonrpc_put_error(&c->out, m->id, JSONRPC_METHOD_NOT_FOUND,
					 "this client does not offer that", NULL, err);
	case JSONRPC_NOTIFICATION:
		if (!strcmp(m->method, "notifications/progress"))
			progressed(c, m->params);
		return 0;
	default:
		break;
	}
	if (!cJSON_IsNumber(m->id) || m->id->valuedouble < 1)
		return 0;
	id = (uint64_t)m->id->valuedouble;
	if (c->phase != READY && id == c->waiting_for)
		return client_advance(c, m, err);
	answered(c, id, m);
	return 0;
}

static int take_lines(struct client *c, struct error *err)
{
	char *line;
	size_t n;
	int got;

	while ((got = jsonrpc_line(&c->reader, &line, &n, err)) != 0) {
		struct jsonrpc_message m cleanup_jsonrpc_message = { 0 };
		struct error why;
		int reply;

		if (got < 0)
			return -1;
		if (jsonrpc_parse(line, n, &m, &reply, &why) < 0) {
			keep_words(c, line, n);
			keep_words(c, "\n", 1);
		} else if (take_message(c, &m, err) < 0) {
			return -1;
		}
	}
	return 0;
}

/* Reads what is there, at most a megabyte so that one server starves nobody, unless it is all
 * that will ever come. 1: more may come, 0: end of file, -1. */
static int drain(struct client *c, int fd, bool errors, bool all, struct error *err)
{
	char data[65536];

	for (int i = 0; all || i < 16; i++) {
		ssize_t n = read(fd, data, sizeof data);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 1 : error_errno(err, "read");
		if (n == 0)
			return 0;
		if (errors)
			keep_words(c, data, (size_t)n);
		else if (jsonrpc_feed(&c->reader, data, (size_t)n, err) < 0 || take_lines(c, err) < 0)
			return -1;
	}
	return 1;
}

int client_step(struct client *c, struct error *err)
{
	struct epoll_event events[4];
	bool ended = false;
	int n;

	if (c->phase == ENDED) {
		*err = c->end;
		return -1;
	}
	n = epoll_wait(c->epoll, events, 4, 0);
	for (int i = 0; i < n; i++) {
		int fd = events[i].data.fd;

		if (fd == c->process.err && drain(c, fd, true, false, err) <= 0)
			(void)close(steal_fd(&c->process.err));
		else if (fd == c->process.pidfd)
			ended = true; /* even if a child of its own still holds the pipe */
	}
	switch (drain(c, c->process.out, false, ended, err)) {
	case -1:
		return end(c, err);
	case 0:
		if (c->process.err >= 0)
			(void)drain(c, c->process.err, true, false, err);
		return gone(c, err);
	default:
		break;
	}
	if (ended)
		return gone(c, err);
	if (flush(c, err) < 0)
		return end(c, err);
	return 0;
}

int client_start(struct client **client, const struct client_server *server, struct error *err)
{
	struct client *c = calloc(1, sizeof *c);
	struct epoll_event event = { .events = EPOLLIN };

	if (!c)
		return error_memory(err);
	c->next_id = 1;
	c->epoll = -1;
	c->reader = JSONRPC_READER;
	c->out = BUFFER(4 * (size_t)JSONRPC_LINE_MAX);
	c->tail = BUFFER(CLIENT_TAIL_MAX);
	c->words = BUFFER(3 * CLIENT_TAIL_MAX);
	c->process = (struct process){ .pidfd = -1, .in = -1, .out = -1, .err = -1 };
	c->name = strdup(server->name);
	if (!c->name) {
		(void)error_memory(err);
		goto failed;
	}
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (c->epoll < 0) {
		(void)error_errno(err, "epoll");
		goto failed;
	}
	if (process_start(&c->process, server->argv, server->env, server->cwd, err) < 0)
		goto failed;
	for (int i = 0; i < 3; i++) {
		int fd = (int[]){ c->process.out, c->process.err, c->process.pidfd }[i];

		event.data.fd = fd;
		if (fd >= 0 && epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
			(void)error_errno(err, "epoll");
			goto failed;
		}
	}
	if (client_send_initialize(c, err) < 0 || flush(c, err) < 0)
		goto failed;
	*client = c;
	return 0;
failed:
	(void)error_wrap(err, "MCP server %s", server->name);
	client_close(c, 0);
	return -1;
}

int client_fd(const struct client *client)
{
	return client->epoll;
}

bool client_ready(const struct client *client)
{
	return client->phase == READY;
}

const cJSON *client_tools(const struct client *client)
{
	return client->phase == READY ? client->tools : NULL;
}

const cJSON *client_tool(const struct client *client, const char *name)
{
	const cJSON *tool;

	cJSON_ArrayForEach(tool, client_tools(client))
		if (!strcmp(cJSON_GetObjectItemCaseSensitive(tool, "name")->valuestring, name))
			return tool;
	return NULL;
}

const char *client_instructions(const struct client *client)
{
	return client->instructions ? client->instructions : "";
}

pid_t client_pid(const struct client *client)
{
	return client->process.pid;
}

/* {"name","arguments","_meta":{"progressToken"}}, or NULL. */
static cJSON *call_params(const char *tool, const cJSON *arguments, const uint64_t *token, bool modern)
{
	cJSON *params = cJSON_CreateObject(), *copy, *meta;
	bool ok = params && cJSON_AddStringToObject(params, "name", tool) && (!modern || client_add_meta(params));

	copy = ok ? (arguments ? cJSON_Duplicate(arguments, true) : cJSON_CreateObject()) : NULL;
	if (copy && !cJSON_AddItemToObject(params, "arguments", copy)) {
		cJSON_Delete(copy);
		copy = NULL;
	}
	ok = ok && copy;
	if (ok && token) {
		meta = modern ? cJSON_GetObjectItemCaseSensitive(params, "_meta") :
				cJSON_AddObjectToObject(params, "_meta");
		ok = meta && cJSON_AddNumberToObject(meta, "progressToken", (double)*token);
	}
	if (!ok) {
		cJSON_Delete(params);
		return NULL;
	}
	return params;
}

uint64_t client_call(struct client *c, const char *tool, const cJSON *arguments,
		     const struct client_callbacks *callbacks, void *context, struct error *err)
{
	struct pending *call;
	struct error later;
	cJSON *params;

	if (c->phase != READY) {
		if (c->phase == ENDED)
			*err = c->end;
		else
			(void)error_set(err, ENOTCONN, "MCP server %s has not answered yet", c->name);
		return 0;
	}
	call = calloc(1, sizeof *call);
	if (!call) {
		(void)error_memory(err);
		return 0;
	}
	call->callbacks = *callbacks;
	call->context = context;
	call->id = c->next_id++;
	params = call_params(tool, arguments, callbacks->progress ? &call->id : NULL, c->modern);
	if (!params || jsonrpc_put_request(&c->out, (double)call->id, "tools/call", params, err) < 0) {
		if (!params)
			(void)error_memory(err);
		free(call);
		return 0;
	}
	call->next = c->calls;
	c->calls = call;
	(void)flush(c, &later); /* a failure shows at the next step */
	return call->id;
}

void client_cancel(struct client *c, uint64_t id, const char *reason)
{
	struct pending **at = find(c, id), *call = *at;
	cJSON *params;
	struct error ignored;

	if (!call)
		return;
	*at = call->next;
	free(call);
	if (c->phase != READY)
		return;
	params = cJSON_CreateObject();
	if (params && cJSON_AddNumberToObject(params, "requestId", (double)id) &&
	    cJSON_AddStringToObject(params, "reason", reason) &&
	    (!c->modern || client_add_meta(params))) {
		(void)jsonrpc_put_notification(&c->out, "notifications/cancelled", params, &ignored);
		(void)flush(c, &ignored); /* a failure shows at the next step */
	} else {
		cJSON_Delete(params);
	}
}

void client_close(struct client *c, int grace_ms)
{
	if (!c)
		return;
	if (c->process.pid > 0)
		process_end(&c->process, grace_ms);
	if (c->epoll >= 0)
		(void)close(c->epoll);
	while (c->calls) {
		struct pending *call = c->calls;

		c->calls = call->next;
		free(call);
	}
	jsonrpc_reader_free(&c->reader);
	buffer_free(&c->out);
	buffer_free(&c->tail);
	buffer_free(&c->words);
	cJSON_Delete(c->tools);
	free(c->cursor);
	free(c->instructions);
	free(c->name);
	free(c);
}
