/* Tool calls: run in the order in which the model asked, each recorded before it begins and when it
 * has ended. One waits for the one before it, unless both only read (the server says so of a tool):
 * models ask at once for a file to be written and to be run. Whatever goes wrong becomes a result that
 * the model can read. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/llm/session.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "mcp/schema.h"
#include "mcp/text.h"

#define OUTPUT_LIMIT 32768
#define INTERRUPT_SECONDS 5
#define LONGEST_WAIT 100000 /* seconds, in one go */

#define TOGETHER_MAX 16

struct running {
	const struct tool_call *call;
	unsigned number;
	double begun;
	uint64_t id;          /* the client's, 0 when it was never asked */
	bool recorded, done;
	cJSON *result;        /* owned; NULL when failure says why there is none */
	struct error failure;
};

static void on_done(void *context, const cJSON *result, const struct error *failure)
{
	struct running *run = context;

	run->done = true;
	if (result && (run->result = cJSON_Duplicate(result, true)))
		return;
	if (result)
		(void)error_memory(&run->failure);
	else
		run->failure = *failure;
}

static int add_text(cJSON *content, const char *text)
{
	cJSON *block = cJSON_CreateObject();

	cJSON_AddStringToObject(block, "type", "text");
	if (!cJSON_AddStringToObject(block, "text", text) || !cJSON_AddItemToArray(content, block)) {
		cJSON_Delete(block);
		return -1;
	}
	return 0;
}

/* The model gets head and tail of what is too long, and where the whole is. */
static int add_output(struct session *s, unsigned call, const struct buffer *text, cJSON *content, struct error *err)
{
	const cJSON *field = cJSON_GetObjectItemCaseSensitive(runner_fields(s->runner), "tool_output_limit");
	size_t limit = cJSON_IsNumber(field) && field->valuedouble >= 1024 ? (size_t)field->valuedouble : OUTPUT_LIMIT;
	cleanup_buffer struct buffer cut = BUFFER(limit + 4096);
	char name[64], where[128];
	size_t head, tail;
	int rc;

	if (text->length <= limit)
		return text->length && add_text(content, text->data) < 0 ? error_memory(err) : 0;
	snprintf(name, sizeof name, "call-%u.txt", call);
	head = text_cut(text->data, text->length, limit / 2);
	tail = text_cut(text->data, text->length, text->length - limit / 2);
	rc = session_leave(s, name, text->data, text->length, where, sizeof where);
	if (buffer_append(&cut, text->data, head) < 0 ||
	    buffer_format(&cut, "\n[… %zu bytes are left out here%s%s …]\n", tail - head,
			  rc < 0 ? "" : "; the whole is in ", rc < 0 ? "" : where) < 0 ||
	    buffer_append(&cut, text->data + tail, text->length - tail) < 0 || add_text(content, cut.data) < 0)
		return error_memory(err);
	return 0;
}

/* What the server returned, as content blocks of ours; all of its text in whole (calls/N/result). */
static int convert(struct session *s, unsigned call, const cJSON *result, cJSON *content, struct buffer *whole,
		   struct error *err)
{
	const cJSON *block, *blocks = cJSON_GetObjectItemCaseSensitive(result, "content");
	cleanup_buffer struct buffer text = BUFFER(LINE_MAX_BYTES);
	struct pictures tally = s->pictures;
	unsigned images = 0;
	char name[64];

	cJSON_ArrayForEach(block, blocks) {
		const char *type = json_word(block, "type");
		cleanup_free char *other = NULL;
		const char *piece = json_word(block, "text");

		if (!strcmp(type, "image"))
			continue;
		if (strcmp(type, "text") != 0)
			piece = other = cJSON_PrintUnformatted(block);
		if (!piece || (text.length && text.data[text.length - 1] != '\n' && buffer_text(&text, "\n") < 0) ||
		    buffer_text(&text, piece) < 0)
			return error_memory(err);
	}
	runner_scrub(s->runner, &text);
	if (text.length && buffer_append(whole, text.data, text.length) < 0)
		return error_memory(err);
	if (add_output(s, call, &text, content, err) < 0)
		return -1;
	cJSON_ArrayForEach(block, blocks) {
		if (strcmp(json_word(block, "type"), "image") != 0)
			continue;
		snprintf(name, sizeof name, "call-%u-%u", call, ++images);
		if (session_keep_picture(s, &tally, name, block, content, err) < 0)
			return -1;
	}
	return 0;
}

static int set_file(struct session *s, unsigned call, const char *name, const char *text, struct error *err)
{
	char path[64];

	snprintf(path, sizeof path, "calls/%u/%s", call, name);
	return session_set_file(s, path, text, err);
}

