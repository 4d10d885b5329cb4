/* What clients ask a notebook for: code is run one request after another, in the order in which
 * they came; each one's text goes to its client as fast as the client takes it, out of the
 * cell's own file, so that nothing is kept in memory for a slow one. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backend/kernel/sentence.h"
#include "backend/kernel/story.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

#define ANSWER_MAX (1u << 30)
#define INTERRUPT_SECONDS 10

static const char *const outcome_names[] = {
	[OUTCOME_OK] = "ok", [OUTCOME_ERROR] = "error",
	[OUTCOME_INTERRUPTED] = "interrupted", [OUTCOME_DIED] = "died",
};

double story_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The notebook could not be written: the story ends with it. */
static void trouble(struct story *s, const struct error *err)
{
	if (!s->trouble.code)
		s->trouble = *err;
}

static struct request *new_request(struct story *s, enum request_kind kind, const char *code, size_t n)
{
	struct request *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->kind = kind;
	r->number = ++s->number;
	r->cell = (struct cell){ .fragment = -1, .output = -1, .count = -1 };
	r->answer = BUFFER(ANSWER_MAX);
	r->code = malloc(n + 1);
	if (!r->code) {
		free(r);
		return NULL;
	}
	memcpy(r->code, code, n);
	r->code[n] = '\0';
	r->length = n;
	return r;
}

static void free_request(struct request *r)
{
	cell_close(&r->cell);
	buffer_free(&r->answer);
	free(r->code);
	free(r);
}

static void append_request(struct story *s, struct request *r)
{
	if (s->last)
		s->last->next = r;
	else
		s->first = r;
	s->last = r;
}

static void remove_request(struct story *s, struct request *r)
{
	struct request **at = &s->first, *before = NULL;

	while (*at && *at != r) {
		before = *at;
		at = &(*at)->next;
	}
	if (!*at)
		return;
	*at = r->next;
	if (s->last == r)
		s->last = before;
	r->next = NULL;
}

static void set_busy(struct story *s, bool busy)
{
	const char *state = busy ? "busy" : "idle";
	struct error err;

	if (!s->ready || s->turned || s->dead || !strcmp(runner_status(s->runner)->state, state))
		return;
	if (runner_set_state(s->runner, state, &err) < 0)
		trouble(s, &err);
}

bool requests_waiting(const struct story *s)
{
	return s->first;
}

/* Gives a client what its cell has printed since the last time. */
static void tell(struct request *r, bool force)
{
	char piece[65536];
	struct stat st;
	ssize_t n;

	if (r->kind != REQUEST_EXEC || !r->conversation || r->cell.output < 0)
		return;
	/* What was cleared is gone; the stream goes on with what came instead. */
	if (r->clears != r->cell.clears || (fstat(r->cell.output, &st) == 0 && st.st_size < r->told)) {
		r->clears = r->cell.clears;
		r->told = 0;
	}
	while (force || !conversation_full(r->conversation)) {
		n = pread(r->cell.output, piece, sizeof piece, r->told);
		if (n <= 0)
			return;
		if (conversation_send(r->conversation, TALK_STDOUT, piece, (size_t)n, -1) < 0)
			return;
		r->told += n;
	}
}

static void give_answer(struct request *r, bool force)
{
	size_t n;

	while (r->conversation && r->answered < r->answer.length &&
	       (force || !conversation_full(r->conversation))) {
		n = r->answer.length - r->answered;
		if (n > 65536)
			n = 65536;
		if (conversation_send(r->conversation, TALK_STDOUT, r->answer.data + r->answered, n, -1) < 0)
			return;
		r->answered += n;
	}
}

/* Whether its client has all of it; then the conversation is ended. force: whether it takes it or not. */
static bool drained(struct request *r, bool force)
{
	struct stat st;

	if (!r->conversation)
		return true;
	tell(r, force);
	give_answer(r, force);
	if (!force && r->answered < r->answer.length)
		return false;
	if (!force && r->kind == REQUEST_EXEC && r->cell.output >= 0 &&
	    fstat(r->cell.output, &st) == 0 && r->told < st.st_size)
		return false;
	conversation_end(r->conversation, 0, r->kind == REQUEST_EXEC && r->outcome != OUTCOME_OK, NULL);
	r->conversation = NULL;
	return true;
}

