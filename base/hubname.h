/* How the tree calls a model of the hub: ORG/NAME at a revision is ORG--NAME@REVISION, without @REVISION where
 * none was asked for. The hub allows no "--" in a name, so that no two are called alike. */
#ifndef INTERPFS_BASE_HUBNAME_H
#define INTERPFS_BASE_HUBNAME_H

#include <stddef.h>

#define HUBNAME_MAX 256

/* -1 when it does not fit. revision may be NULL. */
int hubname(char out[HUBNAME_MAX], const char *name, const char *revision);

#endif
