/* A YAML document (so JSON too) as cJSON, for files that others write for programs to read. Documents
 * of ours are judged line by line: fs/judge.h. */
#ifndef INTERPFS_BASE_YAML_JSON_H
#define INTERPFS_BASE_YAML_JSON_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "base/error.h"

/* The first document, by YAML's core schema, owned by the caller; NULL with err: EINVAL with line and
 * what is wrong, ENOMEM. Aliases are refused (they can stand for more than fits), as is what is nested
 * deeper than 64. */
cJSON *yaml_json(const char *text, size_t n, struct error *err);

#endif
