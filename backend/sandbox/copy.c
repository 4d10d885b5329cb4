/* What was seen of each path is kept in memory: inode, time of change, size. A file is looked at before
 * its bytes are: what is written later moves its time. Two things would not, and are seen to: a time that is as
 * young as the clock's own step counts as no time, and pages that are written through a mapping move it only
 * once until they have been written out, so they are (sync_file_range) before the bytes are read. */
#include "backend/sandbox/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/inside.h"

#define PIECE (16u << 20)  /* between two signs of life */
#define PIECES 256         /* entries between two */
#define STEP_NS 20000000   /* no clock of a file system's steps are longer */
#define XATTR_MAX 65536

struct record {
	struct record *next;      /* in its bucket */
	struct record *next_link; /* in this pass's list of files with several names */
	struct timespec changed;
	ino_t inode;
	off_t size;
	mode_t mode;
	unsigned seen;            /* the pass in which it was last there */
	unsigned listed;          /* the pass of next_link */
	bool unsure;              /* may have been written since without a later time */
	char path[];
};

struct copy {
	copy_living *living;
	void *context;
	struct record **buckets;
	size_t bucket_count, records;
	struct record *links[1024]; /* by inode, of this pass */
	unsigned pass;              /* from 1 */
	size_t changed;
	unsigned entries;
	bool still;
	int top;                    /* the folder that is copied to */
	dev_t device;
};

/* ---- records ---- */

static size_t hash_path(const char *path)
{
	size_t h = 14695981039346656037u;

	for (; *path; path++)
		h = (h ^ (unsigned char)*path) * 1099511628211u;
	return h;
}

static int grow(struct copy *c)
{
	size_t count = c->bucket_count ? 2 * c->bucket_count : 1024;
	struct record **buckets;

	if (c->records < c->bucket_count)
		return 0;
	buckets = calloc(count, sizeof *buckets);
	if (!buckets)
		return -1;
	for (size_t i = 0; i < c->bucket_count; i++)
		for (struct record *r = c->buckets[i], *next; r; r = next) {
			struct record **bucket = &buckets[hash_path(r->path) % count];

			next = r->next;
			r->next = *bucket;
			*bucket = r;
		}
	free(c->buckets);
	c->buckets = buckets;
	c->bucket_count = count;
	return 0;
}

/* The record of a path, made where there is none (seen is 0 then); NULL without memory. */
static struct record *find_record(struct copy *c, const char *path)
{
	struct record **bucket, *r;
	size_t n = strlen(path) + 1;

	if (grow(c))
		return NULL;
	bucket = &c->buckets[hash_path(path) % c->bucket_count];
	for (r = *bucket; r; r = r->next)
		if (!strcmp(r->path, path))
			return r;
	r = calloc(1, sizeof *r + n);
	if (!r)
		return NULL;
	memcpy(r->path, path, n);
	r->next = *bucket;
	*bucket = r;
	c->records++;
	return r;
}

static bool is_young(struct timespec t)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (now.tv_sec - t.tv_sec) * 1000000000 + (now.tv_nsec - t.tv_nsec) < STEP_NS;
}

/* Whether what was copied in the pass before is what is there. */
static bool is_same(const struct copy *c, const struct record *r, const struct stat *st)
{
	return r->seen && r->seen + 1 >= c->pass && !r->unsure && r->inode == st->st_ino && r->size == st->st_size &&
	       r->mode == st->st_mode && r->changed.tv_sec == st->st_ctim.tv_sec && r->changed.tv_nsec == st->st_ctim.tv_nsec;
}

static void note(const struct copy *c, struct record *r, const struct stat *st)
{
	r->changed = st->st_ctim;
	r->inode = st->st_ino;
	r->size = st->st_size;
	r->mode = st->st_mode;
	r->seen = c->pass;
	r->unsure = is_young(st->st_ctim);
}

static struct record **link_slot(struct copy *c, ino_t inode)
{
	return &c->links[inode % (sizeof c->links / sizeof *c->links)];
}

/* Another name of the same file that is copied already. */
static struct record *find_link(struct copy *c, ino_t inode)
{
	struct record *r = *link_slot(c, inode);

	while (r && r->inode != inode)
		r = r->next_link;
	return r;
}

static int live(struct copy *c, struct error *err)
{
	return c->living ? c->living(c->context, err) : 0;
}

/* ---- one file ---- */

/* What overlayfs tells itself of a file's origin is about the one that it was, not about a copy. */
static bool is_own(const char *name)
{
	static const char *const skipped[] = { "overlay.origin", "overlay.impure", "overlay.nlink", "overlay.upper", "overlay.uuid" };
	const char *dot = strchr(name, '.');

	for (size_t i = 0; dot && i < sizeof skipped / sizeof *skipped; i++)
		if (!strcmp(dot + 1, skipped[i]))
			return true;
	return false;
}

