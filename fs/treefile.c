/* Trees that lie on disk: lookup, attributes, reading and writing, directories.
 *
 * The loop hands each request over; a job is made of it, the nodes pinned, the names copied, and
 * a thread of the pool does the system call and replies. Files are cached by the kernel's page
 * cache, which is dropped when a file is opened and when its times have changed; where others
 * than the mount write (a sandbox, a runner), attributes are asked for each time.
 *
 * The inside of a sandbox is hostile. No link is followed here, no path but by openat2 below the
 * root; its devices and pipes are the kernel's own to refuse (FUSE never opens them here, and an
 * open does not block); links are shown so that they stay inside (fs/treelink.c); /proc and /sys
 * are empty; everything is shown as the mounting user's. */
#include "fs/treefile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/loop.h"
#include "fs/treejob.h"
#include "fs/workspaces.h"

#define KNOWN 1.0 /* seconds that the kernel may remember what the mount alone changes */

static void run_job(struct pool_job *pool)
{
	struct tree_job *job = (struct tree_job *)pool;
	int code = job->work(job);

	if (code)
		fuse_reply_err(job->request, -code);
	node_unpin(job->node);
	if (job->other)
		node_unpin(job->other);
	free(job->name);
	free(job->text);
	free(job);
}

struct tree_job *tree_job_make(fuse_req_t request, fuse_ino_t inode, const char *name,
			       int (*work)(struct tree_job *job))
{
	struct tree_job *job = calloc(1, sizeof *job);

	if (!job || (name && !(job->name = strdup(name)))) {
		free(job);
		fuse_reply_err(request, ENOMEM);
		return NULL;
	}
	job->pool.run = run_job;
	job->work = work;
	job->request = request;
	job->node = node_pin(inode);
	if (!job->node) {
		free(job->name);
		free(job);
		fuse_reply_err(request, ESTALE);
		return NULL;
	}
	return job;
}

bool tree_job_other(struct tree_job *job, fuse_ino_t inode, const char *text)
{
	int code = ENOMEM;

	job->text = strdup(text);
	if (job->text) {
		job->other = node_pin(inode);
		code = ESTALE;
	}
	if (job->other)
		return true;
	fuse_reply_err(job->request, code);
	node_unpin(job->node);
	free(job->name);
	free(job->text);
	free(job);
	return false;
}

void tree_job_submit(struct tree_job *job) { pool_submit(&job->pool); }

int tree_job_folder(struct tree_node *folder, const char *name, bool change)
{
	const struct tree *tree = node_tree(folder);

	if (folder->empty)
		return change ? -EACCES : -ENOENT;
	if (change && tree->read_only)
		return -EROFS;
	if (change && tree->sandbox && !folder->parent && (!strcmp(name, "proc") || !strcmp(name, "sys")))
		return -EBUSY;
	return node_open(folder, O_PATH | O_DIRECTORY);
}

/* One number a file, the same by all its names, so that tar and rsync know hard links. */
ino_t tree_shown_inode(dev_t device, ino_t file)
{
	return file ^ (ino_t)(device * UINT64_C(0x9E3779B97F4A7C15));
}

/* Attributes as they are shown; returns how long they may be remembered. */
double tree_show(const struct tree *tree, struct stat *st)
{
	st->st_ino = tree_shown_inode(st->st_dev, st->st_ino);
	if (tree->sandbox) {
		st->st_uid = getuid();
		st->st_gid = getgid();
	}
	return tree->writers_elsewhere || (st->st_nlink > 1 && !S_ISDIR(st->st_mode)) ? 0 : KNOWN;
}

