/* How a sandbox's models become variables: what share/load.py is told of them, the program for a sandbox whose
 * agent has a shell, and what a prompt says. Names of hidden models come into none of it. */
#ifndef INTERPFS_BACKEND_SANDBOX_LOADING_H
#define INTERPFS_BACKEND_SANDBOX_LOADING_H

#include <cjson/cJSON.h>

#include "base/buffer.h"
#include "base/error.h"

/* A fit buffer for what follows. */
#define LOADING_MAX (4u << 20)

/* A model's tokenizer: `tokenizer` for `model`, VAR_tokenizer for others. */
void loading_tokenizer(const char *var, char *out, size_t size);

/* Code for a kernel (silent): `models` is the config's list. NotLoaded is raised where packages are missing. */
int loading_kernel_code(const cJSON *models, struct buffer *out, struct error *err);
/* load_VAR.py. */
int loading_program(const cJSON *model, struct buffer *out, struct error *err);

/* model_info.md. why: why they are not loaded; NULL: they are. */
int loading_info(const cJSON *models, const char *why, struct buffer *out, struct error *err);

#endif
