/* notebook.ipynb: its length at any time, its text when it is read. */
#ifndef INTERPFS_FS_IPYNB_H
#define INTERPFS_FS_IPYNB_H

#include <stdint.h>

#include "fs/objects.h"
#include "fs/tree.h"

/* A file of a notebook's folder has changed: its size, -1 when it is gone. path NULL: any may have. */
void ipynb_changed(struct object *object, const char *path, int64_t size);

void ipynb_measure(const struct node *node, struct stat *st);
int ipynb_assemble(int folder, int out, struct error *err); /* any thread */

#endif
