#include "backend/llm/claude_stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/llm/json.h"
#include "backend/llm/retry.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "mcp/text.h"

#define BLOCKS_MAX 4096
#define TEXT_MAX (32u << 20) /* of all blocks; the API takes no more in a request */

struct claude_block {
	cJSON *json;             /* as content_block_start gave it, completed at content_block_stop */
	char type[64];
	struct buffer text;      /* text, thinking, or the JSON of a tool's arguments */
	struct buffer signature;
	bool closed;
	bool broken;             /* the arguments are no JSON object */
};

/* Also ends a stream whose memory ran out: asking again is all that could help. */
static enum piece_kind broken(struct claude_stream *s, struct piece *piece, const char *why)
{
	s->ended = true;
	piece->kind = PIECE_TROUBLE;
	piece->trouble = (struct trouble){ .retry = true, .delay = -1 };
	trouble_say(&piece->trouble, "the stream is broken: %s", why);
	piece->usage = claude_stream_usage(s);
	return PIECE_TROUBLE;
}

static enum piece_kind failed(struct claude_stream *s, const cJSON *event, struct piece *piece)
{
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(event, "error");

	s->ended = true;
	piece->kind = PIECE_TROUBLE;
	piece->trouble = (struct trouble){ .delay = -1, .retry = retry_error_type(json_word(error, "type")) };
	trouble_say(&piece->trouble, "error in the stream: %s: %s", json_word(error, "type"), json_word(error, "message"));
	piece->usage = claude_stream_usage(s);
	return PIECE_TROUBLE;
}

/* Later numbers replace earlier ones: message_delta's are cumulative. */
static int merge_usage(struct claude_stream *s, const cJSON *usage)
{
	const cJSON *item;

	if (!cJSON_IsObject(usage))
		return 0;
	if (!s->usage && !(s->usage = cJSON_CreateObject()))
		return -1;
	cJSON_ArrayForEach(item, usage) {
		cJSON *copy;

		if (!item->string || cJSON_IsNull(item))
			continue;
		copy = cJSON_Duplicate(item, true);
		if (!copy)
			return -1;
		cJSON_DeleteItemFromObjectCaseSensitive(s->usage, item->string);
		if (!cJSON_AddItemToObject(s->usage, item->string, copy)) {
			cJSON_Delete(copy);
			return -1;
		}
	}
	return 0;
}

cJSON *claude_stream_usage(const struct claude_stream *s)
{
	static const char *const names[][2] = {
		{ "input_tokens", "input_tokens" },
		{ "cache_read_input_tokens", "cache_read_tokens" },
		{ "cache_creation_input_tokens", "cache_write_tokens" },
		{ "output_tokens", "output_tokens" },
	};
	const cJSON *details;
	cJSON *usage;

	if (!s->usage || !(usage = cJSON_CreateObject()))
		return NULL;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const cJSON *n = cJSON_GetObjectItemCaseSensitive(s->usage, names[i][0]);

		if (cJSON_IsNumber(n) && n->valuedouble >= 0)
			cJSON_AddNumberToObject(usage, names[i][1], n->valuedouble);
	}
	details = cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(s->usage, "cache_creation"), "ephemeral_1h_input_tokens");
	if (cJSON_IsNumber(details))
		cJSON_AddNumberToObject(usage, "cache_write_1h_tokens", details->valuedouble);
	details = cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(s->usage, "output_tokens_details"), "thinking_tokens");
	if (cJSON_IsNumber(details))
		cJSON_AddNumberToObject(usage, "thinking_tokens", details->valuedouble);
	return usage;
}

static int add_text(struct claude_stream *s, struct buffer *text, const char *more)
{
	size_t n = strlen(more);

	s->size += n;
	return s->size > TEXT_MAX || buffer_append(text, more, n) < 0 ? -1 : 0;
}

static enum piece_kind message_start(struct claude_stream *s, const cJSON *event, struct piece *piece)
{
	const cJSON *message = cJSON_GetObjectItemCaseSensitive(event, "message");

	if (s->started)
		return broken(s, piece, "it starts twice");
	s->started = true;
	snprintf(s->model, sizeof s->model, "%s", json_word(message, "model"));
	snprintf(s->id, sizeof s->id, "%s", json_word(message, "id"));
	if (merge_usage(s, cJSON_GetObjectItemCaseSensitive(message, "usage")) < 0)
		return broken(s, piece, "out of memory");
	return PIECE_NONE;
}

static enum piece_kind lend(struct claude_stream *s, struct piece *piece, enum piece_kind kind,
			    const char *text)
{
	if (!*text)
		return PIECE_NONE;
	s->lent.limit = TEXT_MAX;
	buffer_clear(&s->lent);
	if (buffer_text(&s->lent, text) < 0)
		return broken(s, piece, "a piece of it is too long");
	piece->text = s->lent.data;
	piece->length = s->lent.length;
	return piece->kind = kind;
}

