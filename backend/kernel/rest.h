/* Requests to Jupyter Server's REST interface over its unix socket, one at a time, by libcurl
 * without blocking: the owner watches rest_fd for rest_events and calls rest_service when it is
 * ready and after rest_timeout ms. A connection lives for one request. */
#ifndef INTERPFS_BACKEND_KERNEL_REST_H
#define INTERPFS_BACKEND_KERNEL_REST_H

#include <stdbool.h>

#include "backend/kernel/json.h"
#include "base/error.h"

struct rest;

struct rest *rest_new(struct error *err); /* NULL with err set */
void rest_free(struct rest *h);           /* NULL is fine; a request under way is given up */

/* Begins a request: method, path from "/api" on, body JSON or NULL. The path of the socket, the
 * token and the body are copied. */
int rest_start(struct rest *h, const char *socket, const char *token, const char *method,
	       const char *path, const char *body, struct error *err);

int rest_fd(const struct rest *h);       /* -1: nothing to watch just now */
short rest_events(const struct rest *h); /* of poll(2) */
int rest_timeout(struct rest *h);        /* ms, -1 for none */

/* 1: the answer is here; 0: not yet; -1: there is none (ETIMEDOUT after a minute, ECONNREFUSED …). */
int rest_service(struct rest *h, short ready, struct error *err);

/* After 1: the status, and the body, borrowed until the next rest_start. */
long rest_status(const struct rest *h);
struct json rest_body(const struct rest *h);

#endif
