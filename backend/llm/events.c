/* What a session writes: events into messages.jsonl, from which all else can be rebuilt, and the
 * same for people into messages. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/llm/json.h"
#include "backend/llm/session.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "mcp/text.h"

#define ABORTED_MAX 65536

/* What is written has no secrets in it, and is UTF-8. */
static void clean(struct session *s, struct buffer *text)
{
	runner_scrub(s->runner, text);
	text_make_utf8(text->data, text->length);
}

int session_set_file(struct session *s, const char *path, const char *text, struct error *err)
{
	cleanup_buffer struct buffer line = BUFFER(LINE_MAX_BYTES);

	if (buffer_text(&line, text) < 0 ||
	    (line.length && line.data[line.length - 1] != '\n' && buffer_text(&line, "\n") < 0))
		return error_memory(err);
	clean(s, &line);
	return runner_set_value(s->runner, path, line.data ? line.data : "", line.length, 0600, err);
}

static cJSON *pending_of(struct session *s, const char *id)
{
	cJSON *call;

	cJSON_ArrayForEach(call, s->pending)
		if (!strcmp(json_word(call, "id"), id))
			return call;
	return NULL;
}

static int take_system(struct session *s, const cJSON *event, struct error *err)
{
	const cJSON *tools = cJSON_GetObjectItemCaseSensitive(event, "tools");

	free(s->dialogue.model);
	free(s->dialogue.system);
	cJSON_Delete(s->dialogue.tools);
	s->dialogue.model = strdup(json_word(event, "model"));
	s->dialogue.system = strdup(json_word(event, "text"));
	s->dialogue.tools = cJSON_IsArray(tools) ? cJSON_Duplicate(tools, true) : cJSON_CreateArray();
	s->begun = true;
	return s->dialogue.model && s->dialogue.system && s->dialogue.tools ? 0 : error_memory(err);
}

static int take_answer(struct session *s, bool whole, const cJSON *event, const char *content, size_t length,
		       struct error *err)
{
	const cJSON *usage = cJSON_GetObjectItemCaseSensitive(event, "usage");
	const cJSON *cost = cJSON_GetObjectItemCaseSensitive(event, "cost");
	const cJSON *calls = cJSON_GetObjectItemCaseSensitive(event, "calls");

	s->asked = false;
	if ((whole || cJSON_IsObject(usage)) &&
	    usage_add(&s->usage, json_word(event, "model"), usage, cJSON_IsNumber(cost) ? cost->valuedouble : -1, whole) < 0)
		return error_memory(err);
	if (!whole)
		return 0;
	cJSON_Delete(s->pending);
	s->pending = cJSON_IsArray(calls) ? cJSON_Duplicate(calls, true) : NULL;
	s->answered = true;
	s->last_stop = answer_stop_find(json_word(event, "stop"));
	snprintf(s->last_reason, sizeof s->last_reason, "%s", json_word(event, "stop_reason"));
	return content ? dialogue_add(&s->dialogue, ITEM_ASSISTANT, content, length, err) : 0;
}

/* Brings what is kept in memory up to date with one event; the same when it is written and when it
 * is read again. */
static int take(void *context, const char *type, const cJSON *event, const char *line, size_t n,
		struct error *err)
{
	struct session *s = context;
	const char *inbox = json_word(event, "inbox"), *content;
	cJSON *call;
	size_t length;

	if (*inbox)
		snprintf(s->taken, sizeof s->taken, "%s", inbox);
	content = json_member(line, n, "content", &length);
	if (!strcmp(type, "system"))
		return take_system(s, event, err);
	if (!strcmp(type, "user") || !strcmp(type, "result"))
		session_count_pictures(s, cJSON_GetObjectItemCaseSensitive(event, "content"));
	if (!strcmp(type, "user") || !strcmp(type, "start")) {
		s->answered = false;
		if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(event, "note"))) {
			s->open = true;
			s->advanced = false;
		}
		return content ? dialogue_add(&s->dialogue, ITEM_USER, content, length, err) : 0;
	}
	if (!strcmp(type, "request")) {
		s->asked = s->advanced = true;
		s->asked_at = json_number(event, "messages", 0);
		s->requests = (unsigned)json_number(event, "request", 0);
		return dialogue_add(&s->dialogue, ITEM_ASKED, NULL, 0, err);
	}
	if (!strcmp(type, "assistant") || !strcmp(type, "aborted"))
		return take_answer(s, !strcmp(type, "assistant"), event, content, length, err);
	if (!strcmp(type, "call")) {
		s->calls = (unsigned)json_number(event, "call", 0);
		call = pending_of(s, json_word(event, "id"));
		if (call && !cJSON_AddNumberToObject(call, "call", s->calls))
			return error_memory(err);
	}
	if (!strcmp(type, "result")) {
		if (json_number(event, "call", 0) > s->calls)
			s->calls = (unsigned)json_number(event, "call", 0);
		s->answered = false;
		call = pending_of(s, json_word(event, "id"));
		if (call)
			cJSON_Delete(cJSON_DetachItemViaPointer(s->pending, call));
		return dialogue_add(&s->dialogue, ITEM_RESULT, line, n, err);
	}
	if (!strcmp(type, "end")) {
		s->open = false;
		s->usage.seconds += json_number(event, "seconds", 0);
		snprintf(s->ended, sizeof s->ended, "%s", json_word(event, "state"));
		snprintf(s->ended_text, sizeof s->ended_text, "%s", json_word(event, "error"));
	}
	return 0;
}