static enum piece_kind block_start(struct claude_stream *s, cJSON *event, struct piece *piece)
{
	const cJSON *index = cJSON_GetObjectItemCaseSensitive(event, "index");
	struct claude_block *blocks, *b;
	cJSON *json;

	if (!cJSON_IsNumber(index) || index->valuedouble != (double)s->count || s->count == BLOCKS_MAX)
		return broken(s, piece, "a block has the wrong index");
	if (s->count && !s->blocks[s->count - 1].closed)
		return broken(s, piece, "a block begins inside another");
	json = cJSON_DetachItemFromObjectCaseSensitive(event, "content_block");
	if (!cJSON_IsObject(json)) {
		cJSON_Delete(json);
		return broken(s, piece, "a block without content");
	}
	blocks = reallocarray(s->blocks, s->count + 1, sizeof *blocks);
	if (!blocks) {
		cJSON_Delete(json);
		return broken(s, piece, "out of memory");
	}
	s->blocks = blocks;
	b = &s->blocks[s->count++];
	*b = (struct claude_block){ .json = json, .text = BUFFER(TEXT_MAX), .signature = BUFFER(TEXT_MAX) };
	snprintf(b->type, sizeof b->type, "%s", json_word(json, "type"));
	if (!strcmp(b->type, "text")) {
		if (add_text(s, &b->text, json_word(json, "text")) < 0)
			return broken(s, piece, "it is too long");
		return lend(s, piece, PIECE_TEXT, json_word(json, "text"));
	}
	if (!strcmp(b->type, "thinking")) {
		if (add_text(s, &b->text, json_word(json, "thinking")) < 0 ||
		    add_text(s, &b->signature, json_word(json, "signature")) < 0)
			return broken(s, piece, "it is too long");
		return lend(s, piece, PIECE_THINKING, json_word(json, "thinking"));
	}
	if (!strcmp(b->type, "tool_use"))
		return lend(s, piece, PIECE_CALL, json_word(json, "name"));
	return PIECE_NONE;
}

static struct claude_block *open_block(struct claude_stream *s, const cJSON *event)
{
	const cJSON *index = cJSON_GetObjectItemCaseSensitive(event, "index");

	if (!s->count || !cJSON_IsNumber(index) || index->valuedouble != (double)(s->count - 1) ||
	    s->blocks[s->count - 1].closed)
		return NULL;
	return &s->blocks[s->count - 1];
}

static enum piece_kind block_delta(struct claude_stream *s, cJSON *event, struct piece *piece)
{
	cJSON *delta = cJSON_GetObjectItemCaseSensitive(event, "delta");
	const char *type = json_word(delta, "type");
	struct claude_block *b = open_block(s, event);
	const char *text;

	if (!b)
		return broken(s, piece, "a delta without its block");
	if (!strcmp(type, "text_delta")) {
		text = json_word(delta, "text");
		if (add_text(s, &b->text, text) < 0)
			return broken(s, piece, "it is too long");
		return lend(s, piece, PIECE_TEXT, text);
	}
	if (!strcmp(type, "thinking_delta")) {
		text = json_word(delta, "thinking");
		if (add_text(s, &b->text, text) < 0)
			return broken(s, piece, "it is too long");
		return lend(s, piece, PIECE_THINKING, text);
	}
	if (!strcmp(type, "input_json_delta")) {
		if (add_text(s, &b->text, json_word(delta, "partial_json")) < 0)
			return broken(s, piece, "it is too long");
	} else if (!strcmp(type, "signature_delta")) {
		buffer_clear(&b->signature);
		if (add_text(s, &b->signature, json_word(delta, "signature")) < 0)
			return broken(s, piece, "it is too long");
	} else if (!strcmp(type, "citations_delta")) {
		cJSON *list = cJSON_GetObjectItemCaseSensitive(b->json, "citations");
		cJSON *one = cJSON_DetachItemFromObjectCaseSensitive(delta, "citation");

		if (!cJSON_IsArray(list)) {
			cJSON_DeleteItemFromObjectCaseSensitive(b->json, "citations");
			list = cJSON_AddArrayToObject(b->json, "citations");
		}
		if (one && !cJSON_AddItemToArray(list, one))
			cJSON_Delete(one);
	} /* deltas that are not known are ignored, as the API's versioning asks */
	return PIECE_NONE;
}

static int put_string(cJSON *object, const char *name, const char *text)
{
	cJSON_DeleteItemFromObjectCaseSensitive(object, name);
	return cJSON_AddStringToObject(object, name, text) ? 0 : -1;
}

