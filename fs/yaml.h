/* YAML (so JSON too) as a tree of nodes that know their lines, from a text that may still grow.
 *
 * Only what a configuration needs: one document; no anchors, aliases, tags or complex keys; at
 * most DOCUMENT_DEPTH levels and DOCUMENT_NODES nodes; no field twice. Nothing is typed here: that is fs/judge.c's.
 * (Names that begin with yaml_ are libyaml's, also some that its header does not show.) */
#ifndef INTERPFS_FS_YAML_H
#define INTERPFS_FS_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define DOCUMENT_DEPTH 32
#define DOCUMENT_NODES 65536
#define DOCUMENT_MEMBERS 4096 /* keys and values of one mapping */

enum document_kind { DOCUMENT_SCALAR, DOCUMENT_LIST, DOCUMENT_MAP };

struct document_node {
	enum document_kind kind;
	bool plain;              /* a scalar without quotes: `3`, as against `"3"` */
	bool open;               /* what follows may still add to it */
	size_t line;             /* from 1 */
	char *text;              /* a scalar's; without a NUL inside */
	size_t count;            /* children */
	struct document_node *first, *last, *next; /* children; of a map key, value, key, value, … */
	struct document_node *made;  /* every node of the tree, for document_free */
};

struct document {
	struct document_node *root;  /* NULL: nothing there yet */
	struct document_node *made;
	size_t nodes;
	bool failed;             /* the text cannot become right: `error` says why */
	struct error error;
};

/* Parses complete text (final) or the complete lines of a growing one. 0, also when the text is
 * wrong: then yaml->failed is set and the nodes before the place are there, open where they were
 * cut off. -1 only without memory. The caller frees in every case. */
int document_parse(struct document *yaml, const char *text, size_t n, bool final, struct error *err);
void document_free(struct document *yaml);

#endif
