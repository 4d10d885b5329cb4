/* The tools of a notebook. A cell's outputs come back as one JSON document in nbformat's form and
 * are told to the model as text with the pictures behind it. */
#include "mcp/tools.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/picture.h"

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

static const char *string_of(const cJSON *value, const char *fallback)
{
	return cJSON_IsString(value) ? value->valuestring : fallback;
}

/* The result while it is put together: text first, pictures kept for behind it. */
struct telling {
	struct tool_call *call;
	struct excerpt text;
	bool at_line_start;
};

static int say(struct telling *t, const char *text, size_t n)
{
	if (!n)
		return 0;
	t->at_line_start = text[n - 1] == '\n';
	return excerpt_add(&t->text, text, n);
}

static int say_line_start(struct telling *t)
{
	return t->at_line_start ? 0 : say(t, "\n", 1);
}

/* nbformat writes text as a string or as a list of lines. `between` goes between the items. */
static int say_lines(struct telling *t, const cJSON *value, const char *between)
{
	const cJSON *line;

	if (cJSON_IsString(value))
		return say(t, value->valuestring, strlen(value->valuestring));
	cJSON_ArrayForEach(line, value)
		if (cJSON_IsString(line) &&
		    (say(t, line->valuestring, strlen(line->valuestring)) < 0 ||
		     (line->next && say(t, between, strlen(between)) < 0)))
			return -1;
	return 0;
}

/* base64 in one piece, without the newlines that Jupyter leaves in; NULL: none, or no memory. */
static char *one_piece(const cJSON *value)
{
	struct buffer all cleanup_buffer = BUFFER(TOOL_DOCUMENT_MAX);
	const cJSON *item = cJSON_IsArray(value) ? value->child : value;

	for (; cJSON_IsString(item); item = cJSON_IsArray(value) ? item->next : NULL)
		for (const char *p = item->valuestring; *p;) {
			size_t n = strcspn(p, "\r\n ");

			if (buffer_append(&all, p, n) < 0)
				return NULL;
			p += n;
			p += strspn(p, "\r\n ");
		}
	return all.length ? steal_pointer(&all.data) : NULL;
}

/* A picture behind the text and its mark in it. -1: out of memory. */
static int tell_picture(struct telling *t, const char *type, const cJSON *value, struct error *err)
{
	struct buffer bytes cleanup_buffer = BUFFER(PICTURE_BASE64_MAX);
	char *data cleanup_free = one_piece(value);
	struct picture picture;
	struct error why;
	char mark[ERROR_TEXT_SIZE + 100];
	int n;

	if (!data)
		return 0;
	if (t->call->pictures >= TOOL_PICTURES_MAX) {
		n = snprintf(mark, sizeof mark, "[%s, not shown: more than %d pictures]\n", type, TOOL_PICTURES_MAX);
	} else if (t->call->picture_bytes + strlen(data) > TOOL_PICTURES_BYTES) {
		n = snprintf(mark, sizeof mark, "[%s, not shown: all pictures together would be too large]\n", type);
	} else if (picture_decode(data, &bytes, &why) < 0 ||
		   picture_check(type, bytes.data, bytes.length, &picture, &why) < 0) {
		n = snprintf(mark, sizeof mark, "[%s, not shown: %s]\n", type, why.text);
	} else {
		if (tool_add_picture(t->call, type, data, err) < 0)
			return -1;
		n = snprintf(mark, sizeof mark, "[picture %d, %s]\n", t->call->pictures, type);
	}
	return say_line_start(t) < 0 || say(t, mark, (size_t)n) < 0 ? error_memory(err) : 0;
}

