/* The mount's operations: what the kernel asks, led to the kind or the folder that it is about.
 * Every request is answered or parked here or below; nothing waits. What belongs to trees on
 * disk goes to their pool untouched. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fs/coming.h"
#include "fs/files.h"
#include "fs/named.h"
#include "fs/treefile.h"

#define LINK_MAX_TARGET 4096

/* To the tree's pool, if it is the tree's. */
#define TREE(inode, operation, ...) \
	if (treefile_owns(inode)) { \
		if (treefile_operations.operation) \
			treefile_operations.operation(__VA_ARGS__); \
		else \
			fuse_reply_err(request, ENOSYS); \
		return; \
	}

bool is_trash(const char *name)
{
	return !strncmp(name, ".Trash", 6);
}

/* Files that desktops look for everywhere and that are nowhere here. */
static bool never_here(const char *name)
{
	return name[0] == '.' || !strcmp(name, "autorun.inf") || !strcmp(name, "desktop.ini");
}

bool row_takes_text(const struct row *row)
{
	return row->kind == FILE_DOCUMENT || row->kind == FILE_INBOX;
}

int node_of(fuse_ino_t inode, struct node *node, struct named **named)
{
	*named = NULL;
	if (!named_owns(inode))
		return tree_node(inode, node);
	*named = named_by_inode(inode);
	if (!*named)
		return -1;
	*node = (*named)->directory;
	if ((*named)->alias)
		*named = NULL;
	return 0;
}

double cache_time(const struct node *node)
{
	const struct row *row = node->row;

	switch (row->kind) {
	case FILE_DIRECTORY:
	case FILE_CTL:
	case FILE_CALL:
	case FILE_HOLD:
		return CACHED;
	case FILE_VALUE:
		if (row->assemble || (row->render && !(row->own && row->bit)))
			return 0; /* it may depend on more than its object's changes tell */
		return node->object ? CACHED : 0;
	case FILE_LOG:
		return node->object ? CACHED : 0;
	case FILE_DOCUMENT:
		return document_is_open(node) ? 0 : CACHED;
	default:
		return 0;
	}
}

static void note_known(const struct node *node, double time)
{
	if (node->object && node->row->bit && time > 0)
		node->object->known |= UINT64_C(1) << node->row->bit;
}

void entry_of(const struct node *node, struct fuse_entry_param *entry)
{
	static uint32_t ctl_count;
	struct node fresh = *node;

	memset(entry, 0, sizeof *entry);
	attributes_of(node, &entry->attr);
	entry->ino = entry->attr.st_ino;
	entry->attr_timeout = cache_time(node);
	entry->entry_timeout = node->row->present ? 0 : CACHED;
	note_known(node, entry->attr_timeout);
	if (node->row->kind == FILE_CTL) {
		/* A parked write holds the inode's lock in the kernel: each LOOKUP gets an inode. */
		fresh.index = ++ctl_count;
		entry->ino = tree_inode(&fresh);
		entry->entry_timeout = 0;
	}
}

void entry_of_named(struct named *named, struct fuse_entry_param *entry)
{
	memset(entry, 0, sizeof *entry);
	attributes_of_named(named, &entry->attr);
	entry->ino = named->inode;
}

static void reply_named(fuse_req_t request, struct named *named)
{
	struct fuse_entry_param entry;

	entry_of_named(named, &entry);
	named_looked_up(named);
	if (fuse_reply_entry(request, &entry) < 0)
		named_forget(named->inode, 1);
}

static void op_lookup(fuse_req_t request, fuse_ino_t parent, const char *name);

static void lookup_again(fuse_req_t request, fuse_ino_t parent, const char *name, struct fuse_file_info *fi)
{
	(void)fi;
	op_lookup(request, parent, name);
}

static void op_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry;
	struct node directory, child;
	struct named *named;

	TREE(parent, lookup, request, parent, name)
	if (strlen(name) > 255) {
		folder_too_long(request, parent, name); /* the kernel asks for no mkdir after this */
		return;
	}
	if (node_of(parent, &directory, &named) < 0 || named || (directory.object && directory.object->removed)) {
		fuse_reply_err(request, ENOENT);
		return;
	}
	if (coming_holds(&directory, request, parent, name, NULL, lookup_again))
		return;
	named = named_find(&directory, name);
	if (named && !named->listed) {
		reply_named(request, named);
		return;
	}
	if (tree_find(&directory, name, &child) < 0 || document_hidden(&child)) {
		memset(&entry, 0, sizeof entry);
		entry.entry_timeout = never_here(name) ? CACHED : 0;
		if (entry.entry_timeout > 0)
			fuse_reply_entry(request, &entry);
		else
			fuse_reply_err(request, ENOENT);
		return;
	}
	if (child.row->kind == FILE_TREE) {
		treefile_enter(request, &child);
		return;
	}
	if (directory.row->listing == LIST_FILES && child.row == directory.row->child) {
		if (!named)
			named = named_make(&directory, name, true);
		if (named)
			reply_named(request, named);
		else
			fuse_reply_err(request, errno);
		return;
	}
	entry_of(&child, &entry);
	fuse_reply_entry(request, &entry);
}

