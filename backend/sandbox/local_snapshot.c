#include "backend/sandbox/local_snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/copy.h"
#include "backend/sandbox/parts.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

#define AGAIN_MS 20
#define IMAGE "image"   /* in BOX/ctl and in the snapshot's folder: image.c's record of what it was made of */
#define RECORD_MAX 4096
#define SPEC_MAX (4u << 20)

static int open_box(struct sandbox *s, struct box *box, struct error *err)
{
	cleanup_free char *path = NULL;

	if (asprintf(&path, "%s/box", s->folder_path) < 0)
		return error_memory(err);
	return box_init(box, s->state->path, path, s->id, err);
}

/* ---- its rest ---- */

/* The sandbox's own lock, which its runner holds as long as it lives: 1 while we hold it and the sandbox
 * rests, 0 when it has a runner or needs one. A runner that starts meanwhile waits for a moment. */
static int hold_rest(struct sandbox *s, int *lock, struct error *err)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct status status;

	*lock = openat(s->folder, "run/lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*lock < 0)
		return error_errno(err, "run/lock");
	if (!fcntl(*lock, F_SETLK, &whole)) {
		if (status_read(s->folder, &status, err))
			return -1;
		if (status_resting(OBJECT_SANDBOX, status.state))
			return 1;
	} else if (errno != EACCES && errno != EAGAIN) {
		return error_errno(err, "run/lock");
	} else if (!status_read(s->folder, &status, err) && !strcmp(status.state, "ready")) {
		return error_set(err, EBUSY, "it runs: write stop to its ctl first");
	}
	(void)close(*lock);
	*lock = -1;
	return 0;
}

/* ---- a rename ---- */

static int copy_record(int from, int to, const char *name, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(RECORD_MAX);

	if (file_read(from, name, &text, err))
		return err->code == ENOENT ? 0 : -1;
	return text.length ? file_replace(to, name, text.data, text.length, 0600, true, err) : 0;
}

/* The files that are no folders. */
static int keep_files(const struct box *box, int into, struct error *err)
{
	cleanup_close int root = file_open_folder(box->folder, "root", err), files = -1;

	if (root < 0 || file_remove_tree(into, PARTS_FILES, err) || file_make_folder(into, PARTS_FILES, 0755, err))
		return -1;
	files = file_open_folder(into, PARTS_FILES, err);
	return files < 0 ? -1 : copy_files(root, files, err);
}

/* What the sandbox has written becomes the part, and it goes on above that. Each step may be the last: until
 * the rename, the two files `below` name a part that is not there. */
static int move(struct sandbox *s, struct box *box, struct sandbox_snapshot *snapshot, const char *part, struct error *err)
{
	cleanup_parts struct parts below = { .count = 0 };
	cleanup_close int up = -1, locked = parts_lock(s->state->path, err);

	if (locked < 0 || box_make(box, err) || parts_read(&below, s->state->path, box->folder, err))
		return -1;
	if ((!below.count || below.serials[0] != snapshot->serial) && parts_add(&below, snapshot->serial, err))
		return -1;
	if (parts_write(&below, snapshot->folder, err) || copy_record(box->ctl, snapshot->folder, IMAGE, err))
		return -1;
	failpoint("snapshot-below");
	if (box_make_uppers(box, true, err))
		return -1;
	up = file_open_folder(box->folder, "up", err);
	if (up < 0 || keep_files(box, up, err) || parts_write(&below, box->folder, err))
		return -1;
	failpoint("snapshot-moving");
	if (renameat(box->folder, "up", AT_FDCWD, part))
		return error_errno(err, "cannot keep the sandbox's files");
	failpoint("snapshot-moved");
	/* What overlayfs keeps there is of the folder that was above it. */
	return file_remove_tree(box->folder, "work", err) || file_sync_folder(AT_FDCWD, box->path, err) ? -1 : 0;
}

int local_snapshot(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err)
{
	cleanup_free char *part = parts_path(s->state->path, snapshot->serial);
	cleanup_close int lock = -1;
	struct box box;
	int rests = 0, result;

	if (!part)
		return error_memory(err);
	while (!rests) {
		rests = hold_rest(s, &lock, err);
		if (rests < 0 || (!rests && snapshot->pump(snapshot->context, AGAIN_MS, err)))
			return -1;
	}
	if (open_box(s, &box, err))
		return -1;
	result = access(part, F_OK) ? move(s, &box, snapshot, part, err) : 0;
	box_free(&box);
	(void)close(steal_fd(&lock));
	if (!result && syncfs(s->folder))
		result = error_errno(err, "cannot bring the snapshot to the disk");
	return result;
}

int local_measure(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err)
{
	cleanup_parts struct parts parts = { .count = 0 };

	if (parts_read(&parts, s->state->path, snapshot->folder, err))
		return -1;
	snapshot->size = parts_size(&parts);
	return 0;
}

int local_drop(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err)
{
	if (unlinkat(snapshot->folder, PARTS_BELOW, 0) && errno != ENOENT)
		return error_errno(err, PARTS_BELOW);
	return parts_sweep(s->state->path, err);
}

/* ---- a sandbox from it ---- */

static cJSON *read_fields(int folder, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(SPEC_MAX);
	cJSON *spec, *fields;

	if (file_read(folder, "spec.json", &text, err))
		return NULL;
	spec = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	fields = cJSON_DetachItemFromObjectCaseSensitive(spec, "fields");
	cJSON_Delete(spec);
	if (!fields)
		(void)error_set(err, EBADMSG, "the snapshot's config is damaged");
	return fields;
}

/* Its local_files are there already, as the sandbox had them in the end; those of another list are copied. */
static int keep_filled(const struct sandbox *s, const struct box *box, int snapshot, struct error *err)
{
	cJSON *fields = read_fields(snapshot, err);
	bool same;

	if (!fields)
		return -1;
	same = cJSON_Compare(cJSON_GetObjectItemCaseSensitive(fields, "local_files"),
			     cJSON_GetObjectItemCaseSensitive(s->fields, "local_files"), true);
	cJSON_Delete(fields);
	return same ? file_replace(box->ctl, "filled", "", 0, 0600, false, err) : 0;
}

int local_begin_from(struct sandbox *s, struct box *box, uint64_t serial, struct error *err)
{
	cleanup_close int locked = parts_lock(s->state->path, err), folder = -1;
	cleanup_parts struct parts parts = { .count = 0 };

	if (locked < 0)
		return -1;
	folder = object_open(s->state, OBJECT_SNAPSHOT, serial, err);
	if (folder < 0)
		return error_set(err, ENOENT, "the snapshot is gone");
	if (parts_read(&parts, s->state->path, folder, err))
		return -1;
	if (!parts.count || !parts.paths[0])
		return error_set(err, ENOENT, "the snapshot has no files for this backend");
	/* The last step: until then all of it is done again. */
	return parts_furnish(&parts, box, true, err) || copy_record(folder, box->ctl, IMAGE, err) ||
	       keep_filled(s, box, folder, err) || parts_write(&parts, box->folder, err) ? -1 : 0;
}

int local_leave_parts(const struct sandbox *s, bool *parts, struct error *err)
{
	struct stat st;

	/* In the sandbox's own folder it says the same to whoever finishes a removal. */
	if (renameat(s->folder, "box/" PARTS_BELOW, s->folder, PARTS_BELOW) && errno != ENOENT && errno != ENOTDIR)
		return error_errno(err, PARTS_BELOW);
	*parts = !fstatat(s->folder, PARTS_BELOW, &st, AT_SYMLINK_NOFOLLOW);
	return 0;
}
