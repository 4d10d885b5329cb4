/* Calls of functions, each over a connection of its own to the interface's process:
 *
 *      waits ──> connecting ──> asked ──> END               at most `parallel` of them at once;
 *                    └─ again                               the others wait in their order
 *
 * A call that is given up, or takes longer than the timeout, ends at once: its connection is closed, and
 * the process raises an exception in its thread. It is asked then whether it still answers; one that does
 * not is killed and started again. What comes from the process is hostile: talk.h bounds it. */
#include "backend/sandbox/interfaces_own.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/utf8.h"

#define KEPT_MAX (64u << 10)    /* of an answer, for calls.jsonl */
#define DESCRIBED_MAX (4u << 20)
#define AGAIN 0.02              /* seconds between two tries to connect */
#define TRIES 250               /* to connect to a process that does not listen */
#define MESSAGES 256            /* of one process that are taken before others have their turn */
#define LOST_MAX 5              /* processes that are lost before they begin a call */
#define PATIENCE 10.0           /* within which a process answers what is not a function */
#define ADOPTED 30.0            /* the same, for one that an earlier runner started */

static void step(struct function_call *f);

struct function_call *function_make(struct interface *it, enum function_kind kind, struct call *call, const char *name,
				    const char *who)
{
	struct function_call *f = calloc(1, sizeof *f), **at = &it->functions;

	if (!f)
		return NULL;
	*f = (struct function_call){ .interface = it, .kind = kind, .call = call, .name = strdup(name), .who = strdup(who),
				     .talk = { .fd = -1, .passed = -1 },
				     .kept = BUFFER(kind == FUNCTION_CALL ? KEPT_MAX : DESCRIBED_MAX) };
	if (!f->name || !f->who) {
		free(f->name);
		free(f->who);
		free(f);
		return NULL;
	}
	while (*at)
		at = &(*at)->next;
	*at = f;
	return f;
}

/* Lets go of the process and of the connection. */
static void leave(struct function_call *f)
{
	struct served *server = f->server;
	struct runner *r = f->interface->all->runner;

	f->server = NULL;
	f->due = 0;
	f->again = false;
	f->tries = 0;
	if (f->connecting)
		guest_forget(f->connecting);
	f->connecting = NULL;
	if (f->talk.fd >= 0) {
		runner_unwatch(r, f->talk.fd);
		talk_close(&f->talk);
	}
	if (server && f->kind == FUNCTION_CALL)
		server_call_ended(server);
}

void interfaces_drop(struct function_call *f)
{
	struct interface *it = f->interface;
	struct function_call **at = &it->functions;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	leave(f);
	if (f->call)
		f->call->function = NULL;
	buffer_free(&f->kept);
	free(f->name);
	free(f->who);
	free(f);
	functions_begin(it);
}

/* ---- what is written down ---- */