static void op_forget(fuse_req_t request, fuse_ino_t inode, uint64_t count)
{
	TREE(inode, forget, request, inode, count)
	if (named_owns(inode))
		named_forget(inode, count);
	fuse_reply_none(request);
}

static void op_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++) {
		if (treefile_owns(forgets[i].ino))
			treefile_forget(forgets[i].ino, forgets[i].nlookup);
		else if (named_owns(forgets[i].ino))
			named_forget(forgets[i].ino, forgets[i].nlookup);
	}
	fuse_reply_none(request);
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

static void op_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	TREE(inode, getattr, request, inode, fi)
	reply_attributes(request, inode, fi);
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

static void op_setattr(fuse_req_t request, fuse_ino_t inode, struct stat *st, int set,
		       struct fuse_file_info *fi)
{
	struct handle *h = fi ? handle_of(fi->fh) : NULL;
	struct named *named;
	struct node node;

	TREE(inode, setattr, request, inode, st, set, fi)
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
		else if (!named && node.row->kind == FILE_DOCUMENT) {
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

static void op_readlink(fuse_req_t request, fuse_ino_t inode)
{
	struct buffer target = BUFFER(LINK_MAX_TARGET);
	struct named *named;
	struct node node;
	struct error err = { .code = EINVAL };

	TREE(inode, readlink, request, inode)
	if (node_of(inode, &node, &named) < 0 || named || !node.row->render ||
	    node.row->render(&node, &target, &err) < 0 || !target.data)
		fuse_reply_err(request, err.code);
	else
		fuse_reply_readlink(request, target.data);
	buffer_free(&target);
}

static void op_access(fuse_req_t request, fuse_ino_t inode, int mask)
{
	struct named *named;
	struct node node;
	mode_t mode;

	TREE(inode, access, request, inode, mask)
	if (node_of(inode, &node, &named) < 0) {
		fuse_reply_err(request, ENOENT);
		return;
	}
	mode = named ? named->listed ? 0444 : 0600 : node.row->mode;
	fuse_reply_err(request, (mask & W_OK && !(mode & 0200)) || (mask & R_OK && !(mode & 0400)) ||
				(mask & X_OK && !(mode & 0100)) ? EACCES : 0);
}

struct handle *open_node(const struct node *node, struct named *named, int flags, fuse_req_t request,
			 struct error *err)
{
	const struct kind *kind = named ? &scratch_kind : node->follow ? &follow_kind : file_kinds[node->row->kind];
	mode_t mode = named ? named->listed ? 0444 : 0600 : node->row->mode;
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
		kind = &value_kind;
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

static void op_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi);

static void open_again(fuse_req_t request, fuse_ino_t inode, const char *name, struct fuse_file_info *fi)
{
	(void)name;
	op_open(request, inode, fi);
}

static void op_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct error err = { .code = ENOENT };
	struct handle *h = NULL;
	struct named *named;
	struct node node;

	TREE(inode, open, request, inode, fi)
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
	if (fuse_reply_open(request, fi) < 0) { /* interrupted: there will be no RELEASE */
		h->kind->release(h);
		handle_free(h);
	}
}

static void op_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi->fh);

	TREE(inode, read, request, inode, size, offset, fi)
	if (h)
		h->kind->read(h, request, size, offset);
	else
		fuse_reply_err(request, EBADF);
}

static void op_write(fuse_req_t request, fuse_ino_t inode, const char *data, size_t n, off_t offset,
		     struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi->fh);

	TREE(inode, write, request, inode, data, n, offset, fi)
	if (h)
		h->kind->write(h, request, data, n, offset);
	else
		fuse_reply_err(request, EBADF);
}

static void op_flush(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi->fh);

	TREE(inode, flush, request, inode, fi)
	if (h && handle_writes(h))
		h->kind->flush(h, request);
	else
		fuse_reply_err(request, 0);
}

static void op_fsync(fuse_req_t request, fuse_ino_t inode, int data_only, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi->fh);

	TREE(inode, fsync, request, inode, data_only, fi)
	if (h && handle_writes(h))
		h->kind->sync(h, request);
	else
		fuse_reply_err(request, 0);
}

static void op_release(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi->fh);

	TREE(inode, release, request, inode, fi)
	if (h) {
		h->kind->release(h);
		handle_free(h);
	}
	fuse_reply_err(request, 0);
}

static void op_poll(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi, struct fuse_pollhandle *poll)
{
	struct handle *h = handle_of(fi->fh);

	TREE(inode, poll, request, inode, fi, poll)
	if (h && poll) {
		if (h->poll)
			fuse_pollhandle_destroy(h->poll);
		h->poll = poll;
	}
	fuse_reply_poll(request, h ? h->kind->poll(h) : 0);
}

