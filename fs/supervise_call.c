/* Calls and commands of the mount: each is a connection of its own to the runner. What comes is
 * delivered after the notices that the runner sent before it, so a reader who sees an answer sees
 * the files that it speaks of. */
#include "fs/supervise_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define REQUEST_MAX (16u << 20)

/* Lets the next step look at the call. */
static void list(struct supervise_call *call)
{
	struct supervisor *s = call->supervisor;
	struct supervise_call **end = &s->ready;

	if (call->listed)
		return;
	call->listed = true;
	while (*end)
		end = &(*end)->next_ready;
	call->next_ready = NULL;
	*end = call;
	supervise_wake(s);
}

static void unlink_object(struct supervise_call *call)
{
	if (!call->object)
		return;
	for (struct supervise_call **at = &call->object->calls; *at; at = &(*at)->next) {
		if (*at == call) {
			*at = call->next;
			break;
		}
	}
	call->object = NULL;
}

static void free_call(struct supervise_call *call)
{
	struct supervisor *s = call->supervisor;

	if (s->current == call)
		s->current = NULL;
	for (struct supervise_call **at = &s->ready; call->listed && *at; at = &(*at)->next_ready) {
		if (*at == call) {
			*at = call->next_ready;
			break;
		}
	}
	unlink_object(call);
	supervise_unsource(s, &call->source);
	talk_close(&call->talk);
	buffer_free(&call->request);
	free(call->name);
	free(call);
}

static void finish(struct supervise_call *call, int code, const char *text)
{
	if (call->finished)
		return;
	call->finished = true;
	call->code = code;
	(void)snprintf(call->text, sizeof call->text, "%s", text);
	supervise_unsource(call->supervisor, &call->source);
	list(call);
}

static void set_events(struct supervise_call *call)
{
	uint32_t events = (call->paused ? 0 : EPOLLIN) | (call->talk.out.length ? EPOLLOUT : 0);

	/* A paused call is not watched at all: a hang-up would be reported for ever. */
	if (!events)
		supervise_unsource(call->supervisor, &call->source);
	else if (supervise_source(call->supervisor, &call->source, call->talk.fd, events) < 0)
		finish(call, errno, "epoll");
}

/* Sends the request to a runner that listens. */
static void begin(struct supervise_call *call)
{
	struct supervisor *s = call->supervisor;
	struct object *o = call->object;
	struct error err;
	int folder = object_open(s->state, o->kind, o->serial, &err);
	int result = folder < 0 ? -1 : talk_connect(&call->talk, folder, &err);

	if (folder >= 0)
		(void)close(folder);
	/* It comes to rest just now, or dies: whatever follows decides what becomes of the call. */
	if (result < 0 && err.code == ENOTCONN && o->phase == PHASE_CONNECTED)
		return;
	call->begun = true;
	if (result == 0 && call->command)
		result = talk_send(&call->talk, TALK_COMMAND, call->name, strlen(call->name), &err);
	else if (result == 0)
		result = (call->released ? talk_ask_unread : talk_ask)(&call->talk, call->name, call->request.data,
									   call->request.length, &err);
	buffer_free(&call->request);
	/* A runner that did not take the request has said why before it closed (EPIPE): that is read. */
	if (result < 0 && (call->talk.fd < 0 || err.code != EPIPE)) {
		talk_close(&call->talk);
		finish(call, err.code, err.text);
		return;
	}
	if (call->released && !call->talk.out.length) {
		free_call(call);
		return;
	}
	set_events(call);
}

bool supervise_answers(const struct object *o)
{
	return o->phase == PHASE_CONNECTED && o->link->synced;
}

void supervise_begin_calls(struct supervisor *s, struct object *o)
{
	(void)s;
	for (struct supervise_call *call = o->calls, *after; call; call = after) {
		after = call->next;
		if (!call->begun && !call->finished)
			begin(call);
	}
}

