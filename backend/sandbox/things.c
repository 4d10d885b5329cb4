#include "backend/sandbox/things.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/sandbox/backend.h"
#include "base/cleanup.h"

const char *const thing_kinds[THING_KINDS] = { "sandbox", "build", "probe", "store", "image", "network", "mount" };

void things_free(struct things *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->list[i].where);
	free(t->list);
	*t = (struct things){ NULL, 0, 0 };
}

struct thing *things_add(struct things *t, const struct sandbox_backend *backend, enum thing_kind kind,
			 const char *id, const char *where)
{
	char *copy = where ? strdup(where) : NULL;
	struct thing *thing;

	if (where && !copy)
		return NULL;
	if (t->count == t->room) {
		size_t room = t->room ? 2 * t->room : 32;
		struct thing *list = realloc(t->list, room * sizeof *list);

		if (!list) {
			free(copy);
			return NULL;
		}
		t->list = list;
		t->room = room;
	}
	thing = &t->list[t->count++];
	*thing = (struct thing){ .backend = backend, .kind = kind, .where = copy };
	(void)snprintf(thing->id, sizeof thing->id, "%s", id);
	return thing;
}

uint64_t things_serial(const struct state *state, const char *id)
{
	char prefix[64], *end;
	size_t n;
	unsigned long long serial;

	(void)snprintf(prefix, sizeof prefix, "interpfs-%s-", state->id);
	n = strlen(prefix);
	if (strncmp(id, prefix, n) || id[n] < '1' || id[n] > '9')
		return 0;
	serial = strtoull(id + n, &end, 10);
	return !*end || !strcmp(end, ".old") ? serial : 0;
}

/* ---- whose it is ---- */

struct naming {
	uint64_t serial;
	char *name; /* of 256 bytes */
};

static int take_name(void *context, const char *name, uint64_t serial)
{
	const struct naming *n = context;

	if (serial != n->serial)
		return 0;
	(void)snprintf(n->name, 256, "%s", name);
	return 1;
}

bool things_name(const struct state *state, uint64_t serial, char name[256])
{
	struct naming naming = { serial, name };
	struct error ignored;

	name[0] = '\0';
	(void)state_each_name((struct state *)(uintptr_t)state, OBJECT_SANDBOX, take_name, &naming, &ignored);
	return *name;
}

void things_judge(const struct state *state, uint64_t serial, bool runs, struct thing *thing)
{
	struct error ignored;
	cleanup_close int folder = object_open(state, OBJECT_SANDBOX, serial, &ignored);
	struct want want = { 0, WANT_NOTHING };
	struct status status = { .generation = 0 };
	char name[256];

	thing->serial = serial;
	thing->owner[0] = thing->stray[0] = '\0';
	if (folder < 0) {
		(void)snprintf(thing->stray, sizeof thing->stray, "there is no sandbox %" PRIu64, serial);
		return;
	}
	if (things_name(state, serial, name))
		(void)snprintf(thing->name, sizeof thing->name, "%s", name);
	(void)want_read(folder, &want, &ignored);
	(void)status_read(folder, &status, &ignored);
	if (runner_alive(folder, NULL))
		(void)snprintf(thing->owner, sizeof thing->owner, *name ? "sandboxes/%s" : "its runner", name);
	else if (!*name || want.what == WANT_REMOVED)
		(void)snprintf(thing->stray, sizeof thing->stray, "its sandbox was removed");
	else if (runs && status.generation == want.generation && status_resting(OBJECT_SANDBOX, status.state))
		(void)snprintf(thing->stray, sizeof thing->stray, "its sandbox is %s", status.state);
	else
		(void)snprintf(thing->owner, sizeof thing->owner, "sandboxes/%s", name);
}

/* ---- all of them ---- */

int things_find(struct state *state, struct things *things,
		void (*silent)(void *context, const char *backend, const struct error *err), void *context,
		struct error *err)
{
	int left_out = 0;

