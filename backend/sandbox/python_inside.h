/* The interpreter of a system of the config's own (rootfs.h), perhaps with what was installed above it:
 * it is asked inside a box, once for each such system. */
#ifndef INTERPFS_BACKEND_SANDBOX_PYTHON_INSIDE_H
#define INTERPFS_BACKEND_SANDBOX_PYTHON_INSIDE_H

#include "backend/sandbox/backend.h"
#include "backend/sandbox/image.h"
#include "backend/sandbox/python.h"
#include "base/error.h"

/* As python_find(): ENOENT where there is none. ECANCELED. */
int python_find_inside(struct sandbox *s, const char *runtime, const struct image *image, const char *version,
		       struct python *python, struct error *err);

#endif
