/* A client of one MCP server over stdio: see client.h.
 *
 *   INITIALIZING --initialize answered--> LISTING --last page--> READY
 *        |                                  ^                      |
 *        '--no such method--> DISCOVERING --'     (2026-07-28)     '--> ENDED, from any state
 */
#include "mcp/client.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "mcp/jsonrpc.h"
#include "mcp/process.h"
#include "mcp/text.h"

#define MODERN "2026-07-28"
#define PREFERRED "2025-11-25"
#define META "io.modelcontextprotocol/"
#define TAIL_MAX 4096u
#define TOOLS_MAX 1000
#define PAGES_MAX 100

enum phase { INITIALIZING, DISCOVERING, LISTING, READY, ENDED };

struct pending {
	struct pending *next;
	uint64_t id;
	struct client_callbacks callbacks;
	void *context;
};

struct client {
	char *name;
	struct process process;
	int epoll;
	bool writing;          /* epoll watches the server's stdin */
	enum phase phase;
	bool modern;           /* every request carries _meta */
	uint64_t next_id;
	uint64_t waiting_for;  /* the id of the phase's own request */
	int pages;
	char *cursor;          /* of the page before */
	cJSON *tools;
	char *instructions;
	struct pending *calls;
	struct jsonrpc_reader reader;
	struct buffer out;
	struct buffer tail;    /* raw bytes of standard error */
	struct buffer words;   /* the same, cleaned */
	struct error end;      /* of ENDED */
};