	for (size_t i = 0; sandbox_backends[i]; i++) {
		struct error why;

		if (!sandbox_backends[i]->list(state, things, &why))
			continue;
		if (why.code == ENOMEM) {
			*err = why;
			return -1;
		}
		left_out++;
		if (silent)
			silent(context, sandbox_backends[i]->name, &why);
	}
	return left_out;
}

size_t things_strays(const struct things *things)
{
	size_t n = 0;

	for (size_t i = 0; i < things->count; i++)
		n += !*things->list[i].owner;
	return n;
}

int things_reap(struct state *state, struct thing *thing, struct error *err)
{
	if (thing->serial) {
		things_judge(state, thing->serial, thing->kind != THING_IMAGE, thing);
		if (*thing->owner)
			return 1;
	}
	return thing->backend->reap(state, thing, err);
}

/* ---- telling ---- */

#define COLUMNS 7

static void cells_of(const struct thing *t, const char *cells[COLUMNS], char when[32], char whose[400])
{
	time_t since = (time_t)t->since;
	struct tm tm;

	(void)snprintf(when, 32, "-");
	if (since > 0 && gmtime_r(&since, &tm))
		(void)strftime(when, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
	(void)snprintf(whose, 400, "%s%s", *t->owner ? "" : "stray: ", *t->owner ? t->owner : t->stray);
	cells[0] = *t->name ? t->name : "-";
	cells[1] = t->backend->name;
	cells[2] = thing_kinds[t->kind];
	cells[3] = t->id;
	cells[4] = t->state;
	cells[5] = when;
	cells[6] = whose;
}

static int put_line(const char *const cells[COLUMNS], const size_t widths[COLUMNS], struct buffer *out)
{
	for (size_t c = 0; c < COLUMNS; c++)
		if (buffer_format(out, c + 1 < COLUMNS ? "%-*s  " : "%*s\n", c + 1 < COLUMNS ? (int)widths[c] : 0, cells[c]) < 0)
			return -1;
	return 0;
}

int things_render(const struct things *things, const struct sandbox_backend *only, bool header, struct buffer *out)
{
	static const char *const titles[COLUMNS] = { "NAME", "BACKEND", "KIND", "ID", "STATE", "SINCE", "OWNER" };
	size_t widths[COLUMNS] = { 0 };
	const char *cells[COLUMNS];
	char when[32], whose[400];

	for (size_t c = 0; header && c < COLUMNS; c++)
		widths[c] = strlen(titles[c]);
	for (size_t i = 0; i < things->count; i++) {
		cells_of(&things->list[i], cells, when, whose);
		for (size_t c = 0; c < COLUMNS; c++)
			if ((!only || things->list[i].backend == only) && strlen(cells[c]) > widths[c])
				widths[c] = strlen(cells[c]);
	}
	if (header && put_line(titles, widths, out) < 0)
		return -1;
	for (size_t i = 0; i < things->count; i++) {
		if (only && things->list[i].backend != only)
			continue;
		cells_of(&things->list[i], cells, when, whose);
		if (put_line(cells, widths, out) < 0)
			return -1;
	}
	return 0;
}

int things_open_state(struct state *state, const char *path, struct error *err)
{
	cleanup_free char *version = NULL;

	if (asprintf(&version, "%s/version", path) < 0) {
		version = NULL;
		return error_memory(err);
	}
	if (access(version, F_OK))
		return error_set(err, ENOENT, "there is no state directory at %s", path);
	return state_open(state, path, err);
}

int things_take_state(int argc, char **argv, char **path)
{
	static const char option[] = "state=";
	bool given = argc >= 2 && !strcmp(argv[0], "-o") && !strncmp(argv[1], option, sizeof option - 1) && argv[1][sizeof option - 1];

	*path = given ? realpath(argv[1] + sizeof option - 1, NULL) : state_default_path();
	if (given && !*path)
		*path = strdup(argv[1] + sizeof option - 1);
	return given ? 2 : 0;
}
