#include "backend/llm/recording.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/llm/json.h"
#include "base/cleanup.h"
#include "base/json.h"

#define TEXT_MAX (256u << 20)

static int take_line(struct recording *r, const char *name, size_t number, const char *line, size_t n,
		     struct error *err)
{
	cJSON *json = cJSON_ParseWithLength(line, n);
	bool assistant = !strcmp(json_word(json, "type"), "assistant") ||
			 !strcmp(json_word(json, "role"), "assistant");
	bool good = cJSON_IsObject(json) &&
		    (!assistant || cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(json, "content")));
	cleanup_buffer struct buffer one = BUFFER(TEXT_MAX);
	const char *content;
	size_t length = 0;
	char **turns;

	cJSON_Delete(json);
	if (!good)
		return error_set(err, EINVAL, "%s: line %zu is no event of a session", name, number);
	if (!assistant)
		return 0;
	content = json_member(line, n, "content", &length);
	turns = reallocarray(r->turns, r->count + 1, sizeof *turns);
	if (!turns)
		return error_memory(err);
	r->turns = turns;
	if (json_compact(content, length, &one) < 0)
		return errno == EINVAL ? error_set(err, EINVAL, "%s: line %zu holds a number that is none", name, number)
				       : error_memory(err);
	turns[r->count++] = steal_pointer(&one.data);
	return 0;
}

int recording_parse(struct recording *r, const char *name, const char *text, size_t n, struct error *err)
{
	size_t number = 0;

	while (n) {
		const char *end = memchr(text, '\n', n);
		size_t length = end ? (size_t)(end - text) : n;

		number++;
		if (length && strspn(text, " \t\r") < length &&
		    take_line(r, name, number, text, length, err) < 0)
			return -1;
		text += length + (end ? 1 : 0);
		n -= length + (end ? 1 : 0);
	}
	if (!r->count)
		return error_set(err, EINVAL, "%s holds no turn of an assistant", name);
	return 0;
}

void recording_free(struct recording *r)
{
	for (size_t i = 0; i < r->count; i++)
		free(r->turns[i]);
	free(r->turns);
	*r = (struct recording){ 0 };
}

static int add_call(struct answer *a, const cJSON *block)
{
	struct tool_call *calls = reallocarray(a->calls, a->count + 1, sizeof *calls);
	const cJSON *input = cJSON_GetObjectItemCaseSensitive(block, "input");

	if (!calls)
		return -1;
	a->calls = calls;
	calls[a->count] = (struct tool_call){
		.id = strdup(json_word(block, "id")),
		.name = strdup(json_word(block, "name")),
		.arguments = cJSON_IsObject(input) ? cJSON_Duplicate(input, true) : NULL,
		.raw = cJSON_IsObject(input) ? NULL : cJSON_PrintUnformatted(input),
	};
	a->count++;
	return calls[a->count - 1].id && calls[a->count - 1].name ? 0 : -1;
}

int recording_answer(const char *turn, struct answer *a, struct error *err)
{
	cJSON *blocks = cJSON_Parse(turn);
	struct buffer text = BUFFER(TEXT_MAX);
	const cJSON *block;
	int rc = blocks ? 0 : -1;

	*a = (struct answer){ .stop = STOP_DONE };
	cJSON_ArrayForEach(block, blocks) {
		if (!strcmp(json_word(block, "type"), "tool_use"))
			rc = rc ? rc : add_call(a, block);
		else if (!strcmp(json_word(block, "type"), "text") && !rc &&
			 ((text.length && buffer_text(&text, "\n\n") < 0) ||
			  buffer_text(&text, json_word(block, "text")) < 0))
			rc = -1;
	}
	cJSON_Delete(blocks);
	if (a->count)
		a->stop = STOP_CALLS;
	snprintf(a->stop_reason, sizeof a->stop_reason, "%s", a->count ? "tool_use" : "end_turn");
	snprintf(a->model, sizeof a->model, "replay");
	a->content = strdup(turn);
	a->text = text.data ? text.data : strdup("");
	if (rc < 0 || !a->content || !a->text) {
		answer_free(a);
		return error_memory(err);
	}
	return 0;
}