static int make_answer(struct request *r, struct error *err)
{
	if (buffer_text(&r->answer, "{\"cell\":") < 0 ||
	    (r->cell.number ? buffer_format(&r->answer, "%u", r->cell.number) : buffer_text(&r->answer, "null")) < 0 ||
	    buffer_text(&r->answer, ",\"count\":") < 0 ||
	    (r->cell.count >= 0 ? buffer_format(&r->answer, "%ld", r->cell.count)
				: buffer_text(&r->answer, "null")) < 0 ||
	    buffer_format(&r->answer, ",\"state\":\"%s\",\"outputs\":", outcome_names[r->outcome]) < 0)
		return error_errno(err, "cell %u", r->cell.number);
	return cell_outputs(&r->cell, &r->answer, err) < 0 || buffer_text(&r->answer, "}\n") < 0 ? -1 : 0;
}

/* What a client that was lost did not see of code without a cell. */
static void log_output(struct story *s, struct request *r)
{
	char piece[65536];
	struct error ignored;
	ssize_t n;

	while ((n = pread(r->cell.output, piece, sizeof piece, r->told)) > 0) {
		if (runner_append(s->runner, "log", piece, (size_t)n, &ignored) < 0)
			return;
		r->told += n;
	}
}

static void end_interrupters(struct story *s, int code, const char *text)
{
	for (size_t i = 0; i < s->interrupter_count; i++)
		conversation_end(s->interrupters[i], code, 0, "%s", text);
	s->interrupter_count = 0;
}

static void finish(struct story *s, struct request *r)
{
	struct error err;

	r->finished = true;
	remove_request(s, r);
	if (r->outcome == OUTCOME_ERROR && !strcmp(r->cell.failed, "KeyboardInterrupt"))
		r->outcome = OUTCOME_INTERRUPTED;
	failpoint("notebook-finish");
	if (r->cell.output >= 0 && cell_finish(&r->cell, outcome_names[r->outcome], &err) < 0)
		trouble(s, &err);
	if (r->sent)
		end_interrupters(s, 0, "");
	if (r->kind == REQUEST_HIDDEN)
		return; /* whoever waits for it frees it */
	if (r->kind == REQUEST_RUN && make_answer(r, &err) < 0)
		trouble(s, &err);
	if (r->lost && !r->cell.number && r->cell.output >= 0)
		log_output(s, r);
	if (!s->first)
		set_busy(s, false);
	if (drained(r, false)) {
		free_request(r);
		return;
	}
	r->next = s->draining;
	s->draining = r;
}

/* Ends a request that no kernel will end. */
static void fail(struct story *s, struct request *r, enum outcome outcome, const char *name, const char *text)
{
	struct error err;

	r->outcome = outcome;
	if (r->cell.output >= 0 && cell_fail(&r->cell, name, text, &err) < 0)
		trouble(s, &err);
	finish(s, r);
}

/* Ends one that was sent and whose end got lost with a connection. */
static void end_lost(struct story *s, struct request *r)
{
	if (r->replied)
		finish(s, r);
	else
		fail(s, r, OUTCOME_INTERRUPTED, "Interrupted",
		     "the connection to the kernel was lost, and with it how this cell ended");
}

static int send_request(struct story *s, struct request *r, struct error *err)
{
	cleanup_buffer struct buffer message = BUFFER(64u << 20);
	struct wire_execute execute = {
		.code = r->code, .length = r->length, .silent = r->silent,
		.store_history = r->cell.number != 0,
	};
	char id[WIRE_ID_SIZE];

	(void)snprintf(id, sizeof id, "%s-%" PRIu64 "-%u", s->client, r->number, r->cell.number);
	if (wire_execute_request(&message, s->client, id, &execute, err) < 0)
		return -1;
	/* On disk before the kernel has it: whoever comes after us knows that it may have run. */
	if (cell_begin(&r->cell, err) < 0) {
		trouble(s, err);
		return -1;
	}
	failpoint("notebook-send");
	if (kernel_send(s, &message, err) < 0)
		return -1;
	failpoint("notebook-sent");
	s->recent[r->number % RECENT].number = r->number;
	s->recent[r->number % RECENT].cell = r->cell.number;
	free(r->code);
	r->code = NULL;
	r->sent = true;
	r->deadline = r->timeout > 0 ? story_now() + r->timeout : 0;
	return 0;
}

static void send_next(struct story *s)
{
	struct request *r = s->first;
	struct error err;

	while (r && !r->sent && s->synchronized && !s->dead && !s->trouble.code &&
	       (s->ready || r->kind == REQUEST_HIDDEN)) {
		if (r->kind != REQUEST_HIDDEN)
			set_busy(s, true);
		if (send_request(s, r, &err) == 0)
			return;
		if (err.code == ENOTCONN)
			return; /* it is sent when the connection is back */
		fail(s, r, OUTCOME_ERROR, "Error", err.text);
		r = s->first;
	}
}