static int copy_attributes(int from, const char *as, int to, const char *name, struct error *err)
{
	char source[PATH_MAX], target[PATH_MAX];
	cleanup_free char *names = NULL, *value = NULL;
	ssize_t n;

	if (snprintf(source, sizeof source, "/proc/self/fd/%d/%s", from, as) >= (int)sizeof source ||
	    snprintf(target, sizeof target, "/proc/self/fd/%d/%s", to, name) >= (int)sizeof target)
		return error_set(err, ENAMETOOLONG, "%s", name);
	n = llistxattr(source, NULL, 0);
	if (n <= 0)
		return n < 0 && errno != ENOTSUP && errno != ENOENT ? error_errno(err, "%s: extended attributes", name) : 0;
	names = malloc(XATTR_MAX);
	value = malloc(XATTR_MAX);
	if (!names || !value)
		return error_memory(err);
	n = llistxattr(source, names, XATTR_MAX);
	for (char *one = names; n > 0 && one < names + n; one += strlen(one) + 1) {
		ssize_t size = is_own(one) ? -1 : lgetxattr(source, one, value, XATTR_MAX);

		if (size >= 0 && lsetxattr(target, one, value, (size_t)size, 0) &&
		    errno != ENOTSUP && !(errno == EPERM && !strncmp(one, "security.", 9)))
			return error_errno(err, "%s: %s", name, one);
	}
	return 0;
}

/* In this order: a change of the owner takes other rights away. */
static int copy_metadata(int from, const char *as, int to, const char *name, const struct stat *st, struct error *err)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };

	if (fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW))
		return error_errno(err, "%s: its owner", name);
	if (copy_attributes(from, as, to, name, err))
		return -1;
	if (!S_ISLNK(st->st_mode) && fchmodat(to, name, st->st_mode & 07777, 0))
		return error_errno(err, "%s: its mode", name);
	return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) ? error_errno(err, "%s: its times", name) : 0;
}

static bool cannot_pass(int code)
{
	return code == EXDEV || code == EINVAL || code == ENOSYS || code == EOPNOTSUPP || code == EBADF || code == ETXTBSY;
}

static int copy_by_hand(int in, int out, off_t at, off_t end, struct error *err)
{
	cleanup_free char *piece = malloc(1u << 20);

	if (!piece)
		return error_memory(err);
	while (at < end) {
		ssize_t n = pread(in, piece, end - at < (1 << 20) ? (size_t)(end - at) : 1u << 20, at);

		if (n <= 0)
			return n < 0 ? error_errno(err, "read") : 0;
		for (ssize_t done = 0, wrote; done < n; done += wrote) {
			wrote = pwrite(out, piece + done, (size_t)(n - done), at + done);
			if (wrote < 0)
				return error_errno(err, "write");
		}
		at += n;
	}
	return 0;
}

static int copy_range(struct copy *c, int in, int out, off_t at, off_t end, struct error *err)
{
	while (at < end) {
		off_t from = at, to = at, piece = end - at < (off_t)PIECE ? end - at : (off_t)PIECE;
		ssize_t n = copy_file_range(in, &from, out, &to, (size_t)piece, 0);

		if (n < 0 && cannot_pass(errno)) {
			if (copy_by_hand(in, out, at, at + piece, err))
				return -1;
			n = piece;
		}
		if (n <= 0) /* it got shorter: the next pass sees that */
			return n < 0 ? error_errno(err, "write") : 0;
		at += n;
		if (at < end && live(c, err))
			return -1;
	}
	return 0;
}

/* Only what is data: holes stay holes. */
static int copy_data(struct copy *c, int in, int out, off_t size, struct error *err)
{
	if (!c->still)
		(void)sync_file_range(in, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
							SYNC_FILE_RANGE_WAIT_AFTER);
	if (size && !ioctl(out, FICLONE, in))
		return 0;
	for (off_t at = 0; at < size;) {
		off_t data = lseek(in, at, SEEK_DATA), end;

		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0)
			data = at; /* a file system that knows of no holes */
		end = lseek(in, data, SEEK_HOLE);
		if (end < 0 || end > size)
			end = size;
		if (data >= end)
			break;
		if (copy_range(c, in, out, data, end, err))
			return -1;
		at = end;
	}
	return ftruncate(out, size) ? error_errno(err, "write") : 0;
}

