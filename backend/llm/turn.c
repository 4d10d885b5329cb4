/* One turn: ask, show the answer as it comes, run its tools, ask again, until it has said all. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "backend/llm/retry.h"
#include "backend/llm/session.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/json.h"
#include "mcp/text.h"

#define PAUSES_MAX 5
#define EMPTY_MAX 2 /* times that an answer without content is asked for again */
#define CUTS_MAX 2  /* answers in a row that end in the middle of a tool call */
#define NOTE_PARTIAL_MAX 8192

enum asked { ASKED_FATAL = -1, ASKED_ENDED, ASKED_ANSWERED };

__attribute__((format(printf, 3, 4)))
static int end_with(struct ending *ending, const char *state, const char *format, ...)
{
	va_list args;

	ending->state = state;
	va_start(args, format);
	vsnprintf(ending->text, sizeof ending->text, format, args);
	va_end(args);
	return 0;
}

static void add_cost(struct session *s, cJSON *event, const char *model, const cJSON *usage)
{
	double cost;

	/* A gateway may answer in a name of its own: then it costs what was asked for. */
	if (models_cost(&s->models, model, usage, &cost) || models_cost(&s->models, s->dialogue.model, usage, &cost))
		cJSON_AddNumberToObject(event, "cost", cost);
	else
		cJSON_AddNullToObject(event, "cost");
}

/* Records an answer that does not count: what was said of it and what it cost. Takes usage. */
static int aborted(struct session *s, const char *reason, cJSON *usage, struct error *err)
{
	cJSON *event = cJSON_CreateObject();

	cJSON_AddStringToObject(event, "model", s->dialogue.model);
	cJSON_AddStringToObject(event, "reason", reason);
	if (usage) {
		add_cost(s, event, s->dialogue.model, usage);
		cJSON_AddItemToObject(event, "usage", usage);
	}
	cJSON_AddStringToObject(event, "text", s->said.data ? s->said.data : "");
	return session_event(s, "aborted", event, err);
}

static int record_request(struct session *s, int attempt, struct error *err)
{
	cleanup_buffer struct buffer body = BUFFER(LINE_MAX_BYTES);
	cJSON *event = cJSON_CreateObject();
	unsigned number = attempt ? s->requests : s->requests + 1;
	struct stat st;
	char path[64];

	if (fstatat(runner_folder(s->runner), "messages", &st, 0) < 0)
		st.st_size = 0;
	cJSON_AddNumberToObject(event, "request", number);
	cJSON_AddStringToObject(event, "model", s->dialogue.model);
	cJSON_AddNumberToObject(event, "attempt", attempt + 1);
	cJSON_AddNumberToObject(event, "messages", (double)st.st_size);
	if (!attempt) {
		buffer_clear(&s->body);
		if (s->provider->request(s->self, &s->dialogue, &s->body, err) < 0 ||
		    buffer_append(&body, s->body.data, s->body.length) < 0) {
			cJSON_Delete(event);
			return error_wrap(err, "request");
		}
		runner_scrub(s->runner, &body);
		snprintf(path, sizeof path, "requests/%u.json", number);
		if (runner_set_value(s->runner, path, body.data, body.length, 0600, err) < 0) {
			cJSON_Delete(event);
			return -1;
		}
	}
	if (session_event(s, "request", event, err) < 0 || session_sync(s, err) < 0)
		return -1;
	failpoint("session-request");
	return 0;
}

static int show_piece(struct session *s, const struct piece *piece, struct error *err)
{
	enum saying kind = piece->kind == PIECE_THINKING ? SAYING_THINKING : SAYING_TEXT;

	if (piece->kind == PIECE_CALL)
		return 0; /* shown when it is run */
	if (s->saying != kind) {
		if (session_heading(s, err, kind == SAYING_TEXT ? "assistant" : "thinking") < 0)
			return -1;
		s->saying = kind;
	}
	if (kind == SAYING_TEXT && buffer_append(&s->said, piece->text, piece->length) < 0)
		return error_set(err, errno, "the answer is too long");
	return session_stream(s, piece->text, piece->length, err);
}

/* Until the answer or the trouble has come: ASKED_ANSWERED and *piece is one of them; ASKED_ENDED when
 * halted. */
