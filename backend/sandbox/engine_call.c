/* Requests to an engine, one at a time. curl's descriptors are one epoll set: it is watched by the
 * engine's host, which serves commands and calls meanwhile, or simply polled. */
#include "backend/sandbox/engine_own.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"

#define ANSWER_MAX (64u << 20)
#define LINE_MAX_ (1u << 20)
#define TIMEOUT_MS 60000
#define TURN_MS 1000

struct call {
	struct engine *engine;
	const struct engine_request *request;
	CURL *easy;
	struct curl_slist *headers;
	char *text;               /* of the body; owned */
	struct buffer bytes;      /* of the answer: all, or the line that is not complete */
	long long heard;          /* when the last byte came or went */
	bool ended;
	CURLcode code;
	struct error error;       /* of a callback, code 0: none */
	char message[CURL_ERROR_SIZE];
};

/* ---- curl's descriptors and clock ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known)
{
	struct engine *e = context;
	struct epoll_event event = { .data.fd = fd };

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		(void)epoll_ctl(e->set, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(e->set, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) < 0)
		return -1;
	return curl_multi_assign(e->multi, fd, e) ? -1 : 0;
}

static int on_timer(CURLM *multi, long ms, void *context)
{
	struct engine *e = context;

	(void)multi;
	e->due = ms < 0 ? -1 : clock_ms() + ms;
	return 0;
}

int engine_open_calls(struct engine *e, struct error *err)
{
	e->due = -1;
	e->set = epoll_create1(EPOLL_CLOEXEC);
	if (e->set < 0)
		return error_errno(err, "cannot ask an engine");
	if (curl_load(err))
		return -1;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) || !(e->multi = curl_multi_init()))
		return error_set(err, ENOMEM, "libcurl does not start");
	curl_multi_setopt(e->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(e->multi, CURLMOPT_SOCKETDATA, e);
	curl_multi_setopt(e->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(e->multi, CURLMOPT_TIMERDATA, e);
	return 0;
}

void engine_close_calls(struct engine *e)
{
	if (e->multi)
		curl_multi_cleanup(e->multi);
	if (e->set >= 0)
		(void)close(e->set);
}

/* ---- bytes ---- */

static bool failed(const struct call *c)
{
	return c->error.code;
}

static int take_line(struct call *c, const char *line, size_t n)
{
	cJSON *json = cJSON_ParseWithLength(line, n);
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(json, "error");
	int result = 0;

	/* An answer that began well may end badly: its status is 200 by then. */
	if (cJSON_IsString(error))
		result = error_set(&c->error, EIO, "%s", error->valuestring);
	else if (json)
		result = c->request->line(c->request->context, json, &c->error);
	cJSON_Delete(json);
	return result;
}

static int take_lines(struct call *c, bool last)
{
	size_t done = 0;
	int result = 0;

	while (!result && done < c->bytes.length) {
		const char *line = c->bytes.data + done, *end = memchr(line, '\n', c->bytes.length - done);
		size_t n = end ? (size_t)(end - line) : c->bytes.length - done;

		if (!end && !last)
			break;
		result = n ? take_line(c, line, n) : 0;
		done += n + (end != NULL);
	}
	buffer_consume(&c->bytes, done);
	return result;
}

static bool is_refused(const struct call *c)
{
	long status = 0;

	return curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status) || status >= 400;
}

static size_t on_bytes(char *data, size_t size, size_t count, void *context)
{
	struct call *c = context;
	size_t n = size * count;

	c->heard = clock_ms();
	if (buffer_append(&c->bytes, data, n) < 0) {
		(void)error_set(&c->error, EFBIG, "its answer is too long");
		return 0;
	}
	return c->request->line && !is_refused(c) && take_lines(c, false) < 0 ? 0 : n;
}

static size_t on_read(char *data, size_t size, size_t count, void *context)
{
	struct call *c = context;
	long n = c->request->read(c->request->context, data, size * count, &c->error);

	c->heard = clock_ms();
	return n < 0 ? CURL_READFUNC_ABORT : (size_t)n;
}

