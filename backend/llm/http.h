/* One HTTP request at a time whose answer streams in, by libcurl, woken by the runner's own wait:
 * nothing here blocks, commands are served meanwhile. */
#ifndef INTERPFS_BACKEND_LLM_HTTP_H
#define INTERPFS_BACKEND_LLM_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/llm/retry.h"
#include "base/buffer.h"
#include "base/error.h"

struct runner;
struct http;

enum http_state {
	HTTP_IDLE,
	HTTP_RUNNING,
	HTTP_ENDED,   /* the answer is complete */
	HTTP_BROKEN,  /* the connection could not be made or broke: http_reason */
	HTTP_STALLED, /* nothing came for too long */
};

/* first_ms, then_ms: how long the first byte and each further one may take; sending the body counts as none. */
int http_open(struct http **http, struct runner *runner, int first_ms, int then_ms, struct error *err);
void http_close(struct http *http);

/* headers: "Name: value" lines, NULL ends; copied. body is lent until the request is over. */
int http_post(struct http *http, const char *url, const char *const *headers, const void *body, size_t n,
	      struct error *err);
void http_abandon(struct http *http);

void http_ready(struct http *http, int fd, short revents);
int http_timeout(struct http *http); /* milliseconds until http_step must be called, -1: no hurry */
enum http_state http_step(struct http *http);

long http_status(const struct http *http); /* 0 before the headers have come */
const struct retry_headers *http_headers(const struct http *http);
const char *http_reason(const struct http *http);
bool http_hopeless(const struct http *http); /* BROKEN, and would be again: a wrong address, a bad certificate */
struct buffer *http_bytes(struct http *http); /* what has come; the receiver consumes it */

#endif