static int make_file(struct copy *c, int from, int to, const char *name, struct stat *st, struct error *err)
{
	cleanup_close int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), out = -1;
	struct stat now;

	if (in < 0)
		return errno == ENOENT || errno == ELOOP || errno == ENXIO ? 1 : error_errno(err, "%s", name);
	if (fstat(in, &now))
		return error_errno(err, "%s", name);
	if (!S_ISREG(now.st_mode) || now.st_ino != st->st_ino)
		return 1;
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return error_errno(err, "%s", name);
	return copy_data(c, in, out, now.st_size, err) ? error_wrap(err, "%s", name) : 0;
}

static int make_link(int from, int to, const char *name, struct error *err)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from, name, target, sizeof target - 1);

	if (n < 0)
		return errno == ENOENT || errno == EINVAL ? 1 : error_errno(err, "%s", name);
	target[n] = '\0';
	return symlinkat(target, to, name) ? error_errno(err, "%s", name) : 0;
}

/* One more name of a file that was copied in this pass. Who writes in the tree can have one name listed twice,
 * first as a folder and then as a link: none is followed. */
static int make_name(struct copy *c, const char *path, int to, const char *name)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *above = slash ? strndup(path, (size_t)(slash - path)) : strdup("/");
	cleanup_close int folder = above ? inside_open(c->top, above, O_PATH | O_DIRECTORY, 0, INSIDE_NO_LINKS) : -1;

	return folder < 0 ? -1 : linkat(folder, slash ? slash + 1 : path, to, name, 0);
}

/* Anew, in place of what is there. 1: it is gone meanwhile. */
static int make(struct copy *c, int from, int to, const char *name, struct record *r, struct stat *st, struct error *err)
{
	const struct record *other = st->st_nlink > 1 && S_ISREG(st->st_mode) ? find_link(c, st->st_ino) : NULL;
	int result;

	if (file_remove_tree(to, name, err))
		return -1;
	/* Where that cannot be, it becomes a file of its own. */
	if (other && other != r && !make_name(c, other->path, to, name))
		return 0;
	if (S_ISREG(st->st_mode))
		result = make_file(c, from, to, name, st, err);
	else if (S_ISLNK(st->st_mode))
		result = make_link(from, to, name, err);
	else /* pipes, sockets, nodes; whiteouts among them */
		result = mknodat(to, name, st->st_mode & (S_IFMT | 0700), st->st_rdev) ? error_errno(err, "%s", name) : 0;
	if (result > 0)
		return file_remove_tree(to, name, err) ? -1 : 1;
	return result || copy_metadata(from, name, to, name, st, err) ? -1 : 0;
}

/* ---- a tree ---- */

static int walk(struct copy *c, const char *path, int from, int to, struct error *err);

static int copy_folder(struct copy *c, int above, int into, const char *name, struct record *r, const struct stat *st,
		       struct error *err)
{
	cleanup_close int from = -1, to = -1;
	bool same = is_same(c, r, st), was = r->seen && r->seen + 1 >= c->pass && S_ISDIR(r->mode);
	size_t before = c->changed;
	bool opened = false;

