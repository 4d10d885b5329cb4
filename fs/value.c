/* Values: what is recorded, read only. Each open has a snapshot: the rendered text, or a descriptor
 * of the backing file, which runners replace as a whole. What the kernel may keep has none. Also the files of listed folders. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/assembly.h"
#include "fs/files.h"
#include "fs/named.h"

#define VALUE_MAX (64u << 20)

static int backing_path(const struct node *node, const struct named *named, char *path, size_t size)
{
	char folder[PATH_MAX];

	if (!named)
		return tree_path(node, path, size);
	if (!named->name || tree_path(node, folder, sizeof folder) < 0 ||
	    (size_t)snprintf(path, size, "%s/%s", folder, named->name) >= size)
		return -1;
	return 0;
}

static void stat_backing(const struct node *node, const struct named *named, struct stat *st)
{
	char path[PATH_MAX];
	struct stat found;
	int folder = tree_folder(node);

	if (folder < 0 || backing_path(node, named, path, sizeof path) < 0 ||
	    fstatat(folder, path, &found, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(found.st_mode))
		return;
	st->st_size = found.st_size;
	st->st_mtim = found.st_mtim;
}

void listed_stat(const struct named *named, struct stat *st)
{
	stat_backing(&named->directory, named, st);
}

static void value_stat(const struct node *node, struct stat *st)
{
	struct buffer text = BUFFER(VALUE_MAX);
	struct error err;

	if (node->row->measure)
		node->row->measure(node, st);
	else if (!node->row->render)
		stat_backing(node, NULL, st);
	else if (!node->row->render(node, &text, &err))
		st->st_size = (off_t)text.length;
	buffer_free(&text);
}

static int value_open(struct handle *h, struct error *err)
{
	int folder = tree_folder(&h->node);
	char path[PATH_MAX];

	h->text.limit = VALUE_MAX;
	if (handle_caches(h))
		return 0; /* rendered when it is read */
	if (!h->named && h->node.row->assemble)
		return assembly_open(h, err);
	if (!h->named && h->node.row->render)
		return h->node.row->render(&h->node, &h->text, err);
	if (folder < 0 || backing_path(&h->node, h->named, path, sizeof path) < 0)
		return error_errno(err, "%s", h->node.row->name);
	h->fd = openat(folder, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (h->fd < 0 && errno != ENOENT) /* nothing recorded yet: it is empty */
		return error_errno(err, "%s", path);
	return 0;
}

static void reply_from_file(struct handle *h, fuse_req_t request, size_t size, off_t offset)
{
	struct fuse_bufvec out = FUSE_BUFVEC_INIT(size);

	out.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	out.buf[0].fd = h->fd;
	out.buf[0].pos = offset;
	fuse_reply_data(request, &out, FUSE_BUF_NO_SPLICE);
}

static void value_read(struct handle *h, fuse_req_t request, size_t size, off_t offset)
{
	struct error err;
	size_t n;

	if (h->node.row->assemble && assembly_parks(h, request, size, offset))
		return;
	if (handle_caches(h)) {
		buffer_clear(&h->text);
		if (h->node.row->render(&h->node, &h->text, &err) < 0) {
			fuse_reply_err(request, err.code);
			return;
		}
	}
	n = (size_t)offset < h->text.length ? h->text.length - (size_t)offset : 0;
	if (h->fd < 0)
		fuse_reply_buf(request, n ? h->text.data + offset : NULL, n < size ? n : size);
	else
		reply_from_file(h, request, size, offset);
}

static void value_release(struct handle *h)
{
	if (h->node.row->assemble && h->data)
		assembly_close(h);
}

struct kind value_kind = { .mode = 0444, .stat = value_stat, .open = value_open, .read = value_read,
			   .release = value_release };
