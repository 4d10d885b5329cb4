/* The server's side of MCP in both its eras: see protocol.h. What the revisions ask for is in
 * https://modelcontextprotocol.io/specification, one page for each. */
#include "mcp/protocol.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/version.h"
#include "mcp/jsonrpc.h"
#include "mcp/schema.h"

#define MODERN "2026-07-28"
#define META "io.modelcontextprotocol/"
#define UNSUPPORTED_VERSION (-32022)
#define TTL_MS 3600000 /* the tools of an object do not change while it lives */
#define PROGRESS_MS 2000

static const char *const legacy_versions[] = { "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05" };
#define LEGACY_COUNT (sizeof legacy_versions / sizeof *legacy_versions)

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

void server_init(struct server *s, const struct target *target, const struct tool *tools, char *instructions)
{
	*s = (struct server){ .target = target, .tools = tools, .instructions = instructions };
	s->out = BUFFER(4 * (size_t)JSONRPC_LINE_MAX);
}

static void free_call(struct server_call *call)
{
	tool_call_end(&call->tool);
	cJSON_Delete(call->id);
	cJSON_Delete(call->progress_token);
	free(call);
}

void server_free(struct server *s)
{
	while (s->calls) {
		struct server_call *call = s->calls;

		s->calls = call->next;
		free_call(call);
	}
	free(s->instructions);
	buffer_free(&s->out);
}

static void remove_call(struct server *s, struct server_call *call)
{
	struct server_call **at = &s->calls;

	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
	s->calls_count--;
	free_call(call);
}

static bool add_server_info(cJSON *object, const char *name)
{
	cJSON *info = cJSON_AddObjectToObject(object, name);

	return info && cJSON_AddStringToObject(info, "name", "interpfs") &&
	       cJSON_AddStringToObject(info, "version", INTERPFS_VERSION);
}

/* What each result of 2026-07-28 carries. */
static bool add_modern(cJSON *result)
{
	cJSON *meta = cJSON_AddObjectToObject(result, "_meta");

	return meta && add_server_info(meta, META "serverInfo") &&
	       cJSON_AddStringToObject(result, "resultType", "complete");
}

/* And those that may be kept. They are about the user's own object: private. */
static bool add_cacheable(cJSON *result)
{
	return cJSON_AddNumberToObject(result, "ttlMs", TTL_MS) &&
	       cJSON_AddStringToObject(result, "cacheScope", "private");
}

/* Queues the result, taking it over; ok false: there was no memory for all of it. */
static int answer(struct server *s, const cJSON *id, cJSON *result, bool ok, struct error *err)
{
	if (!ok) {
		cJSON_Delete(result);
		return error_memory(err);
	}
	return jsonrpc_put_result(&s->out, id, result, err);
}

static int refuse(struct server *s, const cJSON *id, int code, const char *text, struct error *err)
{
	return jsonrpc_put_error(&s->out, id, code, text, NULL, err);
}

static bool add_capabilities(const struct server *s, cJSON *result)
{
	cJSON *capabilities = cJSON_AddObjectToObject(result, "capabilities");
	cJSON *tools = capabilities ? cJSON_AddObjectToObject(capabilities, "tools") : NULL;

	return tools && cJSON_AddStringToObject(result, "instructions", s->instructions);
}

static int initialize(struct server *s, const struct jsonrpc_message *m, struct error *err)
{
	const cJSON *asked = member(m->params, "protocolVersion");
	const char *version = legacy_versions[0];
	cJSON *result;
	bool ok;

	if (!cJSON_IsString(asked))
		return refuse(s, m->id, JSONRPC_INVALID_PARAMS, "initialize needs a protocolVersion", err);
	for (size_t i = 0; i < LEGACY_COUNT; i++)
		if (!strcmp(asked->valuestring, legacy_versions[i]))
			version = legacy_versions[i];
	result = cJSON_CreateObject();
	ok = result && cJSON_AddStringToObject(result, "protocolVersion", version) &&
	     add_server_info(result, "serverInfo") && add_capabilities(s, result);
	s->opened = true;
	return answer(s, m->id, result, ok, err);
}

