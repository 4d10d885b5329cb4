#include "backend/sandbox/etc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/sha256.h"

#define HASH_SIZE 33
#define DEPTH_MAX 64
#define ENTRIES_MAX 100000u
#define BYTES_MAX (256 << 20)
#define KEPT_SECONDS 3600

struct entry {
	char *path; /* relative to the folder */
	struct stat st;
};

struct listing {
	struct entry *list;
	size_t count, room;
	off_t bytes;
	bool too_much;
	struct error *err;
};

static void listing_free(struct listing *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->list[i].path);
	free(l->list);
}

/* Others may read it, and it is nothing but a file, a folder or a link. */
static bool is_public(const struct stat *st)
{
	if (S_ISDIR(st->st_mode))
		return (st->st_mode & 05) == 05;
	return S_ISLNK(st->st_mode) || (S_ISREG(st->st_mode) && st->st_mode & 04);
}

static int add(struct listing *l, const char *above, const char *name, const struct stat *st)
{
	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 1024;
		struct entry *grown = reallocarray(l->list, room, sizeof *grown);

		if (!grown)
			return error_memory(l->err);
		l->list = grown;
		l->room = room;
	}
	if (asprintf(&l->list[l->count].path, "%s%s%s", above, *above ? "/" : "", name) < 0)
		return error_memory(l->err);
	l->list[l->count++].st = *st;
	l->bytes += S_ISREG(st->st_mode) ? st->st_size : 0;
	l->too_much = l->too_much || l->count > ENTRIES_MAX || l->bytes > BYTES_MAX;
	return 0;
}

/* Takes the descriptor. */
static int walk(struct listing *l, int folder, const char *above, int depth)
{
	cleanup_dir DIR *dir = fdopendir(folder);
	const struct dirent *found;

	if (!dir) {
		(void)close(folder);
		return error_errno(l->err, "cannot list the host's files");
	}
	while (!l->too_much && (errno = 0, found = readdir(dir))) {
		const char *name = found->d_name;
		size_t own = l->count;
		struct stat st;
		int sub;

		/* What is too deep to be looked at is too deep to be shown. */
		if (!strcmp(name, ".") || !strcmp(name, "..") || fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) ||
		    !is_public(&st) || (S_ISDIR(st.st_mode) && depth >= DEPTH_MAX))
			continue;
		if (add(l, above, name, &st))
			return -1;
		if (!S_ISDIR(st.st_mode))
			continue;
		sub = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub >= 0) {
			cleanup_free char *path = strdup(l->list[own].path);

			if (!path)
				(void)close(sub);
			if (!path || walk(l, sub, path, depth + 1))
				return path ? -1 : error_memory(l->err);
		}
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

/* Names what was found: any change of a file changes its times. */
static int name_it(const struct listing *l, char hash[HASH_SIZE])
{
	cleanup_buffer struct buffer text = BUFFER((size_t)ENTRIES_MAX * (PATH_MAX + 128));

	for (size_t i = 0; i < l->count; i++) {
		const struct stat *st = &l->list[i].st;
		const int64_t stamp[] = { st->st_mode, st->st_uid, st->st_gid, st->st_size, (int64_t)st->st_ino,
					  st->st_mtim.tv_sec, st->st_mtim.tv_nsec, st->st_ctim.tv_sec, st->st_ctim.tv_nsec };

		if (buffer_append(&text, l->list[i].path, strlen(l->list[i].path) + 1) < 0 ||
		    buffer_append(&text, stamp, sizeof stamp) < 0)
			return error_memory(l->err);
	}
	sha256_hex(text.data, text.length, hash, HASH_SIZE);
	return 0;
}

/* ---- copying ---- */

static int copy_file(int from, int to, const struct entry *e, struct error *err)
{
	cleanup_close int source = openat(from, e->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	cleanup_close int target = -1;
	const struct timespec times[2] = { e->st.st_mtim, e->st.st_mtim };
	char piece[65536];
	struct stat st;
	ssize_t n;

	/* It may have become private, or something else, since it was looked at. */
	if (source < 0 || fstat(source, &st) || !S_ISREG(st.st_mode) || !is_public(&st))
		return 0;
	target = openat(to, e->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (target < 0)
		return error_errno(err, "cannot copy %s", e->path);
	while ((n = read(source, piece, sizeof piece)) > 0)
		if (file_write_all(target, piece, (size_t)n, err))
			return -1;
	if (n < 0 || fchown(target, st.st_uid, st.st_gid) || fchmod(target, st.st_mode & 07777) || futimens(target, times))
		return error_errno(err, "cannot copy %s", e->path);
	return 0;
}

static int copy_link(int from, int to, const struct entry *e, struct error *err)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from, e->path, target, sizeof target - 1);

	if (n <= 0)
		return 0;
	target[n] = '\0';
	if (symlinkat(target, to, e->path) || fchownat(to, e->path, e->st.st_uid, e->st.st_gid, AT_SYMLINK_NOFOLLOW))
		return error_errno(err, "cannot copy %s", e->path);
	return 0;
}

