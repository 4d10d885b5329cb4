/* What stat(2) says: true sizes and times, from memory or one stat of a backing file; and what sets it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/files.h"
#include "fs/kept.h"
#include "fs/mount.h"
#include "fs/named.h"

#define BLOCK 4096
#define LINK_MAX_TARGET 4096

static nlink_t count_links(const struct node *node)
{
	const struct row *row = node->row;
	nlink_t links = 2;

	if (row->listing == LIST_NUMBERS || row->listing == LIST_NAMED)
		return 1; /* not counted, as find(1) and others understand it */
	for (struct row *r = row->rows; r && r->name; r++)
		links += (r->kind == FILE_DIRECTORY || r->kind == FILE_TREE) && !r->unlisted;
	if (row->listing == LIST_OBJECTS)
		links += objects_count(row->objects);
	return links;
}

static void common_attributes(struct stat *st, uint64_t inode, mode_t mode)
{
	static uid_t user; /* asked once: a listing of 10,000 would ask as often */
	static gid_t group;
	static bool asked;

	if (!asked) {
		user = getuid();
		group = getgid();
		asked = true;
	}
	st->st_ino = inode;
	st->st_mode = mode;
	st->st_nlink = 1;
	st->st_uid = user;
	st->st_gid = group;
	st->st_blksize = BLOCK;
}

static void finish_attributes(struct stat *st)
{
	st->st_blocks = (st->st_size + 511) / 512;
	st->st_ctim = st->st_atim = st->st_mtim;
}

static off_t link_size(const struct node *node)
{
	struct buffer target = BUFFER(BLOCK);
	struct error err;
	off_t size = 0;

	if (node->row->render && !node->row->render(node, &target, &err))
		size = (off_t)target.length;
	buffer_free(&target);
	return size;
}

/* A folder's time is that of what is in it; an object's is when anything of it changed. */
static void time_of_folder(const struct node *node, struct stat *st)
{
	const struct row *row = node->row;
	char path[512];
	struct stat found;
	int folder;

	if (row->listing == LIST_OBJECTS) {
		if (objects_changed(row->objects).tv_sec)
			st->st_mtim = objects_changed(row->objects);
	} else if (row->listing == LIST_NUMBERS || row->listing == LIST_NAMED || row->listing == LIST_FILES || node->index) {
		folder = tree_folder(node);
		if (folder >= 0 && !tree_path(node, path, sizeof path) && !fstatat(folder, path, &found, AT_SYMLINK_NOFOLLOW))
			st->st_mtim = found.st_mtim;
	}
}

void attributes_of(const struct node *node, struct stat *st)
{
	const struct row *row = node->row;
	bool folder = row->kind == FILE_DIRECTORY || row->kind == FILE_TREE;

	memset(st, 0, sizeof *st);
	common_attributes(st, tree_inode(node), S_IFREG | row->mode);
	st->st_mtim = !node->object ? mount_began() : folder ? node->object->changed : object_made(node->object);
	if (folder) {
		st->st_mode = S_IFDIR | row->mode;
		st->st_nlink = row->kind == FILE_TREE ? 2 : count_links(node);
		time_of_folder(node, st);
	} else if (row->kind == FILE_LINK) {
		st->st_mode = S_IFLNK | 0777;
		st->st_size = link_size(node);
	} else {
		(node->follow ? &follow_kind : file_kinds[row->kind])->stat(node, st);
	}
	finish_attributes(st);
}

void attributes_of_named(struct named *named, struct stat *st)
{
	memset(st, 0, sizeof *st);
	common_attributes(st, named->inode, S_IFREG | named->mode);
	if (named->listed) {
		st->st_mode = S_IFREG | named->directory.row->child->mode;
		listed_stat(named, st);
	} else {
		st->st_size = (off_t)named->text.length;
		st->st_mtim = named->changed;
	}
	finish_attributes(st);
}

