/* A call of a tool, from its arguments to its result: see tools.h. */
#include "mcp/tools.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

size_t tool_text_max = TOOL_TEXT_MAX;

int tool_call_start(struct tool_call *call, const struct tool *tool, const struct target *target, cJSON *arguments,
		    int64_t now_ms, struct error *err)
{
	*call = (struct tool_call){ .tool = tool, .target = target, .arguments = arguments };
	call->talk.fd = call->talk.passed = -1;
	call->whole = BUFFER(TOOL_DOCUMENT_MAX);
	excerpt_init(&call->out, tool_text_max);
	excerpt_init(&call->err, tool_text_max / 2);
	call->content = cJSON_CreateArray();
	if (!call->content)
		return error_memory(err);
	if (tool->begin(call, err) == 0)
		return 0;
	call->waits_until = now_ms + TARGET_MS;
	return err->code == EAGAIN ? 0 : -1;
}

/* Once more, when no runner was there. 1: it has begun, 0: later, -1. */
static int begin_again(struct tool_call *call, int64_t now_ms, struct error *err)
{
	call->at = 0;
	if (call->tool->begin(call, err) < 0)
		return err->code == EAGAIN && now_ms < call->waits_until ? 0 : -1;
	call->waits_until = 0;
	return 1;
}

int tool_call_fd(const struct tool_call *call)
{
	return call->talk.fd;
}

short tool_call_events(const struct tool_call *call)
{
	return (short)(POLLIN | (call->talk.out.length ? POLLOUT : 0));
}

static int take_data(struct tool_call *call, const struct talk_message *m, struct error *err)
{
	call->received += m->length;
	if (m->channel == TALK_STDERR) {
		if (excerpt_add(&call->err, m->data, m->length) < 0)
			return error_memory(err);
	} else if (call->tool->answer == TOOL_WHOLE) {
		if (buffer_append(&call->whole, m->data, m->length) < 0)
			return error_set(err, EFBIG, "the answer is larger than %u MiB, too large for a tool's result",
					 TOOL_DOCUMENT_MAX >> 20);
	} else if (excerpt_add(&call->out, m->data, m->length) < 0) {
		return error_memory(err);
	}
	return 0;
}

int tool_call_step(struct tool_call *call, int64_t now_ms, struct error *err)
{
	struct talk_message m;
	struct error ignored;
	int got;

	if (call->waits_until && (got = begin_again(call, now_ms, err)) <= 0)
		return got;

	/* A runner that ended early has said why: what it said is read, whatever became of the rest. */
	if (call->talk.out.length && talk_flush(&call->talk, &ignored) < 0)
		buffer_clear(&call->talk.out);
	while ((got = talk_take(&call->talk, &m, err)) > 0) {
		if (m.type == TALK_DATA && take_data(call, &m, err) < 0)
			return -1;
		if (m.type != TALK_END)
			continue;
		if (m.code)
			return error_set(err, m.code, "%s", m.text[0] ? m.text : strerror(m.code));
		got = call->tool->finish(call, m.exit, err);
		if (got < 0)
			return -1;
		if (got == 0)
			return 1;
	}
	return got;
}

int tool_call_failed(struct tool_call *call, const struct error *failure, struct error *err)
{
	struct buffer text cleanup_buffer = BUFFER(8 * tool_text_max);

	cJSON_Delete(call->content);
	call->content = cJSON_CreateArray();
	call->is_error = true;
	if (!call->content ||
	    (call->tool && call->tool->describe && call->received && call->tool->describe(call, &text) < 0) ||
	    buffer_format(&text, text.length ? "%s[%s]" : "%s%s",
			  text.length && text.data[text.length - 1] != '\n' ? "\n" : "", failure->text) < 0)
		return error_memory(err);
	return tool_add_text(call, text.data, err);
}

void tool_call_end(struct tool_call *call)
{
	struct error ignored;

	if (call->talk.fd >= 0 && call->tool->ends_with_client)
		(void)talk_send(&call->talk, TALK_CLOSE, NULL, 0, &ignored);
	talk_close(&call->talk);
	excerpt_free(&call->out);
	excerpt_free(&call->err);
	buffer_free(&call->whole);
	cJSON_Delete(call->arguments);
	cJSON_Delete(call->content);
	call->arguments = call->content = NULL;
}

int tool_ask(struct tool_call *call, const char *name, const char *request, size_t n, struct error *err)
{
	talk_close(&call->talk);
	return target_connect(call->target, &call->talk, err) < 0 || talk_ask(&call->talk, name, request, n, err) < 0 ? -1 : 0;
}

int tool_command(struct tool_call *call, const char *line, struct error *err)
{
	talk_close(&call->talk);
	if (target_connect(call->target, &call->talk, err) < 0)
		return -1;
	return talk_send(&call->talk, TALK_COMMAND, line, strlen(line), err);
}

const char *tool_string(const struct tool_call *call, const char *name)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(call->arguments, name);

	return cJSON_IsString(value) ? value->valuestring : NULL;
}

double tool_number(const struct tool_call *call, const char *name, double fallback)
{
	return json_number(call->arguments, name, fallback);
}

/* Adds {"type":type, …} to the content; NULL: out of memory. */
static cJSON *add_block(struct tool_call *call, const char *type)
{
	cJSON *block = cJSON_CreateObject();

	if (block && cJSON_AddStringToObject(block, "type", type) && cJSON_AddItemToArray(call->content, block))
		return block;
	cJSON_Delete(block);
	return NULL;
}

int tool_add_text(struct tool_call *call, const char *text, struct error *err)
{
	cJSON *block = add_block(call, "text");

	return block && cJSON_AddStringToObject(block, "text", text) ? 0 : error_memory(err);
}

int tool_add_picture(struct tool_call *call, const char *type, const char *data, struct error *err)
{
	cJSON *block = add_block(call, "image");

	if (!block || !cJSON_AddStringToObject(block, "data", data) ||
	    !cJSON_AddStringToObject(block, "mimeType", type))
		return error_memory(err);
	call->pictures++;
	call->picture_bytes += strlen(data);
	return 0;
}
