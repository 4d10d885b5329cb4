/* The functions of an interface as tools: made from its schema.json, which its runner keeps beside it. */
#include "mcp/tools.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define SCHEMA_MAX (4u << 20)
#define DOC_MAX (1u << 20)
#define WAIT "60" /* seconds for one that is loading */

static int begin(struct tool_call *call, struct error *err)
{
	cleanup_free char *arguments = cJSON_PrintUnformatted(call->arguments), *name = NULL;

	if (!arguments || asprintf(&name, "function %u %s mcp", call->target->interface, call->tool->name) < 0) {
		name = NULL;
		return error_memory(err);
	}
	return tool_ask(call, name, arguments, strlen(arguments), err);
}

/* What was raised, as Python would have printed it. */
static const char *raised(const cJSON *result)
{
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(result, "error");
	const char *traceback = json_string(error, "traceback");

	return traceback && *traceback ? traceback :
	       json_string(error, "message");
}

/* A text as it is, anything else as JSON; a long one without its middle. */
static int finish(struct tool_call *call, int exit, struct error *err)
{
	struct buffer text cleanup_buffer = BUFFER(8 * tool_text_max);
	cJSON *result cleanup_json = cJSON_ParseWithLength(call->whole.data ? call->whole.data : "", call->whole.length);
	const char *string = exit ? raised(result) : cJSON_GetStringValue(result);
	struct excerpt shown;
	int failed;

	excerpt_init(&shown, tool_text_max);
	failed = string ? excerpt_add(&shown, string, strlen(string)) : excerpt_add(&shown, call->whole.data, call->whole.length);
	failed = failed || excerpt_text(&shown, &text) || buffer_append(&text, "", 0);
	excerpt_free(&shown);
	if (failed)
		return error_memory(err);
	call->is_error = exit != 0;
	return tool_add_text(call, text.data ? text.data : "", err);
}

void interface_tools_free(struct tool *tools)
{
	for (struct tool *t = tools; t && t->name; t++) {
		free((char *)t->name);
		free((char *)t->description);
		free((char *)t->schema);
	}
	free(tools);
}

static int make_tool(struct tool *tool, cJSON *schema)
{
	const char *doc = json_string(schema, "description");

	*tool = (struct tool){ .ends_with_client = true, .judges = true, .answer = TOOL_WHOLE, .begin = begin, .finish = finish };
	tool->description = strdup(doc ? doc : "");
	cJSON_DeleteItemFromObjectCaseSensitive(schema, "description");
	tool->schema = cJSON_PrintUnformatted(schema);
	tool->name = tool->title = strdup(schema->string);
	if (tool->name && tool->description && tool->schema)
		return 0;
	free((char *)tool->name);
	free((char *)tool->description);
	free((char *)tool->schema);
	*tool = (struct tool){ .name = NULL };
	return -1;
}

static int read_file(const struct target *target, const char *name, struct buffer *out, struct error *err)
{
	char path[64];

	(void)snprintf(path, sizeof path, "interfaces/%u/%s", target->interface, name);
	return file_read(target->folder, path, out, err);
}

/* 1: it is there, 0: not, -1. What lies there may be of a sandbox that has stopped since: such a call says so. */
static int read_schema(const struct target *target, struct buffer *text, struct error *err)
{
	buffer_clear(text);
	if (read_file(target, "schema.json", text, err) < 0)
		return err->code == ENOENT ? 0 : -1;
	return text->length > 0;
}

int interface_tools(const struct target *target, struct tool **tools, struct buffer *doc, struct error *err)
{
	struct buffer text cleanup_buffer = BUFFER(SCHEMA_MAX);
	cJSON *whole cleanup_json = NULL, *schema;
	int found = read_schema(target, &text, err);
	size_t n = 0;
	char line[64];

	*tools = NULL;
	if (!found) {
		(void)snprintf(line, sizeof line, "interface %u wait " WAIT, target->interface);
		if (talk_command(target->folder, line, -1, err) < 0)
			return -1;
		found = read_schema(target, &text, err);
	}
	if (found <= 0)
		return found < 0 ? -1 : error_set(err, ENOENT, "it has no functions");
	whole = cJSON_ParseWithLength(text.data, text.length);
	if (!cJSON_IsObject(whole))
		return error_set(err, EBADMSG, "schema.json: damaged");
	*tools = calloc((size_t)cJSON_GetArraySize(whole) + 1, sizeof **tools);
	if (!*tools)
		return error_memory(err);
	cJSON_ArrayForEach(schema, whole)
		if (make_tool(*tools + n++, schema) < 0) {
			interface_tools_free(*tools);
			*tools = NULL;
			return error_memory(err);
		}
	return read_file(target, "doc", doc, err) < 0 && err->code != ENOENT ? -1 : 0;
}
