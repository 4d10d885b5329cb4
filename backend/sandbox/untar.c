#include "backend/sandbox/untar.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/ids.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/inside.h"

#define BLOCK 512u
#define PIECE (128u * BLOCK)
#define TEXT_MAX (1u << 20)      /* of a pax header */
#define DISK_BLOCK 4096u         /* what the smallest file or folder takes of a disk, about */
#define PROGRESS_EVERY (8u << 20)
#define OPAQUE ".wh..wh..opq"

/* One entry: what its header and those before it say. */
struct entry {
	char type;
	char name[PATH_MAX], link[PATH_MAX];
	mode_t mode;
	uid_t uid;
	gid_t gid;
	uint64_t size;
	int64_t mtime;
	bool long_name, long_link, long_size; /* said by a header before */
};

struct reader {
	struct untar *u;
	int fd;
	char data[PIECE];
	size_t at, n;
	uint64_t since;          /* bytes since progress was told */
	char parent[PATH_MAX];   /* the folder that is open */
	int parent_fd;
};

/* ---- bytes ---- */

static int damaged(struct error *err)
{
	return error_set(err, EBADMSG, "the archive is damaged, or cut");
}

static int tell(struct reader *r, size_t n, struct error *err)
{
	r->since += n;
	if (r->since < PROGRESS_EVERY || !r->u->progress)
		return 0;
	r->since = 0;
	return r->u->progress(r->u->context, err);
}

/* At least one byte at r->at: 1, 0 at the end, -1. */
static int fill(struct reader *r, struct error *err)
{
	ssize_t n;

	if (r->at < r->n)
		return 1;
	do
		n = read(r->fd, r->data, sizeof r->data);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_errno(err, "the archive");
	r->at = 0;
	r->n = (size_t)n;
	return n > 0;
}

static int take(struct reader *r, void *to, size_t n, struct error *err)
{
	char *out = to;

	while (n) {
		size_t piece;
		int more = fill(r, err);

		if (more <= 0)
			return more < 0 ? -1 : damaged(err);
		piece = r->n - r->at < n ? r->n - r->at : n;
		memcpy(out, r->data + r->at, piece);
		r->at += piece;
		out += piece;
		n -= piece;
	}
	return 0;
}

/* Up to n bytes go to fd (-1: nowhere). */
static int pass(struct reader *r, int fd, uint64_t n, struct error *err)
{
	while (n) {
		size_t piece;
		int more = fill(r, err);

		if (more <= 0)
			return more < 0 ? -1 : damaged(err);
		piece = r->n - r->at < n ? r->n - r->at : (size_t)n;
		if ((fd >= 0 && file_write_all(fd, r->data + r->at, piece, err)) || tell(r, piece, err))
			return -1;
		r->at += piece;
		n -= piece;
	}
	return 0;
}

static int skip_padding(struct reader *r, uint64_t size, struct error *err)
{
	return pass(r, -1, (BLOCK - size % BLOCK) % BLOCK, err);
}

/* ---- headers ---- */

/* Octal digits, or GNU's big-endian number with the first bit set. */
static bool number(const char *field, size_t n, uint64_t *value)
{
	*value = 0;
	if ((unsigned char)field[0] & 0x80) {
		if ((unsigned char)field[0] & 0x40)
			return true; /* negative: a time before 1970 */
		for (size_t i = 1; i < n; i++) {
			if (*value >> 55)
				return false;
			*value = *value << 8 | (unsigned char)field[i];
		}
		return true;
	}
	for (size_t i = 0; i < n && field[i]; i++) {
		if (field[i] == ' ')
			continue;
		if (field[i] < '0' || field[i] > '7' || *value >> 60)
			return false;
		*value = *value << 3 | (uint64_t)(field[i] - '0');
	}
	return true;
}

