/* What a session has used, summed over its answers, by model.
 *
 * One answer's usage is a JSON object with any of input_tokens (not cached), cache_read_tokens,
 * cache_write_tokens, cache_write_1h_tokens (part of the former), output_tokens, thinking_tokens
 * (part of the output). */
#ifndef INTERPFS_BACKEND_LLM_USAGE_H
#define INTERPFS_BACKEND_LLM_USAGE_H

#include <cjson/cJSON.h>
#include <stdbool.h>

struct usage { /* zero is nothing used */
	cJSON *models;  /* model -> sums, with "cost" or null */
	double cost;    /* of what has a price */
	bool unpriced;  /* something had none */
	int turns;      /* answers of the model */
	double seconds; /* of work, of the turns that have ended */
};

/* answered: it was a whole answer, which counts as a turn. cost: dollars, negative when it has no price.
 * one may be NULL. -1: out of memory. */
int usage_add(struct usage *usage, const char *model, const cJSON *one, double cost, bool answered);

/* The value `usage`: owned by the caller, NULL when out of memory. */
cJSON *usage_render(const struct usage *usage);

void usage_free(struct usage *usage);

#endif