/* It has run for as long as its client allowed: it is interrupted, and left alone if it does not care. */
static void pass_deadline(struct story *s, struct request *r)
{
	if (!r->late) {
		r->late = true;
		r->deadline = story_now() + INTERRUPT_SECONDS;
		requests_interrupt(s, NULL);
		return;
	}
	r->deadline = 0;
	if (r->conversation)
		conversation_end(r->conversation, ETIMEDOUT, 0, "cell %u goes on in spite of its timeout and "
				 "the interrupt; restart ends it", r->cell.number);
	r->conversation = NULL;
}

void requests_go_on(struct story *s)
{
	struct request **at = &s->draining, *r;
	double now = story_now();

	if (s->first && s->first->sent) {
		cell_announce(&s->first->cell);
		tell(s->first, false);
		if (s->first->deadline > 0 && now >= s->first->deadline)
			pass_deadline(s, s->first);
	}
	if (s->interrupter_count && now >= s->interrupt_deadline)
		end_interrupters(s, ETIMEDOUT, "the cell goes on in spite of the interrupt; restart ends it");
	while ((r = *at)) {
		if (drained(r, false)) {
			*at = r->next;
			free_request(r);
		} else {
			at = &r->next;
		}
	}
	send_next(s);
}

int requests_timeout(const struct story *s)
{
	double end = s->first && s->first->sent ? s->first->deadline : 0, left;

	if (s->interrupter_count && (end <= 0 || s->interrupt_deadline < end))
		end = s->interrupt_deadline;
	if (end <= 0)
		return -1;
	left = end - story_now();
	return left <= 0 ? 0 : left > 60 ? 60000 : (int)(left * 1000) + 1;
}

/* Splits one of our message ids; false when it is not ours. */
static bool read_id(const struct story *s, const char *id, uint64_t *number, unsigned int *cell)
{
	size_t n = strlen(s->client);
	char *end;

	if (strncmp(id, s->client, n) || id[n] != '-')
		return false;
	*number = strtoull(id + n + 1, &end, 10);
	if (*end != '-')
		return false;
	*cell = (unsigned int)strtoul(end + 1, &end, 10);
	return !*end;
}

/* Threads print after their cell has ended; it is the cell's nevertheless. */
static void take_late(struct story *s, const struct wire_message *message, uint64_t number, unsigned int cell)
{
	struct cell late;
	struct error err;

	if (!cell || s->recent[number % RECENT].number != number || s->recent[number % RECENT].cell != cell)
		return;
	if (message->type != WIRE_STREAM && message->type != WIRE_DISPLAY_DATA)
		return;
	if (cell_open(&s->notebook, cell, &late, &err) < 0 || cell_take(&late, message, &err) < 0)
		trouble(s, &err);
	cell_close(&late);
}

static void take_reply(struct request *r, struct json content)
{
	struct json status = json_get(content, "status");

	r->replied = true;
	if (json_is(status, "ok")) {
		r->outcome = OUTCOME_OK;
	} else if (json_is(status, "error")) {
		r->outcome = OUTCOME_ERROR;
	} else {
		/* Aborted: it never ran, and no idle will come (another client's cell failed before it). */
		r->outcome = OUTCOME_INTERRUPTED;
		r->idle = true;
	}
	/* A silent request's error is told nowhere else. */
	if (r->outcome == OUTCOME_ERROR && r->silent) {
		cleanup_buffer struct buffer name = BUFFER(65536), value = BUFFER(65536);
		struct error ignored;

		if (json_text(&name, json_get(content, "ename")) == 0 &&
		    json_text(&value, json_get(content, "evalue")) == 0)
			(void)cell_fail(&r->cell, name.length ? name.data : "Error",
					value.length ? value.data : "", &ignored);
	}
}

static void kernel_status(struct story *s, struct json state)
{
	/* "starting": another client had it restarted, which the server tells nobody. */
	if (json_is(state, "restarting") || json_is(state, "dead") ||
	    (s->synchronized && json_is(state, "starting"))) {
		s->dead = true;
		error_set(&s->death, ESRCH, "the kernel died, and what it held is lost; `restart` starts another");
	}
}

