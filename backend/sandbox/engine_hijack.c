/* A connection to an engine that becomes a container's standard input and output. Towards the
 * container bytes go as they are; from it they come in pieces,
 *
 *      | 1 output, 2 errors | 0 0 0 | length, big endian | bytes … |
 *
 * of which the output is the guest's stream. */
#include "backend/sandbox/engine_own.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"

#define HEAD_MS 10000
#define HEAD_MAX 16384u
#define RAW_SIZE 65536u
#define PIECE_HEAD 8u

struct hijack {
	CURL *easy;
	curl_socket_t fd;
	void (*said)(void *context, const char *text, size_t n);
	void *context;
	size_t at, have;           /* of raw, what was not taken yet */
	unsigned char head[PIECE_HEAD];
	size_t head_length;
	uint32_t left;             /* of the present piece */
	bool drained;              /* the socket was empty when it was last asked */
	char raw[RAW_SIZE];
};

/* More raw bytes. -1 with errno; 0: the connection's end. */
static ssize_t fill(struct hijack *h)
{
	size_t n = 0;
	CURLcode code = curl_easy_recv(h->easy, h->raw, sizeof h->raw, &n);

	h->drained = code == CURLE_AGAIN;
	h->at = 0;
	h->have = code ? 0 : n;
	if (h->drained)
		errno = EAGAIN;
	return h->drained ? -1 : (ssize_t)h->have;
}

/* The head of the next piece, whole. Like fill. */
static ssize_t take_head(struct hijack *h)
{
	while (h->head_length < PIECE_HEAD) {
		ssize_t n = h->have ? 1 : fill(h);

		if (n <= 0)
			return n;
		h->head[h->head_length++] = (unsigned char)h->raw[h->at++];
		h->have--;
	}
	if (h->head[0] > 2 || h->head[1] || h->head[2] || h->head[3]) {
		errno = EPROTO;
		return -1;
	}
	h->left = (uint32_t)h->head[4] << 24 | (uint32_t)h->head[5] << 16 | (uint32_t)h->head[6] << 8 | h->head[7];
	h->head_length = 0;
	return 1;
}

static ssize_t hijack_receive(void *context, void *data, size_t n)
{
	struct hijack *h = context;

	for (;;) {
		ssize_t got = h->left ? 1 : take_head(h);
		size_t piece;

		if (got > 0 && h->left && !h->have)
			got = fill(h);
		if (got <= 0)
			return got;
		if (!h->left)
			continue;
		piece = h->have < h->left ? h->have : h->left;
		if (h->head[0] == 1 && piece > n)
			piece = n;
		if (h->head[0] == 1)
			memcpy(data, h->raw + h->at, piece);
		else if (h->said)
			h->said(h->context, h->raw + h->at, piece);
		h->at += piece;
		h->have -= piece;
		h->left -= (uint32_t)piece;
		if (h->head[0] == 1)
			return (ssize_t)piece;
	}
}

static ssize_t hijack_send(void *context, const void *data, size_t n)
{
	struct hijack *h = context;
	size_t sent = 0;
	CURLcode code = curl_easy_send(h->easy, data, n, &sent);

	if (!code)
		return (ssize_t)sent;
	errno = code == CURLE_AGAIN ? EAGAIN : EPIPE;
	return -1;
}

static bool hijack_pending(void *context)
{
	const struct hijack *h = context;

	return h->have || !h->drained;
}

static void hijack_close(void *context)
{
	struct hijack *h = context;

	curl_easy_cleanup(h->easy);
	free(h);
}

/* ---- the beginning ---- */

static int wait_for(struct hijack *h, short events, long long end, struct error *err)
{
	struct pollfd p = { .fd = h->fd, .events = events };
	long long left = end - clock_ms();

	if (left <= 0)
		return error_set(err, ETIMEDOUT, "the engine does not answer");
	if (poll(&p, 1, (int)left) < 0 && errno != EINTR)
		return error_errno(err, "waiting for the engine");
	return 0;
}

