/* What a kernel says of a cell: each message becomes a record behind its fragment, text behind its
 * output, and files. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "backend/kernel/parts.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/fragment.h"

#define OUTPUTS_MAX (32u << 20) /* of a document that has a cell's outputs */

static int append_line(struct cell *cell, const struct buffer *text, struct error *err)
{
	return cell_append_text(cell, text->data, text->length, err) < 0 ||
	       (cell->line_open && cell_append_text(cell, "\n", 1, err) < 0) ? -1 : 0;
}

/* Begins the record of a new output. */
static int begin_output(struct cell *cell, struct buffer *record)
{
	return buffer_text(record, cell->stream ? "]}," : cell->outputs ? "," : "");
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
	if (cell_append_record(cell, &record, err) < 0)
		return -1;
	if (!goes_on)
		cell->outputs++;
	cell->stream = name;
	return cell_append_text(cell, text.data, text.length, err);
}

static int write_file(struct cell *cell, const char *name, const struct buffer *bytes, struct error *err)
{
	struct notebook *nb = cell->notebook;
	char folder[CELL_PATH_SIZE];

	if (notebook_write(nb, cell->number, name, bytes->data, bytes->length, err) == 0)
		return 0;
	/* The folder is made with the first of them. */
	cell_path(folder, cell->number, "outputs");
	if (err->code != ENOENT || file_make_folder(nb->folder, folder, 0700, err) < 0)
		return -1;
	return notebook_write(nb, cell->number, name, bytes->data, bytes->length, err);
}

int cell_write_files(struct cell *cell, unsigned int output, struct json data, struct buffer *names,
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
		if (write_file(cell, name, &bytes, err) < 0)
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
	if (cell->number && cell_write_files(cell, cell->outputs, data, &names, err) < 0)
		return -1;
	if (cell_append_record(cell, &record, err) < 0)
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
	if (cell_append_record(cell, &record, err) < 0)
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
	if (cell->line_open && cell_append_text(cell, "\n", 1, err) < 0)
		return -1;
	return append_line(cell, &plain, err);
}

/* A mark in the place of what was too much; once. */
static int leave_out(struct cell *cell, struct error *err)
{
	static const char text[] = "{\"name\":\"stderr\",\"text\":\"\\n[interpfs: output was left out here: "
				   "a cell shows at most 512 MB]\\n\"}";
	int result;

	if (cell->full)
		return 0;
	cell->full = cell->marking = true;
	result = take_stream(cell, JSON(text), err);
	cell->marking = false;
	return result;
}

static int take(struct cell *cell, const struct wire_message *message, struct error *err)
{
	switch (message->type) {
	case WIRE_EXECUTE_INPUT:
	case WIRE_EXECUTE_REPLY:
		return cell_set_count(cell, json_integer(json_get(message->content, "execution_count"), -1), err);
	case WIRE_CLEAR_OUTPUT:
		if (!json_get(message->content, "wait").data ||
		    *json_get(message->content, "wait").data != 't')
			return cell_clear(cell, err);
		cell->clear_next = true;
		return 0;
	case WIRE_STREAM:
	case WIRE_DISPLAY_DATA:
	case WIRE_EXECUTE_RESULT:
	case WIRE_ERROR:
		if (cell->clear_next && cell_clear(cell, err) < 0)
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

int cell_take(struct cell *cell, const struct wire_message *message, struct error *err)
{
	int result = take(cell, message, err);

	return result < 0 && err->code == EFBIG ? leave_out(cell, err) : result;
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

/* ---- as a document ---- */

static int read_window(struct cell *cell, size_t from, size_t n, struct buffer *out, struct error *err)
{
	if (buffer_reserve(out, n) < 0)
		return error_errno(err, "cell %u", cell->number);
	while (out->length < n) {
		ssize_t got = pread(cell->fragment, out->data + out->length, n - out->length, (off_t)(from + out->length));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got ? error_errno(err, "cell %u", cell->number)
				   : error_set(err, EIO, "cell %u: its fragment became shorter", cell->number);
		out->length += (size_t)got;
	}
	out->data[n] = '\0';
	return 0;
}

/* Records, of which the last may leave a stream open. */
static int append_closed(struct buffer *out, const char *records, size_t n)
{
	return buffer_append(out, records, n) < 0 || (n > 1 && records[n - 2] == '"' && buffer_text(out, "]}") < 0) ? -1 : 0;
}

/* The records at a fragment's end, from the first that begins an output; or, where none does, the
 * end of the stream that all of it is. `records` begins somewhere in a line. */
static int append_last(struct buffer *out, const char *records, size_t n)
{
	const char *end = records + n, *line = memchr(records, '\n', n), *first = line ? line + 1 : end, *next;

	for (line = first; line < end; line = next) {
		next = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
		if (cell_begins_output(line, (size_t)(next - line))) {
			line = memchr(line, '{', (size_t)(next - line));
			return append_closed(out, line, (size_t)(end - line));
		}
	}
	if (first + 1 >= end)
		return buffer_text(out, "{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":[]}");
	return buffer_text(out, "{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":[") < 0 ||
	       append_closed(out, first + 1, (size_t)(end - first - 1)) < 0 ? -1 : 0;
}

/* The first and the last outputs of very many. */
static int append_ends(struct cell *cell, struct buffer *out, struct error *err)
{
	static const char mark[] = "{\"output_type\":\"stream\",\"name\":\"stderr\",\"text\":"
				   "[\"\\n[interpfs: much is left out here; the cell has all of it]\\n\"]}";
	cleanup_buffer struct buffer first = BUFFER(OUTPUTS_MAX), last = BUFFER(OUTPUTS_MAX);
	const char *begin;
	size_t whole;

	if (read_window(cell, 0, OUTPUTS_MAX / 2, &first, err) < 0 ||
	    read_window(cell, cell->length - OUTPUTS_MAX / 2, OUTPUTS_MAX / 2, &last, err) < 0)
		return -1;
	begin = cell->number ? memchr(first.data, '\n', first.length) : first.data;
	whole = begin ? fragment_whole(begin, first.length - (size_t)(begin - first.data)) : 0;
	if (append_closed(out, whole ? begin : "", whole) < 0 || (whole > 1 && buffer_text(out, ",") < 0) ||
	    buffer_text(out, mark) < 0 || buffer_text(out, ",") < 0 || append_last(out, last.data, last.length) < 0)
		return error_errno(err, "cell %u", cell->number);
	return 0;
}

int cell_outputs(struct cell *cell, struct buffer *out, struct error *err)
{
	cleanup_buffer struct buffer fragment = BUFFER(OUTPUTS_MAX);
	const char *begin;

	if (buffer_text(out, "[") < 0)
		return error_errno(err, "cell %u", cell->number);
	if (cell->length > OUTPUTS_MAX) {
		if (append_ends(cell, out, err) < 0)
			return -1;
	} else if (cell->length) {
		if (cell_read_fragment(cell, &fragment, err) < 0)
			return -1;
		/* A cell in memory has no head. */
		begin = cell->number ? memchr(fragment.data, '\n', fragment.length) : fragment.data;
		if (begin && append_closed(out, begin, (size_t)(fragment.data + fragment.length - begin)) < 0)
			return error_errno(err, "cell %u", cell->number);
	}
	return buffer_text(out, "]") < 0 ? error_errno(err, "cell %u", cell->number) : 0;
}
