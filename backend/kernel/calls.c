/* What clients ask a notebook for: exec, eval, run, markdown, edit N (docs/state.md). */
#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/kernel/requests.h"
#include "base/json.h"

/* A call: who asks, and how the code is to be run. */
struct call {
	struct conversation *conversation;
	enum request_kind kind;
	const char *code;
	size_t length;
	double timeout;
	bool apart; /* nobody waits for what it prints: which cell it is, is all of the answer */
};

static void refuse(struct conversation *c, const struct error *err)
{
	conversation_end(c, err->code, 0, "%s", err->text);
}

/* Whether a request that is queued now goes to the kernel in the same step. */
static bool goes_at_once(const struct story *s)
{
	return !s->first && s->ready && s->synchronized && s->socket && !s->dead && !s->turned;
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

static void queue(struct story *s, const struct call *call, struct request *r)
{
	r->timeout = call->timeout;
	request_append(s, r);
	if (call->apart) {
		answer_cell(call->conversation, r->cell.number);
	} else {
		r->conversation = call->conversation;
		conversation_set_data(call->conversation, r);
	}
}

/* Queues code: as a new cell, as cell `number`, or (0) without one. */
static void run_code(struct story *s, const struct call *call, bool new_cell, unsigned int number)
{
	struct request *r = request_new(s, call->kind, call->code, call->length);
	struct error err;
	int result;

	if (!r) {
		conversation_end(call->conversation, ENOMEM, 0, "out of memory");
		return;
	}
	result = new_cell ? notebook_add_code(&s->notebook, call->code, call->length, goes_at_once(s), &r->cell, &err)
			  : cell_open(&s->notebook, number, &r->cell, &err);
	s->unprepared |= new_cell;
	if (result == 0) {
		queue(s, call, r);
	} else {
		request_free(r);
		refuse(call->conversation, &err);
	}
}

static bool cell_is_waited_for(const struct story *s, unsigned int number)
{
	for (const struct request *r = s->first; r; r = r->next)
		if (r->cell.number == number)
			return true;
	return false;
}

/* Gives a cell a new source, and runs it if it is code. */
static void edit_cell(struct story *s, const struct call *call, unsigned int number)
{
	struct error err;
	bool code;

	if (cell_is_waited_for(s, number))
		conversation_end(call->conversation, EBUSY, 0, "cell %u runs; interrupt it first", number);
	else if (notebook_set_source(&s->notebook, number, call->code, call->length, &code, &err) < 0)
		refuse(call->conversation, &err);
	else if (code)
		run_code(s, call, false, number);
	else
		answer_cell(call->conversation, number);
}

static void take_run(struct story *s, struct conversation *c, const char *data, size_t n)
{
	cJSON *json = cJSON_ParseWithLength(data, n);
	const char *code = json_string(json, "code");
	const cJSON *cell = cJSON_GetObjectItemCaseSensitive(json, "cell");
	const cJSON *timeout = cJSON_GetObjectItemCaseSensitive(json, "timeout");
	struct call call = { .conversation = c, .kind = REQUEST_RUN, .code = code, .length = code ? strlen(code) : 0 };

	if (cJSON_IsNumber(timeout) && isfinite(timeout->valuedouble))
		call.timeout = timeout->valuedouble;
	if (!code || (cJSON_IsNumber(cell) && !(cell->valuedouble >= 1 && cell->valuedouble <= 1e6)))
		conversation_end(c, EINVAL, 0, "run: the request is {\"code\":TEXT,\"cell\":null or a number,"
				 "\"hidden\":false,\"timeout\":null or seconds}");
	else if (cJSON_IsNumber(cell))
		edit_cell(s, &call, (unsigned int)cell->valuedouble);
	else
		run_code(s, &call, !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "hidden")), 0);
	cJSON_Delete(json);
}

static void take_markdown(struct story *s, struct conversation *c, const char *text, size_t n)
{
	unsigned int number;
	struct error err;

	s->unprepared = true;
	if (notebook_add_markdown(&s->notebook, text, n, &number, &err) < 0)
		refuse(c, &err);
	else
		answer_cell(c, number);
}

static void take_edit(struct story *s, const struct call *call, const char *number)
{
	char *end = "";
	unsigned long n = *number >= '1' && *number <= '9' ? strtoul(number, &end, 10) : 0;

	if (!n || *end || n > 1000000)
		conversation_end(call->conversation, EINVAL, 0, "edit: a cell's number is missing");
	else
		edit_cell(s, call, (unsigned int)n);
}

void requests_take_call(struct story *s, struct conversation *c, const char *name, const char *data, size_t n)
{
	struct call call = { .conversation = c, .kind = REQUEST_EXEC, .code = data, .length = n,
			     .apart = !strncmp(name, "edit ", 5) };

	if (!strcmp(name, "exec"))
		run_code(s, &call, true, 0);
	else if (!strcmp(name, "eval"))
		run_code(s, &call, false, 0);
	else if (!strcmp(name, "run"))
		take_run(s, c, data, n);
	else if (!strcmp(name, "markdown"))
		take_markdown(s, c, data, n);
	else if (call.apart)
		take_edit(s, &call, name + 5);
	else
		conversation_end(c, EINVAL, 0, "a notebook has no call '%s'", name);
}
