/* Displays that can be updated. An update rewrites its cell's fragment, so its cost grows with all
 * that the cell has shown. Therefore rewriting takes a tenth of the time at most: while a display is
 * updated faster than that allows, the newest update waits and the others are nobody's loss. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/kernel/parts.h"
#include "base/cleanup.h"
#include "base/clock.h"

#define DISPLAYS_MAX 10000      /* the oldest is forgotten: it can no longer be updated */
#define PENDING_MAX (16u << 20) /* of updates that wait; more are written at once */
#define REST 9                  /* times as long as rewriting took, nothing is rewritten */

static void drop_pending(struct notebook *nb, struct display *d)
{
	nb->pending -= d->pending_length;
	free(d->pending);
	d->pending = NULL;
	d->pending_length = 0;
}

static void forget(struct notebook *nb, struct display *d)
{
	drop_pending(nb, d);
	free(d->id);
}

/* cell 0: of all. */
void notebook_forget_displays(struct notebook *nb, unsigned int cell)
{
	size_t kept = 0;

	for (size_t i = 0; i < nb->display_count; i++) {
		if (!cell || nb->displays[i].cell == cell)
			forget(nb, &nb->displays[i]);
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
		forget(nb, &nb->displays[0]);
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

/* Where the record of an output begins and ends in a fragment; false when it is not there (any more)
 * or is no display. */
static bool find_output(const struct buffer *fragment, unsigned int output, const char **begin, const char **end)
{
	const char *p, *next, *last = fragment->data + fragment->length;
	unsigned int index = 0;

	next = fragment->length ? memchr(fragment->data, '\n', fragment->length) : NULL;
	if (!next)
		return false;
	for (p = ++next; p < last; p = next) {
		const char *newline = memchr(p, '\n', (size_t)(last - p));

		next = newline ? newline + 1 : last;
		if (!cell_begins_output(p, (size_t)(next - p)) || index++ != output)
			continue;
		*begin = memchr(p, '{', (size_t)(next - p));
		*end = next;
		return *begin && !json_is(json_get((struct json){ *begin, (size_t)(next - *begin) }, "output_type"), "stream");
	}
	return false;
}

/* Puts new data in the place of an output's, which stays what it is (display_data, execute_result). */
static int replace_output(struct cell *cell, unsigned int output, struct json content, struct error *err)
{
	cleanup_buffer struct buffer old = BUFFER(FRAGMENT_MAX), fragment = BUFFER(FRAGMENT_MAX),
				     names = BUFFER(4096);
	const char *begin, *end;
	struct json value;
	bool result;

	if (json_kind(json_get(content, "data")) != JSON_OBJECT)
		return 0;
	if (cell_read_fragment(cell, &old, err) < 0)
		return -1;
	if (!find_output(&old, output, &begin, &end))
		return 0;
	value = (struct json){ begin, (size_t)(end - begin) };
	result = json_is(json_get(value, "output_type"), "execute_result");
	if (buffer_append(&fragment, old.data, (size_t)(begin - old.data)) < 0 ||
	    render_data(&fragment, result ? "execute_result" : "display_data",
			json_get(value, "execution_count"), content) < 0 ||
	    buffer_text(&fragment, "\n") < 0 ||
	    buffer_append(&fragment, end, (size_t)(old.data + old.length - end)) < 0)
		return error_errno(err, "cell %u", cell->number);
	return cell_write_files(cell, output, json_get(content, "data"), &names, err) < 0 ||
	       cell_replace_fragment(cell, &fragment, err) < 0 ? -1 : 0;
}

static int rewrite(struct notebook *nb, const struct display *d, struct json content, struct error *err)
{
	double began = clock_seconds(), ended;
	struct cell *cell = cell_find(nb, d->cell, err);
	int result = cell ? replace_output(cell, d->output, content, err) : -1;

	ended = clock_seconds();
	nb->rewrite_after = (nb->rewrite_after > ended ? nb->rewrite_after : ended) + REST * (ended - began);
	return result;
}

/* Remembers the newest update; false when it has to be written now. */
static bool postpone(struct notebook *nb, struct display *d, struct json content)
{
	char *copy;

	drop_pending(nb, d);
	if (clock_seconds() >= nb->rewrite_after || content.length > PENDING_MAX - nb->pending)
		return false;
	copy = malloc(content.length);
	if (!copy)
		return false;
	memcpy(copy, content.data, content.length);
	d->pending = copy;
	d->pending_length = content.length;
	nb->pending += content.length;
	return true;
}

int notebook_update_display(struct notebook *nb, const struct wire_message *message, struct error *err)
{
	struct json id = json_get(json_get(message->content, "transient"), "display_id");

	if (json_kind(id) != JSON_STRING)
		return 0;
	for (size_t i = 0; i < nb->display_count; i++) {
		struct display *d = &nb->displays[i];

		if (strlen(d->id) == id.length && !memcmp(d->id, id.data, id.length) &&
		    !postpone(nb, d, message->content) && rewrite(nb, d, message->content, err) < 0)
			return -1;
	}
	return 0;
}

int notebook_write_displays(struct notebook *nb, unsigned int cell, struct error *err)
{
	for (size_t i = 0; i < nb->display_count && nb->pending; i++) {
		struct display *d = &nb->displays[i];
		struct json content = { d->pending, d->pending_length };
		int result;

		if (!d->pending || (cell != d->cell && cell != NOTEBOOK_ALL && clock_seconds() < nb->rewrite_after))
			continue;
		result = rewrite(nb, d, content, err);
		drop_pending(nb, d);
		if (result < 0)
			return -1;
	}
	return 0;
}

double notebook_displays_due(const struct notebook *nb)
{
	return nb->pending ? nb->rewrite_after : 0;
}