static int append(struct session *s, const char *type, const char *members, struct error *err)
{
	cJSON *event;
	int rc;

	if (journal_line(&s->journal, type, members, &s->line, err) < 0)
		return -1;
	clean(s, &s->line);
	if (runner_append(s->runner, "messages.jsonl", s->line.data, s->line.length, err) < 0)
		return -1;
	journal_advance(&s->journal, &s->line);
	event = cJSON_ParseWithLength(s->line.data, s->line.length - 1);
	if (!event)
		return error_set(err, EBADMSG, "an event of type %s is not JSON", type);
	rc = take(s, type, event, s->line.data, s->line.length - 1, err);
	cJSON_Delete(event);
	return rc;
}

int session_event(struct session *s, const char *type, cJSON *event, struct error *err)
{
	cleanup_free char *text = event ? cJSON_PrintUnformatted(event) : NULL;

	cJSON_Delete(event);
	if (!text)
		return error_memory(err);
	text[strlen(text) - 1] = '\0'; /* without the braces */
	return append(s, type, text + 1, err);
}

int session_sync(struct session *s, struct error *err)
{
	return runner_sync(s->runner, "messages.jsonl", err);
}

int session_user_text(struct session *s, const char *text, bool note, const char *inbox, struct error *err)
{
	cJSON *event = cJSON_CreateObject(), *content, *block = cJSON_CreateObject();

	if (note)
		cJSON_AddTrueToObject(event, "note");
	if (inbox)
		cJSON_AddStringToObject(event, "inbox", inbox);
	content = cJSON_AddArrayToObject(event, "content");
	cJSON_AddStringToObject(block, "type", "text");
	if (!cJSON_AddStringToObject(block, "text", text) || !cJSON_AddItemToArray(content, block)) {
		cJSON_Delete(block);
		cJSON_Delete(event);
		return error_memory(err);
	}
	return session_event(s, "user", event, err);
}

/* The answer that was coming when the process ended is in `messages`, behind where it was asked. */
static int repair_answer(struct session *s, struct error *err)
{
	cleanup_buffer struct buffer all = BUFFER(256u << 20);
	struct error ignored;
	cJSON *event;
	size_t from;

	if (file_read(runner_folder(s->runner), "messages", &all, &ignored) < 0)
		buffer_clear(&all);
	from = s->asked_at >= 0 && s->asked_at < (double)all.length ? (size_t)s->asked_at : all.length;
	if (all.length - from > ABORTED_MAX)
		from = all.length - ABORTED_MAX;
	while (from < all.length && ((unsigned char)all.data[from] & 0xC0) == 0x80)
		from++;
	event = cJSON_CreateObject();
	cJSON_AddStringToObject(event, "model", s->dialogue.model ? s->dialogue.model : "");
	cJSON_AddStringToObject(event, "reason", "its process ended");
	cJSON_AddStringToObject(event, "text", all.data ? all.data + from : "");
	return session_event(s, "aborted", event, err);
}

/* Tools that had been started are reported as interrupted, never run again in silence. */
static int repair_calls(struct session *s, struct error *err)
{
	while (s->pending && s->pending->child) {
		const cJSON *call = s->pending->child;
		cJSON *content = cJSON_CreateArray(), *block = cJSON_CreateObject();
		bool run = cJSON_GetObjectItemCaseSensitive(call, "call") != NULL;
		unsigned n = run ? (unsigned)json_number(call, "call", 0) : s->calls + 1;
		cleanup_free char *id = strdup(json_word(call, "id")), *name = strdup(json_word(call, "name"));
		int rc;

		cJSON_AddStringToObject(block, "type", "text");
		cJSON_AddStringToObject(block, "text", run
			? "interrupted: the session's process ended while this ran. It may have taken effect, wholly or in part."
			: "interrupted: the session's process ended before this was run.");
		cJSON_AddItemToArray(content, block);
		rc = id && name ? session_result(s, n, id, name, content, true, "interrupted", 0, err)
				: error_memory(err);
		cJSON_Delete(content);
		if (rc < 0)
			return -1;
	}
	return 0;
}

