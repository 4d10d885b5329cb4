/* When asking again may help, and how long to wait before it (the Messages API's rules). */
#ifndef INTERPFS_BACKEND_LLM_RETRY_H
#define INTERPFS_BACKEND_LLM_RETRY_H

#include <stdbool.h>

#include "backend/llm/provider.h"

#define RETRY_ATTEMPTS 8  /* after the first */
#define RETRY_SECONDS 900 /* of waiting, altogether */

/* The headers of an answer that matter here; "" when absent. */
struct retry_headers {
	char should_retry[16];
	char retry_after_ms[32];
	char retry_after[64];
	char request_id[128];
	char content_type[64];
};

/* Whether an error of that type, in a stream or a body, goes away by itself. */
bool retry_error_type(const char *type);

/* Fills trouble from an HTTP answer other than a stream. body: what came, n bytes. now: seconds
 * since 1970, against which a date in retry-after is counted. */
void retry_judge(long status, const struct retry_headers *headers, const char *body, size_t n, double now,
		 struct trouble *trouble);

/* Sets the reason: one line, cut between two characters. */
void trouble_say(struct trouble *trouble, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Seconds until attempt number `attempt` (1 is the first repetition). random: 0 … 1. */
double retry_delay(const struct trouble *trouble, int attempt, double random);

#endif
