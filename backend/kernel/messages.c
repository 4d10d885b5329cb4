/* The kernel's messages, each given to the cell that it is about. A message's parent is the id of the
 * request, CLIENT-NUMBER-CELL, so no table is needed; what comes for nobody is nobody's. A kernel may
 * send anything at all: it harms itself alone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/kernel/requests.h"
#include "base/cleanup.h"

#define LOST_SECONDS 4 /* after one end of a cell; the other is asked for then */

/* Splits one of our message ids; false when it is not ours. */
static bool read_id(const struct story *s, const char *id, uint64_t *number, unsigned int *cell)
{
	size_t n = strlen(s->client);
	unsigned long long value;
	char *end;

	if (!n || strncmp(id, s->client, n) || id[n] != '-')
		return false;
	*number = strtoull(id + n + 1, &end, 10);
	if (*end != '-')
		return false;
	value = strtoull(end + 1, &end, 10);
	*cell = (unsigned int)value;
	return !*end && value == *cell;
}

/* Threads print after their cell has ended; it is the cell's nevertheless. */
static void take_late(struct story *s, const struct wire_message *message, uint64_t number, unsigned int number_of_cell)
{
	struct cell *cell;
	struct error err;

	if (!number_of_cell || s->recent[number % RECENT].number != number ||
	    s->recent[number % RECENT].cell != number_of_cell)
		return;
	if (message->type != WIRE_STREAM && message->type != WIRE_DISPLAY_DATA)
		return;
	cell = cell_find(&s->notebook, number_of_cell, &err);
	if (!cell || cell_take(cell, message, &err) < 0)
		requests_trouble(s, &err);
	else
		cell_announce(cell);
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

static void say_missing(struct story *s, struct request *r, struct json text)
{
	const struct wire_message mark = { .type = WIRE_STREAM, .content = text };
	struct error err;

	if (cell_take(&r->cell, &mark, &err) < 0)
		requests_trouble(s, &err);
}

/* The first message about a cell that ran when the connection was lost. What the server had sent
 * and nobody had taken is gone; the numbers tell that there was something. A reply and the idle
 * after it may change places. */
static void look_for_gap(struct story *s, struct request *r, const struct wire_message *message)
{
	static const char text[] = "{\"name\":\"stderr\",\"text\":\"[interpfs: output may be missing here: "
				   "the connection to the kernel was lost]\\n\"}";
	bool ends = message->type == WIRE_STATUS || message->type == WIRE_EXECUTE_REPLY;

	r->resumes = false;
	if (s->resumed_after && message->count > s->resumed_after + 1 + ends)
		say_missing(s, r, JSON(text));
}

/* Ends one that was sent and whose end got lost: with a connection, or because the kernel's publisher
 * leaves out what is not taken fast enough. */
static void end_lost(struct story *s, struct request *r)
{
	static const char text[] = "{\"name\":\"stderr\",\"text\":\"[interpfs: output may be missing here: "
				   "the kernel has not said that it was all]\\n\"}";

	if (r->replied && r->end_due > 0)
		say_missing(s, r, JSON(text));
	if (!r->replied && *r->cell.failed)
		r->outcome = OUTCOME_ERROR;
	if (r->replied || *r->cell.failed)
		request_finish(s, r);
	else if (r->idle)
		request_fail(s, r, OUTCOME_INTERRUPTED, "Interrupted", "the kernel has not said how this cell ended");
	else
		request_fail(s, r, OUTCOME_INTERRUPTED, "Interrupted",
			     "the connection to the kernel was lost, and with it how this cell ended");
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
			requests_trouble(s, &err);
	}
	if (!s->probe_idle || !s->probe_replied)
		return;
	s->synchronized = true;
	s->probe = 0;
	if (s->first && s->first->asked_for)
		end_lost(s, s->first);
}

/* About the request that is with the kernel. */
static void take_own(struct story *s, struct request *r, const struct wire_message *message)
{
	struct error err;

	if (r->resumes)
		look_for_gap(s, r, message);
	if (message->type == WIRE_STATUS)
		r->idle |= json_is(json_get(message->content, "execution_state"), "idle");
	else if (cell_take(&r->cell, message, &err) < 0)
		requests_trouble(s, &err);
	if (message->type == WIRE_EXECUTE_REPLY)
		take_reply(r, message->content);
	if (r->replied && r->idle)
		request_finish(s, r);
	else if ((r->replied || r->idle) && r->end_due <= 0)
		r->end_due = story_now() + LOST_SECONDS;
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
	if (message->type == WIRE_HELD) {
		story_held(s, json_get(message->content, "held"));
		return;
	}
	if (!read_id(s, message->parent, &number, &cell))
		return; /* another client's, or the server's own */
	if (number && number == s->probe) {
		take_probe(s, message);
		return;
	}
	if (message->type == WIRE_UPDATE_DISPLAY_DATA) {
		if (notebook_update_display(&s->notebook, message, &err) < 0)
			requests_trouble(s, &err);
		return;
	}
	if (r && r->sent && !r->number && r->cell.number == cell)
		r->number = number; /* an earlier runner sent it */
	if (r && r->sent && r->number == number && r->cell.number == cell)
		take_own(s, r, message);
	else
		take_late(s, message, number, cell);
}

void requests_message(struct story *s, const struct wire_message *message)
{
	take_message(s, message);
	/* Only now: a message that was taken twice would be seen, one that never was would not. */
	if (message->count > *s->seen)
		*s->seen = message->count;
}
