/* snapshots/NAME/: a sandbox's files as they were. Made by its ctl, seen only when it is complete:
 *
 *      snapshot NAME → a folder without a name, spec.json, want run → its runner takes it (backend/snapshot.c)
 *          ready  → it gets its name, and the command returns
 *          failed → want removed; the command fails with the runner's sentence
 *
 * A mount that died in between leaves a folder without a name, which the next one removes. */
#include "fs/snapshots.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "fs/files.h"
#include "fs/mount.h"
#include "fs/show.h"
#include "fs/storage.h"
#include "fs/supervise.h"

/* One that is being taken. */
struct taking {
	struct taking *next;
	struct object *sandbox; /* pinned */
	char *name, *spec;
	uint64_t made, serial;  /* the same one: the storage thread's, and the loop's when that has ended */
	bool decided;           /* ready or failed has come */
	struct error error;
	void (*finish)(void *data, int result, const struct error *error);
	void *data;
};

static struct taking *takings;

static void due_taken(void *data, int result, const struct error *error);

static void end(struct taking *t, int result, const struct error *error)
{
	struct taking **at = &takings;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	t->finish(t->data, result, error);
	/* One that became due meanwhile, and would else be of what a later run leaves. */
	if (t->finish != due_taken && !strcmp(t->sandbox->status.state, "stopped"))
		snapshot_due(t->sandbox);
	object_unpin(t->sandbox);
	free(t->name);
	free(t->spec);
	free(t);
}

/* ---- its end ---- */

static int name_work(void *data, struct error *err)
{
	struct taking *t = data;

	failpoint("snapshot-naming");
	return state_name(objects_state(), OBJECT_SNAPSHOT, t->name, t->serial, err);
}

static int drop_work(void *data, struct error *err)
{
	struct taking *t = data;

	return supervise_want(objects_state(), OBJECT_SNAPSHOT, t->serial, WANT_REMOVED, NULL, err);
}

static void dropped(void *data, int result, const struct error *error)
{
	struct taking *t = data;

	if (result)
		mount_log("a snapshot that failed stays until the next mount: %s", error->text);
	else
		supervise_poke(mount_supervisor(), OBJECT_SNAPSHOT, t->serial);
	end(t, -1, &t->error);
}

static void drop(struct taking *t, const struct error *why)
{
	t->error = *why;
	if (in_storage(drop_work, dropped, t) < 0)
		end(t, -1, &t->error); /* the next mount removes it */
}

static void named(void *data, int result, const struct error *error)
{
	struct taking *t = data;
	struct error err;

	if (result) {
		drop(t, error);
		return;
	}
	if (!objects_add(OBJECT_SNAPSHOT, t->name, t->serial)) {
		(void)error_memory(&err); /* it is there at the next mount */
		end(t, -1, &err);
		return;
	}
	tree_changed(NULL, object_folder[OBJECT_SNAPSHOT]);
	tree_changed(NULL, "status");
	end(t, 0, NULL);
}

/* What its runner says of why; "code" is an errno. */
static void read_failure(const struct taking *t, struct error *why)
{
	cleanup_buffer struct buffer text = BUFFER(4096), code = BUFFER(16);
	struct error ignored;
	cleanup_close int folder = object_open(objects_state(), OBJECT_SNAPSHOT, t->serial, &ignored);
	long number = 0;

	if (folder >= 0 && !file_read(folder, "code", &code, &ignored) && code.length)
		number = strtol(code.data, NULL, 10);
	if (folder < 0 || file_read(folder, "failure", &text, &ignored) || !text.length)
		(void)buffer_text(&text, "it could not be taken");
	while (text.length && text.data[text.length - 1] == '\n')
		text.data[--text.length] = '\0';
	(void)error_set(why, number > 0 && number < 4096 ? (int)number : EIO, "snapshot %s: %s", t->name, text.data ? text.data : "");
}

void snapshot_status(uint64_t serial, const struct status *status)
{
	struct taking *t = takings;
	struct error why;

	while (t && t->serial != serial)
		t = t->next;
	if (!t || t->decided)
		return;
	if (!strcmp(status->state, "ready")) {
		t->decided = true;
		if (!in_storage(name_work, named, t))
			return;
		(void)error_memory(&why);
		drop(t, &why);
	} else if (!strcmp(status->state, "failed")) {
		t->decided = true;
		read_failure(t, &why);
		drop(t, &why);
	}
}

/* ---- its beginning ---- */

