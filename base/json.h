/* What cJSON leaves out. */
#ifndef INTERPFS_BASE_JSON_H
#define INTERPFS_BASE_JSON_H

#include <cjson/cJSON.h>

static inline void cleanup_json_(cJSON **json) { cJSON_Delete(*json); }

#define cleanup_json __attribute__((cleanup(cleanup_json_)))

#endif