/* The first message about a cell that ran when the connection was lost. What the server had sent
 * and nobody had taken is gone; the numbers tell that there was something. A reply and the idle
 * after it may change places. */
static void look_for_gap(struct story *s, struct request *r, const struct wire_message *message)
{
	static const char text[] = "{\"name\":\"stderr\",\"text\":\"[interpfs: output may be missing here: "
				   "the connection to the kernel was lost]\\n\"}";
	const struct wire_message mark = { .type = WIRE_STREAM, .content = JSON(text) };
	bool ends = message->type == WIRE_STATUS || message->type == WIRE_EXECUTE_REPLY;
	struct error err;

	s->resumes = false;
	if (!s->resumed_after || message->count <= s->resumed_after + 1 + ends)
		return;
	if (cell_take(&r->cell, &mark, &err) < 0)
		trouble(s, &err);
}

/* The probe's reply says that no reply is owed any more, its idle that no output is; what was
 * sent before and has not ended by then never will. */
static void take_probe(struct story *s, const struct wire_message *message)
{
	struct error err;

	if (message->type == WIRE_STATUS)
		s->probe_idle |= json_is(json_get(message->content, "execution_state"), "idle");
	if (message->type == WIRE_KERNEL_INFO_REPLY) {
		s->probe_replied = true;
		if (notebook_set_head(&s->notebook, s->kernel_name, json_get(message->content, "language_info"),
				      &err) < 0)
			trouble(s, &err);
	}
	if (s->synchronized || !s->probe_idle || !s->probe_replied)
		return;
	s->synchronized = true;
	while (s->first && s->first->sent)
		end_lost(s, s->first);
}

static void take_message(struct story *s, const struct wire_message *message)
{
	struct request *r = s->first;
	uint64_t number;
	unsigned int cell;
	struct error err;

	if (!*message->parent) {
		if (message->type == WIRE_STATUS)
			kernel_status(s, json_get(message->content, "execution_state"));
		return;
	}
	if (!read_id(s, message->parent, &number, &cell))
		return; /* another client's, or the server's own */
	if (number == s->probe) {
		take_probe(s, message);
		return;
	}
	if (message->type == WIRE_UPDATE_DISPLAY_DATA) {
		if (notebook_update_display(&s->notebook, r && r->sent ? &r->cell : NULL, message, &err) < 0)
			trouble(s, &err);
		return;
	}
	if (r && r->sent && !r->number && r->cell.number == cell)
		r->number = number; /* an earlier runner sent it */
	if (!r || !r->sent || r->number != number) {
		take_late(s, message, number, cell);
		return;
	}
	if (s->resumes)
		look_for_gap(s, r, message);
	if (message->type == WIRE_EXECUTE_REPLY)
		take_reply(r, message->content);
	else if (message->type == WIRE_STATUS)
		r->idle |= json_is(json_get(message->content, "execution_state"), "idle");
	else if (cell_take(&r->cell, message, &err) < 0)
		trouble(s, &err);
	if (r->replied && r->idle)
		finish(s, r);
}

void requests_message(struct story *s, const struct wire_message *message)
{
	take_message(s, message);
	/* Only now: a message that was taken twice would be seen, one that never was would not. */
	if (message->count > *s->seen)
		*s->seen = message->count;
}

void requests_interrupt(struct story *s, struct conversation *c)
{
	if (!s->first || !s->first->sent) {
		if (c)
			conversation_end(c, 0, 0, NULL);
		return;
	}
	s->interrupt = true;
	if (!c)
		return;
	if (s->interrupter_count == INTERRUPTERS) {
		conversation_end(c, EBUSY, 0, "it is being interrupted already");
		return;
	}
	if (!s->interrupter_count)
		s->interrupt_deadline = story_now() + INTERRUPT_SECONDS;
	s->interrupters[s->interrupter_count++] = c;
}

void requests_closed(struct story *s, struct conversation *c, bool gone)
{
	struct request *r = conversation_data(c);

	for (size_t i = 0; i < s->interrupter_count; i++)
		if (s->interrupters[i] == c)
			s->interrupters[i--] = s->interrupters[--s->interrupter_count];
	conversation_end(c, ECANCELED, 0, NULL);
	if (!r)
		return;
	r->conversation = NULL;
	r->lost = gone;
	if (gone || r->finished)
		return;
	if (r->sent)
		requests_interrupt(s, NULL);
	else
		fail(s, r, OUTCOME_INTERRUPTED, "Interrupted", "its client gave up before it ran");
}

