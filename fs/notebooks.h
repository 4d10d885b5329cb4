/* What the mount tells of notebooks' files. */
#ifndef INTERPFS_FS_NOTEBOOKS_H
#define INTERPFS_FS_NOTEBOOKS_H

#include <stdint.h>

#include "fs/objects.h"

/* A file of a notebook's folder has changed: its size, -1 when it is gone. path NULL: any may have. */
void notebook_changed(struct object *object, const char *path, int64_t size);

#endif
