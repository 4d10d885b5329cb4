/* The way out of a sandbox whose `network` is a list of hosts: the guest listens on the sandbox's
 * loopback, and a process of ours (backend/proxy/) serves what connects there. It is the runner's
 * child; a new runner starts a new one, the old one serves what it had begun. */
#ifndef INTERPFS_BACKEND_SANDBOX_GATE_H
#define INTERPFS_BACKEND_SANDBOX_GATE_H

#include <stdbool.h>

#include "backend/runner.h"
#include "backend/sandbox/backend.h"
#include "backend/sandbox/guest.h"
#include "base/error.h"

#define GATE_PORT 3128 /* on the sandbox's loopback */
#define GATE_URL "http://127.0.0.1:3128"
/* What stands inside for a secret with hosts: the proxy puts the value in its place. */
#define GATE_PLACEHOLDER "interpfs-secret-%s"

/* What a sandbox trusts when the proxy speaks for hosts: a file of its folder, and where it is inside. */
#define GATE_TRUSTED "trusted.pem"
#define GATE_TRUSTED_INSIDE "/run/interpfs/trusted.pem"

struct gate;

struct gate_variable {
	const char *name, *value;
};

/* Variables that lead programs inside to the proxy, and to what they shall trust; the list ends with
 * a NULL name. */
const struct gate_variable *gate_environment(const struct sandbox *s);
/* Writes GATE_TRUSTED: what this machine trusts, and the proxy's own authority. */
int gate_write_trusted(const struct sandbox *s, struct error *err);

/* Whether a sandbox has one, and whether it speaks for hosts (so that its authority is needed). */
bool gate_is_wanted(const struct sandbox *s);
bool gate_has_secrets(const struct sandbox *s);

/* Begins: asks the guest to listen. NULL when none is wanted. runner NULL: for a box in which something is
 * made; it has no secrets, and what is refused goes to the sandbox's log. */
int gate_open(struct gate **gate, struct sandbox *s, struct runner *runner, struct guest *guest, struct error *err);
/* 1: it serves; 0: not yet; -1: it cannot, and why. */
int gate_ready(const struct gate *gate, struct error *err);
void gate_close(struct gate *gate); /* before the guest is detached; NULL is nothing */

#endif