static bool checksum_fits(const char *block)
{
	uint64_t told;
	unsigned sum = 0;

	for (size_t i = 0; i < BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : (unsigned char)block[i];
	return number(block + 148, 8, &told) && told == sum;
}

static int read_header(const char *block, struct entry *e, struct error *err)
{
	uint64_t mode, uid, gid, size, mtime;
	bool ustar = !memcmp(block + 257, "ustar", 6);

	if (!checksum_fits(block) || !number(block + 100, 8, &mode) || !number(block + 108, 8, &uid) ||
	    !number(block + 116, 8, &gid) || !number(block + 124, 12, &size) || !number(block + 136, 12, &mtime) || size >> 62)
		return damaged(err);
	e->type = block[156] ? block[156] : '0';
	e->mode = (mode_t)(mode & 07777);
	e->uid = (uid_t)uid;
	e->gid = (gid_t)gid;
	if (!e->long_size)
		e->size = size;
	e->mtime = (int64_t)(mtime >> 60 ? 0 : mtime);
	if (!e->long_name)
		(void)snprintf(e->name, sizeof e->name, "%.*s%s%.100s", ustar ? 155 : 0, block + 345, ustar && block[345] ? "/" : "", block);
	if (!e->long_link)
		(void)snprintf(e->link, sizeof e->link, "%.100s", block + 157);
	return 0;
}

static int read_text(struct reader *r, uint64_t size, struct buffer *text, struct error *err)
{
	if (size > TEXT_MAX)
		return error_set(err, EINVAL, "the archive has a header of %llu bytes", (unsigned long long)size);
	if (buffer_reserve(text, (size_t)size))
		return error_memory(err);
	if (take(r, text->data, (size_t)size, err))
		return -1;
	text->length = (size_t)size;
	text->data[size] = '\0';
	return skip_padding(r, size, err);
}

static int keep_path(char out[PATH_MAX], bool *kept, const char *text, size_t n, struct error *err)
{
	if (n >= PATH_MAX || memchr(text, '\0', n))
		return error_set(err, EINVAL, "the archive has a path that is too long, or has a NUL in it");
	memcpy(out, text, n);
	out[n] = '\0';
	*kept = true;
	return 0;
}

/* "LENGTH KEY=VALUE\n"… */
static int read_pax(const struct buffer *text, struct entry *e, struct error *err)
{
	const char *at = text->data, *end = at + text->length;

	while (at < end) {
		char *space, *digits;
		unsigned long n = strtoul(at, &space, 10);
		const char *value, *key = space + 1;

		if (!isdigit((unsigned char)*at) || *space != ' ' || n > (size_t)(end - at) || key > at + n || at[n - 1] != '\n')
			return damaged(err);
		value = memchr(key, '=', (size_t)(at + n - key));
		if (!value)
			return damaged(err);
		value++;
		if (!strncmp(key, "path=", 5)) {
			if (keep_path(e->name, &e->long_name, value, (size_t)(at + n - 1 - value), err))
				return -1;
		} else if (!strncmp(key, "linkpath=", 9)) {
			if (keep_path(e->link, &e->long_link, value, (size_t)(at + n - 1 - value), err))
				return -1;
		} else if (!strncmp(key, "size=", 5)) {
			e->size = strtoull(value, &digits, 10);
			e->long_size = true;
			if (!isdigit((unsigned char)*value) || *digits != '\n' || e->size >> 62)
				return damaged(err);
		} else if (!strncmp(key, "GNU.sparse", 10)) {
			return error_set(err, EINVAL, "the archive has a sparse file, which is not supported");
		}
		at += n;
	}
	return 0;
}

/* ---- what it costs ---- */

/* One more file, folder or link, of so many bytes. */
static int charge(struct reader *r, uint64_t size, struct error *err)
{
	uint64_t cost = (size / DISK_BLOCK + 1) * DISK_BLOCK;

	if (!r->u->entries)
		return error_set(err, EFBIG, "the archive has more entries than there is room for");
	if (cost > r->u->room)
		return error_set(err, EFBIG, "the archive unpacks to more than there is room for");
	r->u->entries--;
	r->u->room -= cost;
	return 0;
}

/* ---- where it goes ---- */

/* The path without what is empty or `.`; refused with `..`. "" for the folder itself. */
static int clean(char path[PATH_MAX], struct error *err)
{
	char *out = path;
	const char *at = path;

	while (*at) {
		size_t n = strcspn(at, "/");

		if (n == 2 && !strncmp(at, "..", 2))
			return error_set(err, EINVAL, "the archive is refused: it has a name with `..`: %.200s", path);
		if (n > NAME_MAX)
			return error_set(err, EINVAL, "the archive has a name that is too long");
		if (n && !(n == 1 && *at == '.')) {
			if (out > path)
				*out++ = '/';
			memmove(out, at, n);
			out += n;
		}
		at += n;
		at += strspn(at, "/");
	}
	*out = '\0';
	return 0;
}

/* Those that the archive does not name: a few bytes of it could stand for thousands. */
static int make_folders(struct reader *r, const char *path, struct error *err)
{
	for (const char *slash = strchr(path, '/');; slash = strchr(slash + 1, '/')) {
		cleanup_free char *part = strndup(path, slash ? (size_t)(slash - path) : strlen(path));
		char *last = part ? strrchr(part, '/') : NULL;
		cleanup_close int above = -1;

		if (!part)
			return error_memory(err);
		if (last)
			*last = '\0';
		above = inside_open(r->u->root, last ? part : "/", O_PATH | O_DIRECTORY, 0, INSIDE_LINKS);
		if (above < 0)
			return error_errno(err, "%s", path);
		if (!mkdirat(above, last ? last + 1 : part, 0755)) {
			if (charge(r, 0, err))
				return -1;
		} else if (errno != EEXIST) {
			return error_errno(err, "%s", path);
		}
		if (!slash)
			return 0;
	}
}

/* The folder in which `path` is; *name its last part. Borrowed until the next one. */
static int open_parent(struct reader *r, const char *path, const char **name, struct error *err)
{
	const char *slash = strrchr(path, '/');
	char parent[PATH_MAX];

	(void)snprintf(parent, sizeof parent, "%.*s", (int)(slash ? slash - path : 0), path);
	*name = slash ? slash + 1 : path;
	if (r->parent_fd >= 0 && !strcmp(parent, r->parent))
		return r->parent_fd;
	if (r->parent_fd >= 0)
		(void)close(r->parent_fd);
	r->parent_fd = inside_open(r->u->root, *parent ? parent : "/", O_PATH | O_DIRECTORY, 0, INSIDE_LINKS);
	if (r->parent_fd < 0 && errno == ENOENT) {
		if (make_folders(r, parent, err))
			return -1;
		r->parent_fd = inside_open(r->u->root, parent, O_PATH | O_DIRECTORY, 0, INSIDE_LINKS);
	}
	if (r->parent_fd < 0)
		return error_errno(err, "%s", parent);
	memcpy(r->parent, parent, sizeof parent);
	return r->parent_fd;
}

/* A folder may be in the way of the one that is open. */
static void forget_parent(struct reader *r)
{
	if (r->parent_fd >= 0)
		(void)close(r->parent_fd);
	r->parent_fd = -1;
}

/* ---- entries ---- */

static int give_away(const struct reader *r, int parent, const char *name, const struct entry *e, struct error *err)
{
	const struct ids *ids = r->u->ids;
	uint32_t user = e->uid, group = e->gid;
	bool known[2] = { true, true };

	if (ids) {
		user = ids_outside(&ids->users, r->u->of_here ? ids_inside(&ids->users, user) : user, &known[0]);
		group = ids_outside(&ids->groups, r->u->of_here ? ids_inside(&ids->groups, group) : group, &known[1]);
	}
	r->u->foreign += !known[0] || !known[1];
	return fchownat(parent, name, user, group, AT_SYMLINK_NOFOLLOW) ? error_errno(err, "%s", e->name) : 0;
}

static int finish(const struct reader *r, int parent, const char *name, const struct entry *e, struct error *err)
{
	struct timespec times[2] = { { .tv_sec = e->mtime }, { .tv_sec = e->mtime } };
	mode_t mode = e->mode;
	bool link = e->type == '2';

	if (r->u->owners && give_away(r, parent, name, e, err))
		return -1;
	if (!r->u->owners)
		mode = (mode & 0777) | (e->type == '5' ? 0700 : 0600);
	if (!link && fchmodat(parent, name, mode, 0))
		return error_errno(err, "%s", e->name);
	return utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) ? error_errno(err, "%s", e->name) : 0;
}

