/* A cell that runs: each message becomes a record behind its fragment, text behind its output,
 * and files. Rewritten is only what a cleared output, an updated display or the execution count
 * changes, and then as a new file, so that whoever reads the old one reads it whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backend/kernel/parts.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/fragment.h"

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What a record does at its start: see base/fragment.h. */
static bool begins_output(const char *line, size_t n)
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
		if (begins_output(p, (size_t)(next - p))) {
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
	opened = openat(cell->notebook->folder, path, O_RDWR | O_APPEND | O_CLOEXEC);
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

static int read_fragment(struct cell *cell, struct buffer *out, struct error *err)
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

int cell_open(struct notebook *nb, unsigned int number, struct cell *cell, struct error *err)
{
	cleanup_buffer struct buffer fragment = BUFFER(FRAGMENT_MAX);
	struct stat st;
	size_t whole;

	*cell = (struct cell){ .notebook = nb, .number = number, .fragment = -1, .output = -1, .count = -1 };
	if (!number)
		return open_memory(&cell->fragment, err) < 0 || open_memory(&cell->output, err) < 0 ? -1 : 0;
	if (open_file(cell, "fragment", &cell->fragment, err) < 0 ||
	    open_file(cell, "output", &cell->output, err) < 0)
		return -1;
	if (fstat(cell->fragment, &st) < 0)
		return error_errno(err, "cell %u", number);
	cell->length = (size_t)st.st_size;
	if (read_fragment(cell, &fragment, err) < 0)
		return -1;
	whole = fragment_whole(fragment.data, fragment.length);
	if (whole < cell->length) {
		if (ftruncate(cell->fragment, (off_t)whole) < 0)
			return error_errno(err, "cell %u", number);
		cell->length = whole;
		cell->fragment_changed = true;
	}
	scan(cell, fragment.data, whole);
	/* The head is no whole object, but its members up to the count are. */
	cell->count = json_integer(json_get((struct json){ fragment.data, whole }, "execution_count"), -1);
	return 0;
}

void cell_close(struct cell *cell)
{
	if (cell->notebook)
		cell_announce(cell);
	if (cell->fragment >= 0)
		(void)close(cell->fragment);
	if (cell->output >= 0)
		(void)close(cell->output);
	cell->fragment = cell->output = -1;
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

static int write_value(struct cell *cell, const char *name, const char *text, struct error *err)
{
	return cell->number ? notebook_write(cell->notebook, cell->number, name, text, strlen(text), err) : 0;
}

static int append_text(struct cell *cell, const char *text, size_t n, struct error *err)
{
	if (!n)
		return 0;
	if (file_write_all(cell->output, text, n, err) < 0)
		return error_wrap(err, "cell %u: output", cell->number);
	cell->line_open = text[n - 1] != '\n';
	cell->output_changed = true;
	return 0;
}

static int append_line(struct cell *cell, const struct buffer *text, struct error *err)
{
	return append_text(cell, text->data, text->length, err) < 0 ||
	       (cell->line_open && append_text(cell, "\n", 1, err) < 0) ? -1 : 0;
}

/* One write a record; what a full disk took of it is cut off again, or the next record would
 * stand behind half a one. */
static int append_record(struct cell *cell, const struct buffer *record, struct error *err)
{
	if (file_write_all(cell->fragment, record->data, record->length, err) < 0) {
		if (ftruncate(cell->fragment, (off_t)cell->length) < 0)
			cell->length = (size_t)lseek(cell->fragment, 0, SEEK_END);
		return error_wrap(err, "cell %u", cell->number);
	}
	cell->length += record->length;
	cell->fragment_changed = true;
	return 0;
}

/* Begins the record of a new output. */
static int begin_output(struct cell *cell, struct buffer *record)
{
	return buffer_text(record, cell->stream ? "]}," : cell->outputs ? "," : "");
}

static int replace_fragment(struct cell *cell, const struct buffer *fragment, struct error *err)
{
	if (!cell->number) {
		if (ftruncate(cell->fragment, 0) < 0)
			return error_errno(err, "memfd");
		cell->length = 0;
		return append_record(cell, fragment, err);
	}
	if (notebook_write(cell->notebook, cell->number, "fragment", fragment->data, fragment->length, err) < 0)
		return -1;
	cell->length = fragment->length;
	return open_file(cell, "fragment", &cell->fragment, err);
}

/* A value that a run writes once. Until then it is empty, which is what a reader in between sees. */
static int write_once(struct cell *cell, const char *name, const char *text, struct error *err)
{
	char path[CELL_PATH_SIZE];

	if (!cell->number)
		return 0;
	if (notebook_write_new(cell->notebook, cell->number, name, text, strlen(text), err) < 0)
		return -1;
	cell_path(path, cell->number, name);
	cell->notebook->changed(cell->notebook->context, path);
	return 0;
}

static int set_count(struct cell *cell, long count, struct error *err)
{
	static const char member[] = "\"execution_count\":";
	cleanup_buffer struct buffer fragment = BUFFER(FRAGMENT_MAX), old = BUFFER(FRAGMENT_MAX);
	const char *value, *rest;
	char text[32];

	if (count < 0 || count == cell->count)
		return 0;
	cell->count = count;
	if (!cell->number)
		return 0;
	if (read_fragment(cell, &old, err) < 0)
		return -1;
	/* The head is ours, and its count stands before all that is not. */
	value = memmem(old.data, old.length, member, sizeof member - 1);
	rest = value ? memchr(value, ',', (size_t)(old.data + old.length - value)) : NULL;
	if (!rest)
		return error_set(err, EBADMSG, "cell %u: its fragment is damaged", cell->number);
	if (buffer_append(&fragment, old.data, (size_t)(value - old.data)) < 0 ||
	    buffer_format(&fragment, "%s%ld", member, count) < 0 ||
	    buffer_append(&fragment, rest, (size_t)(old.data + old.length - rest)) < 0)
		return error_errno(err, "cell %u", cell->number);
	(void)snprintf(text, sizeof text, "%ld\n", count);
	return replace_fragment(cell, &fragment, err) < 0 ? -1 : write_once(cell, "count", text, err);
}

/* Empties a cell that has shown something. */
static int clear(struct cell *cell, struct error *err)
{
	cleanup_buffer struct buffer fragment = BUFFER(FRAGMENT_MAX);

	cell->clear_next = false;
	if (!cell->outputs)
		return 0;
	if (cell->number && (notebook_code_head(cell->notebook, cell->number, cell->count, &fragment, err) < 0 ||
			     notebook_remove_files(cell->notebook, cell->number, err) < 0))
		return -1;
	if (replace_fragment(cell, &fragment, err) < 0)
		return -1;
	cell->outputs = 0;
	cell->stream = NULL;
	cell->line_open = false;
	cell->clears++;
	notebook_forget_displays(cell->notebook, cell->number);
	if (!cell->number)
		return ftruncate(cell->output, 0) < 0 ? error_errno(err, "memfd") : 0;
	return write_value(cell, "output", "", err) < 0 ? -1 : open_file(cell, "output", &cell->output, err);
}

static int take_stream(struct cell *cell, struct json content, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(FRAGMENT_MAX), record = BUFFER(FRAGMENT_MAX);
	const char *name = json_is(json_get(content, "name"), "stderr") ? "stderr" : "stdout";
	bool goes_on = cell->stream && !strcmp(cell->stream, name);

	if (json_text(&text, json_get(content, "text")) < 0)
		return errno == EINVAL ? 0 : error_errno(err, "cell %u", cell->number);
	if (!text.length)
		return 0;
	if (buffer_reserve(&record, text.length + text.length / 8 + 128) < 0)
		return error_errno(err, "cell %u", cell->number);
	if (goes_on ? buffer_text(&record, ",") < 0
		    : begin_output(cell, &record) < 0 ||
		      buffer_format(&record, "{\"output_type\":\"stream\",\"name\":\"%s\",\"text\":[", name) < 0)
		return error_errno(err, "cell %u", cell->number);
	if (json_quote(&record, text.data, text.length) < 0 || buffer_text(&record, "\n") < 0)
		return error_errno(err, "cell %u", cell->number);
	if (append_record(cell, &record, err) < 0)
		return -1;
	if (!goes_on)
		cell->outputs++;
	cell->stream = name;
	return append_text(cell, text.data, text.length, err);
}

/* Writes a bundle's files as outputs/K.EXT; pictures also as images/cell-N-K.EXT, and appends
 * their names to `names`, a line each. */
static int write_files(struct cell *cell, unsigned int output, struct json data, struct buffer *names,
		       struct error *err)
{
	struct render_file file;
	cleanup_buffer struct buffer had = BUFFER(256);
	char name[48], path[CELL_PATH_SIZE], link[CELL_PATH_SIZE], word[16];
	struct notebook *nb = cell->notebook;
	size_t at = 0;
	int more, result;

	while ((more = render_next_file(data, &at, &file)) > 0) {
		cleanup_buffer struct buffer bytes = file.bytes;

		(void)snprintf(word, sizeof word, " %s ", file.extension);
		if (had.data && strstr(had.data, word))
			continue;
		if (buffer_text(&had, word) < 0)
			return error_errno(err, "cell %u", cell->number);
		(void)snprintf(name, sizeof name, "outputs/%u.%s", output, file.extension);
		if (notebook_write(nb, cell->number, name, bytes.data, bytes.length, err) < 0)
			return -1;
		if (!file.picture)
			continue;
		cell_path(path, cell->number, name);
		(void)snprintf(link, sizeof link, "images/cell-%u-%u.%s", cell->number, output, file.extension);
		result = unlinkat(nb->folder, link, 0);
		if ((result < 0 && errno != ENOENT) || linkat(nb->folder, path, nb->folder, link, 0) < 0)
			return error_errno(err, "%s", link);
		nb->changed(nb->context, link);
		if (buffer_format(names, "[%s]\n", link) < 0)
			return error_errno(err, "cell %u", cell->number);
	}
	return more < 0 ? error_errno(err, "cell %u: an output's file", cell->number) : 0;
}

static int take_data(struct cell *cell, const struct wire_message *message, struct error *err)
{
	cleanup_buffer struct buffer record = BUFFER(FRAGMENT_MAX), text = BUFFER(FRAGMENT_MAX),
				     names = BUFFER(4096);
	bool result = message->type == WIRE_EXECUTE_RESULT;
	struct json data = json_get(message->content, "data"), count = JSON_NONE, id;

	if (json_kind(data) != JSON_OBJECT)
		return 0;
	if (result) {
		count = json_get(message->content, "execution_count");
		if (json_integer(count, -1) < 0)
			count = JSON("null");
	}
	if (begin_output(cell, &record) < 0 ||
	    render_data(&record, result ? "execute_result" : "display_data", count, message->content) < 0 ||
	    buffer_text(&record, "\n") < 0 || render_bundle_text(&text, data) < 0)
		return error_errno(err, "cell %u", cell->number);
	if (cell->number && write_files(cell, cell->outputs, data, &names, err) < 0)
		return -1;
	if (append_record(cell, &record, err) < 0)
		return -1;
	id = json_get(json_get(message->content, "transient"), "display_id");
	if (cell->number && json_kind(id) == JSON_STRING &&
	    notebook_remember_display(cell->notebook, id, cell->number, cell->outputs, err) < 0)
		return -1;
	cell->outputs++;
	cell->stream = NULL;
	return append_line(cell, &text, err) < 0 || append_line(cell, &names, err) < 0 ? -1 : 0;
}

static int take_error(struct cell *cell, struct json content, struct error *err)
{
	cleanup_buffer struct buffer record = BUFFER(FRAGMENT_MAX), text = BUFFER(FRAGMENT_MAX),
				     plain = BUFFER(FRAGMENT_MAX), name = BUFFER(FRAGMENT_MAX);
	struct json line, key, traceback = json_get(content, "traceback");
	size_t at = 0;

	if (begin_output(cell, &record) < 0 || render_error(&record, content) < 0 ||
	    buffer_text(&record, "\n") < 0)
		return error_errno(err, "cell %u", cell->number);
	if (append_record(cell, &record, err) < 0)
		return -1;
	cell->outputs++;
	cell->stream = NULL;
	while (json_kind(traceback) == JSON_ARRAY && json_next(traceback, &at, &key, &line))
		if (json_kind(line) == JSON_STRING &&
		    (json_text(&text, line) < 0 || buffer_text(&text, "\n") < 0))
			return error_errno(err, "cell %u", cell->number);
	if (!text.length && (json_text(&text, json_get(content, "evalue")) < 0 && errno != EINVAL))
		return error_errno(err, "cell %u", cell->number);
	if (render_plain(&plain, text.data, text.length) < 0 ||
	    (json_text(&name, json_get(content, "ename")) < 0 && errno != EINVAL))
		return error_errno(err, "cell %u", cell->number);
	(void)snprintf(cell->failed, sizeof cell->failed, "%.100s", name.length ? name.data : "Error");
	for (char *c = cell->failed; *c; c++) /* it stands in a line of its own */
		if ((unsigned char)*c < 0x20)
			*c = '?';
	if (cell->line_open && append_text(cell, "\n", 1, err) < 0)
		return -1;
	return append_line(cell, &plain, err);
}

int cell_take(struct cell *cell, const struct wire_message *message, struct error *err)
{
	switch (message->type) {
	case WIRE_EXECUTE_INPUT:
		return set_count(cell, json_integer(json_get(message->content, "execution_count"), -1), err);
	case WIRE_CLEAR_OUTPUT:
		if (!json_get(message->content, "wait").data ||
		    *json_get(message->content, "wait").data != 't')
			return clear(cell, err);
		cell->clear_next = true;
		return 0;
	case WIRE_STREAM:
	case WIRE_DISPLAY_DATA:
	case WIRE_EXECUTE_RESULT:
	case WIRE_ERROR:
		if (cell->clear_next && clear(cell, err) < 0)
			return -1;
		break;
	default:
		return 0;
	}
	if (message->type == WIRE_STREAM)
		return take_stream(cell, message->content, err);
	if (message->type == WIRE_ERROR)
		return take_error(cell, message->content, err);
	return take_data(cell, message, err);
}

int cell_replace_output(struct cell *cell, unsigned int output, struct json content, struct error *err)
{
	cleanup_buffer struct buffer old = BUFFER(FRAGMENT_MAX), fragment = BUFFER(FRAGMENT_MAX),
				     names = BUFFER(4096);
	const char *p, *next, *end, *record;
	struct json value;
	unsigned int index = 0;

	if (json_kind(json_get(content, "data")) != JSON_OBJECT)
		return 0;
	if (read_fragment(cell, &old, err) < 0)
		return -1;
	end = old.data + old.length;
	next = memchr(old.data, '\n', old.length);
	if (!next)
		return 0;
	for (p = ++next; p < end; p = next) {
		next = (const char *)memchr(p, '\n', (size_t)(end - p)) + 1;
		if (begins_output(p, (size_t)(next - p)) && index++ == output)
			break;
	}
	if (p >= end)
		return 0; /* cleared meanwhile */
	record = memchr(p, '{', (size_t)(next - p));
	value = (struct json){ record, (size_t)(next - 1 - record) };
	if (json_is(json_get(value, "output_type"), "stream"))
		return 0;
	if (buffer_append(&fragment, old.data, (size_t)(record - old.data)) < 0 ||
	    render_data(&fragment, json_is(json_get(value, "output_type"), "execute_result")
			? "execute_result" : "display_data", json_get(value, "execution_count"), content) < 0 ||
	    buffer_text(&fragment, "\n") < 0 || buffer_append(&fragment, next, (size_t)(end - next)) < 0)
		return error_errno(err, "cell %u", cell->number);
	if (write_files(cell, output, json_get(content, "data"), &names, err) < 0)
		return -1;
	return replace_fragment(cell, &fragment, err);
}

int cell_begin(struct cell *cell, struct error *err)
{
	cell->started = now();
	return cell->busy ? 0 : write_value(cell, "state", "busy\n", err);
}

int cell_fail(struct cell *cell, const char *name, const char *text, struct error *err)
{
	cleanup_buffer struct buffer content = BUFFER(8192);

	if (buffer_text(&content, "{\"ename\":") < 0 || json_quote(&content, name, strlen(name)) < 0 ||
	    buffer_text(&content, ",\"evalue\":") < 0 || json_quote(&content, text, strlen(text)) < 0 ||
	    buffer_text(&content, ",\"traceback\":[]}") < 0)
		return error_errno(err, "cell %u", cell->number);
	return take_error(cell, (struct json){ content.data, content.length }, err);
}

int cell_finish(struct cell *cell, const char *state, struct error *err)
{
	char text[160];

	if (*cell->failed) {
		if (cell->line_open && append_text(cell, "\n", 1, err) < 0)
			return -1;
		(void)snprintf(text, sizeof text, "[error %s]\n", cell->failed);
		if (append_text(cell, text, strlen(text), err) < 0)
			return -1;
	}
	cell_announce(cell);
	if (cell->started > 0) {
		(void)snprintf(text, sizeof text, "%.3f\n", now() - cell->started);
		if (write_once(cell, "duration", text, err) < 0)
			return -1;
	}
	(void)snprintf(text, sizeof text, "%s\n", state);
	return write_value(cell, "state", text, err);
}

int cell_outputs(struct cell *cell, struct buffer *out, struct error *err)
{
	cleanup_buffer struct buffer fragment = BUFFER(FRAGMENT_MAX);
	const char *inside;

	if (read_fragment(cell, &fragment, err) < 0)
		return -1;
	/* A cell in memory has no head. */
	inside = cell->number ? memchr(fragment.data, '\n', fragment.length) : fragment.data;
	if (buffer_text(out, "[") < 0 ||
	    (inside && buffer_append(out, inside, (size_t)(fragment.data + fragment.length - inside)) < 0) ||
	    buffer_text(out, cell->stream ? "]}]" : "]") < 0)
		return error_errno(err, "cell %u", cell->number);
	return 0;
}
