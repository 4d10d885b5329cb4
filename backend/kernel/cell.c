/* A cell's files while it is open: its fragment and output grow at their ends, its status by lines.
 * Rewritten is only what a cleared output, an updated display or another execution count than was
 * expected changes, and then as a new file, so that whoever reads the old one reads it whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/kernel/parts.h"
#include "base/cellstatus.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/fragment.h"

bool cell_begins_output(const char *line, size_t n)
{
	return (n > 1 && line[0] == '{') || (n > 2 && line[0] == ',' && line[1] == '{') ||
	       (n > 4 && !memcmp(line, "]},{", 4));
}

static const char *stream_name(const char *record, size_t n)
{
	return memmem(record, n < 64 ? n : 64, "\"name\":\"stderr\"", 15) ? "stderr" : "stdout";
}

/* Learns from a fragment's lines how many outputs there are and whether a stream is open. */
static void scan(struct cell *cell, const char *data, size_t n)
{
	const char *end = data + n, *last = NULL, *next;

	cell->outputs = 0;
	cell->stream = NULL;
	for (const char *p = data; p < end; p = next) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));

		next = newline ? newline + 1 : end;
		if (p == data)
			continue; /* the head */
		if (cell_begins_output(p, (size_t)(next - p))) {
			cell->outputs++;
			last = p;
		}
	}
	if (last && n >= 2 && end[-2] == '"')
		cell->stream = stream_name(last, (size_t)(end - last));
}

