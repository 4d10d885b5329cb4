/* ports/N: an address on this machine's loopback for each port in `ports:`, from which port N of
 * the sandbox's own loopback can be reached, whatever its network: connections are passed out by
 * the guest (relay.c). The address is the same for the next runner and after a restart, unless
 * somebody else has taken it meanwhile; the mount shows it while the sandbox is ready. */
#ifndef INTERPFS_BACKEND_SANDBOX_PORTS_H
#define INTERPFS_BACKEND_SANDBOX_PORTS_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "backend/runner.h"
#include "backend/sandbox/guest.h"

struct ports;

/* Listens for each of `numbers` (decimal texts; may be NULL) and records the addresses. What cannot
 * listen is said in the log. NULL when there is none. */
struct ports *ports_open(struct runner *runner, struct guest *guest, const cJSON *numbers);
void ports_close(struct ports *ports); /* ends the connections; NULL is nothing */
bool ports_descriptor(struct ports *ports, int fd, short revents); /* whether it was one of theirs */

#endif
