/* Control groups: what is in force for a process, and what a killed runtime leaves behind. Root's
 * boxes are in /interpfs/ID of every hierarchy (version 1, 2 or both); a user's have none. */
#ifndef INTERPFS_BACKEND_SANDBOX_CGROUP_H
#define INTERPFS_BACKEND_SANDBOX_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define CGROUP_PARENT "/interpfs"

struct cgroup_limits {
	uint64_t memory; /* bytes, 0: none in force */
	double cpu;      /* cores, 0: none */
	uint64_t pids;   /* 0: none */
};

/* Reads the limits of the group that the process is in from the kernel, never from a config. */
void cgroup_read(pid_t pid, struct cgroup_limits *limits);

/* Kills what is still in ID's groups and removes them. 0 too when there are none. */
int cgroup_remove(const char *id, struct error *err);

/* Calls visit for the groups whose name begins so, of every hierarchy: whether a process is in it. For root. */
void cgroup_each(const char *prefix, void (*visit)(void *context, const char *id, bool runs), void *context);

/* Stops all that is in ID's group, or lets it go on; nothing inside can tell. 1 when all stands still (or goes
 * on), 0 when there is no such group, -1 ETIMEDOUT when something in the kernel does not let go of one. */
int cgroup_freeze(const char *id, bool frozen, struct error *err);

/* Call it some 10 ms before a process is moved into a new group, which is what a runtime does first.
 * The kernel makes whoever moves one wait for a grace period of RCU (10 ms), but not within such a
 * period after another move. So a thread moves this process to where it is, a few times in 60 ms. */
void cgroup_hurry(void);

#endif