static enum asked listen_to(struct session *s, struct piece *piece, struct error *err)
{
	for (;;) {
		int got;

		if (session_halted(s))
			return ASKED_ENDED;
		while ((got = s->provider->take(s->self, piece, err)) == 1) {
			if (piece->kind == PIECE_ANSWER || piece->kind == PIECE_TROUBLE)
				return ASKED_ANSWERED;
			if (show_piece(s, piece, err) < 0)
				return ASKED_FATAL;
		}
		if (got < 0 || session_next(s, -1, err) < 0)
			return ASKED_FATAL;
	}
}

/* The user interrupted while the answer came. */
static int give_up(struct session *s, struct error *err)
{
	if (s->quit) {
		cJSON_Delete(s->provider->abandon(s->self));
		return 0;
	}
	return aborted(s, "the user interrupted", s->provider->abandon(s->self), err);
}

static double field(struct session *s, const char *object, const char *name, double fallback)
{
	return json_number(cJSON_GetObjectItemCaseSensitive(runner_fields(s->runner), object), name, fallback);
}

static double chance(void)
{
	unsigned n = 0;

	if (getrandom(&n, sizeof n, GRND_NONBLOCK) != (ssize_t)sizeof n)
		n = 0;
	return (double)n / 4294967296.0;
}

/* Says why, waits, and says that it goes on. */
static int wait_to_retry(struct session *s, const struct trouble *t, int attempt, double delay, struct error *err)
{
	cJSON *event = cJSON_CreateObject();
	double until = clock_seconds() + delay;
	char at[TIME_TEXT_SIZE], text[ERROR_TEXT_SIZE];
	time_t when = time(NULL) + (time_t)(delay + 0.5);
	struct tm tm;

	cJSON_AddStringToObject(event, "reason", t->reason);
	cJSON_AddNumberToObject(event, "status", t->status);
	cJSON_AddNumberToObject(event, "attempt", attempt);
	cJSON_AddNumberToObject(event, "delay", (double)(long long)(delay * 1000) / 1000);
	cJSON_AddStringToObject(event, "request_id", t->request_id);
	gmtime_r(&when, &tm);
	strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", &tm);
	snprintf(text, sizeof text, "%s; trying again at %s", t->reason, at);
	if (session_event(s, "retry", event, err) < 0 ||
	    session_heading(s, err, t->stalled ? "stalled" : "retry") < 0 ||
	    session_say_line(s, err, "%s; trying again in %.2f s (attempt %d)", t->reason, delay, attempt + 1) < 0 ||
	    runner_set_failure(s->runner, text, err) < 0 || runner_set_state(s->runner, "retrying", err) < 0)
		return -1;
	while (clock_seconds() < until && !session_halted(s))
		if (session_next(s, (int)((until - clock_seconds()) * 1000) + 1, err) < 0)
			return -1;
	if (session_halted(s))
		return 0;
	if (runner_set_failure(s->runner, "", err) < 0)
		return -1;
	return runner_set_state(s->runner, "running", err);
}

/* Whether an answer that should have something in it has nothing but thoughts. */
static bool empty(const struct answer *a)
{
	return a->hollow && (a->stop == STOP_DONE || a->stop == STOP_CALLS || a->stop == STOP_PAUSED);
}

/* Whether the next request is one too many. */
static bool limited(struct session *s, struct ending *ending)
{
	double turns = field(s, "limits", "turns", -1), usd = field(s, "limits", "usd", -1);

	if (turns >= 0 && s->usage.turns >= turns)
		end_with(ending, "limited", "limits: turns is %g and %d are used; raise it and write start to ctl", turns,
			 s->usage.turns);
	else if (usd >= 0 && s->provider->paid && s->usage.cost >= usd)
		end_with(ending, "limited", "limits: usd is %g and %.4f are used; raise it and write start to ctl", usd,
			 s->usage.cost);
	else
		return false;
	return true;
}

/* Asks until there is an answer, as often as it may help. */
static enum asked ask(struct session *s, struct answer *answer, struct ending *ending, struct error *err)
{
	int attempts = (int)field(s, "retry", "attempts", RETRY_ATTEMPTS), empties = 0;
	double left = field(s, "retry", "seconds", RETRY_SECONDS), delay;
	struct trouble t;

