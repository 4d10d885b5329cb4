/* What a sandbox's runner answers over the guest's stream, written once for every backend:
 *
 *   exec     a shell command          python  Python code         run  either or an argv, as JSON
 *   use      nothing: who has this call open uses the sandbox, whether or not anything happens inside
 *   root     a descriptor of the sandbox's root folder            connect  one to what listens inside
 *   libraries  installs what its workspace wants to have (libraries.h), and tells what came of each
 *   jupyter  starts Jupyter Server (calls_jupyter.c) and tells where it can be reached: a relay
 *            (relay.c) from run/jupyter.sock and from a port on the host's loopback
 *
 *   function, interface   what interfaces/ serve (interfaces.h); from inside others' by callers.h
 *
 * and ports/N (ports.c), relays to what else listens inside; repos/NAME (repos.c), commands that nobody calls.
 *
 * A call that comes while there is no guest waits for it, or for calls_detach() to refuse it. */
#ifndef INTERPFS_BACKEND_SANDBOX_CALLS_H
#define INTERPFS_BACKEND_SANDBOX_CALLS_H

#include <stdbool.h>

#include "backend/runner.h"
#include "backend/sandbox/backend.h"
#include "backend/sandbox/guest.h"
#include "base/error.h"

struct calls;

int calls_open(struct calls **calls, struct runner *runner, struct error *err);
void calls_close(struct calls *calls); /* refuses what still waits */

/* The guest answers: what waits begins. Borrowed until calls_detach. */
void calls_attach(struct calls *calls, struct guest *guest);
/* There is no guest any more (or there will not be one): what runs and what waits ends with this
 * errno and sentence. Before guest_detach(). */
void calls_detach(struct calls *calls, int code, const char *reason);

/* RUNNER_CALL, RUNNER_CLOSED, RUNNER_DRAINED; a RUNNER_COMMAND of an interface or a repository. */
void calls_event(struct calls *calls, const struct runner_event *event);
/* RUNNER_FD: whether the descriptor was one of theirs. */
bool calls_descriptor(struct calls *calls, int fd, short revents);

/* Documents may have changed. */
void calls_look(struct calls *calls);
/* The sandbox is ready, and so is its way out: its repositories are cloned (repos.h). Again: nothing happens. */
void calls_begin_repos(struct calls *calls);
/* Whether a notebook or a session says that it uses the sandbox. */
bool calls_in_use(const struct calls *calls);
/* Whether what the workspace wants installed is asked for: those who ask until now are answered by
 * calls_libraries, with a JSON text, or NULL, an errno and why not. */
bool calls_take_libraries(struct calls *calls);
void calls_libraries(struct calls *calls, const char *result, int code, const char *why);
/* Whether Jupyter Server is asked for and has to be made available first. The answer is
 * calls_jupyter: what was made, or NULL and why not. */
bool calls_want_jupyter(const struct calls *calls);
void calls_jupyter(struct calls *calls, const struct sandbox_jupyter *made, const char *why);

#endif
