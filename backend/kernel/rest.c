#include "backend/kernel/rest.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/curl.h"

#define BODY_MAX (4u << 20)
#define PATIENCE_SECONDS 90L /* a kernel that does not start is told of by Jupyter after a minute */

struct rest {
	CURLM *multi;
	CURL *easy;
	struct curl_slist *headers;
	curl_socket_t fd;
	short events;
	int running;  /* 0: it has ended, rest_service will say how */
	long status;
	struct buffer body;
	char why[CURL_ERROR_SIZE];
};

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *data)
{
	struct rest *h = context;

	(void)easy;
	(void)data;
	if (what == CURL_POLL_REMOVE) {
		if (h->fd == fd)
			h->fd = -1;
		return 0;
	}
	h->fd = fd;
	h->events = (short)((what & CURL_POLL_IN ? POLLIN : 0) | (what & CURL_POLL_OUT ? POLLOUT : 0));
	return 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *context)
{
	struct rest *h = context;

	return buffer_append(&h->body, data, size * n) < 0 ? 0 : size * n;
}

struct rest *rest_new(struct error *err)
{
	struct rest *h;

	if (curl_load(err))
		return NULL;
	h = calloc(1, sizeof *h);
	if (!h || curl_global_init(CURL_GLOBAL_NOTHING) || !(h->multi = curl_multi_init())) {
		free(h);
		(void)error_set(err, ENOMEM, "libcurl does not start");
		return NULL;
	}
	h->fd = -1;
	h->body.limit = BODY_MAX;
	(void)curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	(void)curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	return h;
}

static void end_request(struct rest *h)
{
	if (h->easy) {
		(void)curl_multi_remove_handle(h->multi, h->easy);
		curl_easy_cleanup(h->easy);
	}
	curl_slist_free_all(h->headers);
	h->easy = NULL;
	h->headers = NULL;
	h->fd = -1;
}

void rest_free(struct rest *h)
{
	if (!h)
		return;
	end_request(h);
	(void)curl_multi_cleanup(h->multi);
	buffer_free(&h->body);
	free(h);
}

static int add_header(struct rest *h, const char *name, const char *value)
{
	cleanup_buffer struct buffer line = BUFFER(4096);
	struct curl_slist *longer;

	if (buffer_format(&line, "%s: %s", name, value) < 0)
		return -1;
	longer = curl_slist_append(h->headers, line.data);
	if (!longer)
		return -1;
	h->headers = longer;
	return 0;
}

int rest_start(struct rest *h, const char *socket, const char *token, const char *method,
	       const char *path, const char *body, struct error *err)
{
	cleanup_buffer struct buffer url = BUFFER(4096), authorization = BUFFER(4096);

	end_request(h);
	buffer_clear(&h->body);
	h->status = 0;
	h->why[0] = '\0';
	h->easy = curl_easy_init();
	if (!h->easy || buffer_format(&url, "http://localhost%s", path) < 0 ||
	    buffer_format(&authorization, "token %s", token) < 0 ||
	    add_header(h, "Authorization", authorization.data) < 0 ||
	    add_header(h, "Content-Type", "application/json") < 0 || add_header(h, "Expect", "") < 0) {
		end_request(h);
		return error_memory(err);
	}
	if (curl_easy_setopt(h->easy, CURLOPT_URL, url.data) ||
	    curl_easy_setopt(h->easy, CURLOPT_UNIX_SOCKET_PATH, socket) ||
	    curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, h->headers) ||
	    curl_easy_setopt(h->easy, CURLOPT_CUSTOMREQUEST, method) ||
	    (body && curl_easy_setopt(h->easy, CURLOPT_COPYPOSTFIELDS, body)) ||
	    curl_easy_setopt(h->easy, CURLOPT_PROXY, "") ||
	    curl_easy_setopt(h->easy, CURLOPT_NOSIGNAL, 1L) ||
	    curl_easy_setopt(h->easy, CURLOPT_FORBID_REUSE, 1L) ||
	    curl_easy_setopt(h->easy, CURLOPT_TIMEOUT, PATIENCE_SECONDS) ||
	    curl_easy_setopt(h->easy, CURLOPT_ERRORBUFFER, h->why) ||
	    curl_easy_setopt(h->easy, CURLOPT_WRITEFUNCTION, on_body) ||
	    curl_easy_setopt(h->easy, CURLOPT_WRITEDATA, h) ||
	    curl_multi_add_handle(h->multi, h->easy) ||
	    curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &h->running)) {
		end_request(h);
		return error_set(err, EIO, "%s %s: libcurl refuses", method, path);
	}
	return 0;
}

int rest_fd(const struct rest *h)
{
	return h->fd;
}

short rest_events(const struct rest *h)
{
	return h->events;
}

int rest_timeout(struct rest *h)
{
	long ms;

	if (!h->easy || curl_multi_timeout(h->multi, &ms))
		return -1;
	if (!h->running)
		return 0;
	return ms > 60000 ? 60000 : (int)ms;
}

int rest_service(struct rest *h, short ready, struct error *err)
{
	int left, what = 0;
	CURLMsg *message;
	CURLcode code;

	if (!h->easy)
		return error_set(err, EINVAL, "no request was begun");
	what = (ready & (POLLIN | POLLHUP) ? CURL_CSELECT_IN : 0) | (ready & POLLOUT ? CURL_CSELECT_OUT : 0) |
	       (ready & POLLERR ? CURL_CSELECT_ERR : 0);
	if (curl_multi_socket_action(h->multi, what && h->fd >= 0 ? h->fd : CURL_SOCKET_TIMEOUT, what, &h->running)) {
		end_request(h);
		return error_set(err, EIO, "libcurl has failed");
	}
	message = curl_multi_info_read(h->multi, &left);
	if (!message || message->msg != CURLMSG_DONE)
		return 0;
	code = message->data.result;
	(void)curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &h->status);
	end_request(h);
	if (code == CURLE_OK)
		return 1;
	return error_set(err, code == CURLE_OPERATION_TIMEDOUT ? ETIMEDOUT : ECONNREFUSED,
			 "Jupyter Server: %s", *h->why ? h->why : curl_easy_strerror(code));
}

long rest_status(const struct rest *h)
{
	return h->status;
}

struct json rest_body(const struct rest *h)
{
	return (struct json){ h->body.data, h->body.length };
}
