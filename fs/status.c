/* The root's `status`: a line an object, kept until the object changes, and when one last did. */
#include "fs/status.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fs/show.h"

struct line {
	uint64_t serial;
	struct timespec changed;
	char *text;
};

struct lines {
	struct line *all;
	size_t n, room, at; /* at: how far the old ones have been used */
};

static struct {
	struct lines kinds[OBJECT_KINDS];
	struct timespec names[OBJECT_KINDS];
	struct timespec changed; /* when a line last came, went or became another */
} known;

static bool note(struct timespec when)
{
	bool later = when.tv_sec > known.changed.tv_sec ||
		     (when.tv_sec == known.changed.tv_sec && when.tv_nsec > known.changed.tv_nsec);

	if (later)
		known.changed = when;
	return later;
}

/* The line is another one: by its state, else by whatever changed last of the object. */
static void note_line(struct object *object, const struct line *old, const char *text)
{
	if ((!old || !text || strcmp(old->text, text) != 0) && !note(show_state_time(object)) && old)
		(void)note(object->changed);
}

static void lines_free(struct lines *lines)
{
	for (size_t i = 0; i < lines->n; i++)
		free(lines->all[i].text);
	free(lines->all);
	memset(lines, 0, sizeof *lines);
}

static bool same_time(struct timespec a, struct timespec b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

/* A session's cost in dollars, "-" where nothing is known. */
static void put_cost(struct object *object, struct buffer *out)
{
	cleanup_buffer struct buffer text = BUFFER(256u << 10);
	int folder = object->kind == OBJECT_SESSION ? object_folder_fd(object) : -1;
	const cJSON *cost;
	struct error err;
	cJSON *usage = NULL;

	if (folder >= 0 && file_read(folder, "usage", &text, &err) == 0 && text.data)
		usage = cJSON_ParseWithLength(text.data, text.length);
	cost = cJSON_GetObjectItemCaseSensitive(usage, "cost");
	if (cJSON_IsNumber(cost))
		(void)buffer_format(out, " $%.4f\n", cost->valuedouble);
	else
		(void)buffer_text(out, " -\n");
	cJSON_Delete(usage);
}

/* "sandbox lab ready 2026-11-25T10:00:00Z workspaces/default -" */
static char *make_line(struct object *object)
{
	cleanup_buffer struct buffer out = BUFFER(64u << 10);
	const struct status *status = &object->status;
	time_t since = (time_t)status->since;
	char when[32] = "-";
	struct tm tm;
	cJSON *spec = object->want.generation ? object_spec(object) : NULL;
	size_t before;

	if (since > 0 && gmtime_r(&since, &tm))
		(void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
	(void)buffer_format(&out, "%s %s %s %s ", object_noun[object->kind], object->name,
			    object_state(object), when);
	before = out.length;
	(void)show_references(spec, &out);
	if (out.length == before)
		(void)buffer_text(&out, "-");
	cJSON_Delete(spec);
	put_cost(object, &out);
	return steal_pointer(&out.data);
}

struct rendering {
	struct lines *old, new_;
	struct buffer *out;
};

static int put_line(void *context, struct object *object)
{
	struct rendering *r = context;
	struct line line = { .serial = object->serial, .changed = object->changed }, *old;

	while (r->old->at < r->old->n && r->old->all[r->old->at].serial < object->serial)
		r->old->at++;
	old = r->old->at < r->old->n && r->old->all[r->old->at].serial == object->serial ? &r->old->all[r->old->at] : NULL;
	if (old && same_time(old->changed, object->changed)) {
		line.text = steal_pointer(&old->text);
	} else {
		line.text = make_line(object);
		note_line(object, old, line.text);
	}
	if (!line.text || buffer_text(r->out, line.text) < 0) {
		free(line.text);
		return -1;
	}
	if (r->new_.n == r->new_.room) {
		size_t room = r->new_.room ? r->new_.room * 2 : 64;
		struct line *all = realloc(r->new_.all, room * sizeof *all);

		if (!all) {
			free(line.text);
			return -1;
		}
		r->new_.all = all;
		r->new_.room = room;
	}
	r->new_.all[r->new_.n++] = line;
	return 0;
}

int show_status(const struct node *node, struct buffer *out, struct error *err)
{
	bool renamed = false;

	(void)node;
	for (int kind = 0; kind < OBJECT_KINDS; kind++) {
		struct timespec names = objects_changed((enum object_kind)kind);

		renamed = renamed || !same_time(names, known.names[kind]);
		known.names[kind] = names;
		(void)note(names);
	}
	for (int kind = 0; kind < OBJECT_KINDS; kind++) {
		struct rendering r = { .old = &known.kinds[kind], .out = out };
		int failed;

		if (renamed)
			lines_free(r.old);
		r.old->at = 0;
		failed = objects_each((enum object_kind)kind, put_line, &r);
		lines_free(r.old);
		known.kinds[kind] = r.new_;
		if (failed)
			return error_memory(err);
	}
	return 0;
}

void measure_status(const struct node *node, struct stat *st)
{
	cleanup_buffer struct buffer text = BUFFER(64u << 20);
	struct error err;

	if (!show_status(node, &text, &err))
		st->st_size = (off_t)text.length;
	if (known.changed.tv_sec)
		st->st_mtim = known.changed;
}