void requests_drained(struct story *s, struct conversation *c)
{
	struct request *r = conversation_data(c);

	(void)s;
	if (r && !r->finished)
		tell(r, false);
}

void requests_fail_all(struct story *s, enum outcome outcome, const char *name, const char *text)
{
	while (s->first) {
		struct request *r = s->first;

		if (!r->sent && r->conversation) {
			conversation_end(r->conversation, ENOTCONN, 0, "%s", text);
			r->conversation = NULL;
		}
		fail(s, r, r->sent ? outcome : OUTCOME_INTERRUPTED, r->sent ? name : "Interrupted", text);
	}
	end_interrupters(s, 0, "");
}

static bool cell_is(struct story *s, unsigned int number, const char *state)
{
	cleanup_buffer struct buffer text = BUFFER(64);
	char path[64];
	struct error ignored;

	(void)snprintf(path, sizeof path, "cells/%u/state", number);
	return file_read(s->notebook.folder, path, &text, &ignored) == 0 && text.length == strlen(state) + 1 &&
	       !memcmp(text.data, state, strlen(state));
}

int requests_recover(struct story *s, bool kernel_lives, struct error *err)
{
	for (unsigned int n = 1; n <= s->notebook.cells; n++) {
		bool ran = cell_is(s, n, "busy");
		struct request *r;

		if (!ran && !cell_is(s, n, "queued"))
			continue;
		r = new_request(s, REQUEST_EXEC, "", 0);
		if (!r)
			return error_memory(err);
		r->number = 0;
		r->sent = ran;
		append_request(s, r);
		if (cell_open(&s->notebook, n, &r->cell, err) < 0)
			return -1;
		if (!ran)
			fail(s, r, OUTCOME_INTERRUPTED, "Interrupted", "interpfs ended before it ran");
		else if (!kernel_lives)
			fail(s, r, OUTCOME_DIED, "DeadKernelError", "interpfs and the kernel ended while it ran");
	}
	return 0;
}

int requests_run_hidden(struct story *s, const char *code, size_t n, bool silent, struct error *err)
{
	struct request *r = new_request(s, REQUEST_HIDDEN, code, n);
	int result = 0;

	if (!r)
		return error_memory(err);
	r->silent = silent;
	if (cell_open(&s->notebook, 0, &r->cell, err) < 0) {
		free_request(r);
		return -1;
	}
	/* Before clients' requests, which wait until the story is ready. */
	r->next = s->first;
	s->first = r;
	if (!s->last)
		s->last = r;
	requests_go_on(s);
	while (!r->finished && !result)
		result = story_step(s, -1, err);
	if (!r->finished) {
		remove_request(s, r);
	} else if (r->outcome != OUTCOME_OK) {
		cleanup_buffer struct buffer text = BUFFER(1 << 20);
		char piece[4096], sentence[ERROR_TEXT_SIZE];
		ssize_t got;
		off_t at = 0;

		while ((got = pread(r->cell.output, piece, sizeof piece, at)) > 0 &&
		       buffer_append(&text, piece, (size_t)got) == 0)
			at += got;
		log_output(s, r); /* the whole of it */
		sentence_of_failure(text.data ? text.data : "", sentence, sizeof sentence);
		result = error_set(err, EPROTO, "%s", sentence);
	} else {
		log_output(s, r);
	}
	free_request(r);
	return result;
}

void requests_free(struct story *s)
{
	struct request *r;

	while ((r = s->first)) {
		remove_request(s, r);
		if (r->conversation)
			conversation_end(r->conversation, ENOTCONN, 0, "the notebook's runner ends");
		free_request(r);
	}
	/* Whoever reads slowly has until the runner's own end. */
	while ((r = s->draining)) {
		s->draining = r->next;
		(void)drained(r, true);
		free_request(r);
	}
	end_interrupters(s, 0, "");
}

/* Whether a request that is queued now goes to the kernel in the same step. */
static bool goes_at_once(const struct story *s)
{
	return !s->first && s->ready && s->synchronized && s->socket && !s->dead && !s->turned;
}

static void queue_code(struct story *s, struct conversation *c, enum request_kind kind, unsigned int cell,
		       const char *code, size_t n, double timeout, bool busy)
{
	struct request *r = new_request(s, kind, code, n);
	struct error err;

	if (!r) {
		conversation_end(c, ENOMEM, 0, "out of memory");
		return;
	}
	if (cell_open(&s->notebook, cell, &r->cell, &err) < 0) {
		free_request(r);
		conversation_end(c, err.code, 0, "%s", err.text);
		return;
	}
	r->conversation = c;
	r->cell.busy = busy;
	r->timeout = timeout;
	conversation_set_data(c, r);
	append_request(s, r);
}

