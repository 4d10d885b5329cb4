/* What notebook.c, displays.c, cell.c and outputs.c share; nobody else includes this. */
#ifndef INTERPFS_BACKEND_KERNEL_PARTS_H
#define INTERPFS_BACKEND_KERNEL_PARTS_H

#include <stdio.h>

#include "backend/kernel/notebook.h"
#include "backend/kernel/render.h"

#define CELLS_MAX 1000000u
#define SOURCE_MAX (10u << 20)
#define CELL_MAX (512u << 20)    /* what a cell may show, as JSON; more is left out */
#define FRAGMENT_MAX (1u << 30)  /* what a buffer takes: a cell, or one message as JSON */
#define CELL_PATH_SIZE 96

struct display {
	char *id;             /* as JSON, with its quotes */
	unsigned int cell;
	unsigned int output;  /* index in the cell */
	char *pending;        /* the newest update's content, while it waits; else NULL */
	size_t pending_length;
};

static inline void cell_path(char path[CELL_PATH_SIZE], unsigned int cell, const char *name)
{
	(void)snprintf(path, CELL_PATH_SIZE, "cells/%u/%s", cell, name);
}

/* Replaces a cell's file and tells so. */
int notebook_write(struct notebook *nb, unsigned int cell, const char *name, const void *data, size_t n,
		   struct error *err);
/* The first line of a code cell's fragment, from its source. */
int notebook_code_head(struct notebook *nb, unsigned int number, long count, struct buffer *out,
		       struct error *err);
int notebook_remove_files(struct notebook *nb, unsigned int number, struct error *err);

int notebook_remember_display(struct notebook *nb, struct json id, unsigned int cell, unsigned int output,
			      struct error *err);
void notebook_forget_displays(struct notebook *nb, unsigned int cell);

/* What a record does at its start: see base/fragment.h. */
bool cell_begins_output(const char *line, size_t n);
int cell_read_fragment(struct cell *cell, struct buffer *out, struct error *err);
int cell_replace_fragment(struct cell *cell, const struct buffer *fragment, struct error *err);
/* One write a record; what a full disk took of it is cut off again. */
int cell_append_record(struct cell *cell, const struct buffer *record, struct error *err);
int cell_append_text(struct cell *cell, const char *text, size_t n, struct error *err);
/* Empties a cell that has shown something. */
int cell_clear(struct cell *cell, struct error *err);
/* The execution count, as the kernel says it. */
int cell_set_count(struct cell *cell, long count, struct error *err);
int cell_append_status(struct cell *cell, const char *state, double seconds, struct error *err);

/* Writes a bundle's files as outputs/K.EXT; pictures also as images/cell-N-K.EXT, and appends
 * their names to `names`, a line each. */
int cell_write_files(struct cell *cell, unsigned int output, struct json data, struct buffer *names,
		     struct error *err);

#endif
