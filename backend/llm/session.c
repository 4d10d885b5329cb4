/* A session's story: the agent's harness, one process, read from top to bottom.
 *
 *      load what was said, repair what a crash left      session_load
 *      for each message in the inbox (or a turn that was under way)
 *              the turn                                  session_turn
 *              its end: outputs, usage, state
 *      rest
 *
 * All that is said goes through messages.jsonl first (journal.h); from it alone the conversation
 * can be rebuilt, byte for byte. */
#include "backend/llm/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/runners.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/content.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"

#define MESSAGE_MAX (32u << 20)
#define NOTHING_SAID "(no content)" /* the API takes no empty message */
#define GO_ON "Go on from where you stopped."

bool session_halted(const struct session *s)
{
	return s->interrupt || s->stop || s->quit;
}

static void forget_conversation(struct session *s, struct conversation *c)
{
	for (size_t i = 0; i < s->n_waiting; i++)
		if (s->waiting[i] == c) {
			memmove(&s->waiting[i], &s->waiting[i + 1], (--s->n_waiting - i) * sizeof *s->waiting);
			break;
		}
	conversation_end(c, ECANCELED, 0, "given up");
}

static void take_command(struct session *s, struct conversation *c, const char *line)
{
	if (strcmp(line, "interrupt") != 0)
		conversation_end(c, EINVAL, 0, "a session has no command '%.40s'", line);
	else if (s->n_waiting == WAITING_MAX)
		conversation_end(c, EBUSY, 0, "it is being interrupted already");
	else {
		s->waiting[s->n_waiting++] = c;
		s->interrupt = true;
	}
}

static void look_at_want(struct session *s)
{
	const struct want *want = runner_want(s->runner);

	s->stop = want->what == WANT_STOPPED || want->what == WANT_REMOVED;
	if (want->what == WANT_REMOVED)
		s->quit = true;
}

int session_next(struct session *s, int timeout_ms, struct error *err)
{
	struct runner_event event;
	int sooner = s->self ? s->provider->timeout(s->self) : -1;

	if (sooner >= 0 && (timeout_ms < 0 || sooner < timeout_ms))
		timeout_ms = sooner;
	if (runner_next(s->runner, timeout_ms, &event, err) < 0)
		return -1;
	switch (event.kind) {
	case RUNNER_TIMEOUT:
	case RUNNER_DRAINED:
		break;
	case RUNNER_WANT:
		look_at_want(s);
		break;
	case RUNNER_COMMAND:
		take_command(s, event.conversation, event.text);
		break;
	case RUNNER_CALL:
		conversation_end(event.conversation, EOPNOTSUPP, 0, "a session takes no calls");
		break;
	case RUNNER_CLOSED:
		forget_conversation(s, event.conversation);
		break;
	case RUNNER_FD:
		if (event.fd == s->asking_fd)
			break; /* who asks takes it */
		if (!s->client || event.fd != client_fd(s->client)) {
			if (s->self)
				s->provider->ready(s->self, event.fd, event.revents);
			break;
		}
		if (!s->client_gone && client_step(s->client, &s->client_error) < 0) {
			s->client_gone = true;
			runner_unwatch(s->runner, event.fd);
		}
		break;
	case RUNNER_SIGNAL:
		s->quit = true;
		break;
	}
	return 0;
}

