/* The certificate authority of one sandbox. The proxy speaks for the hosts that get secrets, so
 * the sandbox must trust it; nobody else does. Key and certificate are in one file of the
 * sandbox's folder (0600), which is never visible inside. */
#ifndef INTERPFS_BACKEND_PROXY_AUTHORITY_H
#define INTERPFS_BACKEND_PROXY_AUTHORITY_H

#include <openssl/ssl.h>

#include "base/buffer.h"
#include "base/error.h"

#define AUTHORITY_FILE "proxy.pem" /* in the sandbox's folder */

struct authority;

/* Makes the file where it is not there or cannot be read. */
int authority_make(int folder, struct error *err);
/* Appends its certificate as PEM: what the sandbox shall trust. */
int authority_certificate(int folder, struct buffer *out, struct error *err);

int authority_open(struct authority **authority, int folder, struct error *err);
void authority_close(struct authority *authority);
/* A context for speaking as `host`, with a certificate made for it, owned by the caller
 * (SSL_CTX_free). NULL with err. May be called from any thread. */
SSL_CTX *authority_context(struct authority *authority, const char *host, struct error *err);

#endif
