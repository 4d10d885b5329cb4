/* What is known of models: prices, windows, how they think. All of it stands in a data file,
 * share/prices.json, since it changes faster than programs do. */
#ifndef INTERPFS_BACKEND_LLM_MODELS_H
#define INTERPFS_BACKEND_LLM_MODELS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct models {
	cJSON *json;
};

/* From path, or (NULL) from the file that comes with the program. */
int models_open(struct models *models, const char *path, struct error *err);
void models_close(struct models *models);

/* The provider's default model, NULL without one. Borrowed. */
const char *models_default(const struct models *models, const char *provider);

/* A number or a word that is known of the model; NULL or `fallback` when it is not. An id with a
 * date behind it is found without it, too. */
const char *models_word(const struct models *models, const char *model, const char *name);
double models_number(const struct models *models, const char *model, const char *name, double fallback);

/* What one answer cost in dollars, by usage's names. false when no price is known. */
bool models_cost(const struct models *models, const char *model, const cJSON *usage, double *dollars);
bool models_priced(const struct models *models, const char *model);

#endif