static void keep_words(struct client *c, const char *data, size_t n)
{
	if (n > TAIL_MAX) {
		data += n - TAIL_MAX;
		n = TAIL_MAX;
	}
	if (c->tail.length + n > TAIL_MAX)
		buffer_consume(&c->tail, c->tail.length + n - TAIL_MAX);
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
static const char *last_words(const struct client *c)
{
	const char *words = client_stderr(c), *line;
	size_t n = c->words.length;

	while (n && c->words.data[n - 1] == '\n')
		c->words.data[--n] = '\0';
	line = strrchr(words, '\n');
	return line ? line + 1 : words;
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

/* What 2026-07-28 wants in each request. Adds to params; false: no memory. */
static bool add_meta(cJSON *params)
{
	cJSON *meta = cJSON_AddObjectToObject(params, "_meta");
	cJSON *info = meta ? cJSON_AddObjectToObject(meta, META "clientInfo") : NULL;

	return info && cJSON_AddStringToObject(meta, META "protocolVersion", MODERN) &&
	       cJSON_AddObjectToObject(meta, META "clientCapabilities") &&
	       cJSON_AddStringToObject(info, "name", "interpfs") &&
	       cJSON_AddStringToObject(info, "version", "1");
}

/* Queues a request; takes params over (NULL: out of memory). *id is its number. */
static int request(struct client *c, const char *method, cJSON *params, uint64_t *id, struct error *err)
{
	if (!params || (c->modern && !add_meta(params))) {
		cJSON_Delete(params);
		return error_memory(err);
	}
	*id = c->next_id++;
	return jsonrpc_put_request(&c->out, (double)*id, method, params, err);
}

static int send_initialize(struct client *c, struct error *err)
{
	cJSON *params = cJSON_CreateObject();
	cJSON *info = params ? cJSON_AddObjectToObject(params, "clientInfo") : NULL;

	if (!info || !cJSON_AddStringToObject(params, "protocolVersion", PREFERRED) ||
	    !cJSON_AddObjectToObject(params, "capabilities") ||
	    !cJSON_AddStringToObject(info, "name", "interpfs") ||
	    !cJSON_AddStringToObject(info, "version", "1")) {
		cJSON_Delete(params);
		return error_memory(err);
	}
	return request(c, "initialize", params, &c->waiting_for, err);
}

static int send_list(struct client *c, const char *cursor, struct error *err)
{
	cJSON *params = cJSON_CreateObject();

	if (!params || (cursor && !cJSON_AddStringToObject(params, "cursor", cursor))) {
		cJSON_Delete(params);
		return error_memory(err);
	}
	c->phase = LISTING;
	return request(c, "tools/list", params, &c->waiting_for, err);
}

static int keep_instructions(struct client *c, const cJSON *result, struct error *err)
{
	const cJSON *text = cJSON_GetObjectItemCaseSensitive(result, "instructions");

	free(c->instructions);
	c->instructions = strdup(cJSON_IsString(text) ? text->valuestring : "");
	return c->instructions ? 0 : error_memory(err);
}

static int initialized(struct client *c, const cJSON *result, struct error *err)
{
	static const char *const known[] = { PREFERRED, "2025-06-18", "2025-03-26", "2024-11-05" };
	const cJSON *version = cJSON_GetObjectItemCaseSensitive(result, "protocolVersion");
	bool speaks = false;

	if (!cJSON_IsString(version))
		return error_set(err, EPROTO, "its answer to initialize has no protocolVersion");
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		speaks |= !strcmp(version->valuestring, known[i]);
	if (!speaks)
		return error_set(err, EPROTO, "it speaks MCP %.40s, which is not known here", version->valuestring);
	if (keep_instructions(c, result, err) < 0 ||
	    jsonrpc_put_notification(&c->out, "notifications/initialized", NULL, err) < 0)
		return -1;
	return send_list(c, NULL, err);
}

static int by_name(const void *a, const void *b)
{
	const cJSON *x = *(const cJSON *const *)a, *y = *(const cJSON *const *)b;

	return strcmp(cJSON_GetObjectItemCaseSensitive(x, "name")->valuestring,
		      cJSON_GetObjectItemCaseSensitive(y, "name")->valuestring);
}

/* In an order that does not depend on the server's mood: prompts are cached by it. */
static int sort_tools(cJSON *tools, struct error *err)
{
	size_t n = (size_t)cJSON_GetArraySize(tools), i = 0;
	cJSON **all cleanup_free = calloc(n + 1, sizeof *all);

	if (!all)
		return error_memory(err);
	while (tools->child)
		all[i++] = cJSON_DetachItemViaPointer(tools, tools->child);
	qsort(all, n, sizeof *all, by_name);
	for (i = 0; i < n; i++)
		(void)cJSON_AddItemToArray(tools, all[i]);
	return 0;
}

static int listed(struct client *c, const cJSON *result, struct error *err)
{
	const cJSON *page = cJSON_GetObjectItemCaseSensitive(result, "tools"), *tool;
	const cJSON *next = cJSON_GetObjectItemCaseSensitive(result, "nextCursor");

	if (!cJSON_IsArray(page))
		return error_set(err, EPROTO, "its answer to tools/list has no tools");
	if (!c->tools && !(c->tools = cJSON_CreateArray()))
		return error_memory(err);
	cJSON_ArrayForEach(tool, page) {
		const cJSON *name = cJSON_GetObjectItemCaseSensitive(tool, "name");
		cJSON *copy;

		if (!cJSON_IsString(name) || !*name->valuestring ||
		    !cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(tool, "inputSchema")))
			return error_set(err, EPROTO, "it lists a tool without name or inputSchema");
		if (cJSON_GetArraySize(c->tools) >= TOOLS_MAX)
			return error_set(err, E2BIG, "it lists more than %d tools", TOOLS_MAX);
		copy = cJSON_Duplicate(tool, true);
		if (!copy || !cJSON_AddItemToArray(c->tools, copy)) {
			cJSON_Delete(copy);
			return error_memory(err);
		}
	}
	if (!cJSON_IsString(next)) {
		if (sort_tools(c->tools, err) < 0)
			return -1;
		c->phase = READY;
		return 0;
	}
	if (++c->pages >= PAGES_MAX || (c->cursor && !strcmp(c->cursor, next->valuestring)))
		return error_set(err, EPROTO, "its list of tools has no end");
	free(c->cursor);
	c->cursor = strdup(next->valuestring);
	return c->cursor ? send_list(c, c->cursor, err) : error_memory(err);
}

/* The answer to one of the client's own requests. */
static int advance(struct client *c, const struct jsonrpc_message *m, struct error *err)
{
	if (m->kind == JSONRPC_ERROR) {
		cJSON *params;

		if (c->phase != INITIALIZING)
			return error_set(err, EPROTO, "%s failed: %.300s", c->phase == LISTING ? "tools/list" :
					 "server/discover", m->text);
		/* Perhaps a server that knows 2026-07-28 alone. */
		c->phase = DISCOVERING;
		c->modern = true;
		params = cJSON_CreateObject();
		return request(c, "server/discover", params, &c->waiting_for, err);
	}
	if (!cJSON_IsObject(m->result))
		return error_set(err, EPROTO, "an answer is no object");
	switch (c->phase) {
	case INITIALIZING:
		return initialized(c, m->result, err);
	case DISCOVERING:
		return keep_instructions(c, m->result, err) < 0 ? -1 : send_list(c, NULL, err);
	default:
		return listed(c, m->result, err);
	}
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
		return advance(c, m, err);
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
	c->tail = BUFFER(TAIL_MAX);
	c->words = BUFFER(3 * TAIL_MAX);
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
	if (send_initialize(c, err) < 0 || flush(c, err) < 0)
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
	bool ok = params && cJSON_AddStringToObject(params, "name", tool) && (!modern || add_meta(params));

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
	    (!c->modern || add_meta(params))) {
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
