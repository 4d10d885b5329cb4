#include "backend/sandbox/local_snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/box_own.h"
#include "backend/sandbox/copy.h"
#include "backend/sandbox/freeze.h"
#include "backend/sandbox/ids.h"
#include "backend/sandbox/local_copy.h"
#include "backend/sandbox/parts.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

#define AGAIN_MS 20
/* In BOX/ctl and in the snapshot's folder: records of what it was made of, rootfs.c's and image.c's. */
#define ROOT "root"
#define IMAGE "image"
#define RECORD_MAX 4096

static int open_box(struct sandbox *s, struct box *box, struct error *err)
{
	cleanup_free char *path = NULL;

	if (asprintf(&path, "%s/box", s->folder_path) < 0)
		return error_memory(err);
	return box_init(box, s->state->path, path, s->id, err);
}

static int open_folders(struct box *box, struct error *err)
{
	box->folder = file_open_folder(AT_FDCWD, box->path, err);
	box->ctl = box->folder < 0 ? -1 : file_open_folder(box->folder, "ctl", err);
	return box->ctl < 0 ? -1 : 0;
}

/* One snapshot at a time is taken of a sandbox; *alone is held until it is closed. What a holder that was killed
 * together with its guard has left standing still goes on. */
static int be_alone(struct sandbox *s, struct box *box, struct sandbox_snapshot *snapshot, int *alone, struct error *err)
{
	*alone = openat(s->folder, "run/snapshot", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*alone < 0)
		return error_errno(err, "run/snapshot");
	while (flock(*alone, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return error_errno(err, "run/snapshot");
		if (snapshot->pump(snapshot->context, AGAIN_MS, err))
			return -1;
	}
	if (open_folders(box, err))
		return -1;
	if (box_recorded(box))
		freeze_release(box->id, box_recorded(box));
	return 0;
}

/* ---- a rename ---- */

static int copy_record(int from, int to, const char *name, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(RECORD_MAX);

	if (file_read(from, name, &text, err))
		return err->code == ENOENT ? 0 : -1;
	return text.length ? file_replace(to, name, text.data, text.length, 0600, false, err) : 0;
}

/* The snapshot stands on the part that is to come, and on what the sandbox stands on. It is on the disk with the
 * part: one that never gets its name is removed. */
static int name_part(struct sandbox *s, struct box *box, struct sandbox_snapshot *snapshot, struct parts *below, struct error *err)
{
	if (parts_read(below, s->state->path, box->folder, err))
		return -1;
	if ((!below->count || below->serials[0] != snapshot->serial) && parts_add(below, snapshot->serial, err))
		return -1;
	return parts_write(below, snapshot->folder, false, err) || copy_record(box->ctl, snapshot->folder, ROOT, err) ||
	       copy_record(box->ctl, snapshot->folder, IMAGE, err) ? -1 : 0;
}

/* What the sandbox has written becomes the part, and it goes on above that. Each step may be the last: until
 * the rename, the two files `below` name a part that is not there. */
static int move(struct sandbox *s, struct box *box, struct sandbox_snapshot *snapshot, const char *part, struct error *err)
{
	cleanup_parts struct parts below = { .count = 0 };
	cleanup_close int up = -1, locked = parts_lock(s->state->path, err);

	if (locked < 0 || box_make(box, err) || name_part(s, box, snapshot, &below, err))
		return -1;
	failpoint("snapshot-below");
	if (box_make_uppers(box, true, err))
		return -1;
	up = file_open_folder(box->folder, "up", err);
	if (up < 0 || local_keep_files(box, up, err) || parts_write(&below, box->folder, true, err))
		return -1;
	failpoint("snapshot-moving");
	if (renameat(box->folder, "up", AT_FDCWD, part))
		return error_errno(err, "cannot keep the sandbox's files");
	failpoint("snapshot-moved");
	/* What overlayfs keeps there is of the folder that was above it. */
	return file_remove_tree(box->folder, "work", err) || file_sync_folder(AT_FDCWD, box->path, err) ? -1 : 0;
}

static int copy(struct sandbox *s, struct box *box, struct sandbox_snapshot *snapshot, const char *part, struct freeze *freeze,
		struct error *err)
{
	cleanup_parts struct parts below = { .count = 0 };
	int locked = parts_lock(s->state->path, err), result = locked < 0 || name_part(s, box, snapshot, &below, err) ? -1 : 0;

	if (locked >= 0)
		(void)close(locked);
	return result || local_copy(s, box, snapshot, part, freeze, err) ? -1 : 0;
}

/* Renames are done at once, a copy goes on for as long as it takes. */
static int take(struct sandbox *s, struct box *box, struct sandbox_snapshot *snapshot, const char *part, struct freeze *freeze,
		struct error *err)
{
	cleanup_parts struct parts below = { .count = 0 };
	cleanup_close int lock = -1;
	enum local_rest rest = LOCAL_MOVES;

	while (rest == LOCAL_MOVES) {
		if (local_hold_rest(s, &lock, &rest, err) ||
		    (rest == LOCAL_MOVES && snapshot->pump(snapshot->context, AGAIN_MS, err)))
			return -1;
	}
	if (parts_read(&below, s->state->path, box->folder, err))
		return -1;
	if (rest == LOCAL_RESTS && below.count < PARTS_DEEP) {
		if (move(s, box, snapshot, part, err))
			return -1;
		(void)close(steal_fd(&lock));
		return syncfs(s->folder) ? error_errno(err, "cannot bring the snapshot to the disk") : 0;
	}
	if (lock >= 0)
		(void)close(steal_fd(&lock));
	return copy(s, box, snapshot, part, freeze, err);
}

static int take_with_guard(struct sandbox *s, struct box *box, struct sandbox_snapshot *snapshot, const char *part, int alone,
			   struct error *err)
{
	struct freeze freeze;
	int result;

	if (freeze_open(&freeze, box->id, alone, err))
		return -1;
	ids_enter_if_marked(s->state);
	result = take(s, box, snapshot, part, &freeze, err);
	freeze_close(&freeze);
	return result;
}

int local_snapshot(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err)
{
	cleanup_free char *part = parts_path(s->state->path, snapshot->serial);
	cleanup_close int alone = -1;
	struct box box;
	int result;

	if (!part)
		return error_memory(err);
	if (open_box(s, &box, err))
		return -1;
	result = be_alone(s, &box, snapshot, &alone, err);
	if (!result && access(part, F_OK))
		result = take_with_guard(s, &box, snapshot, part, alone, err);
	box_free(&box);
	return result;
}

int local_measure(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err)
{
	cleanup_parts struct parts parts = { .count = 0 };

	if (parts_read(&parts, s->state->path, snapshot->folder, err))
		return -1;
	ids_enter_if_marked(s->state);
	snapshot->size = parts_size(&parts);
	return 0;
}

/* A sandbox that a holder and its guard have left standing still goes on, unless somebody holds it now. */
static void let_go(struct sandbox *s)
{
	const cJSON *sandbox = cJSON_GetObjectItemCaseSensitive(s->references, object_noun[OBJECT_SANDBOX]);
	const cJSON *serial = cJSON_GetObjectItemCaseSensitive(sandbox, "serial");
	struct sandbox source = { .state = s->state };
	cleanup_free char *path = NULL, *id = NULL;
	cleanup_close int alone = -1;
	struct error ignored;
	struct box box;

	if (!cJSON_IsNumber(serial) ||
	    asprintf(&path, "%s/%s/%.0f", s->state->path, object_folder[OBJECT_SANDBOX], serial->valuedouble) < 0)
		return;
	if (asprintf(&id, "interpfs-%s-%.0f", s->state->id, serial->valuedouble) < 0)
		return;
	source.folder_path = path;
	source.id = id;
	source.folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (source.folder >= 0)
		alone = openat(source.folder, "run/snapshot", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (alone >= 0 && !flock(alone, LOCK_EX | LOCK_NB) && !open_box(&source, &box, &ignored)) {
		if (!open_folders(&box, &ignored) && box_recorded(&box))
			freeze_release(box.id, box_recorded(&box));
		box_free(&box);
	}
	if (source.folder >= 0)
		(void)close(source.folder);
}

int local_drop(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err)
{
	let_go(s);
	ids_enter_if_marked(s->state);
	if (unlinkat(snapshot->folder, PARTS_BELOW, 0) && errno != ENOENT)
		return error_errno(err, PARTS_BELOW);
	return local_forget_copy(s, snapshot, err) || parts_sweep(s->state->path, err) ? -1 : 0;
}

/* ---- a sandbox from it ---- */

/* Its local_files are there already, as the sandbox had them in the end; those of another list are copied. */
static int keep_filled(const struct sandbox *s, const struct box *box, struct error *err)
{
	bool same;

	if (sandbox_keeps(s, "local_files", &same, err))
		return -1;
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
	return parts_furnish(&parts, box, true, err) || copy_record(folder, box->ctl, ROOT, err) ||
	       copy_record(folder, box->ctl, IMAGE, err) ||
	       keep_filled(s, box, err) || parts_write(&parts, box->folder, true, err) ? -1 : 0;
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
