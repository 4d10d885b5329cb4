/* Each folder of the box that is, or would be, an overlay's upper is copied for itself (copy.h): pass after
 * pass while the sandbox goes on, until little changes, and once more while it stands still.
 *
 *      STATE/parts/.making-SERIAL    the copy, until it is the part
 *
 * An ordinary user's sandbox has files that its own user may not read (root inside may): the copy is made in a
 * user namespace in which this process has root's rights over them (ids.h). */
#include "backend/sandbox/local_copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backend/sandbox/box_own.h"
#include "backend/sandbox/copy.h"
#include "backend/sandbox/freeze.h"
#include "backend/sandbox/ids.h"
#include "backend/sandbox/parts.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"

#define AGAIN_MS 20
#define PASSES 5      /* while it goes on, at most */
#define FEW 32        /* files that changed in one of them: the next is the last */

/* One of the part's folders. */
struct top {
	struct top *next;
	struct copy *copy;
	bool seen;
	char name[BOX_UPPER_SIZE];
};

struct copying {
	struct sandbox *sandbox;
	struct box *box;
	struct sandbox_snapshot *snapshot;
	struct top *tops;
	bool still;      /* it stands still: what is to be heard is heard later */
	struct freeze *freeze;
	int into;        /* the copy */
	size_t changed;  /* in this pass */
};

static int living(void *context, struct error *err)
{
	const struct copying *c = context;

	return c->still ? 0 : c->snapshot->pump(c->snapshot->context, 0, err);
}

int local_hold_rest(struct sandbox *s, int *lock, enum local_rest *rest, struct error *err)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct status status;

	*rest = LOCAL_MOVES;
	*lock = openat(s->folder, "run/lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*lock < 0)
		return error_errno(err, "run/lock");
	if (!fcntl(*lock, F_SETLK, &whole)) {
		if (status_read(s->folder, &status, err))
			return -1;
		if (status_resting(OBJECT_SANDBOX, status.state)) {
			*rest = LOCAL_RESTS;
			return 0;
		}
	} else if (errno != EACCES && errno != EAGAIN) {
		return error_errno(err, "run/lock");
	} else if (!status_read(s->folder, &status, err) && !strcmp(status.state, "ready")) {
		*rest = LOCAL_RUNS;
	}
	(void)close(*lock);
	*lock = -1;
	return 0;
}

int local_keep_files(const struct box *box, int into, struct error *err)
{
	cleanup_close int root = file_open_folder(box->folder, "root", err), files = -1;

	if (root < 0 || file_remove_tree(into, PARTS_FILES, err) || file_make_folder(into, PARTS_FILES, 0755, err))
		return -1;
	files = file_open_folder(into, PARTS_FILES, err);
	return files < 0 ? -1 : copy_plain(root, files, err);
}

/* ---- a pass ---- */

static struct top *find_top(struct copying *c, const char *name, struct error *err)
{
	struct top *t = c->tops;

	while (t && strcmp(t->name, name))
		t = t->next;
	if (t)
		return t;
	t = calloc(1, sizeof *t);
	if (!t || copy_open(&t->copy, living, c, err)) {
		free(t);
		(void)error_memory(err);
		return NULL;
	}
	(void)snprintf(t->name, sizeof t->name, "%s", name);
	t->next = c->tops;
	c->tops = t;
	return t;
}

static int copy_top(struct copying *c, int above, const char *as, const char *name, struct error *err)
{
	struct top *t = find_top(c, name, err);
	int result;

	if (!t)
		return -1;
	if (c->still)
		copy_stands_still(t->copy);
	result = copy_pass(t->copy, above, as, c->into, name, &c->changed, err);
	t->seen = !result; /* else it was removed since it was listed */
	return result < 0 ? -1 : 0;
}

/* What lies in BOX/up, or in BOX/root where it has no upper there. */
static int copy_in(struct copying *c, const char *folder, bool plain, struct error *err)
{
	cleanup_dir DIR *dir = file_list(c->box->folder, folder, 0);
	const struct dirent *entry;

	if (!dir)
		return error_errno(err, "%s", folder);
	while ((errno = 0, entry = readdir(dir))) {
		char upper[BOX_UPPER_SIZE];
		struct stat st;

		if (*entry->d_name == '.' && (!plain || !entry->d_name[1] || !strcmp(entry->d_name, "..")))
			continue;
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(st.st_mode))
			continue;
		if (plain && (box_has_upper(c->box, entry->d_name) || !box_upper(entry->d_name, upper)))
			continue;
		if (copy_top(c, dirfd(dir), entry->d_name, plain ? upper : entry->d_name, err))
			return -1;
	}
	return errno ? error_errno(err, "%s", folder) : 0;
}