static int open_file(struct cell *cell, const char *name, int *fd, struct error *err)
{
	char path[CELL_PATH_SIZE];
	int opened;

	cell_path(path, cell->number, name);
	opened = openat(cell->notebook->folder, path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	if (opened < 0)
		return errno == ENOENT ? error_set(err, ENOENT, "there is no cell %u", cell->number)
				       : error_errno(err, "%s", path);
	if (*fd >= 0)
		(void)close(*fd);
	*fd = opened;
	return 0;
}

static int open_memory(int *fd, struct error *err)
{
	*fd = memfd_create("interpfs-cell", MFD_CLOEXEC);
	if (*fd < 0)
		return error_errno(err, "memfd_create");
	return fcntl(*fd, F_SETFL, O_APPEND) < 0 ? error_errno(err, "memfd") : 0;
}

int cell_read_fragment(struct cell *cell, struct buffer *out, struct error *err)
{
	if (buffer_reserve(out, cell->length) < 0)
		return error_errno(err, "cell %u", cell->number);
	while (out->length < cell->length) {
		ssize_t n = pread(cell->fragment, out->data + out->length, cell->length - out->length,
				  (off_t)out->length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? error_errno(err, "cell %u", cell->number)
				 : error_set(err, EIO, "cell %u: its fragment became shorter", cell->number);
		out->length += (size_t)n;
		out->data[out->length] = '\0';
	}
	return 0;
}

static int open_files(struct cell *cell, struct error *err)
{
	cleanup_buffer struct buffer fragment = BUFFER(FRAGMENT_MAX);
	struct stat st;
	size_t whole;

	if (open_file(cell, "fragment", &cell->fragment, err) < 0 ||
	    open_file(cell, "output", &cell->output, err) < 0)
		return -1;
	if (fstat(cell->output, &st) < 0)
		return error_errno(err, "cell %u", cell->number);
	cell->size = st.st_size;
	if (fstat(cell->fragment, &st) < 0)
		return error_errno(err, "cell %u", cell->number);
	cell->length = (size_t)st.st_size;
	if (cell_read_fragment(cell, &fragment, err) < 0)
		return -1;
	whole = fragment_whole(fragment.data, fragment.length);
	if (whole < cell->length) {
		if (ftruncate(cell->fragment, (off_t)whole) < 0)
			return error_errno(err, "cell %u", cell->number);
		cell->length = whole;
		cell->fragment_changed = true;
	}
	scan(cell, fragment.data, whole);
	/* The head is no whole object, but its members up to the count are. */
	cell->shown = json_integer(json_get((struct json){ fragment.data, whole }, "execution_count"), -1);
	return 0;
}

int cell_open(struct notebook *nb, unsigned int number, struct cell *cell, struct error *err)
{
	struct cellstatus status;
	char path[CELL_PATH_SIZE];

	*cell = (struct cell){ .notebook = nb, .number = number, .fragment = -1, .output = -1, .status = -1,
			       .count = -1, .shown = -1 };
	if (!number)
		return open_memory(&cell->fragment, err) < 0 || open_memory(&cell->output, err) < 0 ? -1 : 0;
	cell_path(path, number, "status");
	if (open_files(cell, err) < 0 || cellstatus_read(nb->folder, path, &status, err) < 0)
		return -1;
	if (*status.word[CELLSTATUS_COUNT])
		cell->count = strtol(status.word[CELLSTATUS_COUNT], NULL, 10);
	cell->next_open = nb->open;
	nb->open = cell;
	return 0;
}

static void close_file(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

void cell_close(struct cell *cell)
{
	struct notebook *nb = cell->notebook;

	if (nb) {
		struct cell **at = &nb->open;

		cell_announce(cell);
		while (*at && *at != cell)
			at = &(*at)->next_open;
		if (*at)
			*at = cell->next_open;
	}
	cell->notebook = NULL;
	cell->next_open = NULL;
	close_file(&cell->fragment);
	close_file(&cell->output);
	close_file(&cell->status);
}

struct cell *cell_find(struct notebook *nb, unsigned int number, struct error *err)
{
	struct cell *cell = nb->open;

	while (cell && cell->number != number)
		cell = cell->next_open;
	if (cell)
		return cell;
	cell_close(&nb->late);
	if (cell_open(nb, number, &nb->late, err) == 0)
		return &nb->late;
	cell_close(&nb->late);
	return NULL;
}

void cell_announce(struct cell *cell)
{
	char path[CELL_PATH_SIZE];

	if (cell->number && cell->fragment_changed) {
		cell_path(path, cell->number, "fragment");
		cell->notebook->changed(cell->notebook->context, path);
	}
	if (cell->number && cell->output_changed) {
		cell_path(path, cell->number, "output");
		cell->notebook->changed(cell->notebook->context, path);
	}
	cell->fragment_changed = cell->output_changed = false;
}

int cell_append_status(struct cell *cell, const char *state, double seconds, struct error *err)
{
	char line[CELLSTATUS_LINE], path[CELL_PATH_SIZE];
	size_t n = cellstatus_format(line, state, cell->count, seconds);

	if (!cell->number)
		return 0;
	if (cell->status < 0 && open_file(cell, "status", &cell->status, err) < 0)
		return -1;
	cell_path(path, cell->number, "status");
	if (file_write_all(cell->status, line, n, err) < 0)
		return error_wrap(err, "%s", path);
	cell->notebook->changed(cell->notebook->context, path);
	return 0;
}

int cell_append_text(struct cell *cell, const char *text, size_t n, struct error *err)
{
	if (!n)
		return 0;
	if (file_write_all(cell->output, text, n, err) < 0)
		return error_wrap(err, "cell %u: output", cell->number);
	cell->size += (off_t)n;
	cell->line_open = text[n - 1] != '\n';
	cell->output_changed = true;
	return 0;
}

/* One write a record; what a full disk took of it is cut off again, or the next record would
 * stand behind half a one. */
int cell_append_record(struct cell *cell, const struct buffer *record, struct error *err)
{
	/* What says so has room in any case. */
	if (!cell->marking && (record->length > CELL_MAX || cell->length > CELL_MAX - record->length))
		return error_set(err, EFBIG, "cell %u: its outputs are more than %u MB", cell->number, CELL_MAX >> 20);
	if (file_write_all(cell->fragment, record->data, record->length, err) < 0) {
		if (ftruncate(cell->fragment, (off_t)cell->length) < 0)
			cell->length = (size_t)lseek(cell->fragment, 0, SEEK_END);
		return error_wrap(err, "cell %u", cell->number);
	}
	cell->length += record->length;
	cell->fragment_changed = true;
	return 0;
}

int cell_replace_fragment(struct cell *cell, const struct buffer *fragment, struct error *err)
{
	if (!cell->number) {
		if (ftruncate(cell->fragment, 0) < 0)
			return error_errno(err, "memfd");
		cell->length = 0;
		return cell_append_record(cell, fragment, err);
	}
	if (notebook_write(cell->notebook, cell->number, "fragment", fragment->data, fragment->length, err) < 0)
		return -1;
	cell->length = fragment->length;
	return open_file(cell, "fragment", &cell->fragment, err);
}

/* Puts another execution count into the fragment's head; -1: null. */
static int show_count(struct cell *cell, long count, struct error *err)
{
	static const char member[] = "\"execution_count\":";
	cleanup_buffer struct buffer fragment = BUFFER(FRAGMENT_MAX), old = BUFFER(FRAGMENT_MAX);
	const char *value, *rest;
	int result;

	if (!cell->number || count == cell->shown)
		return 0;
	if (cell_read_fragment(cell, &old, err) < 0)
		return -1;
	/* The head is ours, and its count stands before all that is not. */
	value = old.length ? memmem(old.data, old.length, member, sizeof member - 1) : NULL;
	rest = value ? memchr(value, ',', (size_t)(old.data + old.length - value)) : NULL;
	if (!rest)
		return error_set(err, EBADMSG, "cell %u: its fragment is damaged", cell->number);
	if (buffer_append(&fragment, old.data, (size_t)(value - old.data)) < 0)
		return error_errno(err, "cell %u", cell->number);
	result = count < 0 ? buffer_format(&fragment, "%snull", member) : buffer_format(&fragment, "%s%ld", member, count);
	if (result < 0 || buffer_append(&fragment, rest, (size_t)(old.data + old.length - rest)) < 0)
		return error_errno(err, "cell %u", cell->number);
	if (cell_replace_fragment(cell, &fragment, err) < 0)
		return -1;
	cell->shown = count;
	return 0;
}

int cell_set_count(struct cell *cell, long count, struct error *err)
{
	if (count < 0 || count == cell->count)
		return 0;
	cell->count = count;
	if (!cell->number)
		return 0;
	cell->notebook->expected = count + 1;
	return cell_append_status(cell, "busy", -1, err) < 0 || show_count(cell, count, err) < 0 ? -1 : 0;
}

int cell_clear(struct cell *cell, struct error *err)
{
	cleanup_buffer struct buffer fragment = BUFFER(FRAGMENT_MAX);

	cell->clear_next = false;
	if (!cell->outputs)
		return 0;
	if (cell->number && (notebook_code_head(cell->notebook, cell->number, cell->shown, &fragment, err) < 0 ||
			     notebook_remove_files(cell->notebook, cell->number, err) < 0))
		return -1;
	if (cell_replace_fragment(cell, &fragment, err) < 0)
		return -1;
	cell->outputs = 0;
	cell->stream = NULL;
	cell->line_open = cell->full = false;
	cell->clears++;
	cell->size = 0;
	if (!cell->number)
		return ftruncate(cell->output, 0) < 0 ? error_errno(err, "memfd") : 0;
	notebook_forget_displays(cell->notebook, cell->number);
	return notebook_write(cell->notebook, cell->number, "output", "", 0, err) < 0
		? -1 : open_file(cell, "output", &cell->output, err);
}

int cell_begin(struct cell *cell, struct error *err)
{
	cell->started = clock_seconds();
	return cell->busy ? 0 : cell_append_status(cell, "busy", -1, err);
}

int cell_finish(struct cell *cell, const char *state, struct error *err)
{
	char text[160];

	if (*cell->failed) {
		if (cell->line_open && cell_append_text(cell, "\n", 1, err) < 0)
			return -1;
		(void)snprintf(text, sizeof text, "[error %s]\n", cell->failed);
		if (cell_append_text(cell, text, strlen(text), err) < 0)
			return -1;
	}
	/* The kernel never said what it was expected to: it did not run it. */
	if (cell->count < 0 && show_count(cell, -1, err) < 0)
		return -1;
	cell_announce(cell);
	return cell_append_status(cell, state, cell->started > 0 ? clock_seconds() - cell->started : -1, err);
}
