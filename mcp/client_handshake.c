/* How a client and its server come to an agreement: initialize, or server/discover with a server
 * that knows 2026-07-28 alone; then the pages of tools/list. See client.c for the phases. */
#include "mcp/client_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/version.h"

#define MODERN "2026-07-28"
#define PREFERRED "2025-11-25"
#define META "io.modelcontextprotocol/"
#define TOOLS_MAX 1000
#define PAGES_MAX 100

bool client_add_meta(cJSON *params)
{
	cJSON *meta = cJSON_AddObjectToObject(params, "_meta");
	cJSON *info = meta ? cJSON_AddObjectToObject(meta, META "clientInfo") : NULL;

	return info && cJSON_AddStringToObject(meta, META "protocolVersion", MODERN) &&
	       cJSON_AddObjectToObject(meta, META "clientCapabilities") &&
	       cJSON_AddStringToObject(info, "name", "interpfs") &&
	       cJSON_AddStringToObject(info, "version", INTERPFS_VERSION);
}

/* Queues a request; takes params over (NULL: out of memory). *id is its number. */
static int request(struct client *c, const char *method, cJSON *params, uint64_t *id, struct error *err)
{
	if (!params || (c->modern && !client_add_meta(params))) {
		cJSON_Delete(params);
		return error_memory(err);
	}
	*id = c->next_id++;
	return jsonrpc_put_request(&c->out, (double)*id, method, params, err);
}

int client_send_initialize(struct client *c, struct error *err)
{
	cJSON *params = cJSON_CreateObject();
	cJSON *info = params ? cJSON_AddObjectToObject(params, "clientInfo") : NULL;

	if (!info || !cJSON_AddStringToObject(params, "protocolVersion", PREFERRED) ||
	    !cJSON_AddObjectToObject(params, "capabilities") ||
	    !cJSON_AddStringToObject(info, "name", "interpfs") ||
	    !cJSON_AddStringToObject(info, "version", INTERPFS_VERSION)) {
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

int client_advance(struct client *c, const struct jsonrpc_message *m, struct error *err)
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
