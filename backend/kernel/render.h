/* Outputs in nbformat's form, and what of them becomes files and text. Only copies what the
 * schema of nbformat 4.5 allows: no `transient`, no bundle with a value of a wrong type. */
#ifndef INTERPFS_BACKEND_KERNEL_RENDER_H
#define INTERPFS_BACKEND_KERNEL_RENDER_H

#include <stdbool.h>

#include "backend/kernel/json.h"
#include "base/buffer.h"

/* Each appends to out; 0, or -1 with errno. */

/* {"output_type":type,["execution_count":count,]"data":…,"metadata":…}; count as JSON, or JSON_NONE. */
int render_data(struct buffer *out, const char *type, struct json count, struct json content);
/* {"output_type":"error",…} */
int render_error(struct buffer *out, struct json content);

/* Lines as a JSON array's inside, each with its newline, without the last one's: "a\n","b" */
int render_lines(struct buffer *out, const char *text, size_t n);

/* Text without terminal escape sequences. */
int render_plain(struct buffer *out, const char *text, size_t n);

/* The text/plain of a bundle, or text/markdown or text/latex; nothing if there is none. */
int render_bundle_text(struct buffer *out, struct json data);

/* A bundle's representations that become files. */
struct render_file {
	const char *extension; /* static */
	bool picture;
	struct buffer bytes;   /* owned by the caller of render_next_file */
};

/* The next one from *at on (0 at first): 1 with *file filled in, 0 at the end, -1. One file an
 * extension: the caller skips those it has had. */
int render_next_file(struct json data, size_t *at, struct render_file *file);

#endif