int session_result(struct session *s, unsigned number, const char *id, const char *name, cJSON *content,
		   bool is_error, const char *state, double seconds, struct error *err)
{
	cJSON *event = cJSON_CreateObject();
	const cJSON *block;
	char elapsed[32], path[64];

	cJSON_AddNumberToObject(event, "call", number);
	cJSON_AddStringToObject(event, "id", id);
	cJSON_AddStringToObject(event, "name", name);
	cJSON_AddBoolToObject(event, "is_error", is_error);
	cJSON_AddNumberToObject(event, "seconds", (double)(long long)(seconds * 1000) / 1000);
	cJSON_AddItemReferenceToObject(event, "content", content);
	if (session_event(s, "result", event, err) < 0 || session_sync(s, err) < 0)
		return -1;
	failpoint("session-result");

	if (session_heading(s, err, "result %u%s (%.2f s)", number, is_error ? ": error" : "", seconds) < 0)
		return -1;
	cJSON_ArrayForEach(block, content) {
		const char *text = json_word(block, "text"), *file = json_word(block, "file");

		if (*text && session_say_line(s, err, "%s", text) < 0)
			return -1;
		if (*file && session_say_line(s, err, "[picture: %s]", file) < 0)
			return -1;
	}
	snprintf(elapsed, sizeof elapsed, "%.3f", seconds);
	snprintf(path, sizeof path, "calls/%u/result", number);
	if (faccessat(runner_folder(s->runner), path, F_OK, 0) < 0) {
		const char *text = json_word(content->child, "text");

		if (set_file(s, number, "name", name, err) < 0 || set_file(s, number, "result", text, err) < 0)
			return -1;
	}
	if (set_file(s, number, "elapsed", elapsed, err) < 0 || set_file(s, number, "state", state, err) < 0)
		return -1;
	return 0;
}

/* For people: a lone text (code, a command) as it is, several arguments by name. */
static int show_call(struct session *s, unsigned number, const struct tool_call *call, struct error *err)
{
	const cJSON *argument;

	if (session_heading(s, err, "call %u %s", number, call->name) < 0)
		return -1;
	if (!call->arguments)
		return session_say_line(s, err, "%s", call->raw ? call->raw : "");
	cJSON_ArrayForEach(argument, call->arguments) {
		cleanup_free char *json = cJSON_IsString(argument) ? NULL : cJSON_PrintUnformatted(argument);
		const char *text = json ? json : cJSON_GetStringValue(argument);
		bool lone = !argument->next && argument == call->arguments->child && !json;
		int rc;

		if (!text)
			return error_memory(err);
		if (lone)
			rc = session_say_line(s, err, "%s", text);
		else
			rc = session_say_line(s, err, "%s:%s%s", argument->string, strchr(text, '\n') ? "\n" : " ", text);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int record_call(struct session *s, unsigned number, const struct tool_call *call, struct error *err)
{
	cJSON *event = cJSON_CreateObject();
	cleanup_free char *arguments = call->arguments ? cJSON_PrintUnformatted(call->arguments) : NULL;

	cJSON_AddNumberToObject(event, "call", number);
	cJSON_AddStringToObject(event, "id", call->id);
	cJSON_AddStringToObject(event, "name", call->name);
	if (arguments)
		cJSON_AddRawToObject(event, "arguments", arguments);
	if (session_event(s, "call", event, err) < 0 || session_sync(s, err) < 0)
		return -1;
	failpoint("session-call");
	if (set_file(s, number, "name", call->name, err) < 0 ||
	    set_file(s, number, "arguments", arguments ? arguments : call->raw ? call->raw : "", err) < 0 ||
	    set_file(s, number, "state", "running", err) < 0)
		return -1;
	return show_call(s, number, call, err);
}

/* What was begun in a notebook goes on until it is interrupted. */
static int interrupt_tool(struct session *s, struct error *err)
{
	const struct client_callbacks callbacks = { .done = on_done };
	double until = clock_seconds() + INTERRUPT_SECONDS;
	struct running run = { .done = false };
	bool halted[3] = { s->interrupt, s->stop, s->quit };
	struct error why;
	uint64_t id;
	int rc = 0;

	if (s->client_gone || !client_tool(s->client, "interrupt"))
		return 0;
	id = client_call(s->client, "interrupt", NULL, &callbacks, &run, &why);
	while (id && !run.done && !s->client_gone && clock_seconds() < until && rc == 0)
		rc = session_next(s, 100, err);
	if (id && !run.done && !s->client_gone)
		client_cancel(s->client, id, "it took too long");
	cJSON_Delete(run.result);
	s->interrupt |= halted[0];
	s->stop |= halted[1];
	s->quit |= halted[2];
	return rc;
}

static const cJSON *find_tool(const struct session *s, const char *name)
{
	const cJSON *tool;

	cJSON_ArrayForEach(tool, s->dialogue.tools)
		if (!strcmp(json_word(tool, "name"), name))
			return tool;
	return NULL;
}

/* Why a call cannot even be tried; "" when it can. */
static int check(struct session *s, const struct tool_call *call, bool cut, struct error *failure)
{
	const cJSON *tool = find_tool(s, call->name), *known;
	char names[512] = "";

	if (cut)
		return error_set(failure, EINVAL, "not run: your answer reached its limit of output tokens, so the "
						  "arguments may be incomplete; ask again, in smaller pieces");
	if (!tool) {
		cJSON_ArrayForEach(known, s->dialogue.tools) {
			size_t n = strlen(names);

			snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "", json_word(known, "name"));
		}
		return error_set(failure, ENOENT, "there is no tool '%s'; there are: %s", call->name,
				 *names ? names : "none");
	}
	if (!call->arguments)
		return error_set(failure, EINVAL, "the arguments are not a JSON object, or one with a NUL in it");
	if (schema_check(cJSON_GetObjectItemCaseSensitive(tool, "inputSchema"), call->arguments, failure) < 0)
		return error_wrap(failure, "the arguments do not fit");
	return 0;
}

/* Records the call and asks the server for it, if it may be tried. */
static int begin(struct session *s, struct running *run, bool cut, struct error *err)
{
	const struct client_callbacks callbacks = { .done = on_done };
	int rc;

	run->begun = clock_seconds();
	run->number = s->calls + 1;
	if (record_call(s, run->number, run->call, err) < 0)
		return -1;
	run->recorded = true;
	if (!session_halted(s)) {
		if (check(s, run->call, cut, &run->failure) < 0)
			return 0;
		rc = session_client(s, &run->failure, err);
		if (rc < 0)
			return rc == -2 ? -1 : 0;
	}
	if (session_halted(s))
		return error_set(&run->failure, EINTR, "not run: the user interrupted"), 0;
	if (!s->client)
		return error_set(&run->failure, ENOTCONN, "this session has no notebook and no sandbox any more"), 0;
	run->id = client_call(s->client, run->call->name, run->call->arguments, &callbacks, run, &run->failure);
	failpoint("session-tool");
	return 0;
}

/* Waits for its end, or brings that about. */
static int wait_for(struct session *s, struct running *run, struct error *err)
{
	double seconds = json_number(runner_fields(s->runner), "tool_timeout", 120);

	while (run->id && !run->done) {
		double left = run->begun + seconds - clock_seconds();

		if (session_halted(s)) {
			client_cancel(s->client, run->id, "the user interrupted");
			error_set(&run->failure, EINTR, "interrupted by the user; what it had begun may have taken effect");
			/* A session that goes away leaves nothing running; one whose process ends goes on. */
			return s->quit && runner_want(s->runner)->what != WANT_REMOVED ? 0 : interrupt_tool(s, err);
		}
		if (seconds > 0 && left <= 0) {
			client_cancel(s->client, run->id, "it took too long");
			error_set(&run->failure, ETIMEDOUT, "timed out after %g s (tool_timeout); it was interrupted", seconds);
			return interrupt_tool(s, err);
		}
		if (session_next(s, seconds <= 0 ? -1 : left > LONGEST_WAIT ? LONGEST_WAIT * 1000 : (int)(left * 1000) + 1, err) < 0)
			return -1;
	}
	return 0;
}

static int finish(struct session *s, struct running *run, struct error *err)
{
	cleanup_buffer struct buffer whole = BUFFER(LINE_MAX_BYTES);
	cJSON *content;
	bool is_error;
	int rc;

	if (wait_for(s, run, err) < 0)
		return -1;
	if (s->quit && !run->result)
		return 0; /* the next process reports it as interrupted */
	content = cJSON_CreateArray();
	is_error = !run->result || cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(run->result, "isError"));
	if (run->result)
		rc = convert(s, run->number, run->result, content, &whole, err);
	else
		rc = add_text(content, run->failure.text) < 0 || buffer_text(&whole, run->failure.text) < 0 ?
		     error_memory(err) : 0;
	if (rc == 0)
		rc = set_file(s, run->number, "result", whole.data ? whole.data : "", err);
	if (rc == 0)
		rc = session_result(s, run->number, run->call->id, run->call->name, content, is_error,
				    run->failure.code == EINTR ? "interrupted" : is_error ? "error" : "done",
				    clock_seconds() - run->begun, err);
	cJSON_Delete(content);
	return rc;
}