static int discover(struct server *s, const struct jsonrpc_message *m, struct error *err)
{
	cJSON *result = cJSON_CreateObject();
	cJSON *versions = result ? cJSON_AddArrayToObject(result, "supportedVersions") : NULL;
	cJSON *modern = versions ? cJSON_CreateString(MODERN) : NULL;
	bool ok = modern && cJSON_AddItemToArray(versions, modern) && add_capabilities(s, result) &&
		  add_cacheable(result) && add_modern(result);

	return answer(s, m->id, result, ok, err);
}

static bool add_tool(cJSON *list, const struct tool *tool)
{
	cJSON *row = cJSON_CreateObject(), *schema, *hints;

	if (!row || !cJSON_AddItemToArray(list, row)) {
		cJSON_Delete(row);
		return false;
	}
	schema = cJSON_Parse(tool->schema);
	if (!schema || !cJSON_AddStringToObject(row, "name", tool->name) ||
	    !cJSON_AddStringToObject(row, "title", tool->title) ||
	    !cJSON_AddStringToObject(row, "description", tool->description) ||
	    !cJSON_AddItemToObject(row, "inputSchema", schema)) {
		cJSON_Delete(schema);
		return false;
	}
	hints = cJSON_AddObjectToObject(row, "annotations");
	return hints && cJSON_AddBoolToObject(hints, "readOnlyHint", tool->reads_only);
}

static int list_tools(struct server *s, const struct jsonrpc_message *m, bool modern, struct error *err)
{
	cJSON *result, *list;
	bool ok;

	if (member(m->params, "cursor") && !cJSON_IsNull(member(m->params, "cursor")))
		return refuse(s, m->id, JSONRPC_INVALID_PARAMS, "there is no such page", err);
	result = cJSON_CreateObject();
	list = result ? cJSON_AddArrayToObject(result, "tools") : NULL;
	ok = list != NULL;
	for (const struct tool *tool = s->tools; ok && tool && tool->name; tool++)
		ok = add_tool(list, tool);
	if (ok && modern)
		ok = add_cacheable(result) && add_modern(result);
	return answer(s, m->id, result, ok, err);
}

/* The result of a call: its content, or a sentence. */
static int answer_call(struct server *s, struct server_call *call, const struct error *failure, struct error *err)
{
	cJSON *result = cJSON_CreateObject(), *content = NULL;
	bool ok;

	if (failure && tool_call_failed(&call->tool, failure, err) < 0) {
		cJSON_Delete(result);
		return -1;
	}
	ok = result && cJSON_AddBoolToObject(result, "isError", call->tool.is_error) &&
	     (!call->modern || add_modern(result));
	if (ok) {
		content = call->tool.content;
		call->tool.content = NULL;
		ok = cJSON_AddItemToObject(result, "content", content);
		if (!ok)
			cJSON_Delete(content);
	}
	return answer(s, call->id, result, ok, err);
}

static struct server_call *find_call(struct server *s, const cJSON *id)
{
	struct server_call *call = s->calls;

	while (call && !cJSON_Compare(call->id, id, true))
		call = call->next;
	return call;
}

static const struct tool *find_tool(const struct server *s, const char *name)
{
	for (const struct tool *tool = s->tools; tool && tool->name; tool++)
		if (!strcmp(tool->name, name))
			return tool;
	return NULL;
}

