/* The mask layer (mask.h): one walk of the host's folder, nothing followed, no other file system
 * entered. A folder without r-x for others becomes one whiteout and is not entered; a file
 * without r for others likewise. The folders on the way are made with the host's mode and owner,
 * since a merged folder shows those of its topmost layer. */
#include "backend/sandbox/mask.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define DEPTH_MAX 64      /* folders within folders: one descriptor each */
#define KEY_MAX 4096
#define CACHE_MAX (64u << 20)

struct walk {
	dev_t device;
	const char *prefix;
	const char *skip;     /* of the first level */
	char path[4096];      /* of the entry under work, relative to the top */
	struct buffer *list;
	struct buffer *folders; /* NULL, or where each folder that was entered is noted */
	struct error *err;
};

/* What changes when something is made in a folder or it is made private itself. */
struct folder_stamp {
	int64_t modified, changed; /* ns */
	uint64_t inode;
};

static int walk_folder(struct walk *w, int folder, size_t length, int depth);

static struct folder_stamp stamp_of(const struct stat *st)
{
	return (struct folder_stamp){
		.modified = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec,
		.changed = (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec,
		.inode = st->st_ino,
	};
}

/* PATH NUL STAMP; the top's path is empty. */
static int note_folder(struct walk *w, const struct stat *st)
{
	struct folder_stamp stamp = stamp_of(st);

	if (w->folders && (buffer_append(w->folders, w->path, strlen(w->path) + 1) ||
			   buffer_append(w->folders, &stamp, sizeof stamp)))
		return error_set(w->err, errno, "there are too many folders");
	return 0;
}

static int walk_entry(struct walk *w, int folder, size_t length, const struct stat *st, int depth)
{
	mode_t needed = S_ISDIR(st->st_mode) ? 05 : 04;
	bool hidden = (st->st_mode & needed) != needed;
	const char *name = strrchr(w->path, '/');
	int sub;

	/* What is too deep to be looked at is too deep to be shown. */
	if (hidden || (S_ISDIR(st->st_mode) && depth >= DEPTH_MAX)) {
		if (buffer_format(w->list, "%s%s", w->prefix, w->path) || buffer_append(w->list, "", 1))
			return error_set(w->err, errno, "there are too many private files");
		return 0;
	}
	if (!S_ISDIR(st->st_mode))
		return 0;
	if (note_folder(w, st))
		return -1;
	sub = openat(folder, name ? name + 1 : w->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return sub < 0 ? 0 : walk_folder(w, sub, length, depth + 1);
}

/* Takes the descriptor. length is that of w->path, "" for the top. */
static int walk_folder(struct walk *w, int folder, size_t length, int depth)
{
	cleanup_dir DIR *dir = fdopendir(folder);
	struct dirent *entry;

	if (!dir) {
		(void)close(folder);
		return error_errno(w->err, "cannot list the host's files");
	}
	while ((errno = 0, entry = readdir(dir))) {
		const char *name = entry->d_name;
		size_t n = strlen(name), start = length + !!length;
		struct stat st;

		if (!strcmp(name, ".") || !strcmp(name, "..") || entry->d_type == DT_LNK ||
		    (!length && w->skip && !strcmp(name, w->skip)))
			continue;
		if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) || S_ISLNK(st.st_mode) ||
		    st.st_dev != w->device)
			continue; /* gone, or not part of the overlay's lower layer */
		if (start + n >= sizeof w->path)
			return error_set(w->err, ENAMETOOLONG, "'%s' is too deep", w->path);
		if (length)
			w->path[length] = '/';
		memcpy(w->path + start, name, n + 1);
		if (walk_entry(w, folder, start + n, &st, depth))
			return -1;
		w->path[length] = '\0';
	}
	return errno ? error_errno(w->err, "cannot list the host's files") : 0;
}

