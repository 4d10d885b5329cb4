/* A relay from the host to what listens inside the sandbox, at a unix socket's path or at
 * "tcp:PORT" of its loopback: a port on the host's loopback, and a unix socket in the runner's
 * folder (0600) where it has a name. Each connection gets one of its own inside, passed out by the
 * guest, and bytes are copied both ways with back pressure; what listens inside checks who may
 * speak (Jupyter's token). Driven by the runner's descriptors. */
#ifndef INTERPFS_BACKEND_SANDBOX_RELAY_H
#define INTERPFS_BACKEND_SANDBOX_RELAY_H

#include <stdbool.h>

#include "backend/runner.h"
#include "backend/sandbox/guest.h"
#include "base/error.h"

struct relay;

/* Listens. *port: the port to try first (0: any), then the one that was found. name: the unix
 * socket's, relative to the runner's folder; NULL for none, else it must stay valid. */
int relay_open(struct relay **relay, struct runner *runner, const char *inside, const char *name, int *port,
	       struct error *err);
void relay_close(struct relay *relay);
void relay_attach(struct relay *relay, struct guest *guest); /* NULL: connections end, and new ones wait */
bool relay_descriptor(struct relay *relay, int fd, short revents);

#endif