/* Begins it; what goes wrong with the tool itself is a result. */
static int begin_call(struct server *s, struct server_call *call, const struct tool *tool,
		      const cJSON *arguments, bool nul, struct error *err)
{
	cJSON *schema cleanup_json = cJSON_Parse(tool->schema);
	cJSON *copy = arguments ? cJSON_Duplicate(arguments, true) : cJSON_CreateObject();
	struct error failure;

	call->tool.tool = tool;
	if (!schema || !copy) {
		cJSON_Delete(copy);
		return error_memory(err);
	}
	if (nul) /* what follows it would be lost to a C string, or be another text */
		(void)error_set(&failure, EINVAL, "the arguments hold a NUL character (U+0000), which no text here can");
	if (nul || (!tool->judges && schema_check(schema, copy, &failure) < 0)) {
		cJSON_Delete(copy);
		return answer_call(s, call, &failure, err) < 0 ? -1 : 1;
	}
	if (s->calls_count >= CALLS_MAX) {
		cJSON_Delete(copy);
		(void)error_set(&failure, EBUSY, "%d calls are under way already; wait for one to end", CALLS_MAX);
		return answer_call(s, call, &failure, err) < 0 ? -1 : 1;
	}
	if (tool_call_start(&call->tool, tool, s->target, copy, call->begun_ms, &failure) < 0)
		return answer_call(s, call, &failure, err) < 0 ? -1 : 1;
	return 0;
}

static int call_tool(struct server *s, const struct jsonrpc_message *m, bool modern, int64_t now_ms,
		     struct error *err)
{
	const cJSON *name = member(m->params, "name"), *arguments = member(m->params, "arguments");
	const cJSON *token = member(member(m->params, "_meta"), "progressToken");
	const struct tool *tool;
	struct server_call *call;
	char text[160];
	int status;

	if (!cJSON_IsString(name))
		return refuse(s, m->id, JSONRPC_INVALID_PARAMS, "tools/call needs a tool's name", err);
	if (cJSON_IsNull(arguments))
		arguments = NULL; /* as some clients say that there are none */
	if (arguments && !cJSON_IsObject(arguments))
		return refuse(s, m->id, JSONRPC_INVALID_PARAMS, "arguments must be an object", err);
	tool = find_tool(s, name->valuestring);
	if (!tool) {
		(void)snprintf(text, sizeof text, "Unknown tool: %.100s", name->valuestring);
		return refuse(s, m->id, JSONRPC_INVALID_PARAMS, text, err);
	}
	if (find_call(s, m->id))
		return refuse(s, m->id, JSONRPC_INVALID_REQUEST, "a call with this id is under way", err);
	call = calloc(1, sizeof *call);
	if (!call)
		return error_memory(err);
	call->tool.talk.fd = call->tool.talk.passed = -1;
	call->modern = modern;
	call->begun_ms = call->told_ms = now_ms;
	call->id = cJSON_Duplicate(m->id, true);
	if (cJSON_IsString(token) || cJSON_IsNumber(token))
		call->progress_token = cJSON_Duplicate(token, true);
	status = call->id ? begin_call(s, call, tool, arguments, m->nul, err) : error_memory(err);
	if (status != 0) {
		free_call(call);
		return status < 0 ? -1 : 0;
	}
	call->next = s->calls;
	s->calls = call;
	s->calls_count++;
	return 0;
}

/* A request of 2026-07-28 is complete in itself. 1: it is in order, 0: refused, -1. */
static int check_modern(struct server *s, const struct jsonrpc_message *m, struct error *err)
{
	const cJSON *meta = member(m->params, "_meta");
	const cJSON *version = member(meta, META "protocolVersion");
	cJSON *data, *supported, *modern;

	if (!cJSON_IsString(version) || !cJSON_IsObject(member(meta, META "clientCapabilities")))
		return refuse(s, m->id, JSONRPC_INVALID_PARAMS, "_meta needs " META "protocolVersion and "
			      META "clientCapabilities", err);
	if (!strcmp(version->valuestring, MODERN))
		return 1;
	data = cJSON_CreateObject();
	supported = data ? cJSON_AddArrayToObject(data, "supported") : NULL;
	modern = supported ? cJSON_CreateString(MODERN) : NULL;
	if (!modern || !cJSON_AddItemToArray(supported, modern) ||
	    !cJSON_AddStringToObject(data, "requested", version->valuestring)) {
		cJSON_Delete(data);
		return error_memory(err);
	}
	return jsonrpc_put_error(&s->out, m->id, UNSUPPORTED_VERSION, "Unsupported protocol version", data, err);
}

