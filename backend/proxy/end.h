/* One end of a connection: a socket, with or without TLS over it. Nothing blocks. */
#ifndef INTERPFS_BACKEND_PROXY_END_H
#define INTERPFS_BACKEND_PROXY_END_H

#include <openssl/ssl.h>
#include <sys/types.h>

#include "base/error.h"

struct end {
	int fd;       /* -1: none */
	SSL *ssl;     /* NULL: plain */
	short wants;  /* poll(2) events after END_AGAIN */
};

#define END_AGAIN (-1)
#define END_FAILED (-2)

/* Bytes moved; 0: end of file (reading); END_AGAIN, END_FAILED. */
ssize_t end_read(struct end *end, void *data, size_t n);
ssize_t end_write(struct end *end, const void *data, size_t n);
void end_finish(struct end *end); /* nothing more will be written: the other side sees the end of file */
void end_close(struct end *end);

/* Waits until events or the deadline (clock_seconds). 1, or 0 when it came. */
int end_wait(int fd, short events, double deadline);

/* The handshake, on either side, at most until the deadline. The name is that which the other
 * side's certificate must have (NULL: we are the server). */
int end_secure(struct end *end, SSL_CTX *context, const char *name, double deadline, struct error *err);

#endif
