/* The way out of a sandbox whose network is a list of hosts. Its network namespace has nothing but
 * a loopback; there the guest listens for this process, which connects to the hosts of the list
 * and to nothing else:
 *
 *      CONNECT host:443    a tunnel, if the first bytes are a TLS hello that names the same host; for
 *                          an entry with a port of its own whatever is spoken
 *      GET http://host/…   one request, forwarded
 *
 * For hosts that get secrets it ends the TLS itself (authority.h) and puts the values in place of
 * the placeholders that the sandbox knows, in the targets and headers of requests. What it refuses
 * it says on standard output, a line each.
 *
 * One thread a connection, plain and blocking but for the copying. It ends when its runner has gone
 * and the last connection with it. */
#ifndef INTERPFS_BACKEND_PROXY_PROXY_H
#define INTERPFS_BACKEND_PROXY_PROXY_H

#include <openssl/ssl.h>
#include <stddef.h>

#include "backend/proxy/authority.h"
#include "backend/proxy/request.h"

struct proxy {
	char **hosts;                  /* patterns, NULL-terminated */
	struct proxy_secret *secrets;
	size_t secret_count;
	struct authority *authority;   /* NULL: no host gets secrets */
	SSL_CTX *outside;              /* for speaking to servers */
};

/* Serves one connection to its end. Takes fd. In a thread of its own. */
void connection_serve(const struct proxy *proxy, int fd);

/* A line on standard output, not the same one twice a minute. Printable text of at most 400 bytes. */
void proxy_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
