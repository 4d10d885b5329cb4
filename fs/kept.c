#include "fs/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fs/mount.h"
#include "fs/named.h"
#include "fs/notify.h"
#include "fs/supervise.h"

static bool is_kept_folder(const struct node *directory)
{
	const struct row *row = directory->row;

	return directory->object && row->listing == LIST_FILES && row->child->kind == FILE_KEPT;
}

/* vim's 4913 and NAME~, emacs' #NAME#, all that is hidden: gone in a moment. */
static bool is_scratch_name(const char *name)
{
	size_t n = strlen(name);

	return !n || *name == '.' || *name == '#' || name[n - 1] == '~' || name[strspn(name, "0123456789")] == '\0';
}

static bool is_row(const struct node *directory, const char *name)
{
	for (const struct row *row = directory->row->rows; row && row->name; row++)
		if (!strcmp(row->name, name))
			return true;
	return false;
}

bool kept_takes(const struct node *directory, const char *name)
{
	return is_kept_folder(directory) && strlen(name) <= 255 && !is_scratch_name(name) && !is_row(directory, name);
}

/* ---- changes of the disk ---- */

struct change {
	fuse_req_t request;    /* NULL: nobody waits */
	fuse_ino_t resized;    /* it is a truncate(2), which gets this one's attributes */
	struct object *object; /* pinned */
	int folder;            /* the object's, owned */
	char directory[256], name[NAME_MAX + 1], to[NAME_MAX + 1];
	char *text;            /* owned; NULL: it is removed, or renamed to `to` */
	size_t length;
};

static int work(void *data, struct error *err)
{
	struct change *c = data;
	char path[PATH_MAX], to[PATH_MAX];

	(void)snprintf(path, sizeof path, "%s/%s", c->directory, c->name);
	(void)snprintf(to, sizeof to, "%s/%s", c->directory, c->to);
	if (c->text)
		return file_make_folders(c->folder, c->directory, 0700, err) ||
		       file_replace(c->folder, path, c->text, c->length, 0600, true, err) ? -1 : 0;
	if ((*c->to ? renameat(c->folder, path, c->folder, to) : unlinkat(c->folder, path, 0)) < 0 && errno != ENOENT)
		return error_errno(err, "%s", c->name);
	return file_sync_folder(c->folder, c->directory, err);
}

static void finish(void *data, int result, const struct error *error)
{
	struct change *c = data;

	if (result)
		refuse(c->object, error);
	tree_changed(c->object, c->directory);
	supervise_poke(mount_supervisor(), c->object->kind, c->object->serial);
	if (c->request && !result && c->resized)
		reply_attributes(c->request, c->resized, NULL);
	else if (c->request)
		fuse_reply_err(c->request, result ? error->code : 0);
	object_unpin(c->object);
	(void)close(c->folder);
	free(c->text);
	free(c);
}

/* text NULL: none is written. */
static void submit(fuse_req_t request, fuse_ino_t resized, const struct node *directory, const char *name, const char *to,
		   const struct buffer *text)
{
	struct change *c = calloc(1, sizeof *c);
	int folder = object_folder_fd(directory->object);

	if (c) {
		*c = (struct change){ .request = request, .resized = resized, .object = directory->object, .folder = -1,
				      .text = text ? malloc(text->length + 1) : NULL, .length = text ? text->length : 0 };
		(void)snprintf(c->name, sizeof c->name, "%s", name);
		(void)snprintf(c->to, sizeof c->to, "%s", to ? to : "");
		c->folder = folder < 0 ? -1 : fcntl(folder, F_DUPFD_CLOEXEC, 0);
		if (c->text && text->length)
			memcpy(c->text, text->data, text->length);
	}
	if (c && (c->text || !text) && c->folder >= 0 && !tree_path(directory, c->directory, sizeof c->directory)) {
		object_pin(directory->object);
		if (!in_storage(work, finish, c))
			return;
		object_unpin(directory->object);
	}
	if (c && c->folder >= 0)
		(void)close(c->folder);
	if (c)
		free(c->text);
	free(c);
	if (request)
		fuse_reply_err(request, ENOMEM);
}

static int read_kept(const struct node *directory, const char *name, struct buffer *text, struct error *err)
{
	int folder = tree_folder(directory);
	char path[256], whole[PATH_MAX];

	if (folder < 0 || tree_path(directory, path, sizeof path) < 0)
		return error_errno(err, "%s", name);
	(void)snprintf(whole, sizeof whole, "%s/%s", path, name);
	return file_read(folder, whole, text, err);
}

/* ---- the folder's operations ---- */

struct named *kept_create(const struct node *directory, const char *name)
{
	int folder = tree_folder(directory);
	char path[256], whole[PATH_MAX];
	struct named *named = named_find(directory, name);
	cleanup_close int fd = -1;
	struct error err = { .code = EIO };

