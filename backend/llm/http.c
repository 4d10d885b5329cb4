#include "backend/llm/http.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/runner.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/curl.h"

#define BYTES_MAX (16u << 20)

struct http {
	struct runner *runner;
	CURLM *multi;
	CURL *easy;               /* made anew for each request; connections live in multi */
	struct curl_slist *lines;
	enum http_state state;
	long long timer;          /* when curl wants to be called, ms; -1 never */
	long long heard;          /* when the last byte came or went */
	curl_off_t sent;          /* bytes of the request */
	int first_ms, then_ms;
	bool begun;               /* a byte has come */
	bool full;                /* more of them than may be */
	CURLcode result;
	struct retry_headers headers;
	struct buffer bytes;
	char reason[CURL_ERROR_SIZE + 64];
	char message[CURL_ERROR_SIZE];
};

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *unused)
{
	struct http *h = context;
	struct error err;
	short events = 0;

	(void)easy;
	(void)unused;
	if (what == CURL_POLL_REMOVE) {
		runner_unwatch(h->runner, fd);
		return 0;
	}
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		events |= POLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		events |= POLLOUT;
	return runner_watch(h->runner, fd, events, &err);
}

static int on_timer(CURLM *multi, long ms, void *context)
{
	struct http *h = context;

	(void)multi;
	h->timer = ms < 0 ? -1 : clock_ms() + ms;
	return 0;
}

static size_t on_bytes(char *data, size_t size, size_t n, void *context)
{
	struct http *h = context;

	h->begun = true;
	h->heard = clock_ms();
	h->full = buffer_append(&h->bytes, data, size * n) < 0;
	return h->full ? 0 : size * n;
}

/* A large request takes its time on a slow line: that is no silence. */
static int on_progress(void *context, curl_off_t total, curl_off_t now, curl_off_t to_send, curl_off_t sent)
{
	struct http *h = context;

	(void)total;
	(void)now;
	(void)to_send;
	if (sent != h->sent)
		h->heard = clock_ms();
	h->sent = sent;
	return 0;
}

static size_t on_header(char *line, size_t size, size_t count, void *context)
{
	struct http *h = context;
	struct retry_headers *r = &h->headers;
	size_t n = size * count;
	const struct kept_header kept[] = {
		{ "x-should-retry", r->should_retry, sizeof r->should_retry },
		{ "retry-after-ms", r->retry_after_ms, sizeof r->retry_after_ms },
		{ "retry-after", r->retry_after, sizeof r->retry_after },
		{ "request-id", r->request_id, sizeof r->request_id },
		{ "content-type", r->content_type, sizeof r->content_type },
	};

	h->heard = clock_ms();
	if (n > 5 && !strncmp(line, "HTTP/", 5))
		memset(r, 0, sizeof *r); /* what came before was a proxy's or an interim answer */
	curl_keep_header(line, n, kept, sizeof kept / sizeof *kept);
	return n;
}

int http_open(struct http **http, struct runner *runner, int first_ms, int then_ms, struct error *err)
{
	struct http *h;

	if (curl_load(err))
		return -1;
	h = calloc(1, sizeof *h);
	if (!h)
		return error_memory(err);
	h->runner = runner;
	h->timer = -1;
	h->first_ms = first_ms;
	h->then_ms = then_ms;
	h->bytes = BUFFER(BYTES_MAX);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) || !(h->multi = curl_multi_init())) {
		free(h);
		return error_set(err, ENOMEM, "libcurl does not start");
	}
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	*http = h;
	return 0;
}

void http_abandon(struct http *h)
{
	if (h->easy) {
		curl_multi_remove_handle(h->multi, h->easy);
		curl_easy_cleanup(h->easy);
		h->easy = NULL;
	}
	curl_slist_free_all(h->lines);
	h->lines = NULL;
	h->state = HTTP_IDLE;
}

void http_close(struct http *h)
{
	if (!h)
		return;
	http_abandon(h);
	curl_multi_cleanup(h->multi);
	buffer_free(&h->bytes);
	free(h);
}

/* The authorities that the user trusts, as curl's own tool finds them: the library does not look. */
static CURLcode set_authorities(CURL *easy)
{
	const char *file = getenv("CURL_CA_BUNDLE"), *folder = getenv("SSL_CERT_DIR");
	CURLcode rc = CURLE_OK;

	if (!file || !*file)
		file = getenv("SSL_CERT_FILE");
	if (file && *file)
		rc = curl_easy_setopt(easy, CURLOPT_CAINFO, file);
	if (!rc && folder && *folder)
		rc = curl_easy_setopt(easy, CURLOPT_CAPATH, folder);
	return rc;
}

