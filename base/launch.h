/* Starting a program that shares nothing with its parent but what is named here. */
#ifndef INTERPFS_BASE_LAUNCH_H
#define INTERPFS_BASE_LAUNCH_H

#include <sys/types.h>

/* Runs argv (looked for on PATH when it has no slash) in a session and process group of its own,
 * in /, with default signals, /dev/null as standard input, `output` and `errors` as the other two
 * and no further descriptor. The caller waits for *pid. Returns 0 or an errno. */
int launch(char *const argv[], char *const envp[], int output, int errors, pid_t *pid);

#endif
