/* A sandbox's network. "full" is a network namespace of its own that slirp4netns or pasta joins
 * to the outside: servers on the host's loopback cannot be reached, and the host's abstract
 * sockets cannot be seen. Without either helper it is the host's namespace, and info.json says so. */
#ifndef INTERPFS_BACKEND_SANDBOX_NETWORK_H
#define INTERPFS_BACKEND_SANDBOX_NETWORK_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

enum network_kind { NETWORK_NONE, NETWORK_LISTED, NETWORK_OWN, NETWORK_HOST };

struct network {
	enum network_kind kind;
	const struct network_helper *helper; /* of NETWORK_OWN */
	char *program;                       /* its path, owned */
};

/* Chooses for `network: full`, `none`, or `listed`: nothing but a loopback, whose way out is gate.h's. */
int network_choose(const char *asked, struct network *network, struct error *err);
void network_free(struct network *network);

/* What info.json says: "none", "full (slirp4netns)", "host (…)". */
const char *network_told(const struct network *network);

/* The /etc/resolv.conf for inside, owned by the caller; NULL to leave the host's. */
char *network_resolver(const struct network *network);

/* Joins the namespace of the sandbox's first process to the outside and waits until it is so. The
 * helper outlives the runner and ends when `alive` hangs up: the read end of a pipe whose other
 * end only the sandbox's first process has. (Its tap device keeps the namespace, so it would never
 * see that end.) Returns its pid (the caller waits for it some day), 0 when none is needed, -1.
 * Messages go to the descriptor `log`. */
pid_t network_start(const struct network *network, pid_t pid, int alive, int log, struct error *err);

#endif