static bool cell_is_waited_for(const struct story *s, unsigned int number)
{
	for (const struct request *r = s->first; r; r = r->next)
		if (r->cell.number == number)
			return true;
	return false;
}

static void answer_cell(struct conversation *c, unsigned int number)
{
	char text[64];
	int n = snprintf(text, sizeof text, "{\"cell\":%u}\n", number);

	if (conversation_send(c, TALK_STDOUT, text, (size_t)n, -1) < 0)
		conversation_end(c, ENOMEM, 0, "out of memory");
	else
		conversation_end(c, 0, 0, NULL);
}

/* Gives a cell a new source; *code says whether it is to run. */
static int edit(struct story *s, unsigned int number, const char *text, size_t n, bool *code, struct error *err)
{
	if (cell_is_waited_for(s, number))
		return error_set(err, EBUSY, "cell %u runs; interrupt it first", number);
	return notebook_set_source(&s->notebook, number, text, n, code, err);
}

static void take_run(struct story *s, struct conversation *c, const char *data, size_t n)
{
	cJSON *json = cJSON_ParseWithLength(data, n);
	const cJSON *code = cJSON_GetObjectItemCaseSensitive(json, "code");
	const cJSON *cell = cJSON_GetObjectItemCaseSensitive(json, "cell");
	const cJSON *timeout = cJSON_GetObjectItemCaseSensitive(json, "timeout");
	bool hidden = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "hidden")), is_code = true;
	bool at_once = goes_at_once(s) && !hidden && !cJSON_IsNumber(cell);
	unsigned int number = 0;
	struct error err;
	int result = 0;

	if (!cJSON_IsString(code) || (cJSON_IsNumber(cell) && !(cell->valuedouble >= 1 && cell->valuedouble <= 1e6)))
		result = error_set(&err, EINVAL, "run: the request is {\"code\":TEXT,\"cell\":null or a number,"
				   "\"hidden\":false,\"timeout\":null or seconds}");
	else if (cJSON_IsNumber(cell))
		result = edit(s, number = (unsigned int)cell->valuedouble, code->valuestring,
			      strlen(code->valuestring), &is_code, &err);
	else if (!hidden)
		result = notebook_add_code(&s->notebook, code->valuestring, strlen(code->valuestring), at_once,
					   &number, &err);
	if (result < 0)
		conversation_end(c, err.code, 0, "%s", err.text);
	else if (!is_code)
		answer_cell(c, number);
	else
		queue_code(s, c, REQUEST_RUN, number, code->valuestring, strlen(code->valuestring),
			   cJSON_IsNumber(timeout) ? timeout->valuedouble : 0, at_once);
	cJSON_Delete(json);
}

void requests_take_call(struct story *s, struct conversation *c, const char *name, const char *data, size_t n)
{
	unsigned int number = 0;
	bool code = true, at_once = goes_at_once(s);
	struct error err;
	char *end;

	if (!strcmp(name, "exec")) {
		if (notebook_add_code(&s->notebook, data, n, at_once, &number, &err) < 0)
			conversation_end(c, err.code, 0, "%s", err.text);
		else
			queue_code(s, c, REQUEST_EXEC, number, data, n, 0, at_once);
	} else if (!strcmp(name, "eval")) {
		queue_code(s, c, REQUEST_EXEC, 0, data, n, 0, false);
	} else if (!strcmp(name, "run")) {
		take_run(s, c, data, n);
	} else if (!strcmp(name, "markdown")) {
		if (notebook_add_markdown(&s->notebook, data, n, &number, &err) < 0)
			conversation_end(c, err.code, 0, "%s", err.text);
		else
			answer_cell(c, number);
	} else if (!strncmp(name, "edit ", 5)) {
		number = (unsigned int)strtoul(name + 5, &end, 10);
		if (*end || !number)
			conversation_end(c, EINVAL, 0, "edit: a cell's number is missing");
		else if (edit(s, number, data, n, &code, &err) < 0)
			conversation_end(c, err.code, 0, "%s", err.text);
		else if (code)
			queue_code(s, c, REQUEST_EXEC, number, data, n, 0, false);
		else
			answer_cell(c, number);
	} else {
		conversation_end(c, EINVAL, 0, "a notebook has no call '%s'", name);
	}
}
