/* What Jupyter Server consists of inside a sandbox, on every backend:
 *
 *      server/     an environment of its own        kernel/  ipykernel for the agent's Python
 *      serve.py    starts the server                launch.py  starts a kernel
 *      data/kernels/python3/kernel.json             JUPYTER_PATH=data */
#ifndef INTERPFS_BACKEND_SANDBOX_JUPYTER_H
#define INTERPFS_BACKEND_SANDBOX_JUPYTER_H

#include <cjson/cJSON.h>

#include "base/buffer.h"
#include "base/error.h"

extern const char jupyter_launcher[], jupyter_server_launcher[]; /* launch.py and serve.py */

/* kernel.json for an interpreter inside, and the folder's own path inside. -1 without memory. */
int jupyter_kernel(struct buffer *out, const char *agent_python, const char *folder);

/* What notebook_packages names, parted into the server's and the kernel's; each has its own. Both are
 * the caller's, also after a failure. */
int jupyter_part(const cJSON *packages, cJSON **server, cJSON **kernel, struct error *err);

#endif