	if (!was && (file_remove_tree(into, name, err) || mkdirat(into, name, 0700)))
		return error_errno(err, "%s", name);
	from = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return file_remove_tree(into, name, err);
	to = openat(into, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	opened = to < 0 && was && errno == EACCES && !fchmodat(into, name, 0700, 0);
	if (opened)
		to = openat(into, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0 || to < 0)
		return error_errno(err, "%s", name);
	note(c, r, st);
	c->changed += !same;
	if (walk(c, r->path, from, to, err))
		return error_wrap(err, "%s", name);
	return c->changed > before || opened ? copy_metadata(above, name, into, name, st, err) : 0;
}

static int copy_entry(struct copy *c, const char *path, int from, int to, const char *name, struct error *err)
{
	cleanup_free char *below = NULL;
	struct record *r;
	struct stat st;
	int result;

	if (++c->entries % PIECES == 0 && live(c, err))
		return -1;
	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : error_errno(err, "%s", name);
	if (st.st_dev != c->device)
		return 0;
	if (asprintf(&below, "%s%s%s", path, *path ? "/" : "", name) < 0)
		return error_memory(err);
	r = find_record(c, below);
	if (!r)
		return error_memory(err);
	if (S_ISDIR(st.st_mode))
		return copy_folder(c, from, to, name, r, &st, err);
	if (is_same(c, r, &st)) {
		r->seen = c->pass;
	} else {
		result = make(c, from, to, name, r, &st, err);
		if (result)
			return result < 0 ? -1 : 0;
		note(c, r, &st);
		c->changed++;
	}
	if (st.st_nlink > 1 && S_ISREG(st.st_mode) && r->listed != c->pass && !find_link(c, st.st_ino)) {
		r->listed = c->pass;
		r->next_link = *link_slot(c, st.st_ino);
		*link_slot(c, st.st_ino) = r;
	}
	return 0;
}

static DIR *list(int folder) { return file_list(folder, ".", 0); }

static bool is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* What is not there any more. */
static int remove_rest(struct copy *c, const char *path, int to, struct error *err)
{
	cleanup_dir DIR *dir = list(to);
	const struct dirent *entry;

	if (!dir)
		return error_errno(err, "cannot list");
	while ((errno = 0, entry = readdir(dir))) {
		cleanup_free char *below = NULL;
		const struct record *r;

		if (is_dot(entry->d_name))
			continue;
		if (asprintf(&below, "%s%s%s", path, *path ? "/" : "", entry->d_name) < 0)
			return error_memory(err);
		r = find_record(c, below);
		if (!r)
			return error_memory(err);
		if (r->seen == c->pass)
			continue;
		c->changed++;
		if (file_remove_tree(to, entry->d_name, err))
			return -1;
	}
	return errno ? error_errno(err, "cannot list") : 0;
}

static int walk(struct copy *c, const char *path, int from, int to, struct error *err)
{
	cleanup_dir DIR *dir = list(from);
	const struct dirent *entry;

	if (!dir)
		return error_errno(err, "cannot list");
	while ((errno = 0, entry = readdir(dir)))
		if (!is_dot(entry->d_name) && copy_entry(c, path, from, to, entry->d_name, err))
			return -1;
	if (errno)
		return error_errno(err, "cannot list");
	return c->pass > 1 ? remove_rest(c, path, to, err) : 0;
}

int copy_open(struct copy **copy, copy_living *living, void *context, struct error *err)
{
	*copy = calloc(1, sizeof **copy);
	if (!*copy)
		return error_memory(err);
	(*copy)->living = living;
	(*copy)->context = context;
	return 0;
}

static void forget_records(struct copy *c)
{
	for (size_t i = 0; i < c->bucket_count; i++)
		while (c->buckets[i]) {
			struct record *r = c->buckets[i];

			c->buckets[i] = r->next;
			free(r);
		}
	free(c->buckets);
	c->buckets = NULL;
	c->bucket_count = c->records = 0;
}

void copy_close(struct copy *c)
{
	if (!c)
		return;
	forget_records(c);
	free(c);
}

int copy_pass(struct copy *c, int above, const char *as, int into, const char *name, size_t *changed, struct error *err)
{
	cleanup_close int from = openat(above, as, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), to = -1;
	struct stat st;

	if (from < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return 1;
	if (from < 0 || fstat(from, &st))
		return error_errno(err, "%s", as);
	if (!c->pass && file_make_folder(into, name, 0700, err))
		return -1;
	to = openat(into, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return error_errno(err, "%s", name);
	c->pass++;
	c->top = to;
	c->device = st.st_dev;
	c->changed = 0;
	memset(c->links, 0, sizeof c->links);
	if (walk(c, "", from, to, err) || copy_metadata(above, as, into, name, &st, err))
		return error_wrap(err, "%s", as);
	*changed += c->changed;
	return 0;
}

void copy_stands_still(struct copy *c)
{
	c->still = true;
}

int copy_plain(int from, int to, struct error *err)
{
	struct copy c = { .pass = 1, .top = to };
	cleanup_dir DIR *dir = list(from);
	const struct dirent *entry;
	struct stat st;
	int result = 0;

	if (!dir || fstat(from, &st))
		return error_errno(err, "cannot copy");
	c.device = st.st_dev;
	while (!result && (errno = 0, entry = readdir(dir)))
		if (!fstatat(from, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) && !S_ISDIR(st.st_mode))
			result = copy_entry(&c, "", from, to, entry->d_name, err);
	if (!result && errno)
		result = error_errno(err, "cannot copy");
	forget_records(&c);
	return result;
}

/* ---- its size ---- */

static uint64_t size_of(int above, const char *name, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_blocks * 512 / (S_ISDIR(st->st_mode) || !st->st_nlink ? 1 : st->st_nlink);
	int fd = S_ISDIR(st->st_mode) ? openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	cleanup_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir && fd >= 0)
		(void)close(fd);
	while (dir && (entry = readdir(dir))) {
		struct stat below;

		if (!is_dot(entry->d_name) && !fstatat(fd, entry->d_name, &below, AT_SYMLINK_NOFOLLOW))
			size += size_of(fd, entry->d_name, &below);
	}
	return size;
}

uint64_t copy_size(const char *path)
{
	struct stat st;

	return lstat(path, &st) ? 0 : size_of(AT_FDCWD, path, &st);
}