void supervise_fail_calls(struct supervisor *s, struct object *o, int code, const char *text)
{
	(void)s;
	/* Those that were begun have a connection, whose end tells theirs. */
	for (struct supervise_call *call = o->calls; call; call = call->next)
		if (!call->begun)
			finish(call, code, text);
}

void supervise_drop_calls(struct supervisor *s, struct object *o)
{
	while (o && o->calls)
		free_call(o->calls);
	while (!o && s->ready)
		free_call(s->ready);
}

void supervise_forget_object(struct object *o)
{
	while (o->calls)
		unlink_object(o->calls);
}

static void deliver_end(struct supervise_call *call, int code, int status, const char *text)
{
	struct supervise_call_callbacks callbacks = call->callbacks;
	void *context = call->context;
	int passed = code ? -1 : call->talk.passed;
	char copy[ERROR_TEXT_SIZE];

	(void)snprintf(copy, sizeof copy, "%s", text);
	if (!code)
		call->talk.passed = -1;
	if (call->released || !callbacks.ended) {
		if (passed >= 0)
			(void)close(passed);
		free_call(call);
		return;
	}
	free_call(call);
	callbacks.ended(context, code, status, copy, passed);
}

/* The connection is gone without an end. */
static void deliver_loss(struct supervise_call *call)
{
	struct object *o = call->object;
	char text[128];

	if (!o) {
		deliver_end(call, ENOTCONN, 0, "it was removed");
	} else if (status_resting(o->kind, o->status.state) && o->want.generation == o->status.generation) {
		status_sentence(o->kind, &o->status, -1, text, sizeof text);
		deliver_end(call, ENOTCONN, 0, text);
	} else {
		deliver_end(call, EIO, 0, "its runner ended unexpectedly");
	}
}

/* Takes all that has come, unless the receiver pauses or lets go of the call in between. */
static void take(struct supervise_call *call)
{
	struct supervisor *s = call->supervisor;
	struct talk_message m;
	struct error err;

	s->current = call;
	while (!call->paused) {
		int got = talk_take(&call->talk, &m, &err);

		if (got == 0)
			break;
		if (call->object)
			supervise_take_notices(s, call->object);
		if (s->current != call)
			return;
		if (got < 0) {
			/* The others of its connections end as well: whoever calls again now shall not reach
			 * what is dying. */
			if (call->object && call->object->phase == PHASE_CONNECTED)
				supervise_lost(s, call->object);
			if (s->current == call)
				deliver_loss(call);
			return;
		}
		if (m.type == TALK_END) {
			deliver_end(call, m.code, m.exit, m.text);
			return;
		}
		if (m.type == TALK_DATA && call->callbacks.data && !call->released)
			call->callbacks.data(call->context, m.channel, m.data, m.length);
		if (s->current != call)
			return;
	}
	s->current = NULL;
	set_events(call);
}

void supervise_call_event(struct supervise_call *call)
{
	struct error ignored;

	/* A failed send is followed by what the runner said before it closed, or by its end. */
	if (call->talk.out.length && talk_flush(&call->talk, &ignored) < 0)
		buffer_clear(&call->talk.out);
	if (call->released) {
		if (!call->talk.out.length)
			free_call(call);
		return;
	}
	take(call);
}

void supervise_ready_calls(struct supervisor *s)
{
	struct supervise_call *last = NULL;

	/* Those that are listed meanwhile wait for the next step. */
	for (struct supervise_call *call = s->ready; call; call = call->next_ready)
		last = call;
	while (s->ready && last) {
		struct supervise_call *call = s->ready;
		bool stop = call == last;

		s->ready = call->next_ready;
		call->listed = false;
		if (call->finished)
			deliver_end(call, call->code, 0, call->text);
		else if (call->begun)
			take(call);
		else if (call->object && supervise_answers(call->object))
			begin(call);
		if (stop)
			return;
	}
}