int tree_entry(struct tree_node *folder, int fd, const char *name, struct fuse_entry_param *entry)
{
	struct tree_node *node;

	memset(entry, 0, sizeof *entry);
	if (fstatat(fd, name, &entry->attr, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
		return -errno;
	node = node_child(folder, name, &entry->attr);
	if (!node)
		return -ENOMEM;
	entry->ino = node->number;
	entry->attr_timeout = tree_show(node_tree(folder), &entry->attr);
	entry->entry_timeout = KNOWN;
	return 0;
}

int tree_reply_entry(struct tree_job *job, int fd, const char *name)
{
	struct fuse_entry_param entry;
	int code = tree_entry(job->other ? job->other : job->node, fd, name, &entry);

	if (!code && fuse_reply_entry(job->request, &entry) < 0)
		node_forget(entry.ino, 1);
	return code;
}

struct touch {
	struct loop_post post;
	uint64_t serial;
};

static void tell(struct loop_post *post)
{
	struct touch *touch = (struct touch *)post;

	workspace_touched(touch->serial);
	free(touch);
}

void tree_touched(struct tree_node *node)
{
	const struct tree *tree = node_tree(node);
	struct touch *touch = tree->watched ? malloc(sizeof *touch) : NULL;

	if (touch) {
		*touch = (struct touch){ .post = { .call = tell }, .serial = tree->serial };
		loop_post(&touch->post);
	}
}

static void touched_if_dirty(struct tree_node *node)
{
	if (atomic_exchange(&node->dirty, false))
		tree_touched(node);
}

static int work_lookup(struct tree_job *job)
{
	cleanup_close int folder = tree_job_folder(job->node, job->name, false);

	return folder < 0 ? folder : tree_reply_entry(job, folder, job->name);
}

static int work_getattr(struct tree_job *job)
{
	cleanup_close int fd = job->has_fi ? -1 : node_open(job->node, O_PATH);
	struct stat st;

	if (!job->has_fi && fd < 0)
		return fd;
	if (fstat(job->has_fi ? (int)job->fi.fh : fd, &st) < 0)
		return -errno;
	if (job->node->empty)
		st.st_size = 0;
	double time = tree_show(node_tree(job->node), &st);

	fuse_reply_attr(job->request, &st, time);
	return 0;
}

static int work_setattr(struct tree_job *job)
{
	int code = tree_work_setattr(job);

	return code ? code : work_getattr(job);
}

static int work_readlink(struct tree_job *job)
{
	cleanup_close int fd = node_open(job->node, O_PATH), root = -1;
	char target[PATH_MAX], shown[PATH_MAX];
	ssize_t n;
	int code;

	if (fd < 0)
		return fd;
	n = readlinkat(fd, "", target, sizeof target - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (node_tree(job->node)->sandbox) {
		root = node_root(job->node);
		code = root < 0 ? root : tree_link_shown(root, job->node, target, shown, sizeof shown);
		if (code)
			return code;
	}
	fuse_reply_readlink(job->request, node_tree(job->node)->sandbox ? shown : target);
	return 0;
}

static int work_access(struct tree_job *job)
{
	cleanup_close int fd = node_open(job->node, O_PATH);
	char path[32];

	if (fd < 0)
		return fd;
	if ((int)job->flags & W_OK && (node_tree(job->node)->read_only || job->node->empty))
		return -EACCES;
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (faccessat(AT_FDCWD, path, (int)job->flags, 0) < 0)
		return -errno;
	fuse_reply_err(job->request, 0);
	return 0;
}

/* Neither a terminal to gain nor a pipe to wait for, should the sandbox have put one there. */
static int open_flags(int flags)
{
	return (flags & (O_ACCMODE | O_TRUNC | O_APPEND | O_SYNC | O_DSYNC)) | O_NOCTTY | O_NONBLOCK;
}

static int keep_open(struct tree_job *job, struct tree_node *node, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	node_hold(node, fd);
	if (job->fi.flags & O_TRUNC)
		node->dirty = true;
	job->fi.fh = (uint64_t)fd;
	job->fi.keep_cache = !node_tree(node)->writers_elsewhere && st.st_nlink == 1;
	return 0;
}

static int work_open(struct tree_job *job)
{
	int access = job->fi.flags & O_ACCMODE, fd, code;

	if (node_tree(job->node)->read_only && (access != O_RDONLY || job->fi.flags & O_TRUNC))
		return -EROFS;
	fd = node_open(job->node, open_flags(job->fi.flags));
	if (fd < 0)
		return fd;
	code = keep_open(job, job->node, fd);
	if (code) {
		(void)close(fd);
		return code;
	}
	if (fuse_reply_open(job->request, &job->fi) < 0) {
		node_release(job->node);
		(void)close(fd);
	}
	return 0;
}

static int work_create(struct tree_job *job)
{
	cleanup_close int folder = tree_job_folder(job->node, job->name, true);
	cleanup_close int fd = -1;
	struct fuse_entry_param entry;
	struct tree_node *node;
	int code;

	if (folder < 0)
		return folder;
	fd = openat(folder, job->name, open_flags(job->fi.flags) | O_CREAT | O_NOFOLLOW | O_CLOEXEC | (job->fi.flags & O_EXCL),
		    job->mode & 07777);
	if (fd < 0)
		return -errno;
	code = tree_entry(job->node, folder, job->name, &entry);
	if (code)
		return code;
	node = node_pin(entry.ino);
	code = keep_open(job, node, fd);
	if (code) {
		node_forget(entry.ino, 1);
	} else {
		node->dirty = true;
		if (fuse_reply_create(job->request, &entry, &job->fi) < 0) {
			node_release(node);
			node_forget(entry.ino, 1);
		} else {
			(void)steal_fd(&fd);
		}
	}
	node_unpin(node);
	return code;
}

static int work_read(struct tree_job *job)
{
	struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(job->size);

	bytes.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	bytes.buf[0].fd = (int)job->fi.fh;
	bytes.buf[0].pos = job->offset;
	fuse_reply_data(job->request, &bytes, 0);
	return 0;
}

static int work_write(struct tree_job *job)
{
	size_t done = 0;

	while (done < job->size) {
		ssize_t n = pwrite((int)job->fi.fh, job->text + done, job->size - done, job->offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && !done)
			return -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	job->node->dirty = true;
	fuse_reply_write(job->request, done);
	return 0;
}

static int work_flush(struct tree_job *job)
{
	touched_if_dirty(job->node);
	fuse_reply_err(job->request, 0);
	return 0;
}

static int work_release(struct tree_job *job)
{
	touched_if_dirty(job->node);
	node_release(job->node);
	(void)close((int)job->fi.fh);
	fuse_reply_err(job->request, 0);
	return 0;
}

static int work_fsync(struct tree_job *job)
{
	if ((job->flags ? fdatasync((int)job->fi.fh) : fsync((int)job->fi.fh)) < 0)
		return -errno;
	fuse_reply_err(job->request, 0);
	return 0;
}

static int work_fallocate(struct tree_job *job)
{
	if (fallocate((int)job->fi.fh, (int)job->flags, job->offset, job->length) < 0)
		return -errno;
	job->node->dirty = true;
	fuse_reply_err(job->request, 0);
	return 0;
}

static int work_statfs(struct tree_job *job)
{
	cleanup_close int fd = node_root(job->node);
	struct statvfs st;

	if (fd < 0)
		return fd;
	if (fstatvfs(fd, &st) < 0)
		return -errno;
	fuse_reply_statfs(job->request, &st);
	return 0;
}

/* ---- from the loop ---- */

/* Makes a job, lets `with` fill it in, hands it over. */
#define HANDOVER(inode, name, work, with) \
	do { \
		struct tree_job *job = tree_job_make(request, inode, name, work); \
		if (job) { \
			with; \
			tree_job_submit(job); \
		} \
	} while (0)

static void op_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	HANDOVER(parent, name, work_lookup, (void)0);
}

void treefile_forget(uint64_t inode, uint64_t lookups) { node_forget(inode, lookups); }

static void op_forget(fuse_req_t request, fuse_ino_t inode, uint64_t lookups)
{
	node_forget(inode, lookups);
	fuse_reply_none(request);
}

static void op_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	(void)fi;
	HANDOVER(inode, NULL, work_getattr, (void)0);
}

static void op_setattr(fuse_req_t request, fuse_ino_t inode, struct stat *st, int set, struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, work_setattr, job->st = *st; job->set = set; if (fi) { job->fi = *fi; job->has_fi = true; });
}

static void op_readlink(fuse_req_t request, fuse_ino_t inode) { HANDOVER(inode, NULL, work_readlink, (void)0); }

static void op_access(fuse_req_t request, fuse_ino_t inode, int mask)
{
	HANDOVER(inode, NULL, work_access, job->flags = (unsigned)mask);
}

static void op_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
	(void)device;
	HANDOVER(parent, name, tree_work_mknod, job->mode = mode);
}

