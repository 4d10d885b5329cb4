/* Snapshots: taking one of a sandbox, and what stands in their directories. */
#ifndef INTERPFS_FS_SNAPSHOTS_H
#define INTERPFS_FS_SNAPSHOTS_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "base/error.h"
#include "fs/judge.h"
#include "fs/objects.h"

/* Takes one of a sandbox; finish is called in the loop when it is there, or could not be. 0, or -1 when it
 * is refused at once. */
int snapshot_take(struct object *sandbox, const char *name,
		  void (*finish)(void *data, int result, const struct error *error), void *data, struct error *err);

/* A snapshot's runner has said how it is. */
void snapshot_status(uint64_t serial, const struct status *status);

/* A sandbox has stopped: takes the one that its runner has asked for, if it has. */
void snapshot_due(struct object *sandbox);

/* Whether one is being taken of the sandbox: then err says so. */
bool snapshots_hold(const struct object *object, struct error *err);

/* A sandbox's fields that its text leaves out become those of its snapshot. 0, or -1 with the fault. */
int snapshot_complete(const char *text, size_t n, cJSON *fields, struct fault *fault, struct error *err);

#endif
