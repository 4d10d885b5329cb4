/* notebooks/NAME/: a kernel in a sandbox, and its notebook on disk.
 *
 * notebook.ipynb is put together from one fragment a cell (base/fragment.h) when it is opened; its
 * size is the sum of theirs, kept as they grow, so that neither an output nor a stat costs more
 * at cell 1,000 than at cell 1. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/fragment.h"
#include "fs/notebooks.h"
#include "fs/show.h"

#define PIECE_MAX (64u << 20)
#define EMPTY_HEAD "{\"nbformat\":4,\"nbformat_minor\":5,\"metadata\":{},\"cells\":["
#define TAIL "]}\n"
#define CELLS_MAX 1000000u

/* ---- its length ---- */

/* What is known of a notebook's fragments. Forgotten when too many notebooks are asked about. */
struct length {
	uint64_t serial;      /* 0: free */
	uint32_t used;
	uint32_t count, room; /* cells */
	int64_t *cells;       /* bytes of each; -1: not there */
	int64_t sum;          /* of those that are there, with closings */
	uint32_t present;
	int64_t head;
	struct timespec changed;
};

static struct {
	struct length all[32];
	uint32_t clock;
} lengths;

static void length_clear(struct length *l)
{
	free(l->cells);
	memset(l, 0, sizeof *l);
}

static int length_set(struct length *l, uint32_t cell, int64_t bytes)
{
	if (!cell || cell > CELLS_MAX)
		return 0;
	if (cell > l->room) {
		uint32_t room = l->room ? l->room : 64;
		int64_t *cells;

		while (room < cell)
			room *= 2;
		cells = realloc(l->cells, room * sizeof *cells);
		if (!cells)
			return -1;
		for (uint32_t i = l->room; i < room; i++)
			cells[i] = -1;
		l->cells = cells;
		l->room = room;
	}
	if (cell > l->count)
		l->count = cell;
	if (l->cells[cell - 1] >= 0) {
		l->sum -= l->cells[cell - 1] + (int64_t)FRAGMENT_CLOSING_SIZE;
		l->present--;
	}
	if (bytes <= 0) {
		l->cells[cell - 1] = -1;
		return 0;
	}
	l->cells[cell - 1] = bytes;
	l->sum += bytes + (int64_t)FRAGMENT_CLOSING_SIZE;
	l->present++;
	return 0;
}

static int64_t length_total(const struct length *l)
{
	return l->head + l->sum + (l->present ? l->present - 1 : 0) + (int64_t)strlen(TAIL);
}

static int fragment_path(char path[64], uint32_t cell)
{
	return snprintf(path, 64, "cells/%" PRIu32 "/fragment", cell);
}

/* Cells are numbered without gaps but for those that were deleted: the highest says how many. */
static uint32_t count_cells(int folder)
{
	uint32_t highest = 0;
	int fd = openat(folder, "cells", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir && fd >= 0)
		(void)close(fd);
	while (dir && (entry = readdir(dir))) {
		char *end;
		unsigned long n = strtoul(entry->d_name, &end, 10);

		if (!*end && entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && n <= CELLS_MAX && n > highest)
			highest = (uint32_t)n;
	}
	return highest;
}

static struct length *length_find(uint64_t serial)
{
	for (size_t i = 0; i < sizeof lengths.all / sizeof *lengths.all; i++)
		if (lengths.all[i].serial == serial)
			return &lengths.all[i];
	return NULL;
}

/* The notebook's lengths, measured if they are not known. NULL when they cannot be. */
static struct length *length_of(struct object *object)
{
	struct length *l = length_find(object->serial);
	int folder = object_folder_fd(object);
	struct stat st;
	char path[64];
	uint32_t cells;

	if (l) {
		l->used = ++lengths.clock;
		return l;
	}
	if (folder < 0)
		return NULL;
	l = &lengths.all[0];
	for (size_t i = 1; i < sizeof lengths.all / sizeof *lengths.all; i++)
		if (lengths.all[i].used < l->used)
			l = &lengths.all[i];
	length_clear(l);
	l->head = fstatat(folder, "notebook-head.json", &st, 0) < 0 ? (int64_t)strlen(EMPTY_HEAD) : st.st_size;
	cells = count_cells(folder);
	for (uint32_t cell = 1; cell <= cells; cell++) {
		(void)fragment_path(path, cell);
		if (length_set(l, cell, fstatat(folder, path, &st, 0) < 0 ? -1 : st.st_size) < 0) {
			length_clear(l);
			return NULL;
		}
	}
	l->serial = object->serial;
	l->used = ++lengths.clock;
	l->changed = object->changed;
	return l;
}

