/* OPEN: a handle of the kind that a node is of, if its mode allows it. */
#include <errno.h>
#include <fcntl.h>

#include "fs/coming.h"
#include "fs/files.h"
#include "fs/named.h"
#include "fs/notify.h"

struct handle *open_node(const struct node *node, struct named *named, int flags, fuse_req_t request,
			 struct error *err)
{
	const struct kind *kind = named ? &scratch_kind : node->follow ? &follow_kind : file_kinds[node->row->kind];
	mode_t mode = named ? named->listed ? node->row->child->mode : 0600 : node->row->mode;
	int access = flags & O_ACCMODE;
	struct handle *h;

	if (node->object && node->object->removed) {
		(void)error_set(err, ENOENT, "it was removed");
		return NULL;
	}
	if ((access != O_RDONLY && !(mode & 0200)) || (access != O_WRONLY && !(mode & 0400)) ||
	    (flags & O_TRUNC && !(mode & 0200))) {
		(void)error_set(err, EACCES, "its mode is %03o", (unsigned)mode);
		return NULL;
	}
	if (named && named->listed)
		kind = file_kinds[node->row->child->kind];
	h = handle_make(kind, node, flags, request);
	if (!h) {
		(void)error_set(err, ENFILE, "too many open files");
		return NULL;
	}
	if (named) {
		h->named = named;
		named_open(named);
	}
	if (kind->open(h, err) < 0) {
		handle_free(h);
		return NULL;
	}
	return h;
}

static void open_again(fuse_req_t request, fuse_ino_t inode, const char *name, struct fuse_file_info *fi)
{
	(void)name;
	open_inode(request, inode, fi);
}

void open_inode(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct error err = { .code = ENOENT };
	struct handle *h = NULL;
	struct named *named;
	struct node node;

	if (!node_of(inode, &node, &named)) {
		if (coming_holds(&node, request, inode, NULL, fi, open_again))
			return;
		h = open_node(&node, named, fi->flags, request, &err);
	}
	if (!h) {
		fuse_reply_err(request, err.code);
		return;
	}
	handle_reply(h, fi);
	notify_known(inode);
	if (fuse_reply_open(request, fi) < 0) { /* interrupted: there will be no RELEASE */
		h->kind->release(h);
		handle_free(h);
	}
}
