/* The system calls that a sandbox may not make. Runtimes add no profile by themselves. */
#ifndef INTERPFS_BACKEND_SANDBOX_SECCOMP_H
#define INTERPFS_BACKEND_SANDBOX_SECCOMP_H

#include <cjson/cJSON.h>

/* The "seccomp" member of a bundle's "linux" object, owned by the caller; NULL without memory. */
cJSON *seccomp_profile(void);

#endif
