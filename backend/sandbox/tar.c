/* GNU's format: a name of more than 100 bytes and a size of more than 8 GiB have their own ways. */
#include "backend/sandbox/tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"

#define BLOCK 512u
#define NAME_SIZE 100u
#define DEPTH_MAX 256
#define HEAD_MAX (8 * BLOCK + 4 * PATH_MAX)

enum kind { TAR_FILE = '0', TAR_LINK = '2', TAR_FOLDER = '5', TAR_LONG_NAME = 'L', TAR_LONG_TARGET = 'K' };

struct entry {
	struct entry *next;
	enum kind kind;
	char *from, *name;         /* a path here, or a link's target; owned */
	mode_t mode;               /* 0: the file's own */
};

struct level {
	DIR *dir;
	size_t path_length, name_length; /* of the folder, in path and name */
};

struct tar {
	struct entry *first, *last;
	struct buffer head;        /* headers that were not read yet */
	int fd;                    /* the file whose bytes come behind them, -1 */
	uint64_t left;             /* of them */
	size_t padding;            /* zeros behind them */
	struct level levels[DEPTH_MAX]; /* the folders that are being walked */
	int depth;
	struct buffer path, name;  /* of what is being walked */
	bool finished;
};

struct tar *tar_new(struct error *err)
{
	struct tar *t = calloc(1, sizeof *t);

	if (!t) {
		(void)error_memory(err);
		return NULL;
	}
	t->fd = -1;
	t->head = BUFFER(HEAD_MAX);
	t->path = t->name = BUFFER(PATH_MAX);
	return t;
}

static void drop_first(struct tar *t)
{
	struct entry *e = t->first;

	t->first = e->next;
	if (!t->first)
		t->last = NULL;
	free(e->from);
	free(e->name);
	free(e);
}

void tar_free(struct tar *t)
{
	if (!t)
		return;
	while (t->first)
		drop_first(t);
	while (t->depth)
		(void)closedir(t->levels[--t->depth].dir);
	if (t->fd >= 0)
		(void)close(t->fd);
	buffer_free(&t->head);
	buffer_free(&t->path);
	buffer_free(&t->name);
	free(t);
}

static int add(struct tar *t, enum kind kind, const char *from, const char *name, mode_t mode, struct error *err)
{
	struct entry *e = calloc(1, sizeof *e);

	if (e) {
		e->kind = kind;
		e->mode = mode;
		e->from = strdup(from);
		e->name = strdup(name);
	}
	if (!e || !e->from || !e->name) {
		if (e) {
			free(e->from);
			free(e->name);
		}
		free(e);
		return error_memory(err);
	}
	*(t->last ? &t->last->next : &t->first) = e;
	t->last = e;
	return 0;
}

int tar_add_file(struct tar *t, const char *path, const char *name, mode_t mode, struct error *err)
{
	return add(t, TAR_FILE, path, name, mode, err);
}

int tar_add_link(struct tar *t, const char *target, const char *name, struct error *err)
{
	return add(t, TAR_LINK, target, name, 0777, err);
}

int tar_add_tree(struct tar *t, const char *path, const char *name, struct error *err)
{
	return add(t, TAR_FOLDER, path, name, 0, err);
}

/* ---- headers ---- */

static void put_octal(unsigned char *field, size_t size, uint64_t value)
{
	for (field[size - 1] = '\0'; --size; value >>= 3)
		field[size - 1] = (unsigned char)('0' + (value & 7));
}

/* Past what eleven octal digits hold: the number itself, big endian, behind a byte of 0x80. */
static void put_size(unsigned char field[12], uint64_t size)
{
	if (size >> 33 == 0) {
		put_octal(field, 12, size);
		return;
	}
	memset(field, 0, 12);
	field[0] = 0x80;
	for (int i = 11; i > 3; i--, size >>= 8)
		field[i] = (unsigned char)size;
}

static int put_block(struct tar *t, enum kind kind, const char *name, const char *target, mode_t mode, uint64_t size,
		     time_t time)
{
	unsigned char b[BLOCK] = { 0 };
	unsigned sum = 0;

	(void)snprintf((char *)b, NAME_SIZE, "%s", name);
	put_octal(b + 100, 8, mode & 07777);
	put_octal(b + 108, 8, 0);
	put_octal(b + 116, 8, 0);
	put_size(b + 124, size);
	put_octal(b + 136, 12, time > 0 ? (uint64_t)time : 0);
	memset(b + 148, ' ', 8);
	b[156] = (unsigned char)kind;
	(void)snprintf((char *)b + 157, NAME_SIZE, "%s", target);
	memcpy(b + 257, "ustar  ", 8);
	for (size_t i = 0; i < sizeof b; i++)
		sum += b[i];
	put_octal(b + 148, 7, sum);
	return buffer_append(&t->head, b, sizeof b);
}

static int put_long(struct tar *t, enum kind kind, const char *text)
{
	static const char zeros[BLOCK];
	size_t n = strlen(text) + 1, over = n % BLOCK;

	if (n <= NAME_SIZE)
		return 0;
	return put_block(t, kind, "././@LongLink", "", 0, n, 0) || buffer_append(&t->head, text, n) ||
	       buffer_append(&t->head, zeros, over ? BLOCK - over : 0) ? -1 : 0;
}

static int put_head(struct tar *t, enum kind kind, const char *name, const char *target, mode_t mode, uint64_t size,
		    time_t time, struct error *err)
{
	if (put_long(t, TAR_LONG_TARGET, target) || put_long(t, TAR_LONG_NAME, name) ||
	    put_block(t, kind, name, target, mode, size, time))
		return error_memory(err);
	return 0;
}

