/* Whose process is at the other end of a connection over this machine's loopback. A port has no mode
 * bits: without this, all who are logged in could come in. */
#ifndef INTERPFS_BASE_PEER_H
#define INTERPFS_BASE_PEER_H

#include <stdbool.h>
#include <sys/types.h>

/* A descriptor to ask the kernel with, -1 where it does not say. listening: a TCP socket of ours, as
 * something that it must know. The caller closes it. */
int peer_open(int listening);

/* Whether the accepted TCP connection fd comes from a process of `owner`, or of root. A server that
 * runs as root (owner 0) is asked by the users of its machine: all may. So they may where the kernel
 * cannot be asked (asking < 0); what must not be open to all needs a token besides. */
bool peer_may(int asking, int fd, uid_t owner);

#endif