	if (folder < 0 || tree_path(directory, path, sizeof path) < 0 || file_make_folders(folder, path, 0700, &err) < 0) {
		errno = err.code;
		return NULL;
	}
	(void)snprintf(whole, sizeof whole, "%s/%s", path, name);
	fd = openat(folder, whole, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return NULL;
	tree_changed(directory->object, path);
	return named ? named : named_make(directory, name, true);
}

void kept_put(fuse_req_t request, const struct node *directory, const char *name, const struct buffer *text)
{
	submit(request, 0, directory, name, NULL, text);
}

void kept_remove(fuse_req_t request, const struct node *directory, const char *name)
{
	struct named *named = named_find(directory, name);

	if (named)
		named_unlink(named);
	submit(request, 0, directory, name, NULL, NULL);
}

void kept_resize(fuse_req_t request, struct named *named, off_t size)
{
	cleanup_buffer struct buffer text = BUFFER(DOCUMENT_MAX);
	struct error err;
	int code = !named->name ? ENOENT : read_kept(&named->directory, named->name, &text, &err) < 0 ? err.code :
		   size < 0 || (size_t)size > text.limit ? EFBIG : text_resize(&text, (size_t)size);

	if (code)
		fuse_reply_err(request, code);
	else
		submit(request, named->inode, &named->directory, named->name, NULL, &text);
}

/* A scratch file gets a name under which it is kept. */
static void keep(fuse_req_t request, const struct node *directory, struct named *named, const char *to)
{
	struct named *over = named_find(directory, to);

	if (over && over != named)
		named_unlink(over);
	if (named_rename(named, to, true) < 0) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	submit(request, 0, directory, to, NULL, &named->text);
	buffer_free(&named->text);
}

struct named *kept_lift(const struct node *directory, const char *name)
{
	struct named *named = named_find(directory, name);
	struct error err;

	if (!named)
		named = named_make(directory, name, true);
	if (!named)
		return NULL;
	buffer_clear(&named->text);
	if (read_kept(directory, name, &named->text, &err) < 0) {
		errno = err.code;
		return NULL;
	}
	if (named_rename(named, name, false) < 0) {
		errno = ENOMEM;
		return NULL;
	}
	return named;
}

/* A kept file becomes an editor's backup. */
static void let_go(fuse_req_t request, const struct node *directory, const char *name, const char *to)
{
	struct named *named = kept_lift(directory, name), *over = named_find(directory, to);

	if (!named) {
		fuse_reply_err(request, errno);
		return;
	}
	if (over)
		named_unlink(over);
	if (named_rename(named, to, false) < 0) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	submit(request, 0, directory, name, NULL, NULL);
}

bool kept_rename(fuse_req_t request, const struct node *directory, const char *name, const char *to)
{
	struct named *named = named_find(directory, name), *over;
	struct node from;

	if (!is_kept_folder(directory) || is_row(directory, name) || is_row(directory, to))
		return false;
	if (named && !named->listed) {
		if (!kept_takes(directory, to))
			return false;
		keep(request, directory, named, to);
	} else if (tree_find(directory, name, &from) < 0) {
		return false;
	} else if (!kept_takes(directory, to)) {
		let_go(request, directory, name, to);
	} else {
		over = named_find(directory, to);
		if (over)
			named_unlink(over);
		if (named && named_rename(named, to, true) < 0)
			fuse_reply_err(request, ENOMEM);
		else
			submit(request, 0, directory, name, to, NULL);
	}
	return true;
}

/* ---- open files ---- */

/* handle->data of one that writes. */
struct writer {
	bool dirty;
};

static int kept_open(struct handle *h, struct error *err)
{
	struct writer *w;

	if (!handle_writes(h))
		return file_kinds[FILE_VALUE]->open(h, err);
	h->text.limit = DOCUMENT_MAX;
	if (!(h->flags & O_TRUNC) && (!h->named->name || read_kept(&h->node, h->named->name, &h->text, err) < 0))
		return h->named->name ? -1 : error_set(err, ENOENT, "it was removed");
	w = calloc(1, sizeof *w);
	if (!w)
		return error_memory(err);
	w->dirty = h->flags & O_TRUNC;
	h->data = w;
	return 0;
}

static void kept_read(struct handle *h, fuse_req_t request, size_t size, off_t offset)
{
	size_t n = (size_t)offset < h->text.length ? h->text.length - (size_t)offset : 0;

	if (h->data)
		fuse_reply_buf(request, n ? h->text.data + offset : NULL, n < size ? n : size);
	else
		file_kinds[FILE_VALUE]->read(h, request, size, offset);
}

static void kept_write(struct handle *h, fuse_req_t request, const char *data, size_t n, off_t offset)
{
	struct writer *w = h->data;
	int code = text_put(&h->text, data, n, h->flags & O_APPEND ? (off_t)h->text.length : offset);

	w->dirty = true;
	if (code)
		fuse_reply_err(request, code);
	else
		fuse_reply_write(request, n);
}

static void put(struct handle *h, fuse_req_t request)
{
	struct writer *w = h->data;

	if (!w || !w->dirty || !h->named->name || !h->named->listed) {
		if (request)
			fuse_reply_err(request, 0);
		return;
	}
	w->dirty = false;
	submit(request, 0, &h->node, h->named->name, NULL, &h->text);
}

static void kept_flush(struct handle *h, fuse_req_t request) { put(h, request); }
static void kept_sync(struct handle *h, fuse_req_t request) { put(h, request); }

static int kept_truncate(struct handle *h, off_t size)
{
	struct writer *w = h->data;
	int code = !w ? EBADF : size < 0 || (size_t)size > h->text.limit ? EFBIG : text_resize(&h->text, (size_t)size);

	if (!code)
		w->dirty = true;
	return code;
}

static void kept_release(struct handle *h)
{
	put(h, NULL);
	free(h->data);
	h->data = NULL;
}

struct kind kept_kind = { .mode = 0644, .flushes = true, .open = kept_open, .read = kept_read, .write = kept_write,
			  .flush = kept_flush, .sync = kept_sync, .truncate = kept_truncate, .release = kept_release };
