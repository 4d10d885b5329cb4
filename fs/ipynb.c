/* notebook.ipynb, put together from one fragment a cell (base/fragment.h).
 *
 * Its size is the sum of theirs, kept as they grow, so that neither an output nor a stat costs more at
 * cell 1,000 than at cell 1. Its text is a snapshot for each open, in a file without a name: however
 * large it is, it takes no memory here, and the loop waits for none of it. */
#include "fs/ipynb.h"

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
	cleanup_dir DIR *dir = file_list(folder, "cells", 0);
	const struct dirent *entry;

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

void ipynb_changed(struct object *object, const char *path, int64_t size)
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

void ipynb_measure(const struct node *node, struct stat *st)
{
	const struct length *l = length_of(node->object);

	if (l) {
		st->st_size = length_total(l);
		st->st_mtim = l->changed;
	}
}

/* ---- its text, in a thread of the pool ---- */

#define SMALL (256u << 10) /* what is read and written in one piece */

struct assembling {
	int out;
	struct buffer text; /* not written yet; at most SMALL and what makes a cell of a fragment */
	bool first;
};

static int flush(struct assembling *a, struct error *err)
{
	if (file_write_all(a->out, a->text.data, a->text.length, err) < 0)
		return -1;
	buffer_clear(&a->text);
	return 0;
}

static int put(struct assembling *a, const void *data, size_t n, struct error *err)
{
	if (a->text.length + n > SMALL && flush(a, err) < 0)
		return -1;
	return buffer_append(&a->text, data, n) < 0 ? error_memory(err) : 0;
}

/* How many of a large fragment's bytes are whole records: up to its last newline. */
static off_t whole_length(int fd, off_t size)
{
	char piece[4096];

	while (size > 0) {
		size_t n = size < (off_t)sizeof piece ? (size_t)size : sizeof piece;
		ssize_t got = pread(fd, piece, n, size - (off_t)n);

		if (got != (ssize_t)n)
			return 0;
		if (fragment_whole(piece, n))
			return size - (off_t)(n - fragment_whole(piece, n));
		size -= (off_t)n;
	}
	return 0;
}

static int copy(int from, int to, off_t n, struct error *err)
{
	while (n > 0) {
		ssize_t done = copy_file_range(from, NULL, to, NULL, (size_t)n, 0);
		char piece[65536];

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0) { /* not between these two file systems */
			done = read(from, piece, n < (off_t)sizeof piece ? (size_t)n : sizeof piece);
			if (done > 0 && file_write_all(to, piece, (size_t)done, err) < 0)
				return -1;
		}
		if (done <= 0)
			return done ? error_errno(err, "a cell") : error_set(err, EIO, "a cell has become shorter");
		n -= done;
	}
	return 0;
}

static int put_large(struct assembling *a, int fd, off_t size, struct error *err)
{
	off_t whole = whole_length(fd, size);
	char end[2];

	if (whole < 2 || pread(fd, end, 2, whole - 2) != 2)
		return 0;
	if ((!a->first && put(a, ",", 1, err) < 0) || flush(a, err) < 0 || copy(fd, a->out, whole, err) < 0)
		return -1;
	a->first = false;
	return put(a, fragment_closing(end, 2), FRAGMENT_CLOSING_SIZE, err);
}

static int put_fragment(struct assembling *a, int folder, uint32_t cell, char *room, struct error *err)
{
	char path[64];
	cleanup_close int fd = (fragment_path(path, cell), openat(folder, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
	struct stat st;
	size_t whole;
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? 0 : error_errno(err, "%s", path); /* deleted, or just begun */
	if (fstat(fd, &st) < 0)
		return error_errno(err, "%s", path);
	if (st.st_size > (off_t)SMALL)
		return put_large(a, fd, st.st_size, err);
	n = pread(fd, room, SMALL, 0);
	if (n < 0)
		return error_errno(err, "%s", path);
	whole = fragment_whole(room, (size_t)n);
	if (!whole)
		return 0;
	if ((!a->first && put(a, ",", 1, err) < 0) || put(a, room, whole, err) < 0)
		return -1;
	a->first = false;
	return put(a, fragment_closing(room, whole), FRAGMENT_CLOSING_SIZE, err);
}

int ipynb_assemble(int folder, int out, struct error *err)
{
	cleanup_buffer struct buffer head = BUFFER(1u << 20);
	cleanup_free char *room = malloc(SMALL);
	struct assembling a = { .out = out, .text = BUFFER(2 * SMALL), .first = true };
	uint32_t cells = count_cells(folder);
	struct error unread;
	int r;

	if (file_read(folder, "notebook-head.json", &head, &unread) < 0 || !head.length)
		(void)buffer_text(&head, EMPTY_HEAD);
	r = !room || !head.data ? error_memory(err) : put(&a, head.data, head.length, err);
	for (uint32_t cell = 1; !r && cell <= cells; cell++)
		r = put_fragment(&a, folder, cell, room, err);
	r = r || put(&a, TAIL, strlen(TAIL), err) < 0 || flush(&a, err) < 0 ? -1 : 0;
	buffer_free(&a.text);
	return r;
}
