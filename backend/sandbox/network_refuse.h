/* What a sandbox with a network may not reach all the same: where clouds answer any program of a
 * machine with the machine's own credentials. */
#ifndef INTERPFS_BACKEND_SANDBOX_NETWORK_REFUSE_H
#define INTERPFS_BACKEND_SANDBOX_NETWORK_REFUSE_H

#include <sys/types.h>

#include "base/error.h"

/* Makes those addresses unreachable in the process's network namespace, for as long as it lives:
 * nothing inside has the capability to change its routes. */
int network_refuse(pid_t pid, struct error *err);

/* The same in this process's own, which it may change. 0 or an errno. */
int network_refuse_here(void);

/* The same where names may be told by one of those addresses, as a resolv.conf says: its port of names is
 * still reached. 0 or an errno. */
int network_refuse_but_names(const char *resolver);

#endif