static struct supervise_call *make(struct supervisor *s, enum object_kind kind, uint64_t serial,
				   const char *name, const struct supervise_call_callbacks *callbacks,
				   void *context)
{
	struct supervise_call *call = calloc(1, sizeof *call);

	if (!call)
		return NULL;
	call->supervisor = s;
	call->source = (struct source){ SOURCE_CALL, -1, call };
	call->talk = (struct talk){ .fd = -1, .passed = -1 };
	call->request = BUFFER(REQUEST_MAX);
	call->callbacks = *callbacks;
	call->context = context;
	call->name = strdup(name);
	if (!call->name) {
		free(call);
		return NULL;
	}
	call->object = supervise_object(s, kind, serial);
	if (!call->object) {
		finish(call, ENOTCONN, "nothing of it runs");
		return call;
	}
	struct supervise_call **end = &call->object->calls;

	while (*end)
		end = &(*end)->next;
	*end = call;
	return call;
}

static void launch(struct supervise_call *call)
{
	struct object *o = call->object;
	struct error ignored;
	int folder;

	if (o && supervise_answers(o)) {
		begin(call);
	} else if (o && o->phase == PHASE_REST && !o->expected) {
		folder = object_open(call->supervisor->state, o->kind, o->serial, &ignored);
		supervise_refuse_calls(call->supervisor, o, folder);
		if (folder >= 0)
			(void)close(folder);
	}
}

static struct supervise_call *ask(struct supervisor *s, enum object_kind kind, uint64_t serial,
				  const char *name, const void *request, size_t n, bool unread,
				  const struct supervise_call_callbacks *callbacks, void *context)
{
	struct supervise_call *call = make(s, kind, serial, name, callbacks, context);

	if (!call)
		return NULL;
	call->released = call->paused = unread;
	if (buffer_append(&call->request, request, n) < 0) {
		if (errno != EFBIG) {
			free_call(call);
			return NULL;
		}
		finish(call, EMSGSIZE, "a request has at most 16 MiB");
		return call;
	}
	launch(call);
	return call;
}

struct supervise_call *supervise_call(struct supervisor *s, enum object_kind kind, uint64_t serial,
				      const char *name, const void *request, size_t n,
				      const struct supervise_call_callbacks *callbacks, void *context)
{
	return ask(s, kind, serial, name, request, n, false, callbacks, context);
}

int supervise_call_unread(struct supervisor *s, enum object_kind kind, uint64_t serial, const char *name,
			  const void *request, size_t n)
{
	static const struct supervise_call_callbacks none;

	return ask(s, kind, serial, name, request, n, true, &none, NULL) ? 0 : -1;
}

struct supervise_call *supervise_command(struct supervisor *s, enum object_kind kind, uint64_t serial,
					 const char *line,
					 const struct supervise_call_callbacks *callbacks, void *context)
{
	struct supervise_call *call = make(s, kind, serial, line, callbacks, context);

	if (!call)
		return NULL;
	call->command = true;
	launch(call);
	return call;
}

void supervise_call_pause(struct supervise_call *call, bool paused)
{
	if (call->paused == paused)
		return;
	call->paused = paused;
	if (call->finished || !call->begun)
		return;
	/* What was received already makes no descriptor ready. */
	if (!paused)
		list(call);
	if (call->supervisor->current != call)
		set_events(call);
}

/* Goes on without its owner until what was asked for has been sent. */
static void release(struct supervise_call *call)
{
	if (call->supervisor->current == call)
		call->supervisor->current = NULL;
	call->released = true;
	if (call->finished || (call->begun && !call->talk.out.length)) {
		free_call(call);
		return;
	}
	call->paused = true;
	if (call->begun)
		set_events(call);
}

void supervise_call_close(struct supervise_call *call)
{
	struct error ignored;

	if (!call->begun) {
		free_call(call);
		return;
	}
	if (call->talk.fd >= 0)
		(void)talk_send(&call->talk, TALK_CLOSE, NULL, 0, &ignored);
	release(call);
}

void supervise_call_abandon(struct supervise_call *call)
{
	release(call);
}
