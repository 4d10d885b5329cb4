/* The notebook's cells as a whole: adding them, their sources and heads. A single cell is in cell.c. */
#include "backend/kernel/notebook.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/kernel/parts.h"
#include "base/cellstatus.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/fragment.h"

#define NEXT "cells/.next"

static const char *const next_names[NEXT_FILES] = {
	[NEXT_SOURCE] = "source", [NEXT_STATUS] = "status", [NEXT_OUTPUT] = "output", [NEXT_FRAGMENT] = "fragment",
};

int notebook_open(struct notebook *nb, int folder, uint64_t serial,
		  void (*changed)(void *context, const char *path), void *context, struct error *err)
{
	cleanup_dir DIR *dir = NULL;
	struct dirent *entry;
	int fd;

	*nb = (struct notebook){ .folder = folder, .serial = serial, .changed = changed, .context = context,
				 .next = { -1, -1, -1, -1 }, .expected = -1,
				 .late = { .fragment = -1, .output = -1, .status = -1 } };
	if (file_make_folder(folder, "cells", 0700, err) < 0 || file_make_folder(folder, "images", 0700, err) < 0)
		return -1;
	fd = file_open_folder(folder, "cells", err);
	if (fd < 0)
		return -1;
	dir = fdopendir(fd);
	if (!dir) {
		(void)close(fd);
		return error_errno(err, "cells");
	}
	while ((entry = readdir(dir))) {
		char *end;
		unsigned long n = strtoul(entry->d_name, &end, 10);

		if (!*end && n > nb->cells && n <= CELLS_MAX)
			nb->cells = (unsigned int)n;
	}
	return 0;
}

static void forget_next(struct notebook *nb)
{
	for (size_t i = 0; i < NEXT_FILES; i++) {
		if (nb->next[i] >= 0)
			(void)close(nb->next[i]);
		nb->next[i] = -1;
	}
	nb->next_folder = false;
}

void notebook_close(struct notebook *nb)
{
	struct error ignored;

	(void)notebook_write_displays(nb, NOTEBOOK_ALL, &ignored);
	cell_close(&nb->late);
	notebook_forget_displays(nb, 0);
	free(nb->displays);
	nb->displays = NULL;
	forget_next(nb);
}

/* One step of what notebook_prepare does: 1 when there is another, 0, -1. What an earlier runner left
 * there is as good as new, once it is empty. */
