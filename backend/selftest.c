/* A story for tests of the mount alone, in test builds only: with INTERPFS_SELFTEST in its
 * environment every runner tells it. It starts nothing; it shows what the mount does with states,
 * logs, calls and commands. The code of a call or a command says what happens:
 *
 *   echo TEXT      the text, at once              count N MS     N lines, one each MS ms, then exit 0
 *   exit N         exit N, without a word         partial N      "half a line", then exit N
 *   hang           nothing, until it is closed    refuse         ENOTCONN with a sentence
 *   cat            the request itself             big N          N KiB of lines
 *   log N MS       N lines to the log, one each MS ms     fail TEXT  the object fails
 *   rest STATE     the object comes to rest in STATE
 *
 * With `env: {STARTING_UNTIL: PATH}` in its config it is starting until that path exists. */
#include "backend/selftest.h"

#ifdef INTERPFS_FAILPOINTS

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"

#define JOBS 64

struct job {
	struct conversation *conversation; /* NULL: free */
	int left, ms, number;
	bool log;
	long long due;
};

static void add_job(struct job *jobs, struct conversation *c, int left, int ms, bool log)
{
	for (int i = 0; i < JOBS; i++)
		if (!jobs[i].conversation) {
			jobs[i] = (struct job){ c, left, ms, 1, log, clock_ms() + ms };
			return;
		}
	conversation_end(c, EAGAIN, 0, "too many");
}

static void say(struct conversation *c, const char *text)
{
	(void)conversation_send(c, 1, text, strlen(text), -1);
}

/* 1: the object has come to rest. */
static int call(struct runner *r, struct job *jobs, const struct runner_event *e, struct error *err)
{
	char text[4096];
	int a = 0, b = 0;

	(void)snprintf(text, sizeof text, "%.*s", (int)(e->length < 4000 ? e->length : 4000),
		       e->request ? e->request : "");
	text[strcspn(text, "\n")] = '\0';
	runner_log(r, "call %s: %s", e->text, text);
	if (!strncmp(text, "echo ", 5)) {
		say(e->conversation, text + 5);
		say(e->conversation, "\n");
		conversation_end(e->conversation, 0, 0, "%s", "");
	} else if (sscanf(text, "count %d %d", &a, &b) == 2) {
		add_job(jobs, e->conversation, a, b, false);
	} else if (sscanf(text, "exit %d", &a) == 1) {
		conversation_end(e->conversation, 0, a, "%s", "");
	} else if (sscanf(text, "partial %d", &a) == 1) {
		say(e->conversation, "half a line");
		conversation_end(e->conversation, 0, a, "%s", "");
	} else if (sscanf(text, "big %d", &a) == 1) {
		for (int i = 0; i < a * 64; i++)
			(void)conversation_send(e->conversation, 1, "123456789012345\n", 16, -1);
		conversation_end(e->conversation, 0, 0, "%s", "");
	} else if (!strcmp(text, "cat")) {
		(void)conversation_send(e->conversation, 1, e->request, e->length, -1);
		conversation_end(e->conversation, 0, 0, "%s", "");
	} else if (!strcmp(text, "refuse")) {
		conversation_end(e->conversation, ENOTCONN, 0, "the selftest refuses");
	} else if (sscanf(text, "log %d %d", &a, &b) == 2) {
		add_job(jobs, e->conversation, a, b, true);
	} else if (!strncmp(text, "fail ", 5)) {
		conversation_end(e->conversation, 0, 0, "%s", "");
		if (runner_set_failure(r, text + 5, err) < 0 || runner_set_state(r, "failed", err) < 0)
			return -1;
		return 1;
	} else if (!strncmp(text, "rest ", 5)) {
		conversation_end(e->conversation, 0, 0, "%s", "");
		return runner_set_state(r, text + 5, err) < 0 ? -1 : 1;
	} else if (!strcmp(text, "hang")) {
		add_job(jobs, e->conversation, 1, 1000000000, false);
	} else {
		conversation_end(e->conversation, EINVAL, 0, "the selftest does not know '%.64s'", text);
	}
	return 0;
}