/* ---- one thing at a time ---- */

/* fd is taken. */
static int begin_file(struct tar *t, int fd, const struct stat *st, const char *name, mode_t mode, struct error *err)
{
	uint64_t size = (uint64_t)st->st_size;

	t->fd = fd;
	t->left = size;
	t->padding = (size_t)(size % BLOCK ? BLOCK - size % BLOCK : 0);
	return put_head(t, TAR_FILE, name, "", mode ? mode : st->st_mode, size, st->st_mtime, err);
}

static int open_folder(struct tar *t, int dir, const char *path, struct error *err)
{
	struct level *level = &t->levels[t->depth];
	int fd = t->depth == DEPTH_MAX ? (errno = ELOOP, -1)
				       : openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (t->depth ? O_NOFOLLOW : 0));
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || !(level->dir = fdopendir(fd))) {
		(void)error_errno(err, "%s", t->path.data);
		if (fd >= 0)
			(void)close(fd);
		return -1;
	}
	level->path_length = t->path.length;
	level->name_length = t->name.length;
	t->depth++;
	return put_head(t, TAR_FOLDER, t->name.data, "", st.st_mode, 0, st.st_mtime, err);
}

static void cut(struct buffer *b, size_t length)
{
	b->length = length;
	b->data[length] = '\0';
}

static int walk_one(struct tar *t, int dir, const char *entry, struct error *err)
{
	char target[PATH_MAX];
	struct stat st;
	ssize_t n;
	int fd;

	if (fstatat(dir, entry, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : error_errno(err, "%s", t->path.data);
	if (S_ISDIR(st.st_mode))
		return open_folder(t, dir, entry, err);
	if (S_ISLNK(st.st_mode)) {
		n = readlinkat(dir, entry, target, sizeof target - 1);
		if (n < 0)
			return errno == ENOENT ? 0 : error_errno(err, "%s", t->path.data);
		target[n] = '\0';
		return put_head(t, TAR_LINK, t->name.data, target, 0777, 0, st.st_mtime, err);
	}
	if (!S_ISREG(st.st_mode))
		return 0;
	fd = openat(dir, entry, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : error_errno(err, "%s", t->path.data);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		(void)close(fd);
		return 0;
	}
	return begin_file(t, fd, &st, t->name.data, 0, err);
}

static int walk(struct tar *t, struct error *err)
{
	struct level *level = &t->levels[t->depth - 1];
	const struct dirent *entry;

	cut(&t->path, level->path_length);
	cut(&t->name, level->name_length);
	errno = 0;
	entry = readdir(level->dir);
	if (!entry && errno)
		return error_errno(err, "%s", t->path.data);
	if (!entry) {
		(void)closedir(level->dir);
		t->depth--;
		return 0;
	}
	if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
		return 0;
	if (buffer_format(&t->path, "/%s", entry->d_name) || buffer_format(&t->name, "/%s", entry->d_name))
		return error_set(err, ENAMETOOLONG, "%s/%s: the path is too long", t->path.data, entry->d_name);
	return walk_one(t, dirfd(level->dir), entry->d_name, err);
}

static int begin_entry(struct tar *t, struct error *err)
{
	const struct entry *e = t->first;
	struct stat st;
	int fd;

	if (e->kind == TAR_LINK)
		return put_head(t, TAR_LINK, e->name, e->from, e->mode, 0, 0, err);
	if (e->kind == TAR_FOLDER) {
		buffer_clear(&t->path);
		buffer_clear(&t->name);
		if (buffer_text(&t->path, e->from) || buffer_text(&t->name, e->name))
			return error_memory(err);
		return open_folder(t, AT_FDCWD, e->from, err);
	}
	fd = open(e->from, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		if (fd >= 0)
			(void)close(fd);
		return fd < 0 ? error_errno(err, "%s", e->from) : error_set(err, EINVAL, "%s is not a file", e->from);
	}
	return begin_file(t, fd, &st, e->name, e->mode, err);
}

/* The next headers. */
static int go_on(struct tar *t, struct error *err)
{
	static const char zeros[2 * BLOCK];
	int result;

	if (t->depth)
		return walk(t, err);
	if (t->first) {
		result = begin_entry(t, err);
		drop_first(t);
		return result;
	}
	t->finished = true;
	return buffer_append(&t->head, zeros, sizeof zeros) ? error_memory(err) : 0;
}

static long read_file(struct tar *t, void *data, size_t n, struct error *err)
{
	ssize_t got = read(t->fd, data, n < t->left ? n : (size_t)t->left);

	if (got < 0)
		return error_errno(err, "a file that is copied");
	if (!got)
		return error_set(err, EIO, "a file became shorter while it was copied");
	t->left -= (uint64_t)got;
	return (long)got;
}

long tar_read(void *tar, void *data, size_t n, struct error *err)
{
	struct tar *t = tar;

	for (;;) {
		if (t->head.length) {
			size_t piece = t->head.length < n ? t->head.length : n;

			memcpy(data, t->head.data, piece);
			buffer_consume(&t->head, piece);
			return (long)piece;
		}
		if (t->fd >= 0 && t->left)
			return read_file(t, data, n, err);
		if (t->fd >= 0) {
			(void)close(t->fd);
			t->fd = -1;
		}
		if (t->padding) {
			size_t piece = t->padding < n ? t->padding : n;

			memset(data, 0, piece);
			t->padding -= piece;
			return (long)piece;
		}
		if (t->finished)
			return 0;
		if (go_on(t, err))
			return -1;
	}
}