/* The arguments go back as the model wrote them (numbers unchanged), but on one line, as the journal
 * keeps them. What a stricter parser would not take back is as broken as no JSON at all. */
static int close_tool(struct claude_block *b)
{
	cleanup_buffer struct buffer line = BUFFER(b->text.limit);
	cJSON *value, *input = NULL;

	if (b->text.length) {
		value = cJSON_ParseWithLengthOpts(b->text.data, b->text.length + 1, NULL, true);
		b->broken = !cJSON_IsObject(value);
		cJSON_Delete(value);
		if (!b->broken && json_compact(b->text.data, b->text.length, &line) < 0) {
			if (errno != EINVAL)
				return -1;
			b->broken = true;
		}
		input = b->broken ? cJSON_CreateObject() : cJSON_CreateRaw(line.data);
	} else if (cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(b->json, "input"))) {
		return 0;
	} else {
		input = cJSON_CreateObject();
	}
	cJSON_DeleteItemFromObjectCaseSensitive(b->json, "input");
	if (!input || !cJSON_AddItemToObject(b->json, "input", input)) {
		cJSON_Delete(input);
		return -1;
	}
	return 0;
}

static enum piece_kind block_stop(struct claude_stream *s, const cJSON *event, struct piece *piece)
{
	struct claude_block *b = open_block(s, event);
	int rc = 0;

	if (!b)
		return broken(s, piece, "a block ends that did not begin");
	b->closed = true;
	if (!strcmp(b->type, "text"))
		rc = put_string(b->json, "text", b->text.data ? b->text.data : "");
	else if (!strcmp(b->type, "thinking"))
		rc = put_string(b->json, "thinking", b->text.data ? b->text.data : "") < 0 ||
			     put_string(b->json, "signature", b->signature.data ? b->signature.data : "") < 0
			     ? -1 : 0;
	else if (!strcmp(b->type, "tool_use") || !strcmp(b->type, "server_tool_use"))
		rc = close_tool(b);
	return rc < 0 ? broken(s, piece, "out of memory") : PIECE_NONE;
}

static enum piece_kind message_delta(struct claude_stream *s, const cJSON *event, struct piece *piece)
{
	const cJSON *delta = cJSON_GetObjectItemCaseSensitive(event, "delta");
	const cJSON *details = cJSON_GetObjectItemCaseSensitive(delta, "stop_details");

	if (*json_word(delta, "stop_reason"))
		snprintf(s->stop_reason, sizeof s->stop_reason, "%s", json_word(delta, "stop_reason"));
	if (cJSON_IsObject(details))
		snprintf(s->detail, sizeof s->detail, "%s%s%s", json_word(details, "category"),
			 *json_word(details, "category") && *json_word(details, "explanation") ? ": " : "",
			 json_word(details, "explanation"));
	if (merge_usage(s, cJSON_GetObjectItemCaseSensitive(event, "usage")) < 0)
		return broken(s, piece, "out of memory");
	return PIECE_NONE;
}

static enum answer_stop stop_of(const char *reason)
{
	static const struct {
		const char *reason;
		enum answer_stop stop;
	} table[] = {
		{ "end_turn", STOP_DONE },      { "stop_sequence", STOP_DONE },
		{ "tool_use", STOP_CALLS },     { "pause_turn", STOP_PAUSED },
		{ "max_tokens", STOP_CUT },     { "refusal", STOP_REFUSED },
		{ "model_context_window_exceeded", STOP_FULL },
	};

	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (!strcmp(reason, table[i].reason))
			return table[i].stop;
	return STOP_UNKNOWN;
}

static int add_call(struct answer *answer, const struct claude_block *b)
{
	struct tool_call *calls = reallocarray(answer->calls, answer->count + 1, sizeof *calls);
	struct tool_call *call;
	const cJSON *input = cJSON_GetObjectItemCaseSensitive(b->json, "input");

	if (!calls)
		return -1;
	answer->calls = calls;
	call = &calls[answer->count++];
	*call = (struct tool_call){ .id = strdup(json_word(b->json, "id")),
				    .name = strdup(json_word(b->json, "name")) };
	/* A NUL could not be handed on to the tool: cJSON ends the string before it. */
	if (b->broken || (cJSON_IsRaw(input) && text_escaped_nul(input->valuestring, strlen(input->valuestring))))
		call->raw = strdup(b->text.data);
	else
		call->arguments = cJSON_IsRaw(input) ? cJSON_Parse(input->valuestring) : cJSON_Duplicate(input, true);
	return call->id && call->name && (call->raw || call->arguments) ? 0 : -1;
}

static bool blank(const struct buffer *text)
{
	return !text->length || text->data[strspn(text->data, " \t\r\n\f\v")] == '\0';
}