void reply_attributes(fuse_req_t request, fuse_ino_t inode, const struct fuse_file_info *fi)
{
	struct handle *h = fi ? handle_of(fi->fh) : NULL;
	struct named *named;
	struct node node;
	struct stat st;
	double time = 0;

	if (node_of(inode, &node, &named) < 0) {
		fuse_reply_err(request, ENOENT);
		return;
	}
	if (named) {
		attributes_of_named(named, &st);
	} else {
		attributes_of(&node, &st);
		time = cache_time(&node);
		note_known(&node, time);
		/* The one who writes sees the text as it will be. */
		if (h && handle_writes(h) && row_takes_text(node.row))
			st.st_size = (off_t)h->text.length;
	}
	fuse_reply_attr(request, &st, time);
}

static void truncate_node(fuse_req_t request, fuse_ino_t inode, const struct node *node, off_t size)
{
	struct buffer text = BUFFER(DOCUMENT_MAX);
	struct error err;

	int code = size < 0 || (size_t)size > text.limit ? EFBIG : node_read(node, &text, &err) < 0 ? err.code : 0;

	if (!code && (size_t)size == text.length)
		reply_attributes(request, inode, NULL);
	else if (code || (code = text_resize(&text, (size_t)size)))
		fuse_reply_err(request, code);
	else
		document_put(node, text.data, text.length, (struct awaiting){ request, inode });
	buffer_free(&text);
}

void node_setattr(fuse_req_t request, fuse_ino_t inode, const struct stat *st, int set,
		  const struct fuse_file_info *fi)
{
	struct handle *h = fi ? handle_of(fi->fh) : NULL;
	struct named *named;
	struct node node;

	if (node_of(inode, &node, &named) < 0) {
		fuse_reply_err(request, ENOENT);
		return;
	}
	if (set & FUSE_SET_ATTR_SIZE) {
		int code = 0;

		if (h)
			code = h->kind->truncate(h, st->st_size);
		else if (named && !named->listed)
			code = scratch_resize(named, st->st_size);
		else if (named && node.row->child->kind == FILE_KEPT) {
			kept_resize(request, named, st->st_size);
			return;
		} else if (!named && node.row->kind == FILE_DOCUMENT) {
			truncate_node(request, inode, &node, st->st_size);
			return;
		} else if (named || !(node.row->mode & 0200)) {
			struct stat now;

			/* A watcher's helper sets the size that it is: no harm. */
			if (named)
				attributes_of_named(named, &now);
			else
				attributes_of(&node, &now);
			code = st->st_size == now.st_size ? 0 : EACCES;
		}
		if (code) {
			fuse_reply_err(request, code);
			return;
		}
	}
	if (named && set & FUSE_SET_ATTR_MODE)
		named->mode = st->st_mode & 0777;
	/* chmod, chown and times are accepted, for cp -a, tar, rsync and touch. */
	reply_attributes(request, inode, fi);
}

void node_readlink(fuse_req_t request, fuse_ino_t inode)
{
	struct buffer target = BUFFER(LINK_MAX_TARGET);
	struct named *named;
	struct node node;
	struct error err = { .code = EINVAL };

	if (node_of(inode, &node, &named) < 0 || named || !node.row->render ||
	    node.row->render(&node, &target, &err) < 0 || !target.data)
		fuse_reply_err(request, err.code);
	else
		fuse_reply_readlink(request, target.data);
	buffer_free(&target);
}

void node_access(fuse_req_t request, fuse_ino_t inode, int mask)
{
	struct named *named;
	struct node node;
	mode_t mode;

	if (node_of(inode, &node, &named) < 0) {
		fuse_reply_err(request, ENOENT);
		return;
	}
	mode = named ? named->listed ? node.row->child->mode : 0600 : node.row->mode;
	fuse_reply_err(request, (mask & W_OK && !(mode & 0200)) || (mask & R_OK && !(mode & 0400)) ||
				(mask & X_OK && !(mode & 0100)) ? EACCES : 0);
}