static int take_request(struct server *s, const struct jsonrpc_message *m, int64_t now_ms, struct error *err)
{
	bool modern = member(member(m->params, "_meta"), META "protocolVersion") != NULL ||
		      !strcmp(m->method, "server/discover");
	char text[160];

	if (modern) {
		int right = check_modern(s, m, err);

		if (right <= 0)
			return right;
		if (!strcmp(m->method, "server/discover"))
			return discover(s, m, err);
	} else {
		if (!strcmp(m->method, "initialize"))
			return initialize(s, m, err);
		if (!strcmp(m->method, "ping"))
			return answer(s, m->id, cJSON_CreateObject(), true, err);
	}
	if (!strcmp(m->method, "tools/list") || !strcmp(m->method, "tools/call")) {
		if (!modern && !s->opened)
			return refuse(s, m->id, JSONRPC_INVALID_REQUEST,
				      "send initialize first, or _meta with a protocolVersion", err);
		return !strcmp(m->method, "tools/list") ? list_tools(s, m, modern, err) :
							  call_tool(s, m, modern, now_ms, err);
	}
	(void)snprintf(text, sizeof text, "Method not found: %.100s", m->method);
	return refuse(s, m->id, JSONRPC_METHOD_NOT_FOUND, text, err);
}

int server_take_line(struct server *s, char *line, size_t n, int64_t now_ms, struct error *err)
{
	struct jsonrpc_message m __attribute__((cleanup(jsonrpc_message_free))) = { 0 };
	struct server_call *call;
	struct error why;
	int reply;

	if (jsonrpc_parse(line, n, &m, &reply, &why) < 0)
		return refuse(s, m.id, reply, why.text, err);
	if (m.kind == JSONRPC_REQUEST)
		return take_request(s, &m, now_ms, err);
	/* Nothing was asked of the client, so an answer from it belongs to nothing. */
	if (m.kind == JSONRPC_NOTIFICATION && !strcmp(m.method, "notifications/cancelled")) {
		call = find_call(s, member(m.params, "requestId"));
		if (call)
			remove_call(s, call); /* and never answered */
	}
	return 0;
}

int server_refuse_line(struct server *s, const char *text, struct error *err)
{
	return refuse(s, NULL, JSONRPC_PARSE_ERROR, text, err);
}

int server_step_call(struct server *s, struct server_call *call, int64_t now_ms, struct error *err)
{
	struct error failure;
	int done = tool_call_step(&call->tool, now_ms, &failure);

	if (done == 0)
		return 0;
	if (answer_call(s, call, done < 0 ? &failure : NULL, err) < 0)
		return -1;
	remove_call(s, call);
	return 0;
}

static void tell(struct server *s, const struct server_call *call, int64_t now_ms)
{
	cJSON *params = cJSON_CreateObject(), *token = cJSON_Duplicate(call->progress_token, true);
	struct error ignored;
	char text[80];

	(void)snprintf(text, sizeof text, "%lld s, %zu bytes so far",
		       (long long)(now_ms - call->begun_ms) / 1000, call->tool.received);
	if (params && token && cJSON_AddItemToObject(params, "progressToken", token)) {
		token = NULL;
		if (cJSON_AddNumberToObject(params, "progress", (double)(now_ms - call->begun_ms) / 1000) &&
		    cJSON_AddStringToObject(params, "message", text)) {
			(void)jsonrpc_put_notification(&s->out, "notifications/progress", params, &ignored);
			return;
		}
	}
	cJSON_Delete(token); /* progress that is not told is no error */
	cJSON_Delete(params);
}

int server_tell_progress(struct server *s, int64_t now_ms)
{
	int64_t wait = -1;

	for (struct server_call *call = s->calls; call; call = call->next) {
		int64_t left;

		if (!call->progress_token)
			continue;
		left = call->told_ms + PROGRESS_MS - now_ms;
		if (left <= 0) {
			tell(s, call, now_ms);
			call->told_ms = now_ms;
			left = PROGRESS_MS;
		}
		if (wait < 0 || left < wait)
			wait = left;
	}
	return (int)wait;
}
