#include "backend/sandbox/parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/copy.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

#define BELOW_MAX 4096
#define GONE ".gone-"

char *parts_path(const char *state, uint64_t serial)
{
	char *path = NULL;

	return asprintf(&path, "%s/parts/%" PRIu64, state, serial) < 0 ? NULL : path;
}

void parts_free(struct parts *parts)
{
	for (char **path = parts->paths; *path; path++)
		free(*path);
	*parts = (struct parts){ .count = 0 };
}

/* "12 7\n", to its last byte. */
static int parse(struct parts *parts, const char *text, struct error *err)
{
	const char *p = text;
	char *end;

	while (*p >= '1' && *p <= '9' && parts->count < PARTS_MAX) {
		errno = 0;
		parts->serials[parts->count++] = strtoull(p, &end, 10);
		if (errno || (*end != ' ' && *end != '\n'))
			break;
		p = end + 1;
		if (*end == '\n')
			return *p ? error_set(err, EBADMSG, PARTS_BELOW ": damaged") : 0;
	}
	return error_set(err, EBADMSG, PARTS_BELOW ": damaged");
}

int parts_read(struct parts *parts, const char *state, int folder, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(BELOW_MAX);
	size_t n = 0;

	*parts = (struct parts){ .count = 0 };
	if (file_read(folder, PARTS_BELOW, &text, err))
		return err->code == ENOENT ? 0 : -1;
	if (!text.length || strlen(text.data) != text.length || parse(parts, text.data, err))
		return error_set(err, EBADMSG, PARTS_BELOW ": damaged");
	for (size_t i = 0; i < parts->count; i++) {
		char *path = parts_path(state, parts->serials[i]);

		if (!path) {
			parts_free(parts);
			return error_memory(err);
		}
		if (access(path, F_OK))
			free(path);
		else
			parts->paths[n++] = path;
	}
	return 0;
}

int parts_add(struct parts *parts, uint64_t serial, struct error *err)
{
	if (parts->count == PARTS_MAX)
		return error_set(err, E2BIG, "it stands on %d snapshots already, one above the other: begin a new sandbox and copy "
				 "its files there", PARTS_MAX);
	memmove(parts->serials + 1, parts->serials, parts->count * sizeof *parts->serials);
	parts->serials[0] = serial;
	parts->count++;
	return 0;
}

int parts_write(const struct parts *parts, int folder, bool durable, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(BELOW_MAX);

	for (size_t i = 0; i < parts->count; i++)
		if (buffer_format(&text, "%" PRIu64 "%s", parts->serials[i], i + 1 < parts->count ? " " : "\n"))
			return error_memory(err);
	return parts->count ? file_replace(folder, PARTS_BELOW, text.data, text.length, 0600, durable, err) : 0;
}

int parts_lock(const char *state, struct error *err)
{
	cleanup_free char *folder = NULL, *path = NULL;
	cleanup_close int fd = -1;

	if (asprintf(&folder, "%s/parts", state) < 0)
		return error_memory(err);
	if (asprintf(&path, "%s/.lock", folder) < 0)
		return error_memory(err);
	if (file_make_folder(AT_FDCWD, folder, 0700, err))
		return -1;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, "cannot lock the snapshots' files");
	while (flock(fd, LOCK_EX))
		if (errno != EINTR)
			return error_errno(err, "cannot lock the snapshots' files");
	return steal_fd(&fd);
}

/* ---- above parts ---- */

struct furnishing {
	struct box *box;
	bool first;
};

static int furnish_upper(void *context, int part, const char *name, struct error *err)
{
	const struct furnishing *f = context;
	struct timespec times[2];
	char upper[320];
	struct stat st;

	if (*name == '.' || snprintf(upper, sizeof upper, "up/%s", name) >= (int)sizeof upper)
		return 0;
	if (fstatat(part, name, &st, AT_SYMLINK_NOFOLLOW))
		return error_errno(err, "%s", name);
	if (mkdirat(f->box->folder, upper, 0700))
		return errno == EEXIST ? 0 : error_errno(err, "%s", upper);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	if (fchownat(f->box->folder, upper, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) ||
	    fchmodat(f->box->folder, upper, st.st_mode & 07777, 0) || utimensat(f->box->folder, upper, times, 0))
		return error_errno(err, "%s", upper);
	return 0;
}

