/* The machine's GPUs, and which of them a sandbox has.
 *
 * NVIDIA's driver says what there is (/proc/driver/nvidia/gpus). Over the host's own /usr its libraries
 * are there in the right version, so a GPU is a few device nodes. Other devices, and GPUs whose driver
 * is elsewhere, come by CDI specifications (/etc/cdi, /var/run/cdi, or the folders in INTERPFS_CDI):
 * github.com/cncf-tags/container-device-interface, SPEC.md; their hooks are not run.
 *
 * A GPU belongs to one sandbox of a state directory at a time: STATE/gpus/ID names its serial, and is
 * worth nothing once that sandbox is at rest. */
#ifndef INTERPFS_BACKEND_SANDBOX_GPU_H
#define INTERPFS_BACKEND_SANDBOX_GPU_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "fs/state.h"

#define GPUS_MAX 64

struct gpu {
	char id[128];    /* "nvidia0", "nvidia.com-gpu=0" */
	char model[128]; /* "NVIDIA A100-SXM4-80GB"; CDI: the device's own name */
	char uuid[64];   /* as NVIDIA's driver tells it; "": from a CDI specification */
	cJSON *edits;    /* CDI's containerEdits: env, deviceNodes, mounts. Owned */
};

struct gpus {
	struct gpu list[GPUS_MAX];
	size_t count;
};

/* Whether NVIDIA's driver tells of GPUs here. */
bool gpus_driver(void);
/* All that this machine has; specified: only what CDI specifications say. What cannot be read is left out and told in `log` (may be NULL). */
void gpus_find(struct gpus *gpus, bool specified, void (*log)(void *context, const char *text), void *context);
void gpus_free(struct gpus *gpus);

/* Takes `count` free ones whose model has `wanted` as a word ("A100", "a100-sxm4-80gb", "any") for the
 * sandbox, whose status says that it starts; the others leave the list. ENODEV with what there is,
 * EBUSY when others have them. */
int gpus_claim(struct gpus *gpus, const char *wanted, int count, const struct state *state, uint64_t serial,
	       struct error *err);

/* Adds "gpus": what this machine has, free or not, as [{id, model}]. -1 without memory. */
int gpus_tell(cJSON *info);

/* Exposed for tests: adds the devices of one specification. */
int gpus_add_cdi(struct gpus *gpus, const char *text, size_t n, struct error *err);

#endif