static int tell_data(struct telling *t, const cJSON *data, struct error *err)
{
	static const char *const texts[] = { "text/plain", "text/markdown", "text/latex", "text/html" };
	static const char *const pictures[] = { "image/png", "image/jpeg" };
	bool told = false;
	const cJSON *value;

	if (say_line_start(t) < 0)
		return error_memory(err);
	for (size_t i = 0; i < sizeof texts / sizeof *texts && !told; i++) {
		value = member(data, texts[i]);
		if (!value)
			continue;
		if (say_lines(t, value, "") < 0)
			return error_memory(err);
		told = true;
	}
	for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
		value = member(data, pictures[i]);
		if (value && tell_picture(t, pictures[i], value, err) < 0)
			return -1;
		told |= value != NULL;
	}
	value = member(data, "application/json");
	if (value && !told) {
		char *text = cJSON_PrintUnformatted(value);
		int status = text ? say(t, text, strlen(text)) : -1;

		cJSON_free(text);
		if (status < 0)
			return error_memory(err);
		told = true;
	}
	if (!told && data && data->child) {
		if (say(t, "[", 1) < 0 || say(t, data->child->string, strlen(data->child->string)) < 0 ||
		    say(t, "]", 1) < 0)
			return error_memory(err);
	}
	return say_line_start(t) < 0 ? error_memory(err) : 0;
}

static int tell_error(struct telling *t, const cJSON *output, struct error *err)
{
	const cJSON *traceback = member(output, "traceback");
	const char *name = string_of(member(output, "ename"), "Error");
	const char *value = string_of(member(output, "evalue"), "");

	if (say_line_start(t) < 0)
		return error_memory(err);
	if (cJSON_GetArraySize(traceback) > 0)
		return say_lines(t, traceback, "\n") < 0 || say_line_start(t) < 0 ? error_memory(err) : 0;
	return say(t, name, strlen(name)) < 0 || say(t, ": ", 2) < 0 || say(t, value, strlen(value)) < 0 ||
	       say_line_start(t) < 0 ? error_memory(err) : 0;
}

/* *ename is that of the last error, lent. */
static int tell_outputs(struct telling *t, const cJSON *outputs, const char **ename, struct error *err)
{
	const cJSON *output;

	cJSON_ArrayForEach(output, outputs) {
		const char *type = string_of(member(output, "output_type"), "");
		int status = 0;

		if (!strcmp(type, "stream")) {
			status = say_lines(t, member(output, "text"), "") < 0 ? error_memory(err) : 0;
		} else if (!strcmp(type, "error")) {
			*ename = string_of(member(output, "ename"), "Error");
			status = tell_error(t, output, err);
		} else {
			status = tell_data(t, member(output, "data"), err);
		}
		if (status < 0)
			return -1;
	}
	return 0;
}

/* Puts the text before the pictures that the call's content holds already. */
static int prepend_text(struct tool_call *call, const char *text, struct error *err)
{
	cJSON *last;

	if (tool_add_text(call, text, err) < 0)
		return -1;
	last = cJSON_DetachItemFromArray(call->content, cJSON_GetArraySize(call->content) - 1);
	if (!cJSON_InsertItemInArray(call->content, 0, last)) {
		cJSON_Delete(last);
		return error_memory(err);
	}
	return 0;
}

static int finish_cell(struct tool_call *call, int exit, struct error *err)
{
	cJSON *document cleanup_json = cJSON_ParseWithLength(call->whole.data ? call->whole.data : "",
							     call->whole.length);
	const char *state = string_of(member(document, "state"), NULL), *ename = "";
	const cJSON *cell = member(document, "cell");
	struct buffer text cleanup_buffer = BUFFER(8 * tool_text_max);
	struct telling t = { .call = call, .at_line_start = true };
	int status;

	(void)exit;
	if (!state)
		return error_set(err, EPROTO, "the notebook's answer is not understood");
	excerpt_init(&t.text, tool_text_max);
	status = tell_outputs(&t, member(document, "outputs"), &ename, err);
	if (status == 0 && excerpt_text(&t.text, &text) < 0)
		status = error_memory(err);
	excerpt_free(&t.text);
	if (status < 0)
		return -1;
	call->is_error = strcmp(state, "ok") != 0;
	/* The model needs the cell's number for edit_cell, and the verdict behind all output. */
	if ((text.length && text.data[text.length - 1] != '\n' && buffer_text(&text, "\n") < 0) ||
	    buffer_format(&text, "[cell %d %s%s%s]", cJSON_IsNumber(cell) ? cell->valueint : 0, state,
			  *ename ? " " : "", ename) < 0)
		return error_memory(err);
	return prepend_text(call, text.data, err);
}

