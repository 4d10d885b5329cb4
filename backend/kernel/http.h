/* Requests to Jupyter Server's REST interface over its unix socket, one at a time, by libcurl
 * without blocking: the owner watches http_fd for http_events and calls http_service when it is
 * ready and after http_timeout ms. A connection lives for one request. */
#ifndef INTERPFS_BACKEND_KERNEL_HTTP_H
#define INTERPFS_BACKEND_KERNEL_HTTP_H

#include <stdbool.h>

#include "backend/kernel/json.h"
#include "base/error.h"

struct http;

struct http *http_new(struct error *err); /* NULL with err set */
void http_free(struct http *h);           /* NULL is fine; a request under way is given up */

/* Begins a request: method, path from "/api" on, body JSON or NULL. The path of the socket, the
 * token and the body are copied. */
int http_start(struct http *h, const char *socket, const char *token, const char *method,
	       const char *path, const char *body, struct error *err);

int http_fd(const struct http *h);       /* -1: nothing to watch just now */
short http_events(const struct http *h); /* of poll(2) */
int http_timeout(struct http *h);        /* ms, -1 for none */

/* 1: the answer is here; 0: not yet; -1: there is none (ETIMEDOUT after a minute, ECONNREFUSED …). */
int http_service(struct http *h, short ready, struct error *err);

/* After 1: the status, and the body, borrowed until the next http_start. */
long http_status(const struct http *h);
struct json http_body(const struct http *h);

#endif