	for (int attempt = 0;; attempt++) {
		struct piece piece;
		enum asked heard;

		if (limited(s, ending))
			return ASKED_ENDED;
		if (record_request(s, attempt, err) < 0) {
			if (err->code != EFBIG)
				return ASKED_FATAL;
			return end_with(ending, "limited", "%s", err->text), ASKED_ENDED;
		}
		buffer_clear(&s->said);
		s->saying = SAYING_NOTHING;
		if (s->provider->send(s->self, &s->body, err) < 0)
			return ASKED_FATAL;
		heard = listen_to(s, &piece, err);
		if (heard == ASKED_ENDED && give_up(s, err) < 0)
			return ASKED_FATAL;
		if (heard != ASKED_ANSWERED)
			return heard;
		if (piece.kind == PIECE_ANSWER && !empty(&piece.answer)) {
			*answer = piece.answer;
			return ASKED_ANSWERED;
		}
		if (piece.kind == PIECE_ANSWER) {
			t = (struct trouble){ .retry = empties++ < EMPTY_MAX, .delay = -1 };
			trouble_say(&t, "the model answered nothing");
			piece.usage = steal_pointer(&piece.answer.usage);
			answer_free(&piece.answer);
		} else {
			t = piece.trouble;
		}
		if (aborted(s, t.reason, piece.usage, err) < 0)
			return ASKED_FATAL;
		if (!t.retry)
			return end_with(ending, "failed", "%s%s%s%s", t.reason, *t.request_id ? " (request " : "",
					t.request_id, *t.request_id ? ")" : ""), ASKED_ENDED;
		delay = retry_delay(&t, attempt + 1, chance());
		if (attempt >= attempts || delay > left)
			return end_with(ending, t.stalled ? "stalled" : "failed", "%s%s", t.reason,
					attempt >= attempts ? "; given up after as many attempts as retry allows"
							    : "; given up: the next attempt would come too late"),
			       ASKED_ENDED;
		left -= delay;
		if (wait_to_retry(s, &t, attempt + 1, delay, err) < 0)
			return ASKED_FATAL;
		if (session_halted(s))
			return ASKED_ENDED;
	}
}

static int commit(struct session *s, const struct answer *a, struct error *err)
{
	cJSON *event = cJSON_CreateObject(), *calls;

	cJSON_AddStringToObject(event, "model", a->model);
	cJSON_AddStringToObject(event, "id", a->id);
	cJSON_AddStringToObject(event, "request_id", a->request_id);
	cJSON_AddStringToObject(event, "stop_reason", a->stop_reason);
	cJSON_AddStringToObject(event, "stop", answer_stop_words[a->stop]);
	cJSON_AddItemToObject(event, "usage", a->usage ? cJSON_Duplicate(a->usage, true) : cJSON_CreateObject());
	add_cost(s, event, a->model, a->usage);
	calls = cJSON_AddArrayToObject(event, "calls");
	for (size_t i = 0; i < a->count; i++) {
		cJSON *call = cJSON_CreateObject();

		cJSON_AddStringToObject(call, "id", a->calls[i].id);
		cJSON_AddStringToObject(call, "name", a->calls[i].name);
		cJSON_AddItemToArray(calls, call);
	}
	if (!cJSON_AddRawToObject(event, "content", a->content)) {
		cJSON_Delete(event);
		return error_memory(err);
	}
	failpoint("session-answer");
	if (session_event(s, "assistant", event, err) < 0 || session_show_usage(s, err) < 0)
		return -1;
	if (s->in_line && session_say(s, "\n", 1, err) < 0)
		return -1;
	if (*a->text && session_set_file(s, "result", a->text, err) < 0)
		return -1;
	failpoint("session-answered");
	return 0;
}

/* The model learns that it was interrupted, and what of its answer the user saw. */
static int halt(struct session *s, struct ending *ending, struct error *err)
{
	cleanup_free char *note = NULL;
	const char *said = s->said.data ? s->said.data : "";
	size_t n = strlen(said);

	if (s->quit)
		return ending->state = NULL, 0;
	n = text_cut(said, n, NOTE_PARTIAL_MAX);
	if (asprintf(&note, n ? "[The user interrupted this answer. It had said: %.*s]" : "[The user interrupted.]%.*s",
		     (int)n, said) < 0) {
		note = NULL;
		return error_memory(err);
	}
	if (session_user_text(s, note, true, NULL, err) < 0 || session_heading(s, err, "interrupted") < 0)
		return -1;
	return end_with(ending, "interrupted", "%s", "");
}

