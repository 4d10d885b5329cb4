/* The backend local's list() and reap(); see backend.h. */
#ifndef INTERPFS_BACKEND_SANDBOX_LOCAL_THINGS_H
#define INTERPFS_BACKEND_SANDBOX_LOCAL_THINGS_H

#include "backend/sandbox/backend.h"

int local_list(struct state *state, struct things *things, struct error *err);
int local_reap(struct state *state, const struct thing *thing, struct error *err);

#endif
