/* What notebook.c and cell.c share; nobody else includes this. */
#ifndef INTERPFS_BACKEND_KERNEL_PARTS_H
#define INTERPFS_BACKEND_KERNEL_PARTS_H

#include <stdio.h>

#include "backend/kernel/notebook.h"
#include "backend/kernel/render.h"

#define CELLS_MAX 1000000u
#define SOURCE_MAX (10u << 20)
#define FRAGMENT_MAX (1u << 30)
#define CELL_PATH_SIZE 96

struct display {
	char *id;             /* as JSON, with its quotes */
	unsigned int cell;
	unsigned int output;  /* index in the cell */
};

static inline void cell_path(char path[CELL_PATH_SIZE], unsigned int cell, const char *name)
{
	(void)snprintf(path, CELL_PATH_SIZE, "cells/%u/%s", cell, name);
}

/* Replaces a cell's file and tells so. */
int notebook_write(struct notebook *nb, unsigned int cell, const char *name, const void *data, size_t n,
		   struct error *err);
/* Writes a file of a cell that was not there before, in place; the caller tells of it. */
int notebook_write_new(struct notebook *nb, unsigned int cell, const char *name, const void *data, size_t n,
		       struct error *err);
/* The first line of a code cell's fragment, from its source. */
int notebook_code_head(struct notebook *nb, unsigned int number, long count, struct buffer *out,
		       struct error *err);
int notebook_remove_files(struct notebook *nb, unsigned int number, struct error *err);

int notebook_remember_display(struct notebook *nb, struct json id, unsigned int cell, unsigned int output,
			      struct error *err);
void notebook_forget_displays(struct notebook *nb, unsigned int cell);

/* Puts new data in the place of an output's, which stays what it is (display_data, execute_result). */
int cell_replace_output(struct cell *cell, unsigned int output, struct json content, struct error *err);

#endif
