/* Descriptors that come with a message of a unix socket. */
#ifndef INTERPFS_BASE_PASSING_H
#define INTERPFS_BASE_PASSING_H

#include <stddef.h>
#include <sys/socket.h>

/* Puts those that came with a received message into `into`, in their order, at most max, and
 * closes the rest. Returns how many it put. */
size_t passing_take(struct msghdr *message, int *into, size_t max);

#endif