static int pass(struct copying *c, struct error *err)
{
	c->changed = 0;
	for (struct top *t = c->tops; t; t = t->next)
		t->seen = false;
	if (copy_in(c, "up", false, err) || copy_in(c, "root", true, err) || local_keep_files(c->box, c->into, err))
		return -1;
	for (struct top **at = &c->tops; *at;) {
		struct top *t = *at;

		if (t->seen) {
			at = &t->next;
			continue;
		}
		if (file_remove_tree(c->into, t->name, err))
			return -1;
		*at = t->next;
		copy_close(t->copy);
		free(t);
	}
	return 0;
}

/* ---- its last one ---- */

static int last_pass(struct copying *c, double since, struct error *err)
{
	int result;

	c->still = true;
	result = pass(c, err);
	c->still = false;
	c->snapshot->pause = clock_seconds() - since;
	return result;
}

/* While it rests, or stands still. 0: it did neither. 1: done. */
static int try_last(struct copying *c, struct error *err)
{
	cleanup_close int lock = -1;
	double since = clock_seconds();
	enum local_rest rest;
	pid_t first;
	int result;

	if (local_hold_rest(c->sandbox, &lock, &rest, err))
		return -1;
	if (rest == LOCAL_RESTS)
		return last_pass(c, since, err) ? -1 : 1;
	first = rest == LOCAL_RUNS ? box_recorded(c->box) : 0;
	if (!first)
		return 0;
	if (freeze_begin(c->freeze, first, err))
		return -1;
	/* What was held is what runs: its number belongs to it until it is waited for. */
	result = box_recorded(c->box) == first ? last_pass(c, since, err) ? -1 : 1 : 0;
	freeze_end(c->freeze);
	return result;
}

static int copy_all(struct copying *c, struct error *err)
{
	size_t before;
	int done = 0;

	if (pass(c, err))
		return -1;
	failpoint("snapshot-copied");
	for (int i = 1; i < PASSES; i++) {
		before = c->changed;
		if (pass(c, err))
			return -1;
		if (c->changed <= FEW || (i > 1 && c->changed > before / 2))
			break;
	}
	/* To the disk now, so that little is left when it stands still. */
	if (syncfs(c->into))
		return error_errno(err, "cannot bring the snapshot to the disk");
	while (!done) {
		done = try_last(c, err);
		if (!done && c->snapshot->pump(c->snapshot->context, AGAIN_MS, err))
			return -1;
	}
	return done < 0 ? -1 : 0;
}

/* ---- all of it ---- */

static char *making_path(const struct sandbox *s, const struct sandbox_snapshot *snapshot)
{
	char *path = NULL;

	return asprintf(&path, "%s/parts/.making-%" PRIu64, s->state->path, snapshot->serial) < 0 ? NULL : path;
}

int local_forget_copy(const struct sandbox *s, const struct sandbox_snapshot *snapshot, struct error *err)
{
	cleanup_free char *making = making_path(s, snapshot);

	return making ? file_remove_tree(AT_FDCWD, making, err) : error_memory(err);
}

int local_copy(struct sandbox *s, struct box *box, struct sandbox_snapshot *snapshot, const char *part, struct freeze *freeze,
	       struct error *err)
{
	struct copying c = { .sandbox = s, .box = box, .snapshot = snapshot, .freeze = freeze, .into = -1 };
	cleanup_free char *making = making_path(s, snapshot);
	int result;

	if (!making)
		return error_memory(err);
	if (local_forget_copy(s, snapshot, err) || file_make_folder(AT_FDCWD, making, 0700, err))
		return -1;
	/* Where the machine does not allow it, a file that nobody may read is told by its name. */
	ids_enter_own();
	c.into = file_open_folder(AT_FDCWD, making, err);
	result = c.into < 0 || copy_all(&c, err) ? -1 : 0;
	while (c.tops) {
		struct top *t = c.tops;

		c.tops = t->next;
		copy_close(t->copy);
		free(t);
	}
	if (!result && syncfs(c.into))
		result = error_errno(err, "cannot bring the snapshot to the disk");
	if (c.into >= 0)
		(void)close(c.into);
	failpoint("snapshot-synced");
	if (!result && rename(making, part))
		result = error_errno(err, "cannot keep the snapshot");
	return result ? -1 : file_sync_folder(AT_FDCWD, part, err);
}