/* What is there already goes, but for a folder where a folder comes. 1: that one. */
static int clear(int parent, const char *name, bool folder, struct error *err)
{
	struct stat st;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : error_errno(err, "%s", name);
	if (S_ISDIR(st.st_mode) && folder)
		return 1;
	if (!S_ISDIR(st.st_mode))
		return unlinkat(parent, name, 0) ? error_errno(err, "%s", name) : 0;
	return file_remove_tree(parent, name, err);
}

static int make_file(struct reader *r, int parent, const char *name, const struct entry *e, struct error *err)
{
	cleanup_close int fd = -1;

	if (clear(parent, name, false, err) < 0)
		return -1;
	fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, "%s", e->name);
	if (pass(r, fd, e->size, err) || skip_padding(r, e->size, err))
		return -1;
	return finish(r, parent, name, e, err);
}

static int make_hard_link(struct reader *r, int parent, const char *name, struct entry *e, struct error *err)
{
	cleanup_free char *above = NULL;
	cleanup_close int from = -1;
	const char *slash, *last;
	struct stat st;

	if (clean(e->link, err))
		return -1;
	slash = strrchr(e->link, '/');
	last = slash ? slash + 1 : e->link;
	above = slash ? strndup(e->link, (size_t)(slash - e->link)) : strdup("/");
	if (!above)
		return error_memory(err);
	from = inside_open(r->u->root, above, O_PATH | O_DIRECTORY, 0, INSIDE_LINKS);
	if (from < 0 || fstatat(from, last, &st, AT_SYMLINK_NOFOLLOW) || S_ISDIR(st.st_mode))
		return error_set(err, EINVAL, "the archive has a link to what it does not hold: %.200s", e->link);
	if (clear(parent, name, false, err) < 0)
		return -1;
	return linkat(from, last, parent, name, 0) ? error_errno(err, "%s", e->name) : 0;
}

