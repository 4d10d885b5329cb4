/* The conversation in memory, as a provider needs it: only ever appended to.
 *
 * Each item keeps its JSON as text. The assistant's is byte for byte what the provider sent, so
 * that signed thinking stays valid and prompt caches hit. */
#ifndef INTERPFS_BACKEND_LLM_DIALOGUE_H
#define INTERPFS_BACKEND_LLM_DIALOGUE_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "base/error.h"

enum item_kind {
	ITEM_USER,      /* JSON array of content blocks (text, image as the Messages API has them) */
	ITEM_ASSISTANT, /* JSON array of the provider's own items */
	ITEM_RESULT,    /* {"id","is_error","content":[{"type":"text","text"} | {"type":"image","mime","sha256"}]} */
	ITEM_ASKED,     /* a request was sent: what follows belongs to a new message */
};

struct item {
	enum item_kind kind;
	char *json; /* owned; NULL for ITEM_ASKED */
};

struct dialogue {
	char *model;       /* owned */
	char *system;      /* owned; "" for none */
	cJSON *tools;      /* owned: MCP tools [{name, description, inputSchema}], sorted by name */
	struct item *items;
	size_t count, capacity;
	int folder;        /* the session's folder, borrowed: blobs/SHA256 holds the images */
};

/* Copies json (n bytes). */
int dialogue_add(struct dialogue *dialogue, enum item_kind kind, const char *json, size_t n,
		 struct error *err);
void dialogue_free(struct dialogue *dialogue);

#endif