/* ---- one request ---- */

static int add_header(struct call *c, const char *line, struct error *err)
{
	struct curl_slist *more = curl_slist_append(c->headers, line);

	if (!more)
		return error_memory(err);
	c->headers = more;
	return 0;
}

static int set_body(struct call *c, struct error *err)
{
	const struct engine_request *r = c->request;
	CURLcode rc = CURLE_OK;

#define SET(option, value) (rc = rc ? rc : curl_easy_setopt(c->easy, option, value))
	if (r->read) {
		SET(CURLOPT_UPLOAD, 1L);
		SET(CURLOPT_READFUNCTION, on_read);
		SET(CURLOPT_READDATA, c);
	} else if (r->body || !strcmp(r->method, "POST")) {
		c->text = r->body ? cJSON_PrintUnformatted(r->body) : strdup("");
		if (!c->text)
			return error_memory(err);
		SET(CURLOPT_POSTFIELDS, c->text);
	}
	SET(CURLOPT_CUSTOMREQUEST, r->method);
	if (!strcmp(r->method, "HEAD"))
		SET(CURLOPT_NOBODY, 1L);
	SET(CURLOPT_HTTPHEADER, c->headers);
	SET(CURLOPT_WRITEFUNCTION, on_bytes);
	SET(CURLOPT_WRITEDATA, c);
#undef SET
	return rc ? error_set(err, ENOMEM, "libcurl: %s", curl_easy_strerror(rc)) : 0;
}