/* The oldest message that waits: 1 and its name, with its path below the session's folder. */
static int oldest(struct session *s, char *path, size_t size, struct error *err)
{
	cleanup_close int folder = openat(runner_folder(s->runner), "inbox", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *dir = NULL;
	char first[256] = "";
	struct dirent *entry;

	if (folder < 0)
		return errno == ENOENT ? 0 : error_errno(err, "inbox");
	dir = fdopendir(folder);
	if (!dir)
		return error_errno(err, "inbox");
	(void)steal_fd(&folder);
	while ((entry = readdir(dir))) {
		size_t n = strlen(entry->d_name);

		if (entry->d_name[0] == '.' || n < 6 || strcmp(entry->d_name + n - 5, ".json") != 0)
			continue;
		if (!*first || strcmp(entry->d_name, first) < 0)
			snprintf(first, sizeof first, "%s", entry->d_name);
	}
	if (!*first)
		return 0;
	snprintf(path, size, "inbox/%s", first);
	return 1;
}

static int say_content(struct session *s, const cJSON *content, struct error *err)
{
	const cJSON *block;

	if (cJSON_IsString(content))
		return session_say_line(s, err, "%s", content->valuestring);
	cJSON_ArrayForEach(block, content) {
		const char *text = json_word(block, "text");

		if (session_say_line(s, err, *text ? "%s" : "[%s]", *text ? text : json_word(block, "type")) < 0)
			return -1;
	}
	return 0;
}

static int say_user(struct session *s, const char *text, const char *inbox, struct error *err)
{
	if (session_user_text(s, text, false, inbox, err) < 0 || session_heading(s, err, "user") < 0)
		return -1;
	return session_say_line(s, err, "%s", text);
}

static int take_message(struct session *s, const cJSON *content, const char *inbox, struct error *err)
{
	cleanup_free char *text = NULL;
	cJSON *event, *fit;
	struct error why;
	size_t n;
	int rc;

	if (cJSON_IsArray(content) && content_check(content, &why) == 0) {
		event = cJSON_CreateObject();
		cJSON_AddStringToObject(event, "inbox", inbox);
		fit = session_fit_pictures(s, content);
		cJSON_AddItemReferenceToObject(event, "content", fit);
		rc = !fit ? error_memory(err) : session_event(s, "user", event, err);
		rc = rc < 0 || session_heading(s, err, "user") < 0 ? -1 : say_content(s, fit, err);
		cJSON_Delete(fit);
		return rc;
	}
	if (!cJSON_IsArray(content))
		text = cJSON_IsString(content) ? strdup(content->valuestring) : cJSON_PrintUnformatted(content);
	else if (asprintf(&text, "[The user sent what cannot be sent on: %s.]", why.text) < 0)
		text = NULL;
	if (!text)
		return error_memory(err);
	for (n = strlen(text); n && strchr(" \t\r\n", text[n - 1]); n--) /* echo's own newline, too */
		text[n - 1] = '\0';
	return say_user(s, *text ? text : NOTHING_SAID, inbox, err);
}

/* start: a turn without words. Where the last one broke off it goes on from there; an answer that is
 * complete in itself is asked to go on. */
static int take_start(struct session *s, const char *inbox, struct error *err)
{
	const struct dialogue *d = &s->dialogue;
	cJSON *event;
	size_t i = d->count;

	while (i && d->items[i - 1].kind == ITEM_ASKED)
		i--;
	if (!i)
		return say_user(s, NOTHING_SAID, inbox, err);
	if (s->answered && !strcmp(s->ended, "done")) {
		runner_log(s->runner, "start: nothing waits for an answer; write to input");
		snprintf(s->taken, sizeof s->taken, "%s", inbox);
		return 0;
	}
	if (s->answered && s->last_stop != STOP_PAUSED)
		return say_user(s, GO_ON, inbox, err);
	event = cJSON_CreateObject();
	cJSON_AddStringToObject(event, "inbox", inbox);
	return session_event(s, "start", event, err);
}

/* Takes the oldest message into the conversation: 1; 0 when none waits. Its file goes once its event is
 * on the disk; the event names it, so that a crash in between repeats nothing. */
static int take_inbox(struct session *s, struct error *err)
{
	char path[300], identity[128];
	int got;

	while ((got = oldest(s, path, sizeof path, err)) == 1) {
		cleanup_buffer struct buffer text = BUFFER(MESSAGE_MAX);
		cJSON *message = NULL;
		struct stat st;
		bool known;
		int rc = 0;

		if (fstatat(runner_folder(s->runner), path, &st, 0) < 0)
			return error_errno(err, "%s", path);
		snprintf(identity, sizeof identity, "%.80s:%lld", path + strlen("inbox/"),
			 (long long)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
		known = !strcmp(identity, s->taken);
		if (!known) {
			if (file_read(runner_folder(s->runner), path, &text, err) < 0)
				return -1;
			message = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
			if (!message)
				runner_log(s->runner, "%s is not JSON and is dropped", path);
			else if (!strcmp(json_word(message, "kind"), "start"))
				rc = take_start(s, identity, err);
			else if (cJSON_GetObjectItemCaseSensitive(message, "content"))
				rc = take_message(s, cJSON_GetObjectItemCaseSensitive(message, "content"), identity, err);
			cJSON_Delete(message);
			if (rc < 0 || (s->journal.seq && session_sync(s, err) < 0))
				return -1;
			failpoint("session-inbox");
		}
		if (unlinkat(runner_folder(s->runner), path, 0) < 0 && errno != ENOENT)
			return error_errno(err, "%s", path);
		if (file_sync_folder(runner_folder(s->runner), "inbox", err) < 0)
			return -1;
		runner_changed(s->runner, path);
		if (s->open)
			return 1;
	}
	return got;
}

/* The turn's end, told everywhere. ending->state NULL: the process ends, not the turn. */
static int end_turn(struct session *s, const struct ending *ending, struct error *err)
{
	cJSON *event;

	if (!ending->state)
		return 0;
	session_collect(s);
	if (*ending->text && (session_heading(s, err, "%s", ending->state) < 0 ||
			      session_say_line(s, err, "%s", ending->text) < 0))
		return -1;
	event = cJSON_CreateObject();
	cJSON_AddStringToObject(event, "state", ending->state);
	cJSON_AddStringToObject(event, "error", ending->text);
	cJSON_AddNumberToObject(event, "seconds",
				(double)(long long)((clock_seconds() - s->started) * 1000) / 1000);
	if (session_event(s, "end", event, err) < 0 || session_sync(s, err) < 0)
		return -1;
	failpoint("session-end");
	if (runner_sync(s->runner, "messages", err) < 0)
		return -1;
	return session_show_usage(s, err);
}

static void answer_commands(struct session *s)
{
	while (s->n_waiting)
		conversation_end(s->waiting[--s->n_waiting], 0, 0, "%s", "");
	s->interrupt = false;
}

/* Also sees what has come in the meantime. */
static int look_around(struct session *s, struct error *err)
{
	return session_next(s, 0, err);
}

/* A turn under way is gone on with; but where the mount says that it is at rest, the machine was
 * restarted, and nobody has asked for it since. */
static int leave_old_turn(struct session *s, struct error *err)
{
	struct ending ending = { .state = "interrupted" };

	if (!s->open || !s->advanced || s->answered || !status_resting(OBJECT_SESSION, runner_status(s->runner)->state))
		return 0;
	s->started = clock_seconds();
	if (session_user_text(s, "[This was interrupted: the machine was restarted.]", true, NULL, err) < 0)
		return -1;
	return end_turn(s, &ending, err);
}

static int live(struct session *s, struct error *err)
{
	struct ending ending = { .state = NULL };

	look_at_want(s);
	if (session_load(s, err) < 0 || leave_old_turn(s, err) < 0)
		return -1;
	for (;;) {
		if (s->quit)
			return 0;
		if (!s->open && !s->stop) {
			if (take_inbox(s, err) < 0)
				return -1;
		}
		if (!s->open)
			break;
		answer_commands(s);
		if (session_turn(s, &ending, err) < 0 || end_turn(s, &ending, err) < 0)
			return -1;
		session_release(s);
		if (!ending.state)
			return 0;
		if (look_around(s, err) < 0)
			return -1;
	}
	/* As the last turn ended, also when that was in another process. */
	if (runner_set_failure(s->runner, s->ended_text, err) < 0)
		return -1;
	return runner_set_state(s->runner, *s->ended ? s->ended : "interrupted", err);
}

int session_story(struct runner *runner, struct error *err)
{
	struct session s = {
		.runner = runner, .root = -1, .asking_fd = -1, .dialogue = { .folder = -1 },
		.said = BUFFER(LINE_MAX_BYTES), .unsaid = BUFFER(LINE_MAX_BYTES), .line = BUFFER(LINE_MAX_BYTES),
		.body = BUFFER(LINE_MAX_BYTES),
	};
	struct error ignored;
	int rc = models_open(&s.models, NULL, err);

	rc = rc < 0 ? rc : live(&s, err);
	if (session_say(&s, "", 0, &ignored) < 0) /* what was held back */
		runner_log(runner, "messages: %s", ignored.text);
	answer_commands(&s);
	session_release(&s);
	dialogue_free(&s.dialogue);
	usage_free(&s.usage);
	models_close(&s.models);
	cJSON_Delete(s.pending);
	cJSON_Delete(s.fields);
	buffer_free(&s.said);
	buffer_free(&s.unsaid);
	buffer_free(&s.line);
	buffer_free(&s.body);
	return rc;
}
