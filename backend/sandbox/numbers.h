/* Folders that have a number on the disk and a name in the tree (fs/numbered.h), as a runner makes them. */
#ifndef INTERPFS_BACKEND_SANDBOX_NUMBERS_H
#define INTERPFS_BACKEND_SANDBOX_NUMBERS_H

#include "base/error.h"

/* Makes NUMBER/ in a folder, and names/NAME, a link that leads there. */
int numbers_give(int folder, const char *name, unsigned long number, struct error *err);

#endif
