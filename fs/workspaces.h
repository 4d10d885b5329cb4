/* What other parts of the mount ask of workspaces. */
#ifndef INTERPFS_FS_WORKSPACES_H
#define INTERPFS_FS_WORKSPACES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Makes what every workspace's folder holds (libraries/ skills/ files/ modules/). */
int workspace_furnish(int folder, struct error *err);

/* The default workspace, made if it is not there. Once, when objects are loaded. */
int workspace_make_default(struct error *err);

/* A config came into force: who uses which workspace may be another now. */
void workspace_users_changed(void);

/* A file below libraries/ or skills/ was written, moved or removed: its runner looks. From the loop. */
void workspace_touched(uint64_t serial);

struct object;

/* Whether it is the default one, which `workspace` leads to and stays, with a sentence that says so. */
bool workspace_stays(const struct object *object, struct error *err);

/* A sandbox has become ready, or has ended: `installed` says what is installed in it. */
void workspace_user_rests(struct object *sandbox);
/* A kernel has said which objects of changed libraries it holds. */
void workspace_held(struct object *notebook);

#endif