void notebook_changed(struct object *object, const char *path, int64_t size)
{
	struct length *l = length_find(object->serial);
	uint32_t cell = 0;
	int end = 0;

	if (!l)
		return;
	if (!path) {
		length_clear(l);
	} else if (!strcmp(path, "notebook-head.json")) {
		l->head = size < 0 ? (int64_t)strlen(EMPTY_HEAD) : size;
	} else if (sscanf(path, "cells/%" SCNu32 "/fragment%n", &cell, &end) == 1 && end && !path[end]) {
		if (length_set(l, cell, size) < 0)
			length_clear(l);
	} else {
		return;
	}
	(void)clock_gettime(CLOCK_REALTIME, &l->changed);
}

static void measure_notebook(const struct node *node, struct stat *st)
{
	const struct length *l = length_of(node->object);

	if (l) {
		st->st_size = length_total(l);
		st->st_mtim = l->changed;
	}
}

/* ---- its text ---- */

static int append_fragment(int folder, uint32_t cell, bool first, struct buffer *out, struct error *err)
{
	cleanup_buffer struct buffer piece = BUFFER(PIECE_MAX);
	struct error unread;
	char path[64];
	size_t whole;

	(void)fragment_path(path, cell);
	if (file_read(folder, path, &piece, &unread) < 0 || !piece.length)
		return 0; /* deleted, or just begun */
	whole = fragment_whole(piece.data, piece.length);
	if (!whole)
		return 0;
	if ((!first && buffer_text(out, ",") < 0) || buffer_append(out, piece.data, whole) < 0
	    || buffer_append(out, fragment_closing(piece.data, whole), FRAGMENT_CLOSING_SIZE) < 0)
		return error_set(err, errno, "the notebook is too large to be shown in one piece");
	return 1;
}

static int show_notebook(const struct node *node, struct buffer *out, struct error *err)
{
	int folder = object_folder_fd(node->object);
	uint32_t cells = folder < 0 ? 0 : count_cells(folder);
	cleanup_buffer struct buffer head = BUFFER(1u << 20);
	struct error unread;
	bool first = true;

	if (folder < 0)
		return error_errno(err, "notebook");
	if (file_read(folder, "notebook-head.json", &head, &unread) < 0 || !head.length)
		(void)buffer_text(&head, EMPTY_HEAD);
	if (!head.data || buffer_append(out, head.data, head.length) < 0)
		return error_memory(err);
	for (uint32_t cell = 1; cell <= cells; cell++) {
		int put = append_fragment(folder, cell, first, out, err);

		if (put < 0)
			return -1;
		first = first && !put;
	}
	return buffer_text(out, TAIL) < 0 ? error_memory(err) : 0;
}

/* ---- its config ---- */

static int check_notebook(const struct node *node, const cJSON *fields, bool final, cJSON *references,
			  struct fault *fault, struct error *err)
{
	const cJSON *name = cJSON_GetObjectItemCaseSensitive(fields, "sandbox");
	struct object *sandbox, *workspace;
	cJSON *spec;

	(void)node;
	(void)final;
	*fault = (struct fault){ "sandbox", -1 };
	if (refer(OBJECT_SANDBOX, name, references, err) < 0)
		return -1;
	sandbox = objects_find(OBJECT_SANDBOX, name->valuestring);
	spec = sandbox ? show_spec(sandbox) : NULL;
	workspace = spec ? show_reference(spec, "workspace") : objects_find(OBJECT_WORKSPACE, "default");
	cJSON_Delete(spec);
	return workspace ? refer_to(workspace, references, err) : 0;
}

/* ---- its files ---- */

