/* See file.h. A replacement is written to ".NAME~" beside the file; what a crash leaves there is
 * deleted by the next replacement of the same file, so nothing piles up. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/failpoint.h"

int file_read(int dir, const char *path, struct buffer *out, struct error *err)
{
	/* A pipe that lies in its place would be waited for. */
	cleanup_close int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char piece[16384];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, "%s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, "%s: it is no file", path);
	if (st.st_size > 0 &&
	    (uintmax_t)st.st_size <= out->limit - out->length &&
	    buffer_reserve(out, (size_t)st.st_size) < 0)
		return error_errno(err, "%s", path);
	for (;;) {
		ssize_t n = read(fd, piece, sizeof piece);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "%s", path);
		if (!n)
			return 0;
		if (buffer_append(out, piece, (size_t)n) < 0) {
			if (errno == EFBIG)
				return error_set(err, EFBIG, "%s: more than %zu bytes", path,
						 out->limit);
			return error_errno(err, "%s", path);
		}
	}
}

int file_write_all(int fd, const void *data, size_t n, struct error *err)
{
	const char *p = data;

	while (n) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return error_errno(err, "write");
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

/* Splits path into its folder ("." without one) and its last part, which is borrowed from path. */
static int split(const char *path, char folder[PATH_MAX], const char **name, struct error *err)
{
	const char *slash = strrchr(path, '/');

	if (!slash) {
		memcpy(folder, ".", 2);
		*name = path;
	} else {
		size_t n = slash == path ? 1 : (size_t)(slash - path);

		if (n >= PATH_MAX)
			return error_set(err, ENAMETOOLONG, "%.64s…: the path is too long", path);
		memcpy(folder, path, n);
		folder[n] = '\0';
		*name = slash + 1;
	}
	if (!**name)
		return error_set(err, EINVAL, "%s: no file name", path);
	return 0;
}

int file_sync_folder(int dir, const char *path, struct error *err)
{
	cleanup_close int fd = file_open_folder(dir, path, err);

	if (fd < 0)
		return -1;
	/* Some file systems have nothing to sync in a folder and say so by EINVAL. */
	if (fsync(fd) < 0 && errno != EINVAL)
		return error_errno(err, "%s: sync", path);
	return 0;
}

static int replace(int dir, const char *path, const void *data, size_t n, mode_t mode, bool durable,
		   bool swap, struct error *err)
{
	cleanup_close int folder = -1;
	cleanup_close int fd = -1;
	char parent[PATH_MAX], temporary[NAME_MAX + 1];
	const char *name = path;

	if (split(path, parent, &name, err) < 0)
		return -1;
	if ((size_t)snprintf(temporary, sizeof temporary, ".%s~", name) >= sizeof temporary)
		memcpy(temporary, ".replacement~", sizeof ".replacement~");
	folder = openat(dir, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return error_errno(err, "%s", path);
	/* What is there was left by a crash, or, in a folder that a sandbox writes, by the sandbox: a pipe
	 * would be waited for, a second name of another file would have that one overwritten. */
	for (int tries = 0; fd < 0 && tries < 2; tries++) {
		fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
		if (fd < 0 && (errno != EEXIST || tries || unlinkat(folder, temporary, 0) < 0))
			return error_errno(err, "%s", path);
	}
	if (file_write_all(fd, data, n, err) < 0)
		goto failed;
	/* Whatever the umask took. */
	if (fchmod(fd, mode) < 0 || (durable && fsync(fd) < 0)) {
		(void)error_errno(err, "write");
		goto failed;
	}
	failpoint("file-written");
	/* ext4 writes out what is renamed over another file before rename(2) returns; what is
	 * exchanged with it, it does not. */
	if (swap && renameat2(folder, temporary, folder, name, RENAME_EXCHANGE) == 0) {
		if (unlinkat(folder, temporary, 0) < 0)
			return error_errno(err, "%s", path);
		return 0;
	}
	if (renameat(folder, temporary, folder, name) < 0) {
		(void)error_errno(err, "rename");
		goto failed;
	}
	failpoint("file-renamed");
	if (durable && fsync(folder) < 0 && errno != EINVAL)
		return error_errno(err, "%s: sync of its folder", path);
	return 0;

failed:
	(void)unlinkat(folder, temporary, 0);
	return error_wrap(err, "%s", path);
}

int file_replace(int dir, const char *path, const void *data, size_t n, mode_t mode, bool durable,
		 struct error *err)
{
	return replace(dir, path, data, n, mode, durable, false, err);
}

int file_swap(int dir, const char *path, const void *data, size_t n, mode_t mode, struct error *err)
{
	return replace(dir, path, data, n, mode, false, true, err);
}

int file_make_folder(int dir, const char *path, mode_t mode, struct error *err)
{
	struct stat st;

	if (mkdirat(dir, path, mode) == 0)
		return 0;
	if (errno == EEXIST && fstatat(dir, path, &st, 0) == 0) {
		if (S_ISDIR(st.st_mode))
			return 0;
		errno = ENOTDIR;
	}
	return error_errno(err, "%s", path);
}

int file_make_folders(int dir, const char *path, mode_t mode, struct error *err)
{
	char part[PATH_MAX];
	size_t n = strlen(path);

	if (n >= sizeof part)
		return error_set(err, ENAMETOOLONG, "%.64s…: the path is too long", path);
	memcpy(part, path, n + 1);
	for (size_t i = 1; i < n; i++) {
		if (part[i] != '/' || part[i - 1] == '/')
			continue;
		part[i] = '\0';
		if (file_make_folder(dir, part, mode, err) < 0)
			return -1;
		part[i] = '/';
	}
	return file_make_folder(dir, part, mode, err);
}

DIR *file_list(int dir, const char *path, int flags)
{
	int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags), code;
	DIR *list = fd < 0 ? NULL : fdopendir(fd);

	if (!list && fd >= 0) {
		code = errno;
		(void)close(fd);
		errno = code;
	}
	return list;
}

int file_each_folder(int parent, const char *path, int (*visit)(void *context, int folder, const char *name, struct error *err),
		     void *context, struct error *err)
{
	cleanup_dir DIR *list = file_list(parent, path, 0);
	const struct dirent *entry;

	if (!list)
		return errno == ENOENT ? 0 : error_errno(err, "%s", path);
	while ((errno = 0, entry = readdir(list))) {
		struct stat st;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (fstatat(dirfd(list), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(st.st_mode))
			continue;
		if (visit(context, dirfd(list), entry->d_name, err))
			return -1;
	}
	return errno ? error_errno(err, "%s", path) : 0;
}

int file_open_folder(int dir, const char *path, struct error *err)
{
	int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, "%s", path);
	return fd;
}

/* Folders deeper than this are moved up to the top first, so that a tree of any depth is removed
 * with few descriptors and little stack. */
#define REMOVE_DEPTH 32

struct removal {
	dev_t device;
	int top;
	unsigned moved;
	bool again; /* something was moved to the top */
};

static int empty_folder(struct removal *r, int fd, int depth, struct error *err);

/* Opens the folder for removal, giving us the rights first where they are missing. */
static int open_doomed(int dir, const char *name)
{
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dir, name, flags);
	struct stat st;

	if (fd < 0 && errno == EACCES) {
		if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode) ||
		    fchmodat(dir, name, 0700, 0) < 0)
			return -1;
		fd = openat(dir, name, flags);
	}
	if (fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 0300) != 0300)
		(void)fchmod(fd, 0700);
	return fd;
}

