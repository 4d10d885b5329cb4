/* Provider replay: the assistant's turns come from a recording, at once and for nothing; the tool
 * calls in them are run for real by the loop, so that what they return is new.
 *
 * `replay:` in the config is a session's name (its messages.jsonl), a folder that holds a
 * messages.jsonl or a recording.jsonl, or a .jsonl file. */
#include "backend/llm/recording.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/llm/retry.h"
#include "backend/runner.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define RECORDING_MAX (256u << 20)

struct replay {
	struct recording recording;
	size_t turn;   /* the one that is being given */
	cJSON *blocks; /* of that turn */
	cJSON *next;   /* the block to be given next */
	bool asking;
};

/* The recording's file: in another session's folder, or where the user says. */
static int open_source(struct runner *runner, const char *source, struct error *err)
{
	static const char *const names[] = { "messages.jsonl", "recording.jsonl" };
	cleanup_close int folder = -1;
	cleanup_free char *path = NULL;
	struct stat st;
	uint64_t serial;
	int fd;

	if (*source == '/' || *source == '~') {
		const char *home = *source == '~' ? getenv("HOME") : "";

		if (asprintf(&path, "%s%s", home ? home : "", source + (*source == '~')) < 0)
			return error_memory(err);
		folder = open(path, O_RDONLY | O_CLOEXEC);
		if (folder < 0)
			return error_errno(err, "replay: %s", path);
		if (fstat(folder, &st) < 0 || !S_ISDIR(st.st_mode))
			return steal_fd(&folder);
	} else {
		if (state_find(runner_state(runner), OBJECT_SESSION, source, &serial, err) < 0)
			return error_set(err, ENOENT, "replay: there is no session '%s'", source);
		folder = object_open(runner_state(runner), OBJECT_SESSION, serial, err);
		if (folder < 0)
			return -1;
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		fd = openat(folder, names[i], O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			return fd;
	}
	return error_set(err, ENOENT, "replay: %s holds no messages.jsonl", source);
}

static int read_all(int fd, struct buffer *out, struct error *err)
{
	for (;;) {
		ssize_t n;

		if (buffer_reserve(out, 65536) < 0)
			return error_set(err, errno, "replay: the recording is too long");
		n = read(fd, out->data + out->length, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "replay");
		if (n == 0)
			return 0;
		out->length += (size_t)n;
	}
}

static void replay_close(void *self)
{
	struct replay *r = self;

	if (!r)
		return;
	cJSON_Delete(r->blocks);
	recording_free(&r->recording);
	free(r);
}

static int replay_open(struct runner *runner, const cJSON *fields, const struct models *models, void **self,
		       struct error *err)
{
	const char *source = json_word(fields, "replay");
	cleanup_buffer struct buffer text = BUFFER(RECORDING_MAX);
	cleanup_close int fd = -1;
	struct replay *r;

	(void)models;
	if (!*source)
		return error_set(err, EINVAL, "provider replay needs the field replay: a session, a folder or a file");
	fd = open_source(runner, source, err);
	if (fd < 0 || read_all(fd, &text, err) < 0)
		return -1;
	r = calloc(1, sizeof *r);
	if (!r)
		return error_memory(err);
	if (recording_parse(&r->recording, source, text.data ? text.data : "", text.length, err) < 0) {
		replay_close(r);
		return -1;
	}
	*self = r;
	return 0;
}

/* As many turns of the recording are over as the conversation has answers. */
static int replay_request(void *self, const struct dialogue *dialogue, struct buffer *body, struct error *err)
{
	struct replay *r = self;

	r->turn = 0;
	for (size_t i = 0; i < dialogue->count; i++)
		r->turn += dialogue->items[i].kind == ITEM_ASSISTANT;
	if (buffer_format(body, "{\"replay\":%zu,\"of\":%zu}", r->turn + 1, r->recording.count) < 0)
		return error_memory(err);
	return 0;
}

static int replay_send(void *self, const struct buffer *body, struct error *err)
{
	struct replay *r = self;

	(void)body;
	cJSON_Delete(r->blocks);
	r->blocks = r->next = NULL;
	r->asking = true;
	if (r->turn < r->recording.count) {
		r->blocks = cJSON_Parse(r->recording.turns[r->turn]);
		if (!r->blocks)
			return error_memory(err);
		r->next = r->blocks->child;
	}
	return 0;
}

static void replay_ready(void *self, int fd, short revents)
{
	(void)self;
	(void)fd;
	(void)revents;
}

static int replay_timeout(void *self)
{
	return ((struct replay *)self)->asking ? 0 : -1;
}

static int replay_take(void *self, struct piece *piece, struct error *err)
{
	struct replay *r = self;

	*piece = (struct piece){ .kind = PIECE_NONE };
	if (!r->asking)
		return 0;
	while (r->next) {
		const cJSON *block = r->next;
		const char *type = json_word(block, "type");

		r->next = r->next->next;
		piece->kind = !strcmp(type, "text") ? PIECE_TEXT : !strcmp(type, "thinking") ? PIECE_THINKING
			      : !strcmp(type, "tool_use") ? PIECE_CALL : PIECE_NONE;
		piece->text = json_word(block, piece->kind == PIECE_CALL ? "name" : type);
		piece->length = strlen(piece->text);
		if (piece->kind != PIECE_NONE && piece->length)
			return 1;
	}
	r->asking = false;
	if (r->turn >= r->recording.count) {
		piece->kind = PIECE_TROUBLE;
		piece->trouble = (struct trouble){ .delay = -1 };
		trouble_say(&piece->trouble, "the recording has ended: it has %zu turns", r->recording.count);
		return 1;
	}
	if (recording_answer(r->recording.turns[r->turn], &piece->answer, err) < 0)
		return -1;
	piece->kind = PIECE_ANSWER;
	return 1;
}

static cJSON *replay_abandon(void *self)
{
	((struct replay *)self)->asking = false;
	return NULL;
}

const struct provider replay_provider = {
	.name = "replay",
	.open = replay_open,
	.close = replay_close,
	.request = replay_request,
	.send = replay_send,
	.ready = replay_ready,
	.timeout = replay_timeout,
	.take = replay_take,
	.abandon = replay_abandon,
};
