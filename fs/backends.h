/* The rows of backends/ (fs/root.c), and holding back who looks at them while new answers come. */
#ifndef INTERPFS_FS_BACKENDS_H
#define INTERPFS_FS_BACKENDS_H

#include <stdbool.h>

#include "fs/tree.h"

extern struct row backend_rows[];

/* Makes the folders of the answers, so that who looks makes nothing. */
int backends_open(const struct state *state, struct error *err);

/* Whether what a row with `sampled` shows is on its way; begins to ask where the last answers are old. */
bool backends_come(const struct node *node);

#endif
