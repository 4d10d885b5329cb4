/* Models: what `models` of a sandbox's config names, downloaded once and shared, read-only inside.
 *
 *      STATE/models/names/ORG--NAME[@REVISION] -> ../N    how the tree calls it: what was asked for
 *      STATE/models/N/files/       the model as the hub has it; there when it is complete
 *      STATE/models/N/hidden/      the same without its name: hard links, and small files rewritten
 *      STATE/models/N/info.json    name, revision, size, hashes of its files
 *      STATE/models/N/size path revision   the same for people
 *      STATE/models/N/making/      what a download has fetched so far; the next one goes on from it
 *      STATE/models/N/progress     "DONE TOTAL PERCENT%"
 *      STATE/models/N/lock         a link to the lock of whoever downloads it
 *      STATE/models/.lock          held while a number is given
 *
 * Numbers tell nothing: a mount's source can be read inside (/proc/self/mountinfo), so no path of a model
 * has its name. huggingface_hub downloads in a box of its own (share/fetch.py), where the hub's token is in
 * that one command's environment; a hub on this machine's loopback is reached through a proxy there. */
#ifndef INTERPFS_BACKEND_SANDBOX_MODELS_H
#define INTERPFS_BACKEND_SANDBOX_MODELS_H

#include <stddef.h>

#include "backend/sandbox/backend.h"
#include "backend/sandbox/plan.h"
#include "base/error.h"

struct sandbox_model {
	const char *var;    /* borrowed from the sandbox's fields */
	char *path, *base;  /* on this machine, owned; base NULL: it is no adapter */
};

struct sandbox_models {
	struct sandbox_model *list;
	size_t count;
};

/* Finds what the config names, downloading what is not there, and records it in the sandbox's models/. May
 * take hours; -1 with the sentence, ECANCELED. */
int sandbox_models_find(struct sandbox *s, const char *runtime, struct sandbox_models *models, struct error *err);
/* Where each is here and inside: /models/VAR, /models/VAR_base, MODEL_VAR_PATH. Ends with the first -1. */
int sandbox_models_each(const struct sandbox_models *models,
			int (*visit)(void *context, const char *path, const char *inside, const char *variable, struct error *err),
			void *context, struct error *err);
/* The same into a box's plan. */
int sandbox_models_plan(struct plan *plan, const struct sandbox_models *models, struct error *err);
void sandbox_models_free(struct sandbox_models *models);

#endif