static int make_folder(struct reader *r, int parent, const char *name, const struct entry *e, struct error *err)
{
	int there = clear(parent, name, true, err);

	if (there < 0)
		return -1;
	if (!there && mkdirat(parent, name, 0700))
		return error_errno(err, "%s", e->name);
	return finish(r, parent, name, e, err);
}

/* All that earlier layers have in the folder that is open. */
static int empty(struct reader *r, int parent, struct error *err)
{
	cleanup_free char *path = strdup(r->parent);
	char *slash = path ? strrchr(path, '/') : NULL;
	cleanup_close int above = -1;
	struct stat st;
	const char *name;

	if (!path)
		return error_memory(err);
	if (!*path)
		return error_set(err, EINVAL, "the archive empties its own root");
	if (fstat(parent, &st))
		return error_errno(err, "%s", path);
	if (slash)
		*slash = '\0';
	name = slash ? slash + 1 : path;
	above = inside_open(r->u->root, slash ? path : "/", O_PATH | O_DIRECTORY, 0, INSIDE_LINKS);
	forget_parent(r);
	if (above < 0 || file_remove_tree(above, name, err) || mkdirat(above, name, st.st_mode & 07777))
		return error_errno(err, "%s", name);
	return r->u->owners && fchownat(above, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) ? error_errno(err, "%s", name) : 0;
}

