/* An engine: whoever speaks the Docker Engine's API (Docker, Podman), over a unix socket or over TCP
 * with TLS. Found by DOCKER_HOST, else at the usual sockets; the version of the API is negotiated.
 *
 * While an engine has a host (backend.h), whoever calls goes on living: commands and calls are
 * served meanwhile, and ECANCELED comes when the sandbox is wanted otherwise. Without one it waits,
 * for as long as the request allows. */
#ifndef INTERPFS_BACKEND_SANDBOX_ENGINE_H
#define INTERPFS_BACKEND_SANDBOX_ENGINE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "backend/sandbox/backend.h"
#include "backend/sandbox/guest.h"
#include "base/buffer.h"
#include "base/error.h"

struct engine;

/* address: as DOCKER_HOST has it, NULL: found. Nothing is asked of anyone yet. */
int engine_open(struct engine **engine, const char *address, const struct sandbox_host *host, struct error *err);
void engine_close(struct engine *engine);
/* No request waits for longer than so, whatever it says itself: for those who only look. */
void engine_hurry(struct engine *engine, int timeout_ms);

/* ENOENT, ECONNREFUSED, EACCES … with the sentence for people when nobody answers there. */
int engine_ask(struct engine *engine, struct error *err);
const char *engine_address(const struct engine *engine); /* "unix:///var/run/docker.sock"; borrowed */
const char *engine_told(const struct engine *engine);    /* "Docker 20.10.24 at unix://…", after engine_ask */
bool engine_is_podman(const struct engine *engine);
bool engine_is_here(const struct engine *engine);        /* on this machine, as far as its address tells: its paths and devices are */

struct engine_request {
	const char *method;
	const char *path;      /* behind the version, escaped: "/containers/interpfs-1/start" */
	const cJSON *body;     /* NULL: none */
	/* Or bytes, a tar mostly: as many as fit into data, 0 at the end, -1 with err. */
	long (*read)(void *context, void *data, size_t n, struct error *err);
	/* An answer of many JSON lines (progress), each as it comes; -1 gives up. NULL: the whole answer
	 * is one document. */
	int (*line)(void *context, const cJSON *line, struct error *err);
	void *context;
	int timeout_ms;        /* 0: a minute */
	bool uncancelled;      /* waits even when the engine has a host */
};

struct engine_answer {
	long status;
	cJSON *json;           /* owned; NULL when there was none */
};

/* -1 ENOENT for 404, EEXIST for 409, EIO for what else the engine refuses, with its own sentence;
 * ECANCELED, ETIMEDOUT. answer may be NULL. It is freed by engine_answer_free, also after -1. */
int engine_call(struct engine *engine, const struct engine_request *request, struct engine_answer *answer,
		struct error *err);
void engine_answer_free(struct engine_answer *answer);

/* A request whose connection becomes a guest's: both directions of a container's, or an exec's,
 * standard input and output. said() gets what is written to standard error; may be NULL. */
int engine_hijack(struct engine *engine, const char *path, const cJSON *body,
		  void (*said)(void *context, const char *text, size_t n), void *context,
		  struct guest **guest, struct error *err);

/* A text for a path or query: owned by the caller, NULL without memory. */
char *engine_escape(const char *text);

#define cleanup_answer __attribute__((cleanup(engine_answer_free)))

#endif