/* Whether a block may go back: the API sends text without anything in it, and thinking that was cut off
 * before it was signed, and refuses both when they come back. */
static bool kept(const struct claude_stream *s, const struct claude_block *b)
{
	if (!strcmp(b->type, "text"))
		return !blank(&b->text);
	return strcmp(b->type, "thinking") != 0 || b->signature.length || stop_of(s->stop_reason) != STOP_CUT;
}

/* Moves the blocks into the answer. */
static int gather(struct claude_stream *s, struct answer *a, cJSON *content, struct buffer *text)
{
	a->hollow = true;
	for (size_t i = 0; i < s->count; i++) {
		struct claude_block *b = &s->blocks[i];

		if (!kept(s, b))
			continue;
		if (!strcmp(b->type, "text") && ((text->length && buffer_text(text, "\n\n") < 0) ||
						 buffer_append(text, b->text.data, b->text.length) < 0))
			return -1;
		if (!strcmp(b->type, "tool_use") && add_call(a, b) < 0)
			return -1;
		a->hollow = a->hollow && (!strcmp(b->type, "thinking") || !strcmp(b->type, "redacted_thinking"));
		if (!cJSON_AddItemToArray(content, b->json))
			return -1;
		b->json = NULL;
	}
	return 0;
}

static enum piece_kind message_stop(struct claude_stream *s, struct piece *piece)
{
	cJSON *content = cJSON_CreateArray();
	struct buffer text = BUFFER(2 * TEXT_MAX);
	struct answer *a = &piece->answer;
	int rc;

	if (!s->stop_reason[0] || (s->count && !s->blocks[s->count - 1].closed)) {
		cJSON_Delete(content);
		return broken(s, piece, "it ends without a reason");
	}
	*a = (struct answer){ .stop = stop_of(s->stop_reason) };
	rc = gather(s, a, content, &text);
	a->content = rc ? NULL : cJSON_PrintUnformatted(content);
	cJSON_Delete(content);
	a->text = text.data ? text.data : strdup("");
	if (rc || !a->content || !a->text) {
		answer_free(a);
		return broken(s, piece, "out of memory");
	}
	memcpy(a->stop_reason, s->stop_reason, sizeof a->stop_reason);
	memcpy(a->detail, s->detail, sizeof a->detail);
	memcpy(a->model, s->model, sizeof a->model);
	memcpy(a->id, s->id, sizeof a->id);
	a->usage = claude_stream_usage(s);
	s->ended = true;
	return piece->kind = PIECE_ANSWER;
}

/* NULL for what is no JSON, or would be none when it is sent back. */
static cJSON *parse(const char *data, size_t n)
{
	cleanup_free char *copy = NULL;

	if (!text_is_utf8(data, n))
		return NULL;
	if (!text_escaped_nul(data, n))
		return cJSON_ParseWithLength(data, n);
	copy = strndup(data, n);
	if (!copy)
		return NULL;
	text_replace_escaped_nuls(copy, strlen(copy));
	return cJSON_Parse(copy);
}

enum piece_kind claude_stream_event(struct claude_stream *s, const char *data, size_t n, struct piece *piece)
{
	enum piece_kind kind = PIECE_NONE;
	cJSON *event;
	const char *type;

	*piece = (struct piece){ .kind = PIECE_NONE };
	if (s->ended)
		return PIECE_NONE;
	event = parse(data, n);
	if (!event)
		return broken(s, piece, "an event is no JSON");
	type = json_word(event, "type");
	if (!strcmp(type, "error"))
		kind = failed(s, event, piece);
	else if (!strcmp(type, "message_start"))
		kind = message_start(s, event, piece);
	else if (!s->started && (!strncmp(type, "content_block", 13) || !strncmp(type, "message_", 8)))
		kind = broken(s, piece, "it does not start with message_start");
	else if (!strcmp(type, "content_block_start"))
		kind = block_start(s, event, piece);
	else if (!strcmp(type, "content_block_delta"))
		kind = block_delta(s, event, piece);
	else if (!strcmp(type, "content_block_stop"))
		kind = block_stop(s, event, piece);
	else if (!strcmp(type, "message_delta"))
		kind = message_delta(s, event, piece);
	else if (!strcmp(type, "message_stop"))
		kind = message_stop(s, piece);
	cJSON_Delete(event); /* ping, and what is not known, is ignored */
	return kind;
}

void claude_stream_free(struct claude_stream *s)
{
	for (size_t i = 0; i < s->count; i++) {
		cJSON_Delete(s->blocks[i].json);
		buffer_free(&s->blocks[i].text);
		buffer_free(&s->blocks[i].signature);
	}
	free(s->blocks);
	cJSON_Delete(s->usage);
	buffer_free(&s->lent);
	memset(s, 0, sizeof *s);
}