static int prepare_step(struct notebook *nb, struct error *err)
{
	char path[CELL_PATH_SIZE];
	size_t i = 0;

	if (!nb->next_folder) {
		if (file_make_folder(nb->folder, NEXT, 0700, err) < 0)
			return -1;
		nb->next_folder = true;
		return 1;
	}
	while (i < NEXT_FILES && nb->next[i] >= 0)
		i++;
	if (i == NEXT_FILES)
		return 0;
	(void)snprintf(path, sizeof path, NEXT "/%s", next_names[i]);
	nb->next[i] = openat(nb->folder, path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	return nb->next[i] < 0 ? error_errno(err, "%s", path) : i + 1 < NEXT_FILES;
}

bool notebook_prepare(struct notebook *nb)
{
	struct error ignored;

	return prepare_step(nb, &ignored) > 0;
}

int notebook_write(struct notebook *nb, unsigned int cell, const char *name, const void *data, size_t n,
		   struct error *err)
{
	char path[CELL_PATH_SIZE];

	cell_path(path, cell, name);
	if (file_swap(nb->folder, path, data, n, 0600, err) < 0)
		return -1;
	nb->changed(nb->context, path);
	return 0;
}

int notebook_set_head(struct notebook *nb, const char *kernel_name, struct json language, struct error *err)
{
	cleanup_buffer struct buffer head = BUFFER(1 << 20);
	struct json name = json_get(language, "name");
	const char *shown = strcmp(kernel_name, "python3") ? kernel_name : "Python 3 (ipykernel)";

	if (buffer_text(&head, "{\"nbformat\":4,\"nbformat_minor\":5,\"metadata\":{\"kernelspec\":{\"display_name\":") < 0 ||
	    json_quote(&head, shown, strlen(shown)) < 0 || buffer_text(&head, ",\"name\":") < 0 ||
	    json_quote(&head, kernel_name, strlen(kernel_name)) < 0 || buffer_text(&head, "}") < 0)
		return error_errno(err, "notebook-head.json");
	/* The schema asks for language_info's name; without one it is left out. */
	if (json_kind(name) == JSON_STRING && json_valid(language) &&
	    (buffer_text(&head, ",\"language_info\":") < 0 || json_copy(&head, language) < 0))
		return error_errno(err, "notebook-head.json");
	if (buffer_text(&head, "},\"cells\":[\n") < 0)
		return error_errno(err, "notebook-head.json");
	if (file_replace(nb->folder, "notebook-head.json", head.data, head.length, 0600, false, err) < 0)
		return -1;
	nb->changed(nb->context, "notebook-head.json");
	return 0;
}

static int make_fragment(struct notebook *nb, unsigned int number, bool code, long count, const char *text,
			 size_t n, struct buffer *out)
{
	if (buffer_format(out, "{\"cell_type\":\"%s\",\"id\":\"n%llu-c%u\",\"metadata\":{},",
			  code ? "code" : "markdown", (unsigned long long)nb->serial, number) < 0)
		return -1;
	if (!code) /* the space tells the closing apart from an open stream's: base/fragment.h */
		return buffer_text(out, "\"source\":[") < 0 || render_lines(out, text, n) < 0
			? -1 : buffer_text(out, " \n");
	if (count >= 0 ? buffer_format(out, "\"execution_count\":%ld,", count)
		       : buffer_text(out, "\"execution_count\":null,"))
		return -1;
	return buffer_text(out, "\"source\":[") < 0 || render_lines(out, text, n) < 0
		? -1 : buffer_text(out, "],\"outputs\":[\n");
}

static int make_head(struct notebook *nb, unsigned int number, bool code, long count, struct buffer *out,
		     struct error *err)
{
	cleanup_buffer struct buffer source = BUFFER(SOURCE_MAX);
	char path[CELL_PATH_SIZE];

	cell_path(path, number, "source");
	if (file_read(nb->folder, path, &source, err) < 0)
		return -1;
	return make_fragment(nb, number, code, count, source.data, source.length, out) < 0
		? error_errno(err, "cell %u", number) : 0;
}

int notebook_code_head(struct notebook *nb, unsigned int number, long count, struct buffer *out,
		       struct error *err)
{
	return make_head(nb, number, true, count, out, err);
}

/* Removes what a cell left in outputs/ and its links in images/. */
int notebook_remove_files(struct notebook *nb, unsigned int number, struct error *err)
{
	char folder[CELL_PATH_SIZE], path[CELL_PATH_SIZE + 256];
	cleanup_dir DIR *dir = NULL;
	struct dirent *entry;
	int fd;

	cell_path(folder, number, "outputs");
	fd = file_open_folder(nb->folder, folder, err);
	if (fd < 0)
		return err->code == ENOENT ? 0 : -1; /* it has shown nothing that became a file */
	dir = fdopendir(fd);
	if (!dir) {
		(void)close(fd);
		return error_errno(err, "%s", folder);
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		if (unlinkat(nb->folder, path, 0) < 0 && errno != ENOENT)
			return error_errno(err, "%s", path);
		nb->changed(nb->context, path);
		(void)snprintf(path, sizeof path, "images/cell-%u-%s", number, entry->d_name);
		if (unlinkat(nb->folder, path, 0) == 0)
			nb->changed(nb->context, path);
	}
	return 0;
}

static int fill_next(struct notebook *nb, const char *state, const char *text, size_t n,
		     const struct buffer *fragment, struct error *err)
{
	char line[CELLSTATUS_LINE];
	int more;

	while ((more = prepare_step(nb, err)) > 0)
		;
	if (more < 0 || file_write_all(nb->next[NEXT_SOURCE], text, n, err) < 0 ||
	    file_write_all(nb->next[NEXT_STATUS], line, cellstatus_format(line, state, -1, -1), err) < 0 ||
	    file_write_all(nb->next[NEXT_FRAGMENT], fragment->data, fragment->length, err) < 0)
		return -1;
	/* It begins to be now, though it was made before. */
	return futimens(nb->next[NEXT_OUTPUT], NULL) < 0 ? error_errno(err, "output") : 0;
}

/* Adds a cell. Its files are left open as nb->next, for the caller to take or to forget. */
static int add(struct notebook *nb, bool code, long count, const char *state, const char *text, size_t n,
	       struct buffer *fragment, struct error *err)
{
	char path[CELL_PATH_SIZE];
	unsigned int number = nb->cells + 1;

	if (n > SOURCE_MAX)
		return error_set(err, EFBIG, "a cell of %zu bytes: at most %u", n, SOURCE_MAX);
	if (number > CELLS_MAX)
		return error_set(err, ENOSPC, "a notebook holds at most %u cells", CELLS_MAX);
	if (make_fragment(nb, number, code, count, text, n, fragment) < 0)
		return error_errno(err, "cell %u", number);
	(void)snprintf(path, sizeof path, "cells/%u", number);
	if (fill_next(nb, state, text, n, fragment, err) < 0) {
		forget_next(nb);
		return error_wrap(err, "cell %u", number);
	}
	failpoint("notebook-add");
	if (renameat(nb->folder, NEXT, nb->folder, path) < 0) {
		(void)error_errno(err, "%s", path);
		forget_next(nb);
		return -1;
	}
	failpoint("notebook-added");
	nb->cells = number;
	/* Of the others nobody can have known anything; the fragment is part of the notebook's length. */
	nb->changed(nb->context, path);
	cell_path(path, number, "fragment");
	nb->changed(nb->context, path);
	return 0;
}

int notebook_add_code(struct notebook *nb, const char *code, size_t n, bool at_once, struct cell *cell,
		      struct error *err)
{
	cleanup_buffer struct buffer fragment = BUFFER(FRAGMENT_MAX);
	long count = at_once ? nb->expected : -1;

	*cell = (struct cell){ .fragment = -1, .output = -1, .status = -1, .count = -1, .shown = count };
	if (add(nb, true, count, at_once ? "busy" : "queued", code, n, &fragment, err) < 0)
		return -1;
	cell->notebook = nb;
	cell->number = nb->cells;
	cell->busy = at_once;
	cell->length = fragment.length;
	cell->fragment = steal_fd(&nb->next[NEXT_FRAGMENT]);
	cell->output = steal_fd(&nb->next[NEXT_OUTPUT]);
	cell->status = steal_fd(&nb->next[NEXT_STATUS]);
	cell->next_open = nb->open;
	nb->open = cell;
	forget_next(nb);
	return 0;
}

int notebook_add_markdown(struct notebook *nb, const char *text, size_t n, unsigned int *number,
			  struct error *err)
{
	cleanup_buffer struct buffer fragment = BUFFER(FRAGMENT_MAX);

	if (add(nb, false, -1, "ok", text, n, &fragment, err) < 0)
		return -1;
	*number = nb->cells;
	forget_next(nb);
	return 0;
}

static int is_code(struct notebook *nb, unsigned int number, bool *code, struct error *err)
{
	static const char head[] = "{\"cell_type\":\"code\"";
	char path[CELL_PATH_SIZE], begin[sizeof head - 1];
	cleanup_close int fd = -1;

	cell_path(path, number, "fragment");
	fd = openat(nb->folder, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? error_set(err, ENOENT, "there is no cell %u", number)
				       : error_errno(err, "%s", path);
	*code = pread(fd, begin, sizeof begin, 0) == (ssize_t)sizeof begin && !memcmp(begin, head, sizeof begin);
	return 0;
}

static int append_status(struct notebook *nb, unsigned int number, const char *state, struct error *err)
{
	struct cell cell = { .notebook = nb, .number = number, .fragment = -1, .output = -1, .status = -1, .count = -1 };
	int result = cell_append_status(&cell, state, -1, err);

	cell_close(&cell);
	return result;
}

/* What is open of a cell is of the past from now on. */
static void detach(struct notebook *nb, unsigned int number)
{
	struct cell **at = &nb->open;

	if (nb->late.notebook && nb->late.number == number)
		cell_close(&nb->late);
	while (*at) {
		if ((*at)->number == number)
			*at = (*at)->next_open;
		else
			at = &(*at)->next_open;
	}
}

/* Everything but the status is made from the source. */
static int start_anew(struct notebook *nb, unsigned int number, bool code, struct error *err)
{
	cleanup_buffer struct buffer fragment = BUFFER(FRAGMENT_MAX);

	detach(nb, number);
	notebook_forget_displays(nb, number);
	if (make_head(nb, number, code, -1, &fragment, err) < 0 ||
	    notebook_write(nb, number, "fragment", fragment.data, fragment.length, err) < 0)
		return -1;
	return code && (notebook_remove_files(nb, number, err) < 0 ||
			notebook_write(nb, number, "output", "", 0, err) < 0) ? -1 : 0;
}

int notebook_set_source(struct notebook *nb, unsigned int number, const char *text, size_t n, bool *code,
			struct error *err)
{
	if (n > SOURCE_MAX)
		return error_set(err, EFBIG, "a cell of %zu bytes: at most %u", n, SOURCE_MAX);
	/* Queued first: a runner that finds it so makes all the rest of it from its source. */
	if (is_code(nb, number, code, err) < 0 || append_status(nb, number, "queued", err) < 0)
		return -1;
	failpoint("notebook-edit");
	if (notebook_write(nb, number, "source", text, n, err) < 0)
		return -1;
	failpoint("notebook-edited");
	if (start_anew(nb, number, *code, err) < 0)
		return -1;
	return *code ? 0 : append_status(nb, number, "ok", err);
}

int notebook_mend(struct notebook *nb, unsigned int number, bool *code, struct error *err)
{
	if (is_code(nb, number, code, err) < 0 || start_anew(nb, number, *code, err) < 0)
		return -1;
	return *code ? 0 : append_status(nb, number, "ok", err);
}
