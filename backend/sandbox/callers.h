/* The way from inside a sandbox to the interfaces whose libraries its workspace has, also without a
 * network: the guest listens at CALLERS_SOCKET, and what connects there comes out to this runner. It says
 * which function of which interface it means (share/library.py); whether it may is decided here, by what
 * lies in the workspace's libraries/, which nobody inside can change. Then its frames go to the runner of
 * the sandbox that serves it, and the answer comes back. What comes from inside is hostile. */
#ifndef INTERPFS_BACKEND_SANDBOX_CALLERS_H
#define INTERPFS_BACKEND_SANDBOX_CALLERS_H

#include <stdbool.h>

#include "backend/runner.h"
#include "backend/sandbox/guest.h"

#define CALLERS_SOCKET "/run/interpfs/calls.sock"

struct callers;

/* Asks the guest to listen. NULL without a workspace, or memory. */
struct callers *callers_open(struct runner *runner, struct guest *guest);
void callers_close(struct callers *callers); /* before the guest is detached; NULL is nothing */
bool callers_descriptor(struct callers *callers, int fd); /* whether it was one of theirs */

/* The first frame of one: "function STATE.SERIAL.NUMBER NAME". -1 when it is none. */
#define CALLERS_ID 80
#define CALLERS_NAME 104
struct caller_request {
	char interface[CALLERS_ID]; /* STATE.SERIAL.NUMBER */
	char state[24];
	unsigned long long serial;
	unsigned number;
	char name[CALLERS_NAME];
};
int callers_parse(const void *payload, size_t n, struct caller_request *request);

#endif
