/* A sandbox's way out while it is started: the helper of network.h, joined to the namespaces.
 *
 *      uplink_begin     a process makes the namespaces that the runtime will join (a helper that
 *                       must see the sandbox's own process has to wait: then none does)
 *      uplink_start     the helper comes up, while the runtime does
 *      uplink_finish    the sandbox has its first process: what was begun is waited for
 *
 * Without a helper, and with one id, nothing is done at any of them. */
#ifndef INTERPFS_BACKEND_SANDBOX_UPLINK_H
#define INTERPFS_BACKEND_SANDBOX_UPLINK_H

#include <sys/types.h>

#include "backend/sandbox/ids.h"
#include "backend/sandbox/network.h"
#include "base/error.h"

struct uplink {
	const struct network *network;
	const struct ids *ids; /* of the user namespace; NULL: one id */
	struct uplink_process { pid_t pid; int pidfd, says; } holder, helper; /* pid 0: none */
	int hold;       /* the holder stays while this is open */
	int log;        /* for the helper's messages */
	int alive[2];   /* the sandbox's first process gets [1], and the helper ends when nobody has it */
};

#define UPLINK { .hold = -1, .log = -1, .alive = { -1, -1 }, .holder = { 0, -1, -1 }, .helper = { 0, -1, -1 } }

/* ids: a user namespace with all of these (ids.h), which only a process made beforehand can have; NULL, or a
 * count of 0: one with the user's own id. Both are borrowed. */
int uplink_begin(struct uplink *uplink, const struct network *network, const struct ids *ids, struct error *err);

/* Whose user namespace, and network namespace if it has one, the sandbox will be in; 0: the runtime makes them. */
pid_t uplink_space(const struct uplink *uplink);

/* Takes the descriptor `log`, which messages of the helper go to. */
int uplink_start(struct uplink *uplink, int log, struct error *err);

/* The helper outlives the runner; one that is early ends with the sandbox (its tap device keeps the
 * namespace, so it would never see that end). Its pid is in *helper, for the caller to end, and to
 * wait for where it is a child; 0 when there is none. pid_file: a path for one that forks. */
int uplink_finish(struct uplink *uplink, pid_t guest, const char *pid_file, pid_t *helper, struct error *err);

/* Ends what was begun and not finished. */
void uplink_end(struct uplink *uplink);

#endif