static void op_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode)
{
	HANDOVER(parent, name, tree_work_mkdir, job->mode = mode);
}

static void op_unlink(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	HANDOVER(parent, name, tree_work_unlink, (void)0);
}

static void op_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	HANDOVER(parent, name, tree_work_unlink, job->flags = AT_REMOVEDIR);
}

static void op_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name)
{
	struct tree_job *job = tree_job_make(request, parent, name, tree_work_symlink);

	/* The folder once more: there is no second one, but the target is a second text. */
	if (job && tree_job_other(job, parent, target))
		tree_job_submit(job);
}

static void op_link(fuse_req_t request, fuse_ino_t inode, fuse_ino_t parent, const char *name)
{
	struct tree_job *job = tree_job_make(request, inode, NULL, tree_work_link);

	if (job && tree_job_other(job, parent, name))
		tree_job_submit(job);
}

static void op_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned flags)
{
	struct tree_job *job = tree_job_make(request, parent, name, tree_work_rename);

	if (job && tree_job_other(job, new_parent, new_name)) {
		job->flags = flags;
		tree_job_submit(job);
	}
}

static void op_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, work_open, job->fi = *fi);
}

static void op_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	HANDOVER(parent, name, work_create, job->fi = *fi; job->mode = mode);
}

static void op_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, work_read, job->fi = *fi; job->size = size; job->offset = offset);
}