static int begin_work(void *data, struct error *err)
{
	struct taking *t = data;
	struct error ignored;
	cleanup_close int folder = -1;

	if (state_make(objects_state(), OBJECT_SNAPSHOT, &t->made, err) < 0)
		return -1;
	failpoint("snapshot-made");
	folder = object_open(objects_state(), OBJECT_SNAPSHOT, t->made, err);
	if (folder >= 0 && !file_replace(folder, "spec.json", t->spec, strlen(t->spec), 0600, true, err) &&
	    !supervise_want(objects_state(), OBJECT_SNAPSHOT, t->made, WANT_RUN, NULL, err))
		return 0;
	(void)supervise_want(objects_state(), OBJECT_SNAPSHOT, t->made, WANT_REMOVED, NULL, &ignored);
	return -1;
}

static void begun(void *data, int result, const struct error *error)
{
	struct taking *t = data;
	uint64_t serial = t->serial = t->made;

	if (result)
		end(t, -1, error);
	if (serial)
		supervise_poke(mount_supervisor(), OBJECT_SNAPSHOT, serial);
}

/* {"generation":1,"text_sha256":"","fields":{the sandbox's},"references":{"sandbox","snapshot"}} */
static char *make_spec(struct object *sandbox, struct error *err)
{
	cJSON *had = object_spec(sandbox), *spec = cJSON_CreateObject();
	cJSON *fields = cJSON_DetachItemFromObjectCaseSensitive(had, "fields");
	cJSON *old = cJSON_GetObjectItemCaseSensitive(had, "references");
	cJSON *from = cJSON_DetachItemFromObjectCaseSensitive(old, object_noun[OBJECT_SNAPSHOT]), *references;
	char *text = NULL;

	references = spec && cJSON_AddNumberToObject(spec, "generation", 1) && cJSON_AddStringToObject(spec, "text_sha256", "")
			     ? cJSON_AddObjectToObject(spec, "references") : NULL;
	if (!fields)
		(void)error_set(err, EINVAL, "it has no config yet: there is nothing to keep");
	else
		(void)error_memory(err);
	if (fields && references && !cJSON_AddItemToObject(spec, "fields", fields))
		cJSON_Delete(fields);
	else if (fields && references && !refer_to(sandbox, references, err)) {
		if (from && cJSON_AddItemToObject(references, object_noun[OBJECT_SNAPSHOT], from))
			from = NULL;
		text = cJSON_PrintUnformatted(spec);
	} else if (fields && !references)
		cJSON_Delete(fields);
	cJSON_Delete(from);
	cJSON_Delete(spec);
	cJSON_Delete(had);
	return text;
}

static int check_name(const char *name, struct error *err)
{
	if (!*name)
		return error_set(err, EINVAL, "snapshot takes a name, as in: snapshot before-training");
	if (state_check_name(name, err) < 0)
		return error_wrap(err, "snapshot");
	if (objects_find(OBJECT_SNAPSHOT, name))
		return error_set(err, EEXIST, "there is a snapshot '%.100s' already", name);
	for (const struct taking *t = takings; t; t = t->next)
		if (!strcmp(t->name, name))
			return error_set(err, EEXIST, "a snapshot '%.100s' is being taken already", name);
	return 0;
}

int snapshot_take(struct object *sandbox, const char *name,
		  void (*finish)(void *data, int result, const struct error *error), void *data, struct error *err)
{
	struct taking *t;

	if (check_name(name, err) < 0)
		return -1;
	t = calloc(1, sizeof *t);
	if (!t)
		return error_memory(err);
	*t = (struct taking){ .next = takings, .sandbox = sandbox, .name = strdup(name), .spec = make_spec(sandbox, err),
			      .finish = finish, .data = data };
	if (!t->name || !t->spec || in_storage(begin_work, begun, t) < 0) {
		int result = t->spec ? error_memory(err) : -1;

		free(t->name);
		free(t->spec);
		free(t);
		return result;
	}
	object_pin(sandbox);
	takings = t;
	return 0;
}

/* ---- one that a runner asks for ---- */

static void due_taken(void *data, int result, const struct error *error)
{
	struct object *sandbox = data;
	int folder = sandbox->removed ? -1 : object_folder_fd(sandbox);

	/* One of that name is what a mount that died had taken. What cannot be taken is told, once. */
	if (result && error->code != EEXIST)
		mount_log("sandboxes/%s: %s", sandbox->name, error->text);
	if (folder >= 0)
		(void)unlinkat(folder, SNAPSHOT_DUE, 0);
	object_unpin(sandbox);
}

