/* What engine.c (where it is, what it is), engine_call.c (requests) and engine_hijack.c (streams)
 * share. */
#ifndef INTERPFS_BACKEND_SANDBOX_ENGINE_OWN_H
#define INTERPFS_BACKEND_SANDBOX_ENGINE_OWN_H

#include "backend/sandbox/engine.h"
#include "base/curl.h"

struct engine {
	const struct sandbox_host *host; /* NULL: none */
	char *address;
	char *socket;       /* a unix socket's path; NULL: TCP */
	char *base;         /* "http://engine", "https://HOST:PORT" */
	char *certificates; /* a folder with ca.pem, cert.pem and key.pem; NULL: no TLS */
	bool verified;      /* the engine's certificate is checked */
	char version[16];   /* "1.41"; "" before engine_ask */
	bool podman;
	int limit_ms;       /* 0: as each request says */
	char told[256];
	CURLM *multi;
	int set;            /* epoll: the descriptors that curl waits for */
	long long due;      /* when curl wants to be called, ms of CLOCK_MONOTONIC; -1: never */
};

/* What every connection to it needs. */
CURL *engine_handle(const struct engine *engine, const char *path, bool versioned, char *message, struct error *err);
/* "http://engine/v1.41/containers/…" */
char *engine_url(const struct engine *engine, const char *path, bool versioned);
/* The sentence for a connection that was not made. */
int engine_unreachable(const struct engine *engine, CURLcode code, const char *message, struct error *err);
/* One request, without asking for the version first. */
int engine_perform(struct engine *engine, const struct engine_request *request, bool versioned,
		   size_t (*header)(char *line, size_t size, size_t n, void *context), void *header_context,
		   struct engine_answer *answer, struct error *err);
int engine_open_calls(struct engine *engine, struct error *err);
void engine_close_calls(struct engine *engine);

#endif
