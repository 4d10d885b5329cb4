/* Copying a tree of files as it is, also while others write in it: modes, owners, times, extended
 * attributes, hard links, holes, whiteouts, pipes and sockets. Data is shared where the disk can (FICLONE).
 *
 * A copy is made in passes over the same tree. The first copies all there is, each other one what has
 * changed since that one before it looked; when nobody wrote during a whole pass, the copy is the tree. */
#ifndef INTERPFS_BACKEND_SANDBOX_COPY_H
#define INTERPFS_BACKEND_SANDBOX_COPY_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct copy;

/* Asked now and then while it goes on: -1 with err gives up. */
typedef int copy_living(void *context, struct error *err);

int copy_open(struct copy **copy, copy_living *living, void *context, struct error *err);
void copy_close(struct copy *copy);

/* One pass over the folder `as` in `above`: the folder `name` in `into`, which is made by the first, becomes
 * the same. *changed is raised by how many of its files were another. 1: it is no folder (any more). */
int copy_pass(struct copy *copy, int above, const char *as, int into, const char *name, size_t *changed,
	      struct error *err);

/* Nobody writes any more: the passes that follow wait for nothing. */
void copy_stands_still(struct copy *copy);

/* The files of a folder that are no folders, into another one, over what is there. */
int copy_plain(int from, int to, struct error *err);

/* The room that a tree takes on the disk, in bytes; what cannot be read is not counted. */
uint64_t copy_size(const char *path);

#endif
