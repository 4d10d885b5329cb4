/* See selftest.c. */
#ifndef INTERPFS_BACKEND_SELFTEST_H
#define INTERPFS_BACKEND_SELFTEST_H

#include "backend/runner.h"

#ifdef INTERPFS_FAILPOINTS
int selftest_story(struct runner *r, struct error *err);
#endif

#endif