static void op_statfs(fuse_req_t request, fuse_ino_t inode)
{
	struct statvfs st;

	TREE(inode, statfs, request, inode)
	if (fstatvfs(objects_state()->fd, &st) < 0)
		memset(&st, 0, sizeof st);
	st.f_bsize = st.f_frsize = st.f_frsize ? st.f_frsize : 4096;
	st.f_namemax = 255;
	fuse_reply_statfs(request, &st);
}

#define OPERATION(name, ...) \
	static void op_##name(fuse_req_t request, fuse_ino_t inode, __VA_ARGS__)

OPERATION(mknod, const char *name, mode_t mode, dev_t device)
{
	TREE(inode, mknod, request, inode, name, mode, device)
	folder_refuse(request, inode, "a special file", name, "none can be made here");
}

static void op_symlink(fuse_req_t request, const char *target, fuse_ino_t inode, const char *name)
{
	TREE(inode, symlink, request, target, inode, name)
	folder_refuse(request, inode, "a link", name, "none can be made here");
}

OPERATION(link, fuse_ino_t parent, const char *name)
{
	if (treefile_owns(inode) != treefile_owns(parent)) {
		fuse_reply_err(request, EXDEV);
		return;
	}
	TREE(inode, link, request, inode, parent, name)
	folder_refuse(request, parent, "a link", name, "none can be made here");
}

OPERATION(mkdir, const char *name, mode_t mode)
{
	TREE(inode, mkdir, request, inode, name, mode)
	folder_mkdir(request, inode, name, mode);
}

OPERATION(rmdir, const char *name)
{
	TREE(inode, rmdir, request, inode, name)
	folder_rmdir(request, inode, name);
}

OPERATION(unlink, const char *name)
{
	TREE(inode, unlink, request, inode, name)
	folder_unlink(request, inode, name);
}

OPERATION(rename, const char *name, fuse_ino_t parent, const char *to, unsigned flags)
{
	if (treefile_owns(inode) != treefile_owns(parent)) {
		fuse_reply_err(request, EXDEV);
		return;
	}
	TREE(inode, rename, request, inode, name, parent, to, flags)
	folder_rename(request, inode, name, parent, to, flags);
}

OPERATION(create, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	TREE(inode, create, request, inode, name, mode, fi)
	folder_create(request, inode, name, mode, fi);
}

OPERATION(opendir, struct fuse_file_info *fi)
{
	TREE(inode, opendir, request, inode, fi)
	folder_opendir(request, inode, fi);
}

OPERATION(readdir, size_t size, off_t offset, struct fuse_file_info *fi)
{
	TREE(inode, readdir, request, inode, size, offset, fi)
	folder_readdir(request, inode, size, offset, fi);
}

OPERATION(readdirplus, size_t size, off_t offset, struct fuse_file_info *fi)
{
	TREE(inode, readdirplus, request, inode, size, offset, fi)
	folder_readdirplus(request, inode, size, offset, fi);
}

OPERATION(releasedir, struct fuse_file_info *fi)
{
	TREE(inode, releasedir, request, inode, fi)
	folder_releasedir(request, inode, fi);
}

OPERATION(fsyncdir, int data_only, struct fuse_file_info *fi)
{
	TREE(inode, fsyncdir, request, inode, data_only, fi)
	fuse_reply_err(request, 0); /* what mkdir, rename and rmdir acknowledged is on the disk */
}

OPERATION(fallocate, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
	TREE(inode, fallocate, request, inode, mode, offset, length, fi)
	fuse_reply_err(request, EOPNOTSUPP);
}

static void op_init(void *unused, struct fuse_conn_info *connection)
{
	(void)unused;
	connection->max_background = 4096; /* parked AIO must not delay RELEASE */
	connection->congestion_threshold = 4096;
	if (connection->capable & FUSE_CAP_PARALLEL_DIROPS)
		connection->want |= FUSE_CAP_PARALLEL_DIROPS;
	mount_is_ready();
}

const struct fuse_lowlevel_ops mount_operations = {
	.init = op_init, .lookup = op_lookup, .forget = op_forget, .forget_multi = op_forget_multi,
	.getattr = op_getattr, .setattr = op_setattr, .readlink = op_readlink, .access = op_access,
	.mknod = op_mknod, .mkdir = op_mkdir, .unlink = op_unlink, .rmdir = op_rmdir, .symlink = op_symlink,
	.rename = op_rename, .link = op_link, .create = op_create, .open = op_open, .read = op_read,
	.write = op_write, .flush = op_flush, .fsync = op_fsync, .release = op_release, .poll = op_poll,
	.opendir = op_opendir, .readdir = op_readdir, .readdirplus = op_readdirplus,
	.releasedir = op_releasedir, .fsyncdir = op_fsyncdir, .statfs = op_statfs, .fallocate = op_fallocate,
};