static int send_all(struct hijack *h, const struct buffer *text, long long end, struct error *err)
{
	for (size_t sent = 0; sent < text->length;) {
		ssize_t n = hijack_send(h, text->data + sent, text->length - sent);

		if (n > 0)
			sent += (size_t)n;
		else if (errno != EAGAIN)
			return error_set(err, EIO, "the engine closed the connection");
		else if (wait_for(h, POLLOUT, end, err))
			return -1;
	}
	return 0;
}

/* Into `head` up to the empty line; what follows it stays in raw. */
static int read_head(struct hijack *h, struct buffer *head, long long end, struct error *err)
{
	while (head->length < 4 || memcmp(head->data + head->length - 4, "\r\n\r\n", 4)) {
		ssize_t n = h->have ? 1 : fill(h);

		if (n < 0 && errno == EAGAIN) {
			if (wait_for(h, POLLIN, end, err))
				return -1;
			continue;
		}
		if (n <= 0)
			return error_set(err, EIO, "the engine closed the connection");
		if (buffer_append(head, h->raw + h->at, 1) < 0)
			return error_set(err, EPROTO, "what the engine answered is no HTTP");
		h->at++;
		h->have--;
	}
	return 0;
}

/* The sentence of a refusal, as far as it came with the head. */
static int refused(struct hijack *h, long status, struct error *err)
{
	const char *begin = h->have ? memchr(h->raw + h->at, '{', h->have) : NULL;
	size_t n = begin ? (size_t)(h->raw + h->at + h->have - begin) : 0;
	const char *end = n ? memrchr(begin, '}', n) : NULL;
	cJSON *json = end ? cJSON_ParseWithLength(begin, (size_t)(end - begin) + 1) : NULL;
	const char *message = json_string(json, "message");

	(void)error_set(err, status == 404 ? ENOENT : status == 409 ? EEXIST : EIO, "%s",
			message ? message : "the engine refused the connection");
	cJSON_Delete(json);
	return -1;
}

static int greet(struct engine *e, struct hijack *h, const char *path, const cJSON *body, struct error *err)
{
	cleanup_buffer struct buffer request = BUFFER(1u << 20), head = BUFFER(HEAD_MAX);
	cleanup_free char *text = body ? cJSON_PrintUnformatted(body) : strdup("");
	long long end = clock_ms() + HEAD_MS;
	long status;
	char *after;

	if (!text || buffer_format(&request, "POST /v%s%s HTTP/1.1\r\nHost: engine\r\nUser-Agent: interpfs\r\n"
				   "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n"
				   "Content-Length: %zu\r\n\r\n%s", e->version, path, strlen(text), text) < 0)
		return error_memory(err);
	if (send_all(h, &request, end, err) || read_head(h, &head, end, err))
		return -1;
	status = strncmp(head.data, "HTTP/1.", 7) || head.length < 12 ? 0 : strtol(head.data + 9, &after, 10);
	if (status == 101 || status == 200)
		return 0;
	if (!h->have && !wait_for(h, POLLIN, end, err))
		(void)fill(h);
	return refused(h, status, err);
}

int engine_hijack(struct engine *e, const char *path, const cJSON *body,
		  void (*said)(void *context, const char *text, size_t n), void *context, struct guest **guest,
		  struct error *err)
{
	struct hijack *h = calloc(1, sizeof *h);
	struct guest_carrier carrier = { h, -1, hijack_receive, hijack_send, hijack_pending, hijack_close };
	char message[CURL_ERROR_SIZE];
	CURLcode code;

	if (!h)
		return error_memory(err);
	h->said = said;
	h->context = context;
	h->easy = engine_ask(e, err) ? NULL : engine_handle(e, "/", false, message, err);
	if (!h->easy) {
		free(h);
		return -1;
	}
	code = curl_easy_setopt(h->easy, CURLOPT_CONNECT_ONLY, 1L);
	code = code ? code : curl_easy_perform(h->easy);
	code = code ? code : curl_easy_getinfo(h->easy, CURLINFO_ACTIVESOCKET, &h->fd);
	if (code)
		(void)engine_unreachable(e, code, message, err);
	carrier.fd = h->fd;
	if (!code && !greet(e, h, path, body, err) && !guest_attach_carrier(guest, &carrier, err))
		return 0;
	hijack_close(h);
	return -1;
}