static void op_write(fuse_req_t request, fuse_ino_t inode, const char *data, size_t n, off_t offset,
		     struct fuse_file_info *fi)
{
	char *copy = malloc(n ? n : 1);

	if (!copy) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	memcpy(copy, data, n);
	struct tree_job *job = tree_job_make(request, inode, NULL, work_write);

	if (!job) {
		free(copy);
		return;
	}
	job->text = copy;
	job->fi = *fi;
	job->size = n;
	job->offset = offset;
	tree_job_submit(job);
}

static void op_flush(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, work_flush, job->fi = *fi);
}

static void op_release(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, work_release, job->fi = *fi);
}

static void op_fsync(fuse_req_t request, fuse_ino_t inode, int data_only, struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, work_fsync, job->fi = *fi; job->flags = (unsigned)data_only);
}

static void op_fallocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, work_fallocate, job->fi = *fi; job->flags = (unsigned)mode; job->offset = offset;
		 job->length = length);
}

static void op_statfs(fuse_req_t request, fuse_ino_t inode) { HANDOVER(inode, NULL, work_statfs, (void)0); }

/* An answer of ENOSYS would be the kernel's for the whole mount. */
static void op_poll(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi, struct fuse_pollhandle *poll)
{
	(void)inode;
	(void)fi;
	if (poll)
		fuse_pollhandle_destroy(poll);
	fuse_reply_poll(request, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM);
}

static void op_opendir(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, tree_work_opendir, job->fi = *fi);
}

static void op_readdir(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, tree_work_readdir, job->fi = *fi; job->size = size; job->offset = offset);
}

static void op_readdirplus(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, tree_work_readdir, job->fi = *fi; job->size = size; job->offset = offset; job->flags = 1);
}

static void op_releasedir(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, tree_work_releasedir, job->fi = *fi);
}

static void op_fsyncdir(fuse_req_t request, fuse_ino_t inode, int data_only, struct fuse_file_info *fi)
{
	(void)data_only;
	HANDOVER(inode, NULL, tree_work_fsyncdir, job->fi = *fi);
}

int treefile_start(struct fuse_session *session, struct error *err)
{
	(void)session;
	return pool_start(err);
}

void treefile_stop(void) { pool_stop(); }

const struct fuse_lowlevel_ops treefile_operations = {
	.lookup = op_lookup, .forget = op_forget, .getattr = op_getattr, .setattr = op_setattr,
	.readlink = op_readlink, .access = op_access, .mknod = op_mknod, .mkdir = op_mkdir,
	.unlink = op_unlink, .rmdir = op_rmdir, .symlink = op_symlink, .link = op_link,
	.rename = op_rename, .open = op_open, .create = op_create, .read = op_read, .write = op_write,
	.flush = op_flush, .release = op_release, .fsync = op_fsync, .fallocate = op_fallocate,
	.statfs = op_statfs, .poll = op_poll, .opendir = op_opendir, .readdir = op_readdir,
	.readdirplus = op_readdirplus, .releasedir = op_releasedir, .fsyncdir = op_fsyncdir,
};