int parts_furnish(const struct parts *parts, struct box *box, bool first, struct error *err)
{
	struct furnishing f = { .box = box, .first = first };

	for (size_t i = 0; parts->paths[i]; i++)
		if (file_each_folder(AT_FDCWD, parts->paths[i], furnish_upper, &f, err))
			return -1;
	if (first && parts->paths[0]) {
		cleanup_close int part = file_open_folder(AT_FDCWD, parts->paths[0], err);
		cleanup_close int root = part < 0 ? -1 : file_open_folder(box->folder, "root", err);
		cleanup_close int files = part < 0 ? -1 : openat(part, PARTS_FILES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (root < 0 || (files >= 0 && copy_plain(files, root, err)))
			return -1;
	}
	return 0;
}

/* ---- sweeping ---- */

struct sweep {
	const char *state;
	uint64_t *used;
	size_t count, room;
	int gone; /* the folder of those that go */
};

static int note_used(struct sweep *s, int folder, struct error *err)
{
	cleanup_parts struct parts parts = { .count = 0 };

	if (parts_read(&parts, s->state, folder, err))
		return -1;
	if (!parts.count)
		return 0;
	if (s->count + parts.count > s->room) {
		size_t room = 2 * s->room + PARTS_MAX;
		uint64_t *more = realloc(s->used, room * sizeof *more);

		if (!more)
			return error_memory(err);
		s->used = more;
		s->room = room;
	}
	memcpy(s->used + s->count, parts.serials, parts.count * sizeof *parts.serials);
	s->count += parts.count;
	return 0;
}

static int note_snapshot(void *context, int parent, const char *name, struct error *err)
{
	cleanup_close int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (folder < 0)
		return errno == ENOENT ? 0 : error_errno(err, "%s", name);
	return note_used(context, folder, err);
}

static int note_box(void *context, int parent, const char *name, struct error *err)
{
	char path[320];

	if (*name < '1' || *name > '9' || snprintf(path, sizeof path, "%s/box", name) >= (int)sizeof path)
		return 0;
	return note_snapshot(context, parent, path, err);
}

/* Out of the way at once, so that nobody waits for its files to be removed. */
static int put_aside(void *context, int parts, const char *name, struct error *err)
{
	const struct sweep *s = context;
	char aside[64], *end;
	uint64_t serial = strtoull(name, &end, 10);

	if (*name < '1' || *name > '9' || *end)
		return 0;
	for (size_t i = 0; i < s->count; i++)
		if (s->used[i] == serial)
			return 0;
	(void)snprintf(aside, sizeof aside, GONE "%" PRIu64, serial);
	return renameat(parts, name, parts, aside) ? error_errno(err, "parts/%s", name) : 0;
}

static int remove_aside(void *context, int parts, const char *name, struct error *err)
{
	(void)context;
	return strncmp(name, GONE, sizeof GONE - 1) ? 0 : file_remove_tree(parts, name, err);
}

static int find_unused(struct sweep *s, struct error *err)
{
	cleanup_close int lock = parts_lock(s->state, err), state = lock < 0 ? -1 : file_open_folder(AT_FDCWD, s->state, err);

	if (state < 0)
		return -1;
	return file_each_folder(state, object_folder[OBJECT_SANDBOX], note_box, s, err) ||
	       file_each_folder(state, object_folder[OBJECT_SNAPSHOT], note_snapshot, s, err) ||
	       file_each_folder(state, "parts", put_aside, s, err) ? -1 : 0;
}

int parts_sweep(const char *state, struct error *err)
{
	struct sweep s = { .state = state };
	cleanup_free char *folder = NULL, *path = NULL;
	cleanup_close int alone = -1;
	int result = 0;

	if (asprintf(&folder, "%s/parts", state) < 0)
		return error_memory(err);
	if (asprintf(&path, "%s/.sweeping", folder) < 0)
		return error_memory(err);
	if (access(folder, F_OK))
		return 0;
	alone = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	while (alone >= 0 && (result = flock(alone, LOCK_EX)) && errno == EINTR)
		;
	if (alone < 0 || result)
		return error_errno(err, "cannot lock the snapshots' files");
	result = find_unused(&s, err);
	free(s.used);
	failpoint("parts-aside");
	return result || file_each_folder(AT_FDCWD, folder, remove_aside, NULL, err) ? -1 : 0;
}

uint64_t parts_size(const struct parts *parts)
{
	uint64_t size = 0;

	for (size_t i = 0; parts->paths[i]; i++)
		size += copy_size(parts->paths[i]);
	return size;
}
