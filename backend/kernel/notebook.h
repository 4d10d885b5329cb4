/* A notebook on disk: cells, their outputs, and the fragments (base/fragment.h) from which the
 * mount puts notebook.ipynb together. Knows no kernel and no network; the story (story.c) tells
 * it what came.
 *
 *   notebook-head.json     {"nbformat":4,…,"cells":[
 *   cells/3/source         the code or the text, as it was given
 *           state          queued busy ok error interrupted died; ok for Markdown
 *           count          the execution count, absent before it is known
 *           duration       seconds from start to end, absent before
 *           output         what it printed, as text; grows at its end
 *           outputs/K.EXT  pictures, html, json … of the output with index K
 *           fragment       the cell as JSON; grows at its end
 *   images/cell-3-K.png    the same file as cells/3/outputs/K.png (a hard link)
 *
 * An output costs its own bytes, at the thousandth cell as at the first. Nothing is kept in
 * memory but the cell that runs and where displays are that may be updated. Names of files that
 * changed are told to `changed`, at the latest by cell_announce. */
#ifndef INTERPFS_BACKEND_KERNEL_NOTEBOOK_H
#define INTERPFS_BACKEND_KERNEL_NOTEBOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/kernel/wire.h"
#include "base/buffer.h"
#include "base/error.h"

struct display;

struct notebook {
	int folder;          /* borrowed */
	uint64_t serial;     /* part of the cells' ids */
	unsigned int cells;  /* the last one's number; they count from 1 */
	void (*changed)(void *context, const char *path);
	void *context;
	struct display *displays; /* those that have an id, oldest first */
	size_t display_count;
};

/* Looks what is there already. The folder stays the caller's. */
int notebook_open(struct notebook *nb, int folder, uint64_t serial,
		  void (*changed)(void *context, const char *path), void *context, struct error *err);
void notebook_close(struct notebook *nb);

/* Writes notebook-head.json. language is kernel_info_reply's language_info, or JSON_NONE. */
int notebook_set_head(struct notebook *nb, const char *kernel_name, struct json language, struct error *err);

/* Adds a cell; *number is its number. A code cell is queued, or busy where it will be sent at once. */
int notebook_add_code(struct notebook *nb, const char *code, size_t n, bool at_once, unsigned int *number,
		      struct error *err);
int notebook_add_markdown(struct notebook *nb, const char *text, size_t n, unsigned int *number,
			  struct error *err);

/* Gives an existing cell a new source and no outputs; its id stays. A code cell is queued, of
 * which *code tells. ENOENT when there is no such cell. */
int notebook_set_source(struct notebook *nb, unsigned int number, const char *text, size_t n, bool *code,
			struct error *err);

/* A cell that is about to run or runs, or whose outputs come late. */
struct cell {
	struct notebook *notebook;
	unsigned int number;     /* 0: a cell that is not in the notebook, kept in memory (eval) */
	int fragment, output;    /* opened to append and to read; `output` may be read at any offset */
	size_t length;           /* of the fragment */
	unsigned int outputs;    /* how many it holds */
	const char *stream;      /* "stdout" or "stderr" while the last output is an open stream */
	unsigned int clears;     /* how often its output was emptied */
	bool clear_next;         /* clear_output(wait=True): the next output replaces all */
	bool busy;               /* its state says so already */
	bool line_open;          /* the text does not end in a newline */
	bool fragment_changed, output_changed;
	long count;              /* -1 before it is known */
	char failed[128];        /* the exception's name, "" without */
	double started;          /* by CLOCK_MONOTONIC, 0 before */
};

/* Opens cell `number`, cutting off a torn record that a crash left. cell_close in any case. */
int cell_open(struct notebook *nb, unsigned int number, struct cell *cell, struct error *err);
void cell_close(struct cell *cell);

/* The request is about to be sent: state busy, if it is not that already. */
int cell_begin(struct cell *cell, struct error *err);

/* Takes a message of the kernel about this cell (execute_input, stream, display_data,
 * execute_result, error, clear_output; others do nothing). */
int cell_take(struct cell *cell, const struct wire_message *message, struct error *err);

/* Takes an update_display_data, which concerns every display of its id in any cell. `open` is
 * the cell that runs, or NULL. */
int notebook_update_display(struct notebook *nb, struct cell *open, const struct wire_message *message,
			    struct error *err);

/* Adds an error output that no kernel sent, such as DeadKernelError. */
int cell_fail(struct cell *cell, const char *name, const char *text, struct error *err);

/* The end: `[error NAME]` if it failed; state, duration. */
int cell_finish(struct cell *cell, const char *state, struct error *err);

/* Tells of the files that grew since the last call. */
void cell_announce(struct cell *cell);

/* Appends the outputs as a JSON array in nbformat's form. */
int cell_outputs(struct cell *cell, struct buffer *out, struct error *err);

#endif