static int white_out(struct reader *r, int parent, const char *name, struct error *err)
{
	if (!strcmp(name, OPAQUE))
		return empty(r, parent, err);
	name += 4;
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return error_set(err, EINVAL, "the archive removes what has no name");
	return file_remove_tree(parent, name, err);
}

static int make_entry(struct reader *r, struct entry *e, struct error *err)
{
	const char *name;
	int parent;

	if (clean(e->name, err))
		return -1;
	/* The folder itself. Where it is the user's, so is all that the user has put into the archive. */
	if (!*e->name && r->u->ids && e->uid == r->u->ids->users.own)
		r->u->of_here = true;
	if (!*e->name)
		return pass(r, -1, e->size, err) || skip_padding(r, e->size, err) ? -1 : 0;
	parent = open_parent(r, e->name, &name, err);
	if (parent < 0)
		return -1;
	if (r->u->whiteouts && !strncmp(name, ".wh.", 4))
		return white_out(r, parent, name, err) || pass(r, -1, e->size, err) || skip_padding(r, e->size, err) ? -1 : 0;
	switch (e->type) {
	case '0':
	case '7':
		return make_file(r, parent, name, e, err);
	case '1':
		return make_hard_link(r, parent, name, e, err);
	case '2':
		if (clear(parent, name, false, err) < 0)
			return -1;
		return symlinkat(e->link, parent, name) ? error_errno(err, "%s", e->name) : finish(r, parent, name, e, err);
	case '5':
		return make_folder(r, parent, name, e, err);
	case '3':
	case '4':
	case '6':
		r->u->left_out++;
		return pass(r, -1, e->size, err) || skip_padding(r, e->size, err) ? -1 : 0;
	default:
		return error_set(err, EINVAL, "the archive has an entry of a kind '%c' that is not supported: %.200s",
				 isprint((unsigned char)e->type) ? e->type : '?', e->name);
	}
}

/* A header that says something of the next entry. 1: it was one. */
static int take_extension(struct reader *r, struct entry *e, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(TEXT_MAX);
	uint64_t size = e->size;

	if (!strchr("LKxg", e->type))
		return 0;
	e->long_size = false;
	if (read_text(r, size, &text, err))
		return -1;
	if (e->type == 'g')
		return 1;
	if (e->type == 'x')
		return read_pax(&text, e, err) ? -1 : 1;
	size = strnlen(text.data ? text.data : "", text.length);
	return keep_path(e->type == 'L' ? e->name : e->link, e->type == 'L' ? &e->long_name : &e->long_link,
			 text.data ? text.data : "", (size_t)size, err) ? -1 : 1;
}

static int read_entries(struct reader *r, struct entry *e, struct error *err)
{
	static const char zeros[BLOCK];
	char block[BLOCK];

	for (;;) {
		int more = fill(r, err);

		if (more <= 0)
			return more < 0 ? -1 : damaged(err); /* an archive ends with zeros */
		if (take(r, block, sizeof block, err))
			return -1;
		if (!memcmp(block, zeros, sizeof block))
			return 0;
		if (read_header(block, e, err))
			return -1;
		more = take_extension(r, e, err);
		if (more < 0)
			return -1;
		if (more)
			continue;
		if (tell(r, BLOCK * 8, err) || charge(r, strchr("07", e->type) ? e->size : 0, err) || make_entry(r, e, err))
			return -1;
		e->long_name = e->long_link = e->long_size = false;
	}
}

int untar(struct untar *u, int fd, struct error *err)
{
	cleanup_free struct reader *r = calloc(1, sizeof *r);
	cleanup_free struct entry *e = calloc(1, sizeof *e);
	int result;

	if (!r || !e)
		return error_memory(err);
	r->u = u;
	r->fd = fd;
	r->parent_fd = -1;
	result = read_entries(r, e, err);
	/* What feeds a pipe is let end by itself. */
	while (!result && fill(r, err) > 0)
		r->at = r->n;
	forget_parent(r);
	return result;
}