static void look(struct call *c)
{
	struct epoll_event ready[8];
	struct engine *e = c->engine;
	int running, left, n = epoll_wait(e->set, ready, 8, 0);
	const CURLMsg *told;

	for (int i = 0; i < n; i++)
		(void)curl_multi_socket_action(e->multi, ready[i].data.fd,
					       (ready[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
					       (ready[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
					       (ready[i].events & EPOLLERR ? CURL_CSELECT_ERR : 0), &running);
	if (e->due >= 0 && e->due <= clock_ms()) {
		e->due = -1;
		(void)curl_multi_socket_action(e->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	while ((told = curl_multi_info_read(e->multi, &left)))
		if (told->msg == CURLMSG_DONE && told->easy_handle == c->easy) {
			c->code = told->data.result;
			c->ended = true;
		}
}

static void on_ready(void *context, short revents)
{
	(void)revents;
	look(context);
}

static int wait_turn(struct call *c, bool hosted, int ms, struct error *err)
{
	struct pollfd p = { .fd = c->engine->set, .events = POLLIN };
	int result = 0;

	if (hosted)
		result = c->engine->host->pump(c->engine->host->context, ms, err);
	else if (poll(&p, 1, ms) < 0 && errno != EINTR)
		result = error_errno(err, "waiting for the engine");
	if (!c->ended)
		look(c);
	return result;
}

static int run(struct call *c, struct error *err)
{
	struct engine *e = c->engine;
	bool hosted = e->host && !c->request->uncancelled;
	int limit = c->request->timeout_ms ? c->request->timeout_ms : TIMEOUT_MS, result = 0;

	if (e->limit_ms && e->limit_ms < limit)
		limit = e->limit_ms;
	if (hosted && e->host->watch(e->host->context, e->set, POLLIN, on_ready, c, err))
		return -1;
	c->heard = clock_ms();
	e->due = c->heard;
	if (curl_multi_add_handle(e->multi, c->easy))
		result = error_memory(err);
	while (!result && !c->ended) {
		long long now = clock_ms(), wait = c->heard + limit - now;

		if (wait <= 0) {
			result = error_set(err, ETIMEDOUT, "the engine at %s does not answer", e->address);
			break;
		}
		if (e->due >= 0 && e->due - now < wait)
			wait = e->due > now ? e->due - now : 0;
		result = wait_turn(c, hosted, wait < TURN_MS ? (int)wait : TURN_MS, err);
	}
	(void)curl_multi_remove_handle(e->multi, c->easy);
	if (hosted)
		e->host->unwatch(e->host->context, e->set);
	return result;
}

/* ---- answers ---- */

static int refused(long status, const cJSON *json, struct error *err)
{
	const char *message = json_string(json, "message");
	/* Podman, of one that is removed while it is looked at. */
	bool gone = status == 500 && message && strstr(message, "no such container");

	return error_set(err, status == 404 || gone ? ENOENT : status == 409 ? EEXIST : EIO, "%s",
			 message && *message ? message : "the engine refused without a word");
}

static int finish(struct call *c, struct engine_answer *answer, struct error *err)
{
	cJSON *json = NULL;
	long status = 0;
	int result = 0;

	if (failed(c)) {
		*err = c->error;
		return -1;
	}
	if (c->code)
		return engine_unreachable(c->engine, c->code, c->message, err);
	if (curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status))
		return error_memory(err);
	if (c->request->line && status < 400 && take_lines(c, true) < 0) {
		*err = c->error;
		return -1;
	}
	if (c->bytes.length)
		json = cJSON_ParseWithLength(c->bytes.data, c->bytes.length);
	if (status >= 400)
		result = refused(status, json, err);
	if (answer)
		*answer = (struct engine_answer){ .status = status, .json = json };
	else
		cJSON_Delete(json);
	return result;
}

int engine_perform(struct engine *e, const struct engine_request *request, bool versioned,
		   size_t (*header)(char *line, size_t size, size_t n, void *context), void *header_context,
		   struct engine_answer *answer, struct error *err)
{
	struct call c = { .engine = e, .request = request, .bytes = BUFFER(request->line ? LINE_MAX_ : ANSWER_MAX) };
	int result = 0;

	if (answer)
		*answer = (struct engine_answer){ 0, NULL };
	c.easy = engine_handle(e, request->path, versioned, c.message, err);
	if (!c.easy)
		return -1;
	if (add_header(&c, "Expect:", err) ||
	    add_header(&c, request->read ? "Content-Type: application/x-tar" : "Content-Type: application/json", err) ||
	    set_body(&c, err))
		result = -1;
	if (!result && header && (curl_easy_setopt(c.easy, CURLOPT_HEADERFUNCTION, header) ||
				  curl_easy_setopt(c.easy, CURLOPT_HEADERDATA, header_context)))
		result = error_memory(err);
	if (!result)
		result = run(&c, err);
	if (!result)
		result = finish(&c, answer, err);
	curl_easy_cleanup(c.easy);
	curl_slist_free_all(c.headers);
	free(c.text);
	buffer_free(&c.bytes);
	return result;
}

/* "client version 1.41 is too old. Minimum supported API version is 1.44, …": then that one. */
static bool take_minimum(struct engine *e, const struct error *err)
{
	static const char words[] = "Minimum supported API version is ";
	const char *at = strstr(err->text, words);
	char version[sizeof e->version];
	size_t n;

	if (!at)
		return false;
	at += sizeof words - 1;
	n = strspn(at, "0123456789.");
	while (n && at[n - 1] == '.')
		n--;
	(void)snprintf(version, sizeof version, "%.*s", (int)(n < sizeof version ? n : 0), at);
	if (!*version || !strcmp(version, e->version))
		return false;
	(void)snprintf(e->version, sizeof e->version, "%s", version);
	return true;
}

int engine_call(struct engine *e, const struct engine_request *request, struct engine_answer *answer, struct error *err)
{
	struct engine_answer ignored = { 0, NULL };
	struct engine_answer *a = answer ? answer : &ignored;
	int result;

	*a = (struct engine_answer){ 0, NULL };
	if (engine_ask(e, err))
		return -1;
	result = engine_perform(e, request, true, NULL, NULL, a, err);
	if (result && a->status == 400 && take_minimum(e, err)) {
		engine_answer_free(a);
		result = engine_perform(e, request, true, NULL, NULL, a, err);
	}
	engine_answer_free(&ignored);
	return result;
}

void engine_answer_free(struct engine_answer *answer)
{
	cJSON_Delete(answer->json);
	answer->json = NULL;
}
