/* What a client says to a web server, byte by byte: heads of requests are gathered, judged and
 * written anew, bodies pass. Only the client's direction is read: a server's answers pass as they
 * are. HTTP/1.0 and 1.1 (RFC 9112); what two readers could take for different requests (two
 * lengths, a length beside chunks, a folded line, a bare CR) is refused. */
#ifndef INTERPFS_BACKEND_PROXY_REQUEST_H
#define INTERPFS_BACKEND_PROXY_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

#define REQUEST_HEAD_MAX 65536u
#define REQUEST_LINES_MAX 128

/* A secret that the sandbox knows by its placeholder only. */
struct proxy_secret {
	char *name, *placeholder, *value; /* owned by whoever made it */
	char **hosts;                     /* patterns (base/hosts.h), NULL-terminated */
};

enum request_state { REQUEST_HEAD, REQUEST_BODY, REQUEST_CHUNK_SIZE, REQUEST_CHUNK, REQUEST_TRAILER, REQUEST_RAW };

struct request {
	enum request_state state;
	struct buffer gathered;  /* of a head, a chunk's line or a trailer */
	uint64_t left;           /* of a body or chunk */
	bool once;               /* one request only, what follows is dropped: a proxy's plain request */
	bool done;               /* with once: it is complete */
	const char *host;        /* of this connection; borrowed */
	int port;
	const struct proxy_secret *secrets; /* those of the host are put in; borrowed */
	size_t secret_count;
};

void request_open(struct request *r, const char *host, int port, const struct proxy_secret *secrets, size_t count);
void request_close(struct request *r);

/* Takes n bytes from the client and appends what the server shall get. -1: EPROTO with a sentence
 * for people, EFBIG, ENOMEM. */
int request_take(struct request *r, const char *data, size_t n, struct buffer *out, struct error *err);

/* The first line of a head, and its length: >0 when the head is whole (with its empty line), 0 when
 * more has to come, -1 EPROTO. method, target and version are cut out of data, which must be
 * NUL-terminated, bounded by REQUEST_HEAD_MAX; they are borrowed pointers with lengths. */
struct request_line {
	const char *method, *target, *version;
	size_t method_length, target_length, version_length;
};
long request_head(const char *data, size_t n, struct request_line *line, struct error *err);

#endif
