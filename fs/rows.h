/* The tables of the tree's directories, a file each, and values that several of them show. */
#ifndef INTERPFS_FS_ROWS_H
#define INTERPFS_FS_ROWS_H

#include "fs/tree.h"

extern struct row sandbox_row;   /* fs/sandboxes.c */

/* fs/object_values.c */
int show_state(const struct node *node, struct buffer *out, struct error *err);
int show_error(const struct node *node, struct buffer *out, struct error *err);

#endif
