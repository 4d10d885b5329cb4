/* One WebSocket to the channels of one kernel (wire.h), by libwebsockets over a unix socket. Never
 * blocks: the owner watches socket_fd for socket_events and calls socket_service when it is ready,
 * and at least every socket_timeout ms; it is one thread with the owner's. */
#ifndef INTERPFS_BACKEND_KERNEL_SOCKET_H
#define INTERPFS_BACKEND_KERNEL_SOCKET_H

#include <stddef.h>

#include "base/error.h"

/* Jupyter Server refuses a longer message from a client (tornado's max_message_size). */
#define SOCKET_SEND_MAX (10u << 20)
#define SOCKET_RECEIVE_MAX (256u << 20)

struct socket;

/* Called by socket_service for each whole message, lent. NULL: one that was longer than
 * SOCKET_RECEIVE_MAX was left out. It may send, but not close the socket. */
typedef void socket_receive(void *context, const void *data, size_t n);

struct socket_address {
	int fd;              /* a connected stream socket, or -1: `path` is connected to */
	const char *path;    /* of a unix socket, at most 107 bytes (/proc/self/fd/N/… is short) */
	const char *kernel;  /* the kernel's id */
	const char *session; /* the client's: hex; the server replays to the same one what it missed */
	const char *token;
};

enum socket_state {
	SOCKET_CONNECTING, /* the server answers when the kernel does, which may take a while */
	SOCKET_OPEN,
	SOCKET_CLOSED,
};

/* Begins to connect. Takes address->fd, also on failure; the strings are copied. NULL with err set
 * (ECONNREFUSED: nobody takes connections there now); socket_close frees it. */
struct socket *socket_connect(const struct socket_address *address, socket_receive *receive,
			      void *context, struct error *err);
void socket_close(struct socket *s); /* NULL is fine */

enum socket_state socket_state(const struct socket *s);
int socket_fd(const struct socket *s);          /* -1 once closed */
short socket_events(const struct socket *s);    /* of poll(2) */
int socket_timeout(const struct socket *s);     /* -1: none */

/* Does what can be done now. -1 (ECONNRESET …) when the connection is over, with the reason. */
int socket_service(struct socket *s, struct error *err);

/* Sends a message, or queues what the socket does not take. -1: EMSGSIZE, ENOTCONN, ENOMEM. */
int socket_send(struct socket *s, const void *data, size_t n, struct error *err);

#endif
