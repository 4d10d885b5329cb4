/* What a client gets of its request: the text of its cell as fast as the client takes it, out of the
 * cell's own file, so that nothing is kept in memory for a slow one; or one document at the end. */
#include "backend/kernel/requests.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define PIECE 65536u

static const char *const outcome_names[] = {
	[OUTCOME_OK] = "ok", [OUTCOME_ERROR] = "error",
	[OUTCOME_INTERRUPTED] = "interrupted", [OUTCOME_DIED] = "died",
};

const char *outcome_name(enum outcome outcome)
{
	return outcome_names[outcome];
}

void answer_tell(struct request *r, bool force)
{
	char piece[PIECE];
	ssize_t n;

	if (r->kind != REQUEST_EXEC || !r->conversation || r->cell.output < 0)
		return;
	/* What was cleared is gone; the stream goes on with what came instead. */
	if (r->clears != r->cell.clears) {
		r->clears = r->cell.clears;
		r->told = 0;
	}
	while (r->told < r->cell.size && (force || !conversation_full(r->conversation))) {
		n = pread(r->cell.output, piece, sizeof piece, r->told);
		if (n <= 0 || conversation_send(r->conversation, TALK_STDOUT, piece, (size_t)n, -1) < 0)
			return;
		r->told += n;
	}
}

static void give(struct request *r, bool force)
{
	size_t n;

	while (r->conversation && r->answered < r->answer.length &&
	       (force || !conversation_full(r->conversation))) {
		n = r->answer.length - r->answered;
		if (n > PIECE)
			n = PIECE;
		if (conversation_send(r->conversation, TALK_STDOUT, r->answer.data + r->answered, n, -1) < 0)
			return;
		r->answered += n;
	}
}

bool answer_given(struct request *r, bool force)
{
	if (!r->conversation)
		return true;
	answer_tell(r, force);
	give(r, force);
	if (!force && (r->answered < r->answer.length ||
		       (r->kind == REQUEST_EXEC && r->cell.output >= 0 && r->told < r->cell.size)))
		return false;
	conversation_end(r->conversation, 0, r->kind == REQUEST_EXEC && r->outcome != OUTCOME_OK, NULL);
	r->conversation = NULL;
	return true;
}

int answer_make(struct request *r, struct error *err)
{
	if (buffer_text(&r->answer, "{\"cell\":") < 0 ||
	    (r->cell.number ? buffer_format(&r->answer, "%u", r->cell.number) : buffer_text(&r->answer, "null")) < 0 ||
	    buffer_text(&r->answer, ",\"count\":") < 0 ||
	    (r->cell.count >= 0 ? buffer_format(&r->answer, "%ld", r->cell.count)
				: buffer_text(&r->answer, "null")) < 0 ||
	    buffer_format(&r->answer, ",\"state\":\"%s\",\"outputs\":", outcome_name(r->outcome)) < 0)
		return error_errno(err, "cell %u", r->cell.number);
	if (cell_outputs(&r->cell, &r->answer, err) < 0)
		return -1;
	return buffer_text(&r->answer, "}\n") < 0 ? error_errno(err, "cell %u", r->cell.number) : 0;
}

void answer_log(struct story *s, struct request *r)
{
	char piece[PIECE];
	struct error ignored;
	ssize_t n;

	while (r->told < r->cell.size && (n = pread(r->cell.output, piece, sizeof piece, r->told)) > 0) {
		if (runner_append(s->runner, "log", piece, (size_t)n, &ignored) < 0)
			return;
		r->told += n;
	}
}
