/* Checks a tool's arguments against its JSON Schema, as far as the tools' schemas go: an object
 * with properties, required and no others (but where additionalProperties says what they are); string (minLength), integer and number (minimum,
 * maximum), boolean, enum, array with items. */
#ifndef INTERPFS_MCP_SCHEMA_H
#define INTERPFS_MCP_SCHEMA_H

#include <cjson/cJSON.h>

#include "base/error.h"

/* 0, or -1 EINVAL with a sentence that a model can act on: "argument 'timeout' must be a number
 * of at least 0, not a string". A property that is null counts as absent unless it is required. */
int schema_check(const cJSON *schema, const cJSON *arguments, struct error *err);

#endif