static const struct command notebook_commands[] = {
	{ "wait", "[SECONDS]", "returns when it is idle; fails if it failed", COMMAND_WAIT, NULL },
	{ "interrupt", "", "ends the cell that runs", COMMAND_RUNNER, NULL },
	{ "restart", "", "a new kernel; returns when it is idle", COMMAND_RESTART, NULL },
	{ "shutdown", "", "ends the kernel; the notebook stays", COMMAND_STOP, NULL },
	{ .name = NULL },
};

static struct row output_row = {
	.name = "FILE", .kind = FILE_VALUE, .mode = 0444, .help = "an output as a file: 0.png 1.html 2.json",
};

static struct row image_row = {
	.name = "FILE", .kind = FILE_VALUE, .mode = 0444, .help = "cell-N-K.png of every picture",
};

static struct row cell_rows[] = {
	{ .name = "source", .kind = FILE_INBOX, .file = "cells/#/source", .call = "edit #",
	  .help = "its code; closing it after writing runs the cell again" },
	{ .name = "output", .kind = FILE_VALUE, .file = "cells/#/output", .help = "its text output" },
	{ .name = "outputs", .kind = FILE_DIRECTORY, .file = "cells/#/outputs", .listing = LIST_FILES, .child = &output_row,
	  .help = "its other outputs, a file each" },
	{ .name = "state", .kind = FILE_VALUE, .file = "cells/#/state", .help = "queued busy ok error interrupted died" },
	{ .name = "duration", .kind = FILE_VALUE, .file = "cells/#/duration", .help = "seconds" },
	{ .name = "count", .kind = FILE_VALUE, .file = "cells/#/count", .help = "the kernel's number of the execution" },
	{ .name = NULL },
};

static struct row cell_row = {
	.name = "#", .kind = FILE_DIRECTORY, .file = "cells/#", .rows = cell_rows, .help = "a cell",
};

static struct row notebook_rows[] = {
	{ .name = "config", .kind = FILE_DOCUMENT, .fields = notebook_fields, .check = check_notebook,
	  .help = "YAML or JSON; closing it starts the kernel" },
	{ .name = "state", .kind = FILE_VALUE, .render = show_state, .measure = measure_state, .own = true,
	  .help = "draft starting idle busy stopped failed died" },
	{ .name = "error", .kind = FILE_VALUE, .render = show_error, .measure = measure_error, .own = true,
	  .help = "why the last write was refused, or why it failed" },
	{ .name = "log", .kind = FILE_LOG, .help = "what was done for it" },
	{ .name = "info.json", .kind = FILE_VALUE, .render = show_info, .measure = measure_info, .help = "everything about it, for programs" },
	{ .name = "url", .kind = FILE_VALUE, .mode = 0400, .help = "Jupyter's own page of it, with the token" },
	{ .name = "hold", .kind = FILE_HOLD, .help = "stops it when the last who holds this open has closed it" },
	{ .name = "notebook.ipynb", .kind = FILE_VALUE, .render = show_notebook, .measure = measure_notebook,
	  .help = "the notebook, valid at every moment" },
	{ .name = "exec", .kind = FILE_CALL, .call = "exec", .help = "code in, a new cell's text output out" },
	{ .name = "eval", .kind = FILE_CALL, .call = "eval", .help = "the same without a cell" },
	{ .name = "markdown", .kind = FILE_INBOX, .call = "markdown", .help = "each close adds a Markdown cell" },
	{ .name = "cells", .kind = FILE_DIRECTORY, .listing = LIST_NUMBERS, .child = &cell_row, .help = "a folder a cell" },
	{ .name = "images", .kind = FILE_DIRECTORY, .listing = LIST_FILES, .child = &image_row, .help = "every picture" },
	{ .name = "model_info.md", .kind = FILE_VALUE, .help = "what a prompt should say of the models in the kernel" },
	{ .name = "mcp.json", .kind = FILE_VALUE, .mode = 0400, .render = show_mcp, .help = "its tools, for any MCP client" },
	{ .name = "ctl", .kind = FILE_CTL, .commands = notebook_commands, .help = "takes commands; reading lists them" },
	{ .name = NULL },
};

struct row notebook_row = { .name = "NAME", .kind = FILE_DIRECTORY, .rows = notebook_rows, .help = "a notebook" };
