/* The mount's operations: what the kernel asks, led to the kind or the folder that it is about.
 * Every request is answered or parked below; nothing waits. What belongs to trees on disk goes to their
 * pool untouched. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fs/files.h"
#include "fs/named.h"
#include "fs/treefile.h"

/* To the tree's pool, if it is the tree's. */
#define TREE(inode, operation, ...) \
	if (treefile_owns(inode)) { \
		if (treefile_operations.operation) \
			treefile_operations.operation(__VA_ARGS__); \
		else \
			fuse_reply_err(request, ENOSYS); \
		return; \
	}

static void op_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	TREE(parent, lookup, request, parent, name)
	entry_lookup(request, parent, name);
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

static void op_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	TREE(inode, getattr, request, inode, fi)
	reply_attributes(request, inode, fi);
}

static void op_setattr(fuse_req_t request, fuse_ino_t inode, struct stat *st, int set,
		       struct fuse_file_info *fi)
{
	TREE(inode, setattr, request, inode, st, set, fi)
	node_setattr(request, inode, st, set, fi);
}

static void op_readlink(fuse_req_t request, fuse_ino_t inode)
{
	TREE(inode, readlink, request, inode)
	node_readlink(request, inode);
}

static void op_access(fuse_req_t request, fuse_ino_t inode, int mask)
{
	TREE(inode, access, request, inode, mask)
	node_access(request, inode, mask);
}

static void op_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	TREE(inode, open, request, inode, fi)
	open_inode(request, inode, fi);
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