static int remove_folder(struct removal *r, int dir, const char *name, int depth, struct error *err)
{
	cleanup_close int fd = -1;
	struct stat st;

	if (depth >= REMOVE_DEPTH) {
		char up[32];

		(void)snprintf(up, sizeof up, ".deep-%u~", r->moved++);
		if (renameat(dir, name, r->top, up) == 0) {
			r->again = true;
			return 0;
		}
	}
	fd = open_doomed(dir, name);
	if (fd < 0)
		return errno == ENOENT ? 0 : error_errno(err, "%s", name);
	if (fstat(fd, &st) < 0)
		return error_errno(err, "%s", name);
	if (st.st_dev != r->device)
		return error_set(err, EXDEV, "%s: another file system is mounted here", name);
	if (empty_folder(r, fd, depth + 1, err) < 0)
		return error_wrap(err, "%s", name);
	if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return error_errno(err, "%s", name);
	return 0;
}

static int empty_folder(struct removal *r, int fd, int depth, struct error *err)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	cleanup_dir DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	if (!d) {
		if (copy >= 0)
			(void)close(copy);
		return error_errno(err, "cannot list");
	}
	rewinddir(d);
	while ((errno = 0, e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (e->d_type != DT_DIR) {
			if (unlinkat(fd, e->d_name, 0) == 0 || errno == ENOENT)
				continue;
			if (errno != EISDIR && errno != EPERM)
				return error_errno(err, "%s", e->d_name);
			if (e->d_type != DT_UNKNOWN)
				return error_errno(err, "%s", e->d_name);
		}
		if (remove_folder(r, fd, e->d_name, depth, err) < 0)
			return -1;
	}
	return errno ? error_errno(err, "cannot list") : 0;
}

int file_remove_tree(int dir, const char *path, struct error *err)
{
	cleanup_close int fd = -1;
	struct removal r = { 0 };
	struct stat st;

	if (fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_errno(err, "%s", path);
	if (!S_ISDIR(st.st_mode)) {
		if (unlinkat(dir, path, 0) < 0 && errno != ENOENT)
			return error_errno(err, "%s", path);
		return 0;
	}
	fd = open_doomed(dir, path);
	if (fd < 0)
		return errno == ENOENT ? 0 : error_errno(err, "%s", path);
	r.top = fd;
	r.device = st.st_dev;
	do {
		r.again = false;
		if (empty_folder(&r, fd, 0, err) < 0)
			return error_wrap(err, "%s", path);
	} while (r.again);
	if (unlinkat(dir, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return error_errno(err, "%s", path);
	return 0;
}