static int find(const char *host, const char *prefix, const char *skip, struct buffer *list, struct buffer *folders,
		struct error *err)
{
	struct walk w = { .prefix = prefix, .skip = skip, .list = list, .folders = folders, .err = err };
	struct stat st;
	int top = open(host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (top < 0)
		return errno == ENOENT ? 0 : error_errno(err, "cannot open %s", host);
	if (fstat(top, &st)) {
		(void)close(top);
		return error_errno(err, "cannot look at %s", host);
	}
	w.device = st.st_dev;
	if (note_folder(&w, &st)) {
		(void)close(top);
		return -1;
	}
	if (walk_folder(&w, top, 0, 0))
		return error_wrap(err, "cannot find the host's private files in %s", host);
	return 0;
}

int mask_find(const char *host, const char *prefix, const char *skip, struct buffer *list, struct error *err)
{
	return find(host, prefix, skip, list, NULL, err);
}

/* Whether every folder noted in the cache is as it was. */
static bool unchanged(const char *host, const char *folders, size_t n)
{
	cleanup_close int top = open(host, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (const char *p = folders, *end = folders + n; top >= 0 && p < end;) {
		size_t length = strnlen(p, (size_t)(end - p));
		struct folder_stamp then, now;
		struct stat st;

		if (length + 1 + sizeof then > (size_t)(end - p) ||
		    fstatat(top, p, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
			return false;
		memcpy(&then, p + length + 1, sizeof then);
		now = stamp_of(&st);
		if (memcmp(&then, &now, sizeof now))
			return false;
		p += length + 1 + sizeof then;
	}
	return top >= 0;
}

/* Sandboxes that start at once find the same: one of them looks, and nobody reads half a list. The
 * descriptor of the folder that the cache is in, locked until it is closed; -1. */
static int lock_cache(const char *cache, struct error *err)
{
	cleanup_free char *folder = strndup(cache, (size_t)(strrchr(cache, '/') - cache));
	int fd = folder ? file_open_folder(AT_FDCWD, folder, err) : error_memory(err);

	while (fd >= 0 && flock(fd, LOCK_EX)) {
		if (errno == EINTR)
			continue;
		(void)close(fd);
		return error_errno(err, "cannot lock %s", folder);
	}
	return fd;
}

/* The cache: how long the folders' part is, that, the list. 1: it was of use. */
static int read_cached(const char *host, const char *cache, struct buffer *list, struct error *err)
{
	cleanup_buffer struct buffer kept = BUFFER(CACHE_MAX);
	struct error ignored;
	const char *rest;
	uint64_t size;

	if (file_read(AT_FDCWD, cache, &kept, &ignored) || kept.length < sizeof size)
		return 0;
	memcpy(&size, kept.data, sizeof size);
	if (size > kept.length - sizeof size || !unchanged(host, kept.data + sizeof size, size))
		return 0;
	rest = kept.data + sizeof size + size;
	return buffer_append(list, rest, kept.length - sizeof size - size) ? error_memory(err) : 1;
}

int mask_find_cached(const char *host, const char *prefix, const char *skip, const char *cache,
		     struct buffer *list, struct error *err)
{
	cleanup_buffer struct buffer kept = BUFFER(CACHE_MAX), folders = BUFFER(CACHE_MAX);
	cleanup_close int lock = -1;
	size_t before = list->length;
	uint64_t size;
	int found = read_cached(host, cache, list, err);

	if (!found) {
		lock = lock_cache(cache, err);
		found = lock < 0 ? -1 : read_cached(host, cache, list, err);
	}
	if (found)
		return found < 0 ? -1 : 0;
	if (find(host, prefix, skip, list, &folders, err))
		return -1;
	size = folders.length;
	if (!size)
		return 0; /* there is no such folder */
	if (buffer_append(&kept, &size, sizeof size) || buffer_append(&kept, folders.data, folders.length) ||
	    buffer_append(&kept, list->data ? list->data + before : "", list->length - before))
		return error_memory(err);
	return file_replace(AT_FDCWD, cache, kept.data, kept.length, 0600, false, err);
}

/* What changes when /usr does: a boot, the package manager's records, its top folders. */
static int usr_key(struct buffer *key, struct error *err)
{
	static const char *const watched[] = {
		"/var/lib/dpkg/status", "/var/lib/rpm", "/var/lib/pacman/local", "/lib/apk/db/installed",
		"/usr", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec", "/usr/share",
	};

	if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", key, err))
		return -1;
	for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) {
		struct stat st;

		if (!stat(watched[i], &st) &&
		    buffer_format(key, "%s %lld.%09ld\n", watched[i], (long long)st.st_ctim.tv_sec,
				  st.st_ctim.tv_nsec))
			return error_memory(err);
	}
	return buffer_append(key, "", 1) ? error_memory(err) : 0;
}

/* The cache is the key, a NUL, the list. 1: it was of use. */
static int read_usr(const char *cache, const struct buffer *key, struct buffer *list, struct error *err)
{
	cleanup_buffer struct buffer kept = BUFFER(list->limit + KEY_MAX);
	struct error ignored;

	if (file_read(AT_FDCWD, cache, &kept, &ignored) || kept.length < key->length ||
	    memcmp(kept.data, key->data, key->length) != 0)
		return 0;
	return buffer_append(list, kept.data + key->length, kept.length - key->length) ? error_memory(err) : 1;
}

int mask_find_usr(const char *cache, struct buffer *list, struct error *err)
{
	cleanup_buffer struct buffer key = BUFFER(KEY_MAX);
	cleanup_buffer struct buffer kept = BUFFER(list->limit + KEY_MAX);
	cleanup_close int lock = -1;
	size_t before = list->length;
	int found;

	if (usr_key(&key, err))
		return -1;
	found = read_usr(cache, &key, list, err);
	if (!found) {
		lock = lock_cache(cache, err);
		found = lock < 0 ? -1 : read_usr(cache, &key, list, err);
	}
	if (found)
		return found < 0 ? -1 : 0;
	if (mask_find("/usr", "", "local", list, err))
		return -1;
	if (buffer_append(&kept, key.data, key.length) ||
	    buffer_append(&kept, list->data ? list->data + before : "", list->length - before))
		return error_memory(err);
	return file_replace(AT_FDCWD, cache, kept.data, kept.length, 0600, false, err);
}

/* The folders on the way to path's last part, each like its counterpart on the host. */
static int make_way(int host, int into, char *path, struct error *err)
{
	for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		struct stat st;
		bool good;

		*slash = '\0';
		good = !mkdirat(into, path, 0755) || errno == EEXIST;
		if (good && !fstatat(host, path, &st, AT_SYMLINK_NOFOLLOW))
			good = (geteuid() || !fchownat(into, path, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW)) &&
			       !fchmodat(into, path, (st.st_mode & 0777) | 0700, 0);
		if (!good)
			error_errno(err, "cannot make '%s' in the mask", path);
		*slash = '/';
		if (!good)
			return -1;
	}
	return 0;
}

int mask_make(const char *host, const struct buffer *list, const char *into, struct error *err)
{
	cleanup_close int source = -1, target = -1;

	if (file_remove_tree(AT_FDCWD, into, err) || file_make_folder(AT_FDCWD, into, 0755, err))
		return -1;
	target = file_open_folder(AT_FDCWD, into, err);
	source = target < 0 ? -1 : file_open_folder(AT_FDCWD, host, err);
	if (source < 0)
		return -1;
	for (char *p = list->data; p && p < list->data + list->length; p += strlen(p) + 1) {
		if (make_way(source, target, p, err))
			return -1;
		if (mknodat(target, p, S_IFCHR, makedev(0, 0)) && errno != EEXIST)
			return error_errno(err, "cannot hide %s/%s from the sandbox", host, p);
	}
	return 0;
}
