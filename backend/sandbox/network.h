/* A sandbox's network. "full" is a network namespace of its own that slirp4netns or pasta joins
 * to the outside: servers on the host's loopback cannot be reached, and the host's abstract
 * sockets cannot be seen. Without either helper it is the host's namespace, and info.json says so. */
#ifndef INTERPFS_BACKEND_SANDBOX_NETWORK_H
#define INTERPFS_BACKEND_SANDBOX_NETWORK_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

enum network_kind { NETWORK_NONE, NETWORK_LISTED, NETWORK_OWN, NETWORK_HOST };

#define NETWORK_ARGUMENTS 24

/* A program that gives a namespace a way out. %d for an argument: the id of a process in it; %p: a
 * file for its own id. */
struct network_helper {
	const char *name, *told;
	const char *resolver; /* the address of its own name server; NULL: the host's */
	bool early;           /* any process will do while it starts; it writes to descriptor 3 when it works,
				 and ends when 4 hangs up. Else: the sandbox's own; it forks when it works, says
				 in a file who that is, and has to be ended */
	bool of_root;         /* root may use it, too: pasta gives up what it needs to find the namespace */
	const char *arguments[NETWORK_ARGUMENTS];
};

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

#endif