static int run_cell(struct tool_call *call, struct error *err)
{
	const cJSON *cell = member(call->arguments, "cell"), *timeout = member(call->arguments, "timeout");
	cJSON *object cleanup_json = cJSON_CreateObject();
	char *text;
	int status;

	if (!object || !cJSON_AddStringToObject(object, "code", tool_string(call, "code")) ||
	    (cJSON_IsNumber(cell) && !cJSON_AddNumberToObject(object, "cell", cell->valuedouble)) ||
	    (cJSON_IsNumber(timeout) && !cJSON_AddNumberToObject(object, "timeout", timeout->valuedouble)))
		return error_memory(err);
	text = cJSON_PrintUnformatted(object);
	if (!text)
		return error_memory(err);
	status = tool_ask(call, "run", text, strlen(text), err);
	cJSON_free(text);
	return status;
}

static int begin_markdown(struct tool_call *call, struct error *err)
{
	const char *content = tool_string(call, "content");

	return tool_ask(call, "markdown", content, strlen(content), err);
}

static int finish_markdown(struct tool_call *call, int exit, struct error *err)
{
	cJSON *document cleanup_json = cJSON_ParseWithLength(call->whole.data ? call->whole.data : "",
							     call->whole.length);
	const cJSON *cell = member(document, "cell");
	char text[60];

	(void)exit;
	if (!cJSON_IsNumber(cell))
		return error_set(err, EPROTO, "the notebook's answer is not understood");
	(void)snprintf(text, sizeof text, "[cell %d added]", cell->valueint);
	return tool_add_text(call, text, err);
}

static int begin_interrupt(struct tool_call *call, struct error *err)
{
	return tool_command(call, "interrupt", err);
}

static int finish_interrupt(struct tool_call *call, int exit, struct error *err)
{
	(void)exit;
	return tool_add_text(call, "interrupted", err);
}

#define TIMEOUT \
	"\"timeout\":{\"type\":\"number\",\"minimum\":0,\"description\":\"Seconds after which the cell is interrupted; none when absent.\"}"

const struct tool notebook_tools[] = {
	{
		.name = "execute_code", .title = "Run a cell",
		.description = "Run Python code as a new cell of the notebook. Variables stay from cell to cell. Returns what "
			       "it prints, its last expression's value, errors with their traceback and pictures, and the "
			       "cell's number. When waiting for it is given up, the cell runs on; interrupt stops it.",
		.schema = "{\"type\":\"object\",\"properties\":{"
			  "\"code\":{\"type\":\"string\",\"minLength\":1,\"description\":\"The cell's source.\"},"
			  TIMEOUT "},\"required\":[\"code\"],\"additionalProperties\":false}",
		.answer = TOOL_WHOLE, .begin = run_cell, .finish = finish_cell,
	},
	{
		.name = "add_markdown", .title = "Add a text cell",
		.description = "Add a cell of Markdown to the notebook, for people who read it. Runs nothing.",
		.schema = "{\"type\":\"object\",\"properties\":{"
			  "\"content\":{\"type\":\"string\",\"minLength\":1,\"description\":\"The Markdown text.\"}},"
			  "\"required\":[\"content\"],\"additionalProperties\":false}",
		.answer = TOOL_WHOLE, .begin = begin_markdown, .finish = finish_markdown,
	},
	{
		.name = "edit_cell", .title = "Replace a cell",
		.description = "Replace the source of a code cell and run it again. Returns the same as execute_code.",
		.schema = "{\"type\":\"object\",\"properties\":{"
			  "\"cell\":{\"type\":\"integer\",\"minimum\":1,\"description\":\"The cell's number, as execute_code told it.\"},"
			  "\"code\":{\"type\":\"string\",\"minLength\":1,\"description\":\"The new source.\"},"
			  TIMEOUT "},\"required\":[\"cell\",\"code\"],\"additionalProperties\":false}",
		.answer = TOOL_WHOLE, .begin = run_cell, .finish = finish_cell,
	},
	{
		.name = "interrupt", .title = "Interrupt the kernel",
		.description = "Interrupt the cell that runs, as Ctrl-C would. Variables stay.",
		.schema = "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}",
		.begin = begin_interrupt, .finish = finish_interrupt,
	},
	{ .name = NULL },
};
