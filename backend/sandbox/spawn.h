/* Helper processes of a sandbox: the runtime, the network helper, an interpreter that is asked
 * what it is. They get a small environment of their own (never the runner's), no descriptor but
 * what is named here, and default signals. */
#ifndef INTERPFS_BACKEND_SANDBOX_SPAWN_H
#define INTERPFS_BACKEND_SANDBOX_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"

#define SPAWN_PASSED 4

struct spawn {
	char *const *argv;      /* argv[0] is an absolute path */
	int output;             /* standard output and error; -1: /dev/null */
	int passed[SPAWN_PASSED]; /* become descriptors 3, 4 …; -1: none */
	int cpus;               /* run on at most so many processors; 0: all */
	bool lasting;           /* outlives the runner; else it is killed with it */
};

/* Returns the child's pid, and a pidfd that the caller closes in *pidfd. -1: EAGAIN, ENOMEM, or
 * what exec said (ENOENT …). The caller must wait for it. */
pid_t spawn(const struct spawn *what, int *pidfd, struct error *err);

/* Waits for its end at most timeout_ms, then kills it. *status is waitpid's. -1 ETIMEDOUT. */
int spawn_wait(pid_t pid, int pidfd, int timeout_ms, int *status, struct error *err);

/* Runs a program to its end, which is not that of a child that it leaves behind; its output (at most out->limit)
 * is appended. *status is waitpid's. */
int spawn_run(char *const argv[], int timeout_ms, struct buffer *out, int *status, struct error *err);

#endif
