/* The queue: code is run one request after another, in the order in which they came. */
#include "backend/kernel/requests.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/kernel/sentence.h"
#include "base/cellstatus.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/failpoint.h"

#define ANSWER_MAX (256u << 20)
#define INTERRUPT_SECONDS 10

double story_now(void)
{
	return clock_seconds();
}

void requests_trouble(struct story *s, const struct error *err)
{
	if (!s->trouble.code)
		s->trouble = *err;
}

struct request *request_new(struct story *s, enum request_kind kind, const char *code, size_t n)
{
	struct request *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->kind = kind;
	r->number = ++s->number;
	r->cell = (struct cell){ .fragment = -1, .output = -1, .status = -1, .count = -1, .shown = -1 };
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

void request_free(struct request *r)
{
	cell_close(&r->cell);
	buffer_free(&r->answer);
	free(r->code);
	free(r);
}

void request_prepend(struct story *s, struct request *r)
{
	r->next = s->first;
	s->first = r;
	if (!s->last)
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
		requests_trouble(s, &err);
}

void request_append(struct story *s, struct request *r)
{
	if (s->last)
		s->last->next = r;
	else
		s->first = r;
	s->last = r;
	/* Else it is sent in the same step, and the kernel works already while this is written. */
	if (s->first != r || !s->synchronized)
		set_busy(s, true);
}

bool requests_waiting(const struct story *s)
{
	return s->first;
}

static void end_interrupters(struct story *s, int code, const char *text)
{
	for (size_t i = 0; i < s->interrupter_count; i++)
		conversation_end(s->interrupters[i], code, 0, "%s", text);
	s->interrupter_count = 0;
}

void request_finish(struct story *s, struct request *r)
{
	struct error err;
	bool sent = r->sent;

	r->finished = true;
	remove_request(s, r);
	if (r->outcome == OUTCOME_ERROR && !strcmp(r->cell.failed, "KeyboardInterrupt"))
		r->outcome = OUTCOME_INTERRUPTED;
	failpoint("notebook-finish");
	if (r->cell.output >= 0 && (notebook_write_displays(&s->notebook, r->cell.number, &err) < 0 ||
				    cell_finish(&r->cell, outcome_name(r->outcome), &err) < 0))
		requests_trouble(s, &err);
	if (r->kind == REQUEST_HIDDEN)
		return; /* whoever waits for it frees it */
	if (r->kind == REQUEST_RUN && answer_make(r, &err) < 0)
		requests_trouble(s, &err);
	if (r->lost && !r->cell.number && r->cell.output >= 0)
		answer_log(s, r);
	if (!s->first)
		set_busy(s, false);
	if (sent) {
		s->interrupt = false; /* it was meant for this one, not for the next */
		end_interrupters(s, 0, "");
	}
	if (answer_given(r, false)) {
		request_free(r);
		return;
	}
	r->next = s->draining;
	s->draining = r;
}

void request_fail(struct story *s, struct request *r, enum outcome outcome, const char *name, const char *text)
{
	struct error err;

	r->outcome = outcome;
	if (r->cell.output >= 0 && cell_fail(&r->cell, name, text, &err) < 0)
		requests_trouble(s, &err);
	request_finish(s, r);
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
		requests_trouble(s, err);
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
		if (send_request(s, r, &err) == 0) {
			/* Behind it: the kernel works already while this is written. */
			if (r->kind != REQUEST_HIDDEN)
				set_busy(s, true);
			return;
		}
		if (err.code == ENOTCONN)
			return; /* it is sent when the connection is back */
		request_fail(s, r, OUTCOME_ERROR, "Error", err.text);
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

/* One of its ends has come and the other not. The kernel answers in the order in which it is asked, so
 * once it has answered another question, nothing of this one is to come any more. */
static void ask_for_end(struct story *s, struct request *r)
{
	struct error ignored;

	if (s->synchronized && !r->asked_for)
		(void)kernel_probe(s, &ignored); /* without a connection the next one asks */
}

static void look_at(struct story *s, struct request *r, double now)
{
	cell_announce(&r->cell);
	answer_tell(r, false);
	if (r->end_due > 0 && now >= r->end_due)
		ask_for_end(s, r);
	if (r->deadline > 0 && now >= r->deadline)
		pass_deadline(s, r);
}

void requests_go_on(struct story *s)
{
	struct request **at = &s->draining, *r;
	double now = story_now();
	struct error err;

	if (s->first && s->first->sent)
		look_at(s, s->first, now);
	if (s->interrupter_count && now >= s->interrupt_deadline)
		end_interrupters(s, ETIMEDOUT, "the cell goes on in spite of the interrupt; restart ends it");
	if (notebook_write_displays(&s->notebook, 0, &err) < 0)
		requests_trouble(s, &err);
	while ((r = *at)) {
		if (answer_given(r, false)) {
			*at = r->next;
			request_free(r);
		} else {
			at = &r->next;
		}
	}
	send_next(s);
}

int requests_timeout(const struct story *s)
{
	const struct request *r = s->first && s->first->sent ? s->first : NULL;
	double ends[] = { r ? r->deadline : 0, r && !r->asked_for ? r->end_due : 0,
			  s->interrupter_count ? s->interrupt_deadline : 0, notebook_displays_due(&s->notebook) };
	double end = 0, left;

	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		if (ends[i] > 0 && (end <= 0 || ends[i] < end))
			end = ends[i];
	if (end <= 0)
		return -1;
	left = end - story_now();
	return left <= 0 ? 0 : left > 60 ? 60000 : (int)(left * 1000) + 1;
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
		request_fail(s, r, OUTCOME_INTERRUPTED, "Interrupted", "its client gave up before it ran");
}

void requests_drained(struct story *s, struct conversation *c)
{
	struct request *r = conversation_data(c);

	(void)s;
	if (r && !r->finished)
		answer_tell(r, false);
}

void requests_fail_all(struct story *s, enum outcome outcome, const char *name, const char *text)
{
	while (s->first) {
		struct request *r = s->first;

		if (!r->sent && r->conversation) {
			conversation_end(r->conversation, ENOTCONN, 0, "%s", text);
			r->conversation = NULL;
		}
		request_fail(s, r, r->sent ? outcome : OUTCOME_INTERRUPTED, r->sent ? name : "Interrupted", text);
	}
	end_interrupters(s, 0, "");
}

static int recover(struct story *s, unsigned int number, bool ran, bool kernel_lives, struct error *err)
{
	struct request *r;
	bool code = true;

	if (!ran && (notebook_mend(&s->notebook, number, &code, err) < 0 || !code))
		return code ? -1 : 0;
	r = request_new(s, REQUEST_EXEC, "", 0);
	if (!r)
		return error_memory(err);
	r->number = 0;
	r->sent = ran;
	/* Clients may have asked for something since this runner started; the kernel has this one. */
	request_prepend(s, r);
	if (cell_open(&s->notebook, number, &r->cell, err) < 0)
		return -1;
	if (!ran)
		request_fail(s, r, OUTCOME_INTERRUPTED, "Interrupted", "interpfs ended before it ran");
	else if (!kernel_lives)
		request_fail(s, r, OUTCOME_DIED, "DeadKernelError", "interpfs and the kernel ended while it ran");
	return 0;
}

int requests_recover(struct story *s, bool kernel_lives, struct error *err)
{
	struct cellstatus status;
	char path[64];

	for (unsigned int n = 1; n <= s->notebook.cells; n++) {
		bool ran;

		(void)snprintf(path, sizeof path, "cells/%u/status", n);
		if (cellstatus_read(s->notebook.folder, path, &status, err) < 0)
			return -1;
		ran = !strcmp(status.word[CELLSTATUS_STATE], "busy");
		if ((ran || !strcmp(status.word[CELLSTATUS_STATE], "queued")) &&
		    recover(s, n, ran, kernel_lives, err) < 0)
			return -1;
	}
	return 0;
}

/* What it printed, as the reason why it failed. */
static int hidden_failed(struct story *s, struct request *r, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(1 << 20);
	char piece[4096], sentence[ERROR_TEXT_SIZE];
	ssize_t got;
	off_t at = 0;

	while ((got = pread(r->cell.output, piece, sizeof piece, at)) > 0 &&
	       buffer_append(&text, piece, (size_t)got) == 0)
		at += got;
	answer_log(s, r); /* the whole of it */
	sentence_of_failure(text.data ? text.data : "", sentence, sizeof sentence);
	return error_set(err, EPROTO, "%s", sentence);
}

int requests_run_hidden(struct story *s, const char *code, size_t n, bool silent, struct error *err)
{
	struct request *r = request_new(s, REQUEST_HIDDEN, code, n);
	int result = 0;

	if (!r)
		return error_memory(err);
	r->silent = silent;
	if (cell_open(&s->notebook, 0, &r->cell, err) < 0) {
		request_free(r);
		return -1;
	}
	/* Clients' requests wait until the story is ready. */
	request_prepend(s, r);
	requests_go_on(s);
	while (!r->finished && !result)
		result = story_step(s, -1, err);
	if (!r->finished)
		remove_request(s, r);
	else if (r->outcome != OUTCOME_OK)
		result = hidden_failed(s, r, err);
	else
		answer_log(s, r);
	request_free(r);
	return result;
}

void requests_free(struct story *s)
{
	struct request *r;

	while ((r = s->first)) {
		remove_request(s, r);
		if (r->conversation)
			conversation_end(r->conversation, ENOTCONN, 0, "the notebook's runner ends");
		request_free(r);
	}
	/* Whoever reads slowly has until the runner's own end. */
	while ((r = s->draining)) {
		s->draining = r->next;
		(void)answer_given(r, true);
		request_free(r);
	}
	end_interrupters(s, 0, "");
}