/* What an answer's end means. 1: ask again; 0: the turn has ended. */
static int after(struct session *s, const struct answer *a, int *pauses, int *cuts, struct ending *ending)
{
	*pauses = a->stop == STOP_PAUSED ? *pauses + 1 : 0;
	*cuts = a->stop == STOP_CUT ? *cuts + 1 : 0;
	switch (a->stop) {
	case STOP_DONE:
		/* Some servers stop with calls in hand. */
		return a->count ? 1 : end_with(ending, "done", "%s", "");
	case STOP_CALLS:
		return a->count ? 1 : end_with(ending, "failed", "the model stopped for a tool without naming one");
	case STOP_PAUSED:
		return *pauses <= PAUSES_MAX ? 1 : end_with(ending, "failed", "the model paused %d times in a row", *pauses);
	case STOP_CUT:
		if (a->count && *cuts <= CUTS_MAX)
			return 1;
		return end_with(ending, "limited", "the answer reached its limit of output tokens (%s); start in ctl has it "
						   "go on, max_tokens in options gives it more", a->stop_reason);
	case STOP_FULL:
		return end_with(ending, "limited", "the context window of %s is full", s->dialogue.model);
	case STOP_REFUSED:
		return end_with(ending, "failed", "the model refused%s%s", *a->detail ? ": " : "", a->detail);
	case STOP_UNKNOWN:
		break;
	}
	return end_with(ending, "failed", "the answer stopped for a reason that is not known: %s", a->stop_reason);
}

static int converse(struct session *s, struct ending *ending, struct error *err)
{
	int pauses = 0, cuts = 0;

	for (;;) {
		struct answer answer;
		enum asked asked;
		int rc;

		buffer_clear(&s->said);
		if (session_halted(s))
			return halt(s, ending, err);
		ending->state = NULL;
		asked = ask(s, &answer, ending, err);
		if (asked == ASKED_FATAL)
			return -1;
		if (asked == ASKED_ENDED)
			return ending->state ? 0 : halt(s, ending, err);
		/* A refusal is no part of the conversation: what follows it would be refused, too. Neither is
		 * thinking before which anything could be said: it cannot stand alone. */
		if (answer.stop == STOP_REFUSED || answer.hollow)
			rc = aborted(s, answer.stop_reason, steal_pointer(&answer.usage), err);
		else
			rc = commit(s, &answer, err);
		if (rc == 0 && answer.count && answer.stop != STOP_REFUSED)
			rc = session_calls(s, &answer, err);
		if (rc == 0 && !s->quit)
			rc = after(s, &answer, &pauses, &cuts, ending);
		else if (rc == 0)
			ending->state = NULL;
		answer_free(&answer);
		if (rc <= 0 || s->quit)
			return rc < 0 ? -1 : 0;
	}
}

/* Whether the turn has ended with an answer after which the process before this one ended, too. */
static bool over_already(struct session *s, struct ending *ending)
{
	struct answer last = { .stop = s->last_stop };
	int pauses = 0, cuts = 0;

	snprintf(last.stop_reason, sizeof last.stop_reason, "%s", s->last_reason);
	return s->answered && after(s, &last, &pauses, &cuts, ending) == 0;
}

/* For as long as the turn lasts, also while nothing happens inside. */
static void hold_sandbox(struct session *s)
{
	const cJSON *interface = cJSON_GetObjectItemCaseSensitive(runner_references(s->runner), "interface");
	const cJSON *served = cJSON_GetObjectItemCaseSensitive(interface, "serial");
	uint64_t serial = cJSON_IsNumber(served) && served->valuedouble >= 1 ? (uint64_t)served->valuedouble : session_sandbox(s);
	struct error ignored;
	cleanup_close int folder = serial ? object_open(runner_state(s->runner), OBJECT_SANDBOX, serial, &ignored) : -1;

	use_hold(&s->use, folder);
}

int session_turn(struct session *s, struct ending *ending, struct error *err)
{
	struct error why = { 0 };
	int rc;

	ending->state = NULL;
	ending->text[0] = '\0';
	s->started = clock_seconds();
	buffer_clear(&s->said);
	if (over_already(s, ending))
		return 0;
	if (runner_set_failure(s->runner, "", err) < 0 || runner_set_state(s->runner, "starting", err) < 0)
		return -1;
	rc = session_prepare(s, &why, err);
	if (rc == -2)
		return -1;
	if (rc < 0)
		return end_with(ending, "failed", "%s", why.text);
	if (session_halted(s))
		return halt(s, ending, err);
	hold_sandbox(s);
	if (runner_set_state(s->runner, "running", err) < 0)
		return -1;
	return converse(s, ending, err);
}