static void closed(struct job *jobs, struct conversation *c, bool gone)
{
	if (gone)
		return;
	for (int i = 0; i < JOBS; i++)
		if (jobs[i].conversation == c) {
			jobs[i].conversation = NULL;
			conversation_end(c, 0, 0, "%s", "");
		}
}

/* Does what is due; returns the ms until the next. */
static int work(struct runner *r, struct job *jobs)
{
	long long next = -1, now = clock_ms();

	for (int i = 0; i < JOBS; i++) {
		struct job *j = &jobs[i];
		char line[64];

		if (!j->conversation)
			continue;
		while (j->left && j->due <= now) {
			int n = snprintf(line, sizeof line, "line %d\n", j->number++);
			struct error err;

			if (j->log)
				(void)runner_append(r, "log", line, (size_t)n, &err);
			else
				(void)conversation_send(j->conversation, 1, line, (size_t)n, -1);
			j->left--;
			j->due += j->ms;
		}
		if (!j->left) {
			conversation_end(j->conversation, 0, 0, "%s", "");
			j->conversation = NULL;
		} else if (next < 0 || j->due - now < next) {
			next = j->due - now;
		}
	}
	return next < 0 ? -1 : (int)(next > 1000 ? 1000 : next);
}

static bool may_start(struct runner *r)
{
	const cJSON *env = cJSON_GetObjectItemCaseSensitive(runner_fields(r), "env");
	const char *path = json_string(env, "STARTING_UNTIL");

	return !path || access(path, F_OK) == 0;
}

/* Starts as slowly as the config says, unless something else is wanted meanwhile. */
static int starts(struct runner *r, const char *ready, struct error *err)
{
	uint64_t generation = runner_want(r)->generation;

	runner_log(r, "started");
	if (runner_set_state(r, "starting", err) < 0)
		return -1;
	while (!may_start(r) && runner_want(r)->generation == generation) {
		struct runner_event e;

		if (runner_next(r, 10, &e, err) < 0)
			return -1;
		if (e.kind == RUNNER_CALL || e.kind == RUNNER_COMMAND)
			conversation_end(e.conversation, EAGAIN, 0, "the selftest is starting");
	}
	return runner_want(r)->generation == generation ? runner_set_state(r, ready, err) : 0;
}

int selftest_story(struct runner *r, struct error *err)
{
	struct job jobs[JOBS] = { { NULL, 0, 0, 0, false, 0 } };
	const char *ready = runner_kind(r) == OBJECT_NOTEBOOK || runner_kind(r) == OBJECT_SESSION ? "idle" : "ready";
	int resting = 0;

	while (!resting) {
		struct runner_event e;

		if (runner_want(r)->what == WANT_REMOVED)
			return 0;
		if (runner_want(r)->generation > runner_status(r)->generation) {
			if (runner_want(r)->what == WANT_STOPPED) {
				runner_log(r, "stopped");
				return runner_set_state(r, "stopped", err);
			}
			if (starts(r, ready, err) < 0)
				return -1;
			if (runner_want(r)->generation > runner_status(r)->generation)
				continue;
			if (status_resting(runner_kind(r), ready))
				return 0;
		}
		if (runner_next(r, work(r, jobs), &e, err) < 0)
			return -1;
		switch (e.kind) {
		case RUNNER_CALL:
			resting = call(r, jobs, &e, err);
			if (resting < 0)
				return -1;
			break;
		case RUNNER_COMMAND:
			conversation_end(e.conversation, strncmp(e.text, "extend", 6) ? EINVAL : 0, 0, "the selftest extends");
			break;
		case RUNNER_CLOSED:
			closed(jobs, e.conversation, e.gone);
			break;
		case RUNNER_SIGNAL:
			return 0;
		default:
			break;
		}
	}
	return 0;
}

#endif
