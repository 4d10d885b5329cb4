/* Requests to Jupyter Server's REST interface over its unix socket, one at a time, without blocking:
 * the owner watches rest_fd for rest_events and calls rest_service when it is ready and after
 * rest_timeout ms. A connection lives for one request.
 *
 * The notebook's runner speaks the little HTTP that this takes itself. libcurl would bring thirty
 * libraries (base/curl.h), which is more memory than all else that a notebook needs. */
#ifndef INTERPFS_BACKEND_KERNEL_REST_H
#define INTERPFS_BACKEND_KERNEL_REST_H

#include <stdbool.h>

#include "backend/kernel/json.h"
#include "base/error.h"

struct rest;

struct rest *rest_new(struct error *err); /* NULL with err set */
void rest_free(struct rest *h);           /* NULL is fine; a request under way is given up */

/* Begins a request: method, path from "/api" on, body JSON or NULL. All strings are copied; the path
 * of the socket has at most 107 bytes. -1: ENOMEM, or as rest_service. */
int rest_start(struct rest *h, const char *socket, const char *token, const char *method,
	       const char *path, const char *body, struct error *err);

int rest_fd(const struct rest *h);       /* -1: nothing to watch just now */
short rest_events(const struct rest *h); /* of poll(2) */
int rest_timeout(const struct rest *h);  /* ms, -1 for none */

/* 1: the answer is here; 0: not yet; -1: there is none (ETIMEDOUT after a minute and a half,
 * ECONNREFUSED when there is no server or it goes away, EPROTO when it says what is no answer). */
int rest_service(struct rest *h, struct error *err);

/* After 1: the status, and the body, borrowed until the next rest_start. */
long rest_status(const struct rest *h);
struct json rest_body(const struct rest *h);

struct rest_answer {
	long status;
	struct json body; /* borrowed from data */
};

/* Looks for a whole answer in what has come; `ended`: no more will. 1, 0 when more is needed, or -1
 * (ECONNREFUSED: it ended too early; EPROTO). */
int rest_parse(const char *data, size_t n, bool ended, struct rest_answer *answer, struct error *err);

#endif
