/* A notebook on disk: cells, their outputs, and the fragments (base/fragment.h) from which the
 * mount puts notebook.ipynb together. Knows no kernel and no network; the story (story.c) tells
 * it what came.
 *
 *   notebook-head.json     {"nbformat":4,…,"cells":[
 *   cells/.next/           the files of the cell that will come next, made ahead of it; no cell yet
 *   cells/3/source         the code or the text, as it was given
 *           status         state, execution count, seconds: base/cellstatus.h
 *           output         what it printed, as text; grows at its end
 *           outputs/K.EXT  pictures, html, json … of the output with index K; made with the first
 *           fragment       the cell as JSON; grows at its end
 *   images/cell-3-K.png    the same file as cells/3/outputs/K.png (a hard link)
 *
 * A new cell is filled in as cells/.next, and becomes a cell by the rename to its number. An output
 * costs its own bytes, at the thousandth cell as at the first. Nothing is kept in memory but the
 * cells that are open and where displays are that may be updated. Names of files that changed are
 * told to `changed`, at the latest by cell_announce. */
#ifndef INTERPFS_BACKEND_KERNEL_NOTEBOOK_H
#define INTERPFS_BACKEND_KERNEL_NOTEBOOK_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "backend/kernel/wire.h"
#include "base/buffer.h"
#include "base/error.h"

struct display;
struct notebook;

enum { NEXT_SOURCE, NEXT_STATUS, NEXT_OUTPUT, NEXT_FRAGMENT, NEXT_FILES };

/* A cell that is about to run or runs, or whose outputs come late. Stays where it is while it is open. */
struct cell {
	struct notebook *notebook;
	struct cell *next_open;  /* the notebook's list */
	unsigned int number;     /* 0: a cell that is not in the notebook, kept in memory (eval) */
	int fragment, output;    /* opened to append and to read; `output` may be read at any offset */
	int status;              /* -1 before it is needed */
	size_t length;           /* of the fragment */
	off_t size;              /* of the output */
	unsigned int outputs;    /* how many it holds */
	const char *stream;      /* "stdout" or "stderr" while the last output is an open stream */
	unsigned int clears;     /* how often its output was emptied */
	bool clear_next;         /* clear_output(wait=True): the next output replaces all */
	bool busy;               /* its status says so already */
	bool line_open;          /* the text does not end in a newline */
	bool full, marking;      /* something was left out, and it says so; it is being said */
	bool fragment_changed, output_changed;
	long count;              /* what the kernel said; -1 before */
	long shown;              /* what the fragment's head says; -1: null */
	char failed[128];        /* the exception's name, "" without */
	double started;          /* by CLOCK_MONOTONIC, 0 before */
};

struct notebook {
	int folder;          /* borrowed */
	uint64_t serial;     /* part of the cells' ids */
	unsigned int cells;  /* the last one's number; they count from 1 */
	void (*changed)(void *context, const char *path);
	void *context;
	int next[NEXT_FILES]; /* of cells/.next, -1 while not made */
	bool next_folder;     /* it is there */
	long expected;        /* the execution count that the next cell gets if nobody else uses the kernel; -1 */
	struct cell *open;    /* those that are */
	struct cell late;     /* one of them: opened for what came after its end */
	struct display *displays; /* those that have an id, oldest first */
	size_t display_count;
	size_t pending;       /* bytes of updates that wait */
	double rewrite_after; /* before this time no display is rewritten */
};


/* Looks what is there already. The folder stays the caller's. */
int notebook_open(struct notebook *nb, int folder, uint64_t serial,
		  void (*changed)(void *context, const char *path), void *context, struct error *err);
void notebook_close(struct notebook *nb);

/* Makes one of the files that the next cell needs. Whether there is more to make. What cannot be
 * made is no error yet: adding a cell tries again. */
bool notebook_prepare(struct notebook *nb);

/* Writes notebook-head.json. language is kernel_info_reply's language_info, or JSON_NONE. */
int notebook_set_head(struct notebook *nb, const char *kernel_name, struct json language, struct error *err);

/* Adds a code cell and opens it; queued, or busy where it will be sent at once. cell_close in any case. */
int notebook_add_code(struct notebook *nb, const char *code, size_t n, bool at_once, struct cell *cell,
		      struct error *err);
/* Adds a Markdown cell; *number is its number. */
int notebook_add_markdown(struct notebook *nb, const char *text, size_t n, unsigned int *number,
			  struct error *err);

/* Gives an existing cell a new source and no outputs; its id stays. A code cell is queued, of
 * which *code tells. ENOENT when there is no such cell. What was open of it stays readable. */
int notebook_set_source(struct notebook *nb, unsigned int number, const char *text, size_t n, bool *code,
			struct error *err);

/* Mends a cell that is queued and that nobody will run: a runner may have died while it gave it a new
 * source. All is made from that again; Markdown is then well. */
int notebook_mend(struct notebook *nb, unsigned int number, bool *code, struct error *err);

/* Takes an update_display_data, which concerns every display of its id in any cell. Updates that come
 * faster than a tenth of the time would do wait, and the newest holds. */
int notebook_update_display(struct notebook *nb, const struct wire_message *message, struct error *err);
/* Writes the updates that wait: those that are due, and those of this cell, or NOTEBOOK_ALL. */
int notebook_write_displays(struct notebook *nb, unsigned int cell, struct error *err);
#define NOTEBOOK_ALL UINT_MAX
/* When the next is due (CLOCK_MONOTONIC, seconds), 0 when none waits. */
double notebook_displays_due(const struct notebook *nb);

/* Opens cell `number`, cutting off a torn record that a crash left. cell_close in any case. */
int cell_open(struct notebook *nb, unsigned int number, struct cell *cell, struct error *err);
void cell_close(struct cell *cell);
/* The cell, opened if it is not; borrowed until the next call. */
struct cell *cell_find(struct notebook *nb, unsigned int number, struct error *err);


/* The request is about to be sent: status busy, if it is not that already. */
int cell_begin(struct cell *cell, struct error *err);

/* Takes a message of the kernel about this cell (execute_input, execute_reply, stream, display_data,
 * execute_result, error, clear_output; others do nothing). */
int cell_take(struct cell *cell, const struct wire_message *message, struct error *err);

/* Adds an error output that no kernel sent, such as DeadKernelError. */
int cell_fail(struct cell *cell, const char *name, const char *text, struct error *err);

/* The end: `[error NAME]` if it failed; its status. */
int cell_finish(struct cell *cell, const char *state, struct error *err);

/* Tells of the files that grew since the last call. */
void cell_announce(struct cell *cell);

/* Appends the outputs as a JSON array in nbformat's form; of very many, the first and the last. */
int cell_outputs(struct cell *cell, struct buffer *out, struct error *err);

#endif