void snapshot_due(struct object *sandbox)
{
	cleanup_buffer struct buffer name = BUFFER(NAME_MAX + 1);
	int folder = object_folder_fd(sandbox);
	struct error err;

	if (sandbox->removed || folder < 0 || file_read(folder, SNAPSHOT_DUE, &name, &err) || !name.length ||
	    snapshots_hold(sandbox, &err))
		return;
	object_pin(sandbox);
	if (snapshot_take(sandbox, name.data, due_taken, sandbox, &err))
		due_taken(sandbox, -1, &err);
}

bool snapshots_hold(const struct object *object, struct error *err)
{
	for (const struct taking *t = takings; t; t = t->next)
		if (t->sandbox == object) {
			(void)error_set(err, EBUSY, "%s/%s: the snapshot %s is being taken of it", object_folder[object->kind],
					object->name, t->name);
			return true;
		}
	return false;
}

/* ---- a sandbox from it ---- */

static bool is_absent(const char *text, size_t n, const char *name)
{
	const struct fault fault = { name, -1 };

	return !judge_line(text, n, &fault);
}

int snapshot_complete(const char *text, size_t n, cJSON *fields, struct fault *fault, struct error *err)
{
	/* What the files are made of, and lie on. */
	static const char *const made[] = { "backend", "image", "setup", "python_version", "python_packages", "system_packages",
					    "local_dirs" };
	const cJSON *from = cJSON_GetObjectItemCaseSensitive(fields, "from_snapshot");
	struct object *snapshot = cJSON_IsString(from) ? objects_find(OBJECT_SNAPSHOT, from->valuestring) : NULL;
	cJSON *spec = snapshot ? object_spec(snapshot) : NULL, *theirs = cJSON_GetObjectItemCaseSensitive(spec, "fields"), *field, *next, *old;
	int result = 0;

	for (size_t i = 0; theirs && !result && i < sizeof made / sizeof *made; i++) {
		*fault = (struct fault){ made[i], -1 };
		if (!is_absent(text, n, made[i]) && !cJSON_Compare(cJSON_GetObjectItemCaseSensitive(fields, made[i]),
								     cJSON_GetObjectItemCaseSensitive(theirs, made[i]), true))
			result = error_set(err, EINVAL, "%s is what the snapshot %s was made of, and stays: leave it out", made[i],
					   snapshot->name);
	}
	for (field = theirs && !result ? theirs->child : NULL; field; field = next) {
		next = field->next;
		if (!strcmp(field->string, "from_snapshot") || !is_absent(text, n, field->string))
			continue;
		/* Its string is freed before it is copied. */
		old = cJSON_GetObjectItemCaseSensitive(fields, field->string);
		(void)cJSON_DetachItemViaPointer(theirs, field);
		if (!old || !cJSON_ReplaceItemViaPointer(fields, old, field))
			cJSON_Delete(field); /* a field that is no more */
	}
	cJSON_Delete(spec);
	return result;
}

/* ---- its files ---- */

static int show_config(const struct node *node, struct buffer *out, struct error *err)
{
	cJSON *spec = object_spec(node->object), *fields = cJSON_GetObjectItemCaseSensitive(spec, "fields"), *field, *next;
	cleanup_free char *text = NULL;

	for (field = fields ? fields->child : NULL; field; field = next) {
		next = field->next;
		if (cJSON_IsNull(field))
			cJSON_Delete(cJSON_DetachItemViaPointer(fields, field));
	}
	text = fields ? cJSON_Print(fields) : NULL;
	cJSON_Delete(spec);
	return text && buffer_format(out, "%s\n", text) < 0 ? error_memory(err) : 0;
}

static struct row snapshot_rows[] = {
	{ .name = "info.json", .kind = FILE_VALUE, .render = show_info, .measure = measure_info, .help = "everything about it, for programs" },
	{ .name = "config", .kind = FILE_VALUE, .file = "spec.json", .render = show_config, .help = "its sandbox's config, as it was in force" },
	{ .name = "size", .kind = FILE_VALUE, .help = "bytes that it takes on the disk; empty until they are counted" },
	{ .name = "from", .kind = FILE_VALUE, .help = "the sandbox it was taken of, then the snapshot which that came from, and so on" },
	{ .name = "error", .kind = FILE_VALUE, .render = show_error, .measure = measure_error, .own = true,
	  .help = "why the last write or removal was refused" },
	{ .name = "description", .kind = FILE_DOCUMENT, .help = "what you write about it" },
	{ .name = NULL },
};

struct row snapshot_row = { .name = "NAME", .kind = FILE_DIRECTORY, .rows = snapshot_rows, .help = "a snapshot" };