int http_post(struct http *h, const char *url, const char *const *headers, const void *body, size_t n,
	      struct error *err)
{
	CURLcode rc = CURLE_OK;

	http_abandon(h);
	buffer_clear(&h->bytes);
	memset(&h->headers, 0, sizeof h->headers);
	h->begun = h->full = false;
	h->result = CURLE_OK;
	h->sent = 0;
	h->heard = clock_ms();
	h->message[0] = '\0';
	for (; *headers; headers++) {
		struct curl_slist *more = curl_slist_append(h->lines, *headers);

		if (!more)
			return error_memory(err);
		h->lines = more;
	}
	h->easy = curl_easy_init();
	if (!h->easy)
		return error_memory(err);
#define SET(option, value) (rc = rc ? rc : curl_easy_setopt(h->easy, option, value))
	SET(CURLOPT_URL, url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTPHEADER, h->lines);
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_POSTFIELDS, body);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_CONNECTTIMEOUT_MS, 30000L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_ACCEPT_ENCODING, "identity"); /* yet a server that compresses all the same is understood */
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_XFERINFOFUNCTION, on_progress);
	SET(CURLOPT_XFERINFODATA, h);
	SET(CURLOPT_USERAGENT, "interpfs");
	SET(CURLOPT_ERRORBUFFER, h->message);
	SET(CURLOPT_WRITEFUNCTION, on_bytes);
	SET(CURLOPT_WRITEDATA, h);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, h);
#undef SET
	rc = rc ? rc : set_authorities(h->easy);
	if (rc)
		return error_set(err, EINVAL, "%s: %s", url, curl_easy_strerror(rc));
	if (curl_multi_add_handle(h->multi, h->easy))
		return error_set(err, EIO, "libcurl takes no request");
	h->state = HTTP_RUNNING;
	return 0;
}

void http_ready(struct http *h, int fd, short revents)
{
	int mask = 0, running;

	if (revents & (POLLIN | POLLHUP))
		mask |= CURL_CSELECT_IN;
	if (revents & POLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (revents & (POLLERR | POLLNVAL))
		mask |= CURL_CSELECT_ERR;
	curl_multi_socket_action(h->multi, fd, mask, &running);
}

static long long stall_at(const struct http *h)
{
	return h->heard + (h->begun ? h->then_ms : h->first_ms);
}

int http_timeout(struct http *h)
{
	long long at, now = clock_ms();

	if (h->state != HTTP_RUNNING)
		return -1;
	at = stall_at(h);
	if (h->timer >= 0 && h->timer < at)
		at = h->timer;
	return at <= now ? 0 : (int)(at - now);
}

enum http_state http_step(struct http *h)
{
	CURLMsg *message;
	int running, left;

	if (h->state != HTTP_RUNNING)
		return h->state;
	if (h->timer >= 0 && h->timer <= clock_ms()) {
		h->timer = -1;
		curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	while ((message = curl_multi_info_read(h->multi, &left))) {
		if (message->msg != CURLMSG_DONE)
			continue;
		h->result = message->data.result;
		h->state = h->result == CURLE_OK ? HTTP_ENDED : HTTP_BROKEN;
		snprintf(h->reason, sizeof h->reason, "%s", h->full ? "the answer is too long" :
			 h->message[0] ? h->message : curl_easy_strerror(h->result));
	}
	if (h->state == HTTP_RUNNING && clock_ms() >= stall_at(h)) {
		snprintf(h->reason, sizeof h->reason, "nothing came for %d s",
			 ((h->begun ? h->then_ms : h->first_ms) + 500) / 1000);
		h->state = HTTP_STALLED;
	}
	return h->state;
}

long http_status(const struct http *h)
{
	long status = 0;

	if (h->easy)
		curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

bool http_hopeless(const struct http *h)
{
	static const CURLcode lasting[] = {
		CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT, CURLE_PEER_FAILED_VERIFICATION,
		CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_CERTPROBLEM,
	};

	for (size_t i = 0; i < sizeof lasting / sizeof *lasting; i++)
		if (h->state == HTTP_BROKEN && h->result == lasting[i])
			return true;
	return h->full;
}

const struct retry_headers *http_headers(const struct http *h) { return &h->headers; }
const char *http_reason(const struct http *h) { return h->reason; }
struct buffer *http_bytes(struct http *h) { return &h->bytes; }