static int copy_folder(int to, const struct entry *e, struct error *err)
{
	if (mkdirat(to, e->path, 0700) || fchownat(to, e->path, e->st.st_uid, e->st.st_gid, AT_SYMLINK_NOFOLLOW) ||
	    fchmodat(to, e->path, e->st.st_mode & 07777, 0))
		return error_errno(err, "cannot copy %s", e->path);
	return 0;
}

/* Folders come before what is in them: the list is sorted. */
static int copy_all(const struct listing *l, int from, int to, struct error *err)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct entry *e = &l->list[i];
		int failed = S_ISDIR(e->st.st_mode) ? copy_folder(to, e, err)
			     : S_ISLNK(e->st.st_mode) ? copy_link(from, to, e, err) : copy_file(from, to, e, err);

		if (failed)
			return -1;
	}
	/* Its name will be on the disk; what it names has to be, too. */
	return syncfs(to) ? error_errno(err, "cannot sync a copy of /etc") : 0;
}

/* ---- who uses which ---- */

int etc_use(int ctl, const char *copy, struct error *err)
{
	const char *name = strrchr(copy, '/');

	return file_replace(ctl, "etc", name + 1, strlen(name + 1), 0600, false, err);
}

static bool is_used(const char *state, const char *name)
{
	static const char *const boxes[] = { "sandboxes/*/box", "layers/.build-*" };
	bool used = false;

	for (size_t i = 0; i < sizeof boxes / sizeof *boxes && !used; i++) {
		cleanup_free char *pattern = NULL;
		glob_t found = { .gl_pathc = 0 };

		if (asprintf(&pattern, "%s/%s/ctl/etc", state, boxes[i]) < 0) {
			pattern = NULL;
			return true;
		}
		if (glob(pattern, GLOB_PERIOD, NULL, &found))
			continue;
		for (size_t k = 0; k < found.gl_pathc && !used; k++) {
			cleanup_buffer struct buffer text = BUFFER(NAME_MAX);
			struct error ignored;

			used = file_read(AT_FDCWD, found.gl_pathv[k], &text, &ignored) < 0 ||
			       (text.length && !strcmp(text.data, name));
		}
		globfree(&found);
	}
	return used;
}

/* Removes what nobody needs any more. What was taken within the hour may not be in use yet. */
static void sweep(const char *state, int folder)
{
	cleanup_dir DIR *dir = file_list(folder, ".", 0);
	const struct dirent *entry;
	struct error ignored;
	struct stat st;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && !fstatat(folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
		    st.st_mtim.tv_sec < time(NULL) - KEPT_SECONDS && !is_used(state, entry->d_name))
			(void)file_remove_tree(folder, entry->d_name, &ignored);
}

/* With the folder of copies locked. */
static int make(const char *state, const struct listing *l, int from, int folder, const char *hash, struct error *err)
{
	cleanup_close int to = -1;
	struct stat st;

	if (!fstatat(folder, hash, &st, AT_SYMLINK_NOFOLLOW))
		return 0; /* another has made it meanwhile */
	sweep(state, folder);
	if (file_remove_tree(folder, ".new", err) || file_make_folder(folder, ".new", 0755, err))
		return -1;
	to = file_open_folder(folder, ".new", err);
	if (to < 0 || fchmod(to, 0755) || copy_all(l, from, to, err))
		return -1;
	return renameat(folder, ".new", folder, hash) ? error_errno(err, "cannot publish a copy of /etc") : 0;
}

char *etc_take(const char *state, const char *host, struct error *err)
{
	__attribute__((cleanup(listing_free))) struct listing l = { .err = err };
	cleanup_close int from = open(host, O_RDONLY | O_DIRECTORY | O_CLOEXEC), folder = -1;
	cleanup_free char *place = NULL;
	char hash[HASH_SIZE], *path = NULL;

	err->code = 0;
	if (from < 0) {
		(void)error_errno(err, "cannot open %s", host);
		return NULL;
	}
	if (walk(&l, fcntl(from, F_DUPFD_CLOEXEC, 3), "", 0) || l.too_much)
		return NULL;
	qsort(l.list, l.count, sizeof *l.list, compare);
	if (name_it(&l, hash))
		return NULL;
	if (asprintf(&place, "%s/etc", state) < 0 || asprintf(&path, "%s/%s", place, hash) < 0) {
		(void)error_memory(err);
		return NULL;
	}
	if (!utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW))
		return path;
	if (file_make_folder(AT_FDCWD, place, 0700, err) || (folder = file_open_folder(AT_FDCWD, place, err)) < 0 ||
	    (flock(folder, LOCK_EX) && error_errno(err, "cannot lock %s", place)) ||
	    make(state, &l, from, folder, hash, err)) {
		free(path);
		return NULL;
	}
	return path;
}