static bool only_reads(const struct session *s, const struct tool_call *call)
{
	const cJSON *hints = cJSON_GetObjectItemCaseSensitive(find_tool(s, call->name), "annotations");

	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(hints, "readOnlyHint"));
}

/* How many calls from the i-th on run at once. */
static size_t together(const struct session *s, const struct answer *answer, size_t i)
{
	size_t n = 0;

	while (n < TOGETHER_MAX && i + n < answer->count && only_reads(s, &answer->calls[i + n]))
		n++;
	return n ? n : 1;
}

int session_calls(struct session *s, const struct answer *answer, struct error *err)
{
	struct running runs[TOGETHER_MAX];
	size_t n;
	int rc = 0;

	for (size_t i = 0; i < answer->count && rc == 0; i += n) {
		n = together(s, answer, i);
		for (size_t k = 0; k < n; k++) {
			runs[k] = (struct running){ .call = &answer->calls[i + k] };
			if (rc == 0 && !s->quit)
				rc = begin(s, &runs[k], answer->stop == STOP_CUT, err);
		}
		for (size_t k = 0; k < n; k++)
			if (rc == 0 && runs[k].recorded)
				rc = finish(s, &runs[k], err);
		for (size_t k = 0; k < n; k++) {
			if (runs[k].id && !runs[k].done)
				client_cancel(s->client, runs[k].id, "it is not waited for");
			cJSON_Delete(runs[k].result);
		}
	}
	return rc;
}
