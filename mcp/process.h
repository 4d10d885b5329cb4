/* A child process with three pipes: what the MCP client needs of a server's process. */
#ifndef INTERPFS_MCP_PROCESS_H
#define INTERPFS_MCP_PROCESS_H

#include <sys/types.h>

#include "base/error.h"

struct process {
	pid_t pid;   /* 0: none; leader of a process group of its own */
	int pidfd;   /* readable when it has ended; -1 where the kernel has none */
	int in;      /* non-blocking, ours to write; -1 when closed */
	int out, err; /* non-blocking, ours to read; -1 when closed */
};

/* Starts argv, searched in the PATH of this process; env NULL: this process's; cwd NULL: likewise.
 * Waits for the exec and returns its error. The child gets SIGTERM when the thread that started
 * it dies, and none of our descriptors. */
int process_start(struct process *p, const char *const *argv, const char *const *env, const char *cwd,
		  struct error *err);

/* Closes its stdin, waits at most grace_ms, sends TERM to its group, waits as long again, sends
 * KILL; reaps it and closes everything. Nobody stays in its group, however it ended. */
void process_end(struct process *p, int grace_ms);

#endif