/* JSON as it came, in one line; whether it is that. */
static bool put_json(struct buffer *line, const char *name, const char *text, size_t n)
{
	cJSON *parsed = text && n ? cJSON_ParseWithLengthOpts(text, n + 1, NULL, true) : NULL;
	size_t from;

	if (!parsed || buffer_format(line, ",\"%s\":", name) < 0) {
		cJSON_Delete(parsed);
		return false;
	}
	cJSON_Delete(parsed);
	from = line->length;
	if (buffer_append(line, text, n) < 0)
		return false;
	for (char *p = line->data + from; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
	return true;
}

static void put_text(struct buffer *line, const char *name, const char *text)
{
	cJSON *string = cJSON_CreateString(text);
	char *printed = string ? cJSON_PrintUnformatted(string) : NULL;

	if (printed)
		(void)buffer_format(line, ",\"%s\":%s", name, printed);
	free(printed);
	cJSON_Delete(string);
}

/* Arguments that are no JSON are shown as text, as far as they are UTF-8. */
static void put_arguments(struct buffer *line, const struct call *call)
{
	char shown[4096];
	size_t n = 0, length;

	if (!call->length || strspn(call->request, " \t\r\n") == call->length) {
		(void)buffer_text(line, ",\"arguments\":{}");
		return;
	}
	if (call->length <= KEPT_MAX && put_json(line, "arguments", call->request, call->length))
		return;
	while (n < call->length && n + 4 < sizeof shown && (length = utf8_length(call->request + n, call->length - n))) {
		memcpy(shown + n, call->request + n, length);
		n += length;
	}
	shown[n] = '\0';
	put_text(line, "arguments_text", shown);
	(void)buffer_format(line, ",\"arguments_bytes\":%zu", call->length);
}

/* A line of calls.jsonl: who called what with which arguments, how long it took, what came back. */
static void record(struct function_call *f, bool ok)
{
	cleanup_buffer struct buffer line = BUFFER(1u << 20);
	struct runner *r = f->interface->all->runner;
	char stamp[40] = "";
	struct timespec now;
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (gmtime_r(&now.tv_sec, &tm))
		(void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)buffer_format(&line, "{\"time\":\"%s.%03ldZ\"", stamp, now.tv_nsec / 1000000);
	put_text(&line, "caller", f->who);
	put_text(&line, "function", f->name);
	put_arguments(&line, f->call);
	(void)buffer_format(&line, ",\"seconds\":%.6f,\"ok\":%s", f->began > 0 ? calls_now() - f->began : 0,
			    ok ? "true" : "false");
	if (f->came > f->kept.length || !put_json(&line, "result", f->kept.data, f->kept.length))
		(void)buffer_format(&line, ",\"result_bytes\":%zu", f->came);
	(void)buffer_text(&line, "}");
	runner_scrub(r, &line);
	if (!buffer_text(&line, "\n"))
		interface_write(f->interface, INTERFACE_CALLS, line.data, line.length);
}

/* ---- its end ---- */

/* Ends it with an answer of ours, in the shape of any other failure. */
static void end_with(struct function_call *f, const char *type, const char *message)
{
	cleanup_free char *text = NULL;
	struct call *call = f->call;
	cJSON *whole = cJSON_CreateObject(), *error = cJSON_AddObjectToObject(whole, "error");

	if (error && cJSON_AddStringToObject(error, "type", type) && cJSON_AddStringToObject(error, "message", message) &&
	    cJSON_AddStringToObject(error, "traceback", ""))
		text = cJSON_PrintUnformatted(whole);
	cJSON_Delete(whole);
	if (!text || f->came) { /* a part of the result was said already */
		record(f, false);
		call_end(call, EIO, 1, message);
		return;
	}
	f->came = strlen(text);
	(void)buffer_append(&f->kept, text, f->came);
	record(f, false);
	if (!call->gone) {
		conversation_send(call->conversation, TALK_STDOUT, text, f->came, -1);
		conversation_send(call->conversation, TALK_STDOUT, "\n", 1, -1);
	}
	call_end(call, 0, 1, "");
}

/* It was not run: the next process has it, or this one is asked again. */
static void wait_again(struct function_call *f)
{
	struct interface *it = f->interface;

	leave(f);
	functions_begin(it);
}

/* The connection is lost, or was not made. */
static void broke(struct function_call *f, const char *why)
{
	struct served *server = f->server;

	switch (f->kind) {
	case FUNCTION_CALL:
		if (!f->begun && ++f->lost < LOST_MAX)
			wait_again(f);
		else
			end_with(f, "ConnectionError", why);
		return;
	case FUNCTION_DESCRIBE:
		interfaces_drop(f);
		server_described(server, NULL, 0);
		return;
	case FUNCTION_PING: /* its end is told by the process's */
		interfaces_drop(f);
		return;
	case FUNCTION_QUIT:
		interfaces_drop(f);
		server_kill(server, "");
		return;
	}
}

static void ended(struct function_call *f, int code, int status)
{
	struct served *server = f->server;
	struct call *call = f->call;

	if (code) {
		broke(f, "the process of the interface refused the call");
		return;
	}
	if (f->kind == FUNCTION_CALL) {
		record(f, !status);
		if (!call->gone)
			conversation_send(call->conversation, TALK_STDOUT, "\n", 1, -1);
		call_end(call, 0, status ? 1 : 0, "");
	} else if (f->kind == FUNCTION_DESCRIBE) {
		cleanup_buffer struct buffer told = f->kept;
		bool whole = f->came == told.length;

		f->kept = BUFFER(0);
		interfaces_drop(f);
		server_described(server, told.data && whole ? told.data : "", whole ? told.length : 0);
	} else {
		bool quits = f->kind == FUNCTION_QUIT;

		interfaces_drop(f);
		if (quits)
			server_kill(server, "");
	}
}

void functions_lost(struct served *server)
{
	struct interface *it = server->interface;

	for (struct function_call *f = it->functions, *next; f; f = next) {
		next = f->next;
		if (f->server != server)
			continue;
		if (f->kind == FUNCTION_CALL && !f->begun && it->all->guest && ++f->lost < LOST_MAX) {
			leave(f); /* the next process has it */
		} else if (!it->all->guest) {
			leave(f); /* whoever takes the guest away ends the calls */
			if (f->kind != FUNCTION_CALL)
				interfaces_drop(f);
		} else if (f->kind == FUNCTION_CALL) {
			end_with(f, "ConnectionError", "the process of the interface ended during the call");
			next = it->functions; /* others may have ended with it */
		} else {
			interfaces_drop(f);
			next = it->functions;
		}
	}
}

void functions_refuse(struct interface *it, int code, const char *why)
{
	for (struct function_call *f = it->functions, *next; f; f = next) {
		next = f->next;
		if (f->kind == FUNCTION_CALL && !f->server) {
			call_end(f->call, code, 0, why);
			next = it->functions;
		}
	}
}

/* ---- its way ---- */

static void watch(struct function_call *f)
{
	short events = (short)((f->full ? 0 : POLLIN) | (f->talk.out.length ? POLLOUT : 0));
	struct error err;

	if (!events)
		runner_unwatch(f->interface->all->runner, f->talk.fd);
	else if (runner_watch(f->interface->all->runner, f->talk.fd, events, &err) < 0)
		broke(f, err.text);
}

/* Keeps or passes on a piece of the answer; whether more can be taken now. */
static bool take(struct function_call *f, const struct talk_message *m)
{
	if (f->kept.length + m->length <= f->kept.limit)
		(void)buffer_append(&f->kept, m->data, m->length);
	f->came += m->length;
	if (!f->call || f->call->gone || !m->length)
		return true;
	conversation_send(f->call->conversation, TALK_STDOUT, m->data, m->length, -1);
	return !conversation_full(f->call->conversation);
}

static void step(struct function_call *f)
{
	struct talk_message m;
	struct error err;
	int got = 1;

	/* A process that refuses the rest of a request may have said why: what it said is read. */
	if (f->talk.out.length && talk_flush(&f->talk, &err) < 0)
		buffer_clear(&f->talk.out);
	for (int n = 0; !f->full && (got = (n < MESSAGES ? talk_take : talk_take_kept)(&f->talk, &m, &err)) > 0; n++) {
		if (m.type == TALK_END) {
			ended(f, m.code, m.exit);
			return;
		}
		if (m.type != TALK_DATA || m.channel != TALK_STDOUT) {
			broke(f, "the process of the interface sent what does not belong");
			return;
		}
		f->begun = true;
		f->full = !take(f, &m);
	}
	if (got < 0)
		broke(f, err.code == ECONNRESET ? "the process of the interface ended during the call" : err.text);
	else
		watch(f);
}

static void ask(struct function_call *f)
{
	cleanup_free char *name = NULL;
	const char *request = f->call ? f->call->request : NULL;
	struct error err;

	if (asprintf(&name, f->kind == FUNCTION_CALL ? "call %s" : "%s", f->name) < 0)
		name = NULL;
	if (name && talk_ask(&f->talk, name, request, f->call ? f->call->length : 0, &err) == 0) {
		watch(f);
	} else if (name && f->kind == FUNCTION_CALL && ++f->tries < TRIES) {
		talk_close(&f->talk); /* it has not begun: the next process has it */
		f->again = true;
	} else {
		broke(f, name ? "the process of the interface ended" : "out of memory");
	}
}

static void connected(void *context, int fd)
{
	struct function_call *f = context;
	struct error ignored;

	if (f->talk.fd >= 0 || talk_attach(&f->talk, fd, &ignored) < 0)
		close(fd);
}

static void connect_ended(void *context, int code, int status, const char *text)
{
	struct function_call *f = context;

	(void)status;
	f->connecting = NULL;
	if (f->talk.fd >= 0) {
		ask(f);
	} else if (code == EAGAIN || (f->kind == FUNCTION_CALL && ++f->tries < TRIES)) {
		f->again = true; /* its queue is full, or it is about to be told that the process has ended */
	} else {
		broke(f, text);
	}
}

static void connect_inside(struct function_call *f)
{
	static const struct guest_callbacks callbacks = { NULL, connected, connect_ended };
	struct error err;

	f->again = false;
	f->connecting = guest_connect(f->interface->all->guest, f->server->socket, &callbacks, f, &err);
	if (!f->connecting)
		broke(f, err.text);
}

void function_begin(struct function_call *f, struct served *server)
{
	const struct interface *it = f->interface;

	f->server = server;
	f->began = calls_now();
	if (f->kind == FUNCTION_CALL) {
		server->running++;
		f->due = it->timeout > 0 ? f->began + it->timeout : 0;
	} else {
		f->due = f->began + (server->process ? PATIENCE : ADOPTED);
	}
	connect_inside(f);
}

void functions_begin(struct interface *it)
{
	if (!it->all->guest || it->state != INTERFACE_READY)
		return;
	for (struct function_call *f = it->functions; f && it->server && it->server->running < it->parallel; f = f->next)
		if (f->kind == FUNCTION_CALL && !f->server) {
			function_begin(f, it->server);
			f = it->functions; /* it may have ended at once */
			if (!f)
				return;
		}
}

void interfaces_drained(struct function_call *f)
{
	if (!f->full)
		return;
	f->full = false;
	if (f->talk.fd >= 0)
		step(f);
}

/* Every call, of whatever interface, until visit says that the list has changed. */
static bool each(struct interfaces *all, bool (*visit)(struct function_call *f, double now))
{
	double now = calls_now();

	for (struct interface *it = all->list; it; it = it->next)
		for (struct function_call *f = it->functions; f; f = f->next)
			if (visit(f, now))
				return true;
	return false;
}

bool interfaces_descriptor(struct interfaces *all, int fd)
{
	for (struct interface *it = all->list; it; it = it->next)
		for (struct function_call *f = it->functions; f; f = f->next)
			if (f->talk.fd == fd && fd >= 0) {
				step(f);
				return true;
			}
	return false;
}

/* ---- time ---- */

double interfaces_due(const struct interfaces *all)
{
	double due = 0;

	for (const struct interface *it = all->list; it; it = it->next)
		for (const struct function_call *f = it->functions; f; f = f->next) {
			double own = f->again ? calls_now() + AGAIN : f->due;

			if (own > 0 && (!due || own < due))
				due = own;
		}
	return due;
}

/* It took too long: the call ends, and the process is asked whether it still answers. */
static void time_out(struct function_call *f)
{
	struct interface *it = f->interface;
	struct served *server = f->server;
	struct function_call *ping;
	char message[160];

	if (f->kind != FUNCTION_CALL) {
		enum function_kind kind = f->kind;

		interfaces_drop(f);
		if (kind == FUNCTION_DESCRIBE)
			server_described(server, NULL, 0);
		else
			server_kill(server, "its process did not answer any more and was killed");
		return;
	}
	(void)snprintf(message, sizeof message, "%s did not return within %g seconds and was given up", f->name, it->timeout);
	ping = function_make(it, FUNCTION_PING, NULL, "ping", "");
	if (ping)
		function_begin(ping, server);
	end_with(f, "TimeoutError", message);
}

static bool is_due(struct function_call *f, double now)
{
	if (f->again) {
		connect_inside(f);
		return true;
	}
	if (!f->due || f->due > now)
		return false;
	f->due = 0;
	time_out(f);
	return true;
}

void interfaces_timer(struct interfaces *all)
{
	/* Bounded: those that connect again do so once a tick. */
	for (int i = 0; i < 64 && each(all, is_due); i++)
		;
}