int session_load(struct session *s, struct error *err)
{
	int folder = runner_folder(s->runner);
	bool torn, broken;

	s->dialogue.folder = folder;
	if (journal_load(&s->journal, folder, "messages.jsonl", take, s, &torn, err) < 0)
		return -1;
	if (torn)
		runner_changed(s->runner, "messages.jsonl");
	s->in_line = false; /* its mender ends the last line */
	broken = s->open && (s->asked || (s->pending && s->pending->child));
	if (!broken)
		return 0;
	if (session_heading(s, err, "interrupted") < 0 ||
	    session_say_line(s, err, "The session's process ended here; it goes on.") < 0 ||
	    (s->asked && repair_answer(s, err) < 0))
		return -1;
	failpoint("session-repair");
	return repair_calls(s, err);
}

int session_show_usage(struct session *s, struct error *err)
{
	cJSON *usage = usage_render(&s->usage), *info = cJSON_CreateObject();
	cleanup_free char *text = usage ? cJSON_Print(usage) : NULL;
	cleanup_free char *about = NULL, *line = NULL, *json = NULL;
	int rc = -1;

	cJSON_AddStringToObject(info, "model", s->dialogue.model ? s->dialogue.model : "");
	cJSON_AddNumberToObject(info, "turns", s->usage.turns);
	cJSON_AddNumberToObject(info, "tool_calls", s->calls);
	if (asprintf(&about, "%llu %s", (unsigned long long)s->journal.seq, s->journal.head) < 0)
		about = NULL;
	cJSON_AddStringToObject(info, "head", about ? about : "");
	json = cJSON_Print(info);
	if (!text || !json || !about || asprintf(&line, "%s\n", text) < 0) {
		line = NULL;
		error_memory(err);
	} else {
		rc = runner_set_text(s->runner, "usage", line, err);
		rc = rc < 0 ? rc : runner_set_text(s->runner, "info.json", json, err);
	}
	cJSON_Delete(usage);
	cJSON_Delete(info);
	return rc;
}

/* more: what comes next may go on in the middle of a word, and of a secret. */
static int say(struct session *s, const char *text, size_t n, bool more, struct error *err)
{
	size_t kept;

	if (buffer_append(&s->unsaid, text, n) < 0)
		return error_set(err, errno, "too much is said at once");
	clean(s, &s->unsaid);
	kept = more ? runner_scrub_tail(s->runner, s->unsaid.data, s->unsaid.length) : 0;
	n = s->unsaid.length - kept;
	if (s->unsaid.length)
		s->in_line = kept || s->unsaid.data[n - 1] != '\n';
	if (n && runner_append(s->runner, "messages", s->unsaid.data, n, err) < 0)
		return -1;
	buffer_consume(&s->unsaid, n);
	return 0;
}

int session_say(struct session *s, const char *text, size_t n, struct error *err)
{
	return say(s, text, n, false, err);
}

int session_stream(struct session *s, const char *text, size_t n, struct error *err)
{
	return say(s, text, n, true, err);
}

int session_heading(struct session *s, struct error *err, const char *format, ...)
{
	char who[512], now[TIME_TEXT_SIZE];
	cleanup_buffer struct buffer line = BUFFER(2048);
	struct stat st;
	bool first = !s->unsaid.length && (fstatat(runner_folder(s->runner), "messages", &st, 0) < 0 || !st.st_size);
	va_list args;

	va_start(args, format);
	vsnprintf(who, sizeof who, format, args);
	va_end(args);
	time_text(now, false);
	s->saying = SAYING_NOTHING;
	if (buffer_format(&line, "%s%s── %s  %s\n", s->in_line ? "\n" : "", first ? "" : "\n", who, now) < 0)
		return error_memory(err);
	return session_say(s, line.data, line.length, err);
}

int session_say_line(struct session *s, struct error *err, const char *format, ...)
{
	cleanup_free char *text = NULL;
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0) {
		text = NULL;
		return error_memory(err);
	}
	if (session_say(s, text, (size_t)n, err) < 0)
		return -1;
	return n && text[n - 1] == '\n' ? 0 : session_say(s, "\n", 1, err);
}
