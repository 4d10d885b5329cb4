/* A tar in the making, for an engine's upload: entries are named first, their bytes are read from
 * this machine's files as they are asked for, so that no folder is held in memory or written twice.
 * Everything belongs to root inside; what is neither file, folder nor link is left out. */
#ifndef INTERPFS_BACKEND_SANDBOX_TAR_H
#define INTERPFS_BACKEND_SANDBOX_TAR_H

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

struct tar;

struct tar *tar_new(struct error *err);
void tar_free(struct tar *tar);
static inline void cleanup_tar_(struct tar **tar) { tar_free(*tar); }
#define cleanup_tar __attribute__((cleanup(cleanup_tar_)))

/* name: inside, relative to where it will be unpacked ("workspace/data"). Copied. */
int tar_add_file(struct tar *tar, const char *path, const char *name, mode_t mode, struct error *err);
int tar_add_link(struct tar *tar, const char *target, const char *name, struct error *err);
/* A folder with all that is in it; links in it stay links. */
int tar_add_tree(struct tar *tar, const char *path, const char *name, struct error *err);

/* As many bytes as fit into data, 0 at the end, -1. (A struct engine_request's `read`.) */
long tar_read(void *tar, void *data, size_t n, struct error *err);

#endif
