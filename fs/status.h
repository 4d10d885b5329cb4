/* The root's `status`. */
#ifndef INTERPFS_FS_STATUS_H
#define INTERPFS_FS_STATUS_H

#include <sys/stat.h>

#include "fs/tree.h"

int show_status(const struct node *node, struct buffer *out, struct error *err);
void measure_status(const struct node *node, struct stat *st);

#endif
