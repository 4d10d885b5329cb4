/* At the start of a mount: everything that a crash of the mount, of a runner or of the machine
 * left half done is found and finished. The steps are in the order in which they are written
 * elsewhere, so that each half-done state is one of these:
 *
 *      a folder without a name, want 0       mkdir did not come to the name: deleted
 *      a folder without a name               rmdir did not come to its end: removed
 *      a name, want removed                  the same, one step earlier: the name is forgotten
 *      a name without a folder               damage: the name is forgotten
 *      spec.json newer than want             a start was not recorded: recorded
 *      config newer than spec.json           a start was not judged: the tree judges it */
#include "fs/supervise_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"

struct scan {
	struct supervisor *s;
	enum object_kind kind;
	struct error *err;
};

static int visit_serial(void *context, uint64_t serial)
{
	struct scan *scan = context;

	return supervise_make_object(scan->s, scan->kind, serial) ? 0 : error_memory(scan->err);
}

/* A name whose folder is gone or will be is forgotten. */
static int visit_name(void *context, const char *name, uint64_t serial)
{
	struct scan *scan = context;
	struct object *o = supervise_object(scan->s, scan->kind, serial);

	if (o && o->want.what != WANT_REMOVED) {
		o->named = true;
		return 0;
	}
	return state_forget_name(scan->s->state, scan->kind, name, scan->err);
}

static bool same_text(int folder, const char *sha256)
{
	cleanup_buffer struct buffer b = BUFFER(16 << 20);
	char hex[SHA256_HEX_SIZE];
	struct error ignored;

	/* No document: nothing that could have been put into force. */
	if (file_read(folder, "config", &b, &ignored) < 0 || !b.length)
		return true;
	sha256_hex(b.data, b.length, hex, sizeof hex);
	return sha256 && !strcmp(hex, sha256);
}

/* Finishes a document that was accepted; true when the tree has to judge it. */
static bool finish_document(struct supervisor *s, struct object *o, int folder)
{
	cleanup_buffer struct buffer b = BUFFER(8 << 20);
	struct error err;
	cJSON *spec = file_read(folder, "spec.json", &b, &err) == 0 ? cJSON_ParseWithLength(b.data, b.length) : NULL;
	const cJSON *generation = cJSON_GetObjectItemCaseSensitive(spec, "generation");
	const char *sha256 = json_string(spec, "text_sha256");
	bool unjudged;

	if (cJSON_IsNumber(generation) && generation->valuedouble < 9e15 &&
	    generation->valuedouble > (double)o->want.generation && o->want.what != WANT_REMOVED) {
		struct want next = { (uint64_t)generation->valuedouble, WANT_RUN };

		if (want_write(folder, &next, true, &err) < 0)
			supervise_log(s, o, "%s", err.text);
		else
			o->want = next;
	}
	unjudged = faccessat(folder, "refusal", F_OK, 0) < 0 && errno == ENOENT && !same_text(folder, sha256);
	cJSON_Delete(spec);
	return unjudged;
}

/* A folder that no name leads to. true when it is gone already. */
static bool finish_removal(struct supervisor *s, struct object *o, int folder)
{
	struct error err;

	if (o->want.generation) {
		if (o->want.what != WANT_REMOVED &&
		    supervise_want(s->state, o->kind, o->serial, WANT_REMOVED, &o->want, &err) < 0)
			supervise_log(s, o, "%s", err.text);
		return false;
	}
	if (runner_alive(folder, NULL))
		return false;
	if (object_delete(s->state, o->kind, o->serial, &err) < 0) {
		supervise_log(s, o, "%s", err.text);
		return false;
	}
	return true;
}

/* Reads what an object is; false when it is damaged. */
static bool read_object(struct supervisor *s, struct object *o)
{
	struct error err;
	cleanup_close int folder = object_open(s->state, o->kind, o->serial, &err);

	if (folder >= 0 && want_read(folder, &o->want, &err) == 0 && status_read(folder, &o->status, &err) == 0)
		return true;
	supervise_log(s, o, "%s", err.text);
	return false;
}

/* Finishes what can be finished. true when the tree has to judge the object's document. */
static bool look(struct supervisor *s, struct object *o)
{
	struct error err;
	cleanup_close int folder = object_open(s->state, o->kind, o->serial, &err);
	bool unjudged = false;

	if (folder < 0) {
		supervise_log(s, o, "%s", err.text);
		return false;
	}
	if (s->callbacks.status)
		s->callbacks.status(s->context, o->kind, o->serial, &o->status);
	if (o->named)
		unjudged = finish_document(s, o, folder);
	else
		(void)finish_removal(s, o, folder);
	/* What is at rest has nobody to connect to; the next poke looks again. */
	if (!o->named || o->want.generation != o->status.generation || !status_resting(o->kind, o->status.state) ||
	    supervise_left_undone(o, folder))
		supervise_poke(s, o->kind, o->serial);
	return unjudged;
}

/* Calls look for each object once, whatever goes meanwhile. */
static void look_at_all(struct supervisor *s)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct object *o = s->buckets[i]; o;) {
			unsigned before = s->forgotten;
			enum object_kind kind = o->kind;
			uint64_t serial = o->serial;

			if (!o->looked) {
				o->looked = true;
				if (look(s, o) && s->callbacks.unjudged && supervise_object(s, kind, serial))
					s->callbacks.unjudged(s->context, kind, serial);
			}
			o = before == s->forgotten ? o->next : s->buckets[i];
		}
	}
}

int supervise_scan(struct supervisor *s, struct error *err)
{
	for (int kind = 0; kind < OBJECT_KINDS; kind++) {
		struct scan scan = { .s = s, .kind = (enum object_kind)kind, .err = err };

		if (state_each_serial(s->state, scan.kind, visit_serial, &scan, err) != 0)
			return error_wrap(err, "state directory %s", s->state->path);
	}
	/* What is damaged is left alone: no step of ours leaves such a thing. */
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct object *o = s->buckets[i]; o; o = o->next)
			o->looked = !read_object(s, o);
	for (int kind = 0; kind < OBJECT_KINDS; kind++) {
		struct scan scan = { .s = s, .kind = (enum object_kind)kind, .err = err };

		if (state_each_name(s->state, scan.kind, visit_name, &scan, err) != 0)
			return error_wrap(err, "state directory %s", s->state->path);
	}
	look_at_all(s);
	return 0;
}
