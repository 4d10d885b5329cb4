/* The notebook's cells as a whole: adding them, their sources and heads, and the displays that
 * can be updated. What a running cell does is in cell.c. */
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
#include "base/cleanup.h"
#include "base/file.h"
#include "base/fragment.h"

#define DISPLAYS_MAX 10000 /* the oldest is forgotten: it can no longer be updated */

int notebook_open(struct notebook *nb, int folder, uint64_t serial,
		  void (*changed)(void *context, const char *path), void *context, struct error *err)
{
	cleanup_dir DIR *dir = NULL;
	struct dirent *entry;
	int fd;

	*nb = (struct notebook){ .folder = folder, .serial = serial, .changed = changed, .context = context };
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

void notebook_close(struct notebook *nb)
{
	for (size_t i = 0; i < nb->display_count; i++)
		free(nb->displays[i].id);
	free(nb->displays);
	nb->displays = NULL;
	nb->display_count = 0;
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

int notebook_code_head(struct notebook *nb, unsigned int number, long count, struct buffer *out,
		       struct error *err)
{
	cleanup_buffer struct buffer source = BUFFER(SOURCE_MAX);
	char path[CELL_PATH_SIZE];

	cell_path(path, number, "source");
	if (file_read(nb->folder, path, &source, err) < 0)
		return -1;
	return make_fragment(nb, number, true, count, source.data, source.length, out) < 0
		? error_errno(err, "cell %u", number) : 0;
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
		return -1;
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

int notebook_write_new(struct notebook *nb, unsigned int number, const char *name, const void *data, size_t n,
		       struct error *err)
{
	char path[CELL_PATH_SIZE];
	cleanup_close int fd = -1;

	cell_path(path, number, name);
	fd = openat(nb->folder, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, "%s", path);
	return file_write_all(fd, data, n, err) < 0 ? error_wrap(err, "%s", path) : 0;
}

static int add(struct notebook *nb, bool code, const char *state, const char *text, size_t n,
	       unsigned int *number, struct error *err)
{
	cleanup_buffer struct buffer fragment = BUFFER(FRAGMENT_MAX);
	char path[CELL_PATH_SIZE], outputs[CELL_PATH_SIZE];
	unsigned int next = nb->cells + 1;

	if (n > SOURCE_MAX)
		return error_set(err, EFBIG, "a cell of %zu bytes: at most %u", n, SOURCE_MAX);
	if (next > CELLS_MAX)
		return error_set(err, ENOSPC, "a notebook holds at most %u cells", CELLS_MAX);
	if (make_fragment(nb, next, code, -1, text, n, &fragment) < 0)
		return error_errno(err, "cell %u", next);
	(void)snprintf(path, sizeof path, "cells/%u", next);
	cell_path(outputs, next, "outputs");
	if (file_make_folder(nb->folder, path, 0700, err) < 0)
		return -1;
	/* The fragment last: with it the cell is in the notebook. */
	if (file_make_folder(nb->folder, outputs, 0700, err) < 0 ||
	    notebook_write_new(nb, next, "source", text, n, err) < 0 ||
	    notebook_write_new(nb, next, "state", state, strlen(state), err) < 0 ||
	    notebook_write_new(nb, next, "output", "", 0, err) < 0 ||
	    notebook_write_new(nb, next, "fragment", fragment.data, fragment.length, err) < 0) {
		struct error ignored;

		(void)file_remove_tree(nb->folder, path, &ignored);
		return -1;
	}
	nb->cells = next;
	*number = next;
	/* Of the others nobody can have known anything; the fragment is part of the notebook's length. */
	nb->changed(nb->context, path);
	cell_path(path, next, "fragment");
	nb->changed(nb->context, path);
	return 0;
}

int notebook_add_code(struct notebook *nb, const char *code, size_t n, bool at_once, unsigned int *number,
		      struct error *err)
{
	return add(nb, true, at_once ? "busy\n" : "queued\n", code, n, number, err);
}

int notebook_add_markdown(struct notebook *nb, const char *text, size_t n, unsigned int *number,
			  struct error *err)
{
	return add(nb, false, "ok\n", text, n, number, err);
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

int notebook_set_source(struct notebook *nb, unsigned int number, const char *text, size_t n, bool *code,
			struct error *err)
{
	cleanup_buffer struct buffer fragment = BUFFER(FRAGMENT_MAX);
	char path[CELL_PATH_SIZE];

	if (n > SOURCE_MAX)
		return error_set(err, EFBIG, "a cell of %zu bytes: at most %u", n, SOURCE_MAX);
	if (is_code(nb, number, code, err) < 0)
		return -1;
	if (make_fragment(nb, number, *code, -1, text, n, &fragment) < 0)
		return error_errno(err, "cell %u", number);
	if (notebook_write(nb, number, "source", text, n, err) < 0 ||
	    notebook_write(nb, number, "fragment", fragment.data, fragment.length, err) < 0)
		return -1;
	notebook_forget_displays(nb, number);
	if (!*code)
		return 0;
	for (size_t i = 0; i < 2; i++) {
		cell_path(path, number, i ? "duration" : "count");
		if (unlinkat(nb->folder, path, 0) == 0)
			nb->changed(nb->context, path);
	}
	return notebook_remove_files(nb, number, err) < 0 ||
	       notebook_write(nb, number, "output", "", 0, err) < 0 ||
	       notebook_write(nb, number, "state", "queued\n", 7, err) < 0 ? -1 : 0;
}

void notebook_forget_displays(struct notebook *nb, unsigned int cell)
{
	size_t kept = 0;

	for (size_t i = 0; i < nb->display_count; i++) {
		if (nb->displays[i].cell == cell)
			free(nb->displays[i].id);
		else
			nb->displays[kept++] = nb->displays[i];
	}
	nb->display_count = kept;
}

int notebook_remember_display(struct notebook *nb, struct json id, unsigned int cell, unsigned int output,
			      struct error *err)
{
	struct display *grown;
	char *copy;

	if (nb->display_count == DISPLAYS_MAX) {
		free(nb->displays[0].id);
		memmove(nb->displays, nb->displays + 1, --nb->display_count * sizeof *nb->displays);
	}
	copy = strndup(id.data, id.length);
	grown = reallocarray(nb->displays, nb->display_count + 1, sizeof *grown);
	if (grown)
		nb->displays = grown;
	if (!copy || !grown) {
		free(copy);
		return error_memory(err);
	}
	grown[nb->display_count++] = (struct display){ .id = copy, .cell = cell, .output = output };
	return 0;
}

int notebook_update_display(struct notebook *nb, struct cell *open, const struct wire_message *message,
			    struct error *err)
{
	struct json id = json_get(json_get(message->content, "transient"), "display_id");

	if (json_kind(id) != JSON_STRING)
		return 0;
	for (size_t i = 0; i < nb->display_count; i++) {
		struct display *d = &nb->displays[i];
		struct cell other, *cell = open && open->number == d->cell ? open : &other;
		int result;

		if (strlen(d->id) != id.length || memcmp(d->id, id.data, id.length))
			continue;
		if (cell == &other && cell_open(nb, d->cell, &other, err) < 0)
			return -1;
		result = cell_replace_output(cell, d->output, message->content, err);
		if (cell == &other)
			cell_close(&other);
		if (result < 0)
			return -1;
	}
	return 0;
}
