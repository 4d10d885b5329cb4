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
/* A growing text is judged anew at each write. Past this size only the end is judged, so that a long
 * text in small writes costs no more than it must. */
#define JUDGE_EARLY_MAX (64u << 10)

enum field_type {
	FIELD_STRING,      /* a scalar */
	FIELD_SOURCE,      /* a name, or a path: absolute, or from ~, which is expanded */
	FIELD_INTEGER,     /* minimum … maximum */
	FIELD_NUMBER,
	FIELD_BOOLEAN,
	FIELD_SIZE,        /* bytes, as 16G, 512M, 32K or a number */
	FIELD_CHOICE,      /* one of `choices` */
	FIELD_STRINGS,     /* a list of scalars */
	FIELD_CHOICE_OR_STRINGS, /* one of `choices`, or a list of scalars */
	FIELD_PAIRS,       /* a list of [from, to] */
	FIELD_MAP,         /* a mapping of scalars to scalars */
	FIELD_OBJECT,      /* a mapping, judged by `fields` (NULL: any) */
	FIELD_OBJECTS,     /* a list of mappings, judged by `fields` (NULL: any); a scalar stands for a mapping
			      with the first of them */
	FIELD_ANY,
};

struct field {
	const char *name;       /* NULL ends the table */
	enum field_type type;
	const char *fallback;   /* the default as JSON text; "null" when absent means absent;
				   NULL: the field must be there */
	double minimum, maximum; /* both 0: no bounds */
	const char *choices;    /* "local|docker" */
	const char *help;       /* one sentence */
	bool alive;             /* can change while the object runs */
	bool later;             /* known, refused: "gpu is not supported by this version" */
	bool made;              /* of what is made only: refused beside `adopt` */
	const char *only;       /* "docker|modal": the backends that serve it; NULL: all do */
	const struct field *fields;
	/* A check beyond the type; may be NULL. -1 with a sentence without the line. It is given
	 * the value, but of STRINGS, PAIRS and MAP one item or member at a time (in a list or
	 * mapping of its own), so that the refusal has its line. What it refuses must stay wrong
	 * whatever is appended to it. */
	int (*check)(const cJSON *value, struct error *err);
};

extern const struct field sandbox_fields[];
extern const struct field notebook_fields[];
extern const struct field session_fields[];
extern const struct field workspace_fields[];

/* Types as stored in a spec: SIZE becomes bytes, `~` in the first of a PAIR becomes the home
 * folder, MAP and STRINGS hold strings as they were written (PORT: 8000 is "8000").
 *
 * final false: 0 when nothing is wrong so far. final true: the verdict, and *spec (owned by the
 * caller, may be NULL) becomes an object with every field of the table, defaults filled in; an
 * empty text (or only comments) gives 0 and *spec NULL. -1 EINVAL: "line 3: unknown field 'gqu';
 * did you mean 'gpu'?"; EFBIG past DOCUMENT_MAX. A text with a NUL or that is not UTF-8 is refused. */
int judge(const struct field *fields, const char *text, size_t n, bool final, cJSON **spec,
	  struct error *err);

/* Whether it is text: UTF-8 without a NUL. final false: its last character may be torn. */
int judge_text(const char *text, size_t n, bool final, struct error *err);

/* The field (NULL: none alone), and of a list the item (-1: all of it), that a later check found wrong. */
struct fault {
	const char *field;
	int item;
};

/* The line on which it stands in the text, 0 when it does not: then it has its default. */
size_t judge_line(const char *text, size_t n, const struct fault *fault);

/* `~` and `~/x` become the home folder of the user who mounted; an absolute path stays; anything
 * else is EINVAL. Owned by the caller; NULL with err. */
char *judge_path(const char *path, struct error *err);

/* A value as a sentence may repeat it: one line, short, whole characters. Returns out. */
#define JUDGE_SHOWN 52
const char *judge_shown(const char *text, char out[JUDGE_SHOWN]);

/* Whether text is one of choices ("local|docker"). */
bool judge_is_choice(const char *choices, const char *text);
/* Whether text is a name for a variable: letters, digits, _, no digit first. */
bool judge_is_variable(const char *text);

/* The known word nearest to `word` among n, or NULL when none is near enough to be meant. */
const char *judge_nearest(const char *word, const char *const *known, size_t n);

/* The first field that differs and cannot change alive; NULL when none. Both are specs. */
const char *judge_frozen(const struct field *fields, const cJSON *old, const cJSON *new_);

#endif
