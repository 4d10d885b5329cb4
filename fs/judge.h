/* Judging a document while it is written: YAML (so JSON too) against a table of fields.
 *
 * A text is judged as early as can be, a finished line at a time: what nothing that follows can
 * make right is refused. Tables of fields (fs/fields.c) are rows; the manual, `help`, the
 * refusals and the nearest known field come from the same rows. */
#ifndef INTERPFS_FS_JUDGE_H
#define INTERPFS_FS_JUDGE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define DOCUMENT_MAX (1u << 20) /* bytes */

enum field_type {
	FIELD_STRING,      /* a scalar */
	FIELD_INTEGER,     /* minimum … maximum */
	FIELD_NUMBER,
	FIELD_BOOLEAN,
	FIELD_SIZE,        /* bytes, as 16G, 512M, 32K or a number */
	FIELD_CHOICE,      /* one of `choices` */
	FIELD_STRINGS,     /* a list of scalars */
	FIELD_PAIRS,       /* a list of [from, to] */
	FIELD_MAP,         /* a mapping of scalars to scalars */
	FIELD_OBJECT,      /* a mapping, judged by `fields` (NULL: any) */
	FIELD_OBJECTS,     /* a list of mappings or scalars, judged by `fields` (NULL: any) */
	FIELD_ANY,
};

struct field {
	const char *name;       /* NULL ends the table */
	enum field_type type;
	const char *fallback;   /* the default as JSON text; "null" when absent means absent */
	double minimum, maximum;
	const char *choices;    /* "local|docker" */
	const char *help;       /* one sentence */
	bool alive;             /* can change while the object runs */
	bool later;             /* known, refused: "gpu is not supported by this version" */
	const struct field *fields;
	/* A check of the whole value beyond its type; may be NULL. -1 with a sentence. */
	int (*check)(const cJSON *value, struct error *err);
};

extern const struct field sandbox_fields[];
extern const struct field notebook_fields[];
extern const struct field session_fields[];
extern const struct field workspace_fields[];

/* final false: 0 when nothing is wrong so far. final true: the verdict, and *spec (owned by the
 * caller, may be NULL) becomes an object with every field of the table, defaults filled in; an
 * empty text (or only comments) gives 0 and *spec NULL. -1 EINVAL: "line 3: unknown field 'gqu';
 * did you mean 'gpu'?"; EFBIG past DOCUMENT_MAX. A text with a NUL or that is not UTF-8 is refused. */
int judge(const struct field *fields, const char *text, size_t n, bool final, cJSON **spec,
	  struct error *err);

/* The first field that differs and cannot change alive; NULL when none. Both are specs. */
const char *judge_frozen(const struct field *fields, const cJSON *old, const cJSON *new_);

#endif
