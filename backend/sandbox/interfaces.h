/* interfaces/IF/: functions of the user's that are served from inside the sandbox.
 *
 *      STATE/sandboxes/7/interfaces/names/tools -> ../3     a name is a link, as an object's is
 *      STATE/sandboxes/7/interfaces/3/interface.py code/    what is served, and the modules beside it (mount)
 *                                    state failure log functions/ served …                      (runner)
 *
 * An interface has a process of its own inside (share/interface.py), started by the guest and reached
 * over its stream. Each call has a connection of its own, on which both speak as on run/sock (talk.h).
 *
 *      draft ──> loading ──> ready        the text or a module beside it changed: loading again, in a new
 *                   └──────> failed       process; calls that are under way end on the old one
 *
 *   calls      "function N NAME WHO"             arguments in, the result out
 *   commands   "interface N wait [SECONDS]", "interface N restart", "interface N parallel COUNT", … */
#ifndef INTERPFS_BACKEND_SANDBOX_INTERFACES_H
#define INTERPFS_BACKEND_SANDBOX_INTERFACES_H

#include <stdbool.h>

#include "backend/sandbox/guest.h"
#include "base/error.h"

struct calls;
struct call;
struct interfaces;
struct function_call;

int interfaces_open(struct interfaces **interfaces, struct calls *calls, struct error *err);
void interfaces_close(struct interfaces *interfaces);

/* The guest is there: what has a text is served. NULL: it is gone, and so are the processes. */
void interfaces_attach(struct interfaces *interfaces, struct guest *guest);
/* Looks whether texts have changed. */
void interfaces_look(struct interfaces *interfaces);

/* Begin what a call or a command asks for, while there is a guest. They may end it. -1: err is its end. */
int interfaces_begin_function(struct interfaces *interfaces, struct call *call, struct error *err);
int interfaces_begin_command(struct interfaces *interfaces, struct call *call, struct error *err);
/* The call ends, or its reader has room again. */
void interfaces_drop(struct function_call *function);
void interfaces_drained(struct function_call *function);

bool interfaces_descriptor(struct interfaces *interfaces, int fd); /* whether it was one of theirs */
double interfaces_due(const struct interfaces *interfaces);        /* boot seconds, 0: nothing */
void interfaces_timer(struct interfaces *interfaces);

#endif
