/* Trees that lie on disk: from the loop to the pool.
 *
 * The loop hands each request over; a job is made of it, the nodes pinned, the names copied, and
 * a thread of the pool does the system call and replies. What the kernel has in memory (looking up, opening and
 * reading what was read before) the loop does itself, with system calls that say EAGAIN rather than wait. Files are cached by the kernel's page
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
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "fs/treejob.h"

static void end_job(struct tree_job *job, int code)
{
	if (code)
		fuse_reply_err(job->request, -code);
	node_unpin(job->node);
	if (job->other)
		node_unpin(job->other);
	free(job->name);
	free(job->text);
	free(job);
}

static void run_job(struct pool_job *pool)
{
	struct tree_job *job = (struct tree_job *)pool;

	end_job(job, job->work(job));
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

void tree_job_submit(struct tree_job *job) { pool_submit(&file_pool, &job->pool); }

/* In the loop where it need not wait: the way to a thread and back takes longer than the whole. */
static void run_or_submit(struct tree_job *job)
{
	int code = -EAGAIN;

	job->at_once = node_is_quick(job->node);
	if (job->at_once)
		code = job->work(job);
	job->at_once = false;
	if (code == -EAGAIN)
		tree_job_submit(job);
	else
		end_job(job, code);
}

int tree_job_open(struct tree_job *job, int flags)
{
	return job->at_once ? node_open_at_once(job->node, flags) : node_open(job->node, flags);
}

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

/* ---- from the loop ---- */

/* Makes a job, lets `with` fill it in, hands it over. */
#define GIVE(to, inode, name, work, with) \
	do { \
		struct tree_job *job = tree_job_make(request, inode, name, work); \
		if (job) { \
			with; \
			to(job); \
		} \
	} while (0)
#define HANDOVER(...) GIVE(tree_job_submit, __VA_ARGS__)
#define AT_ONCE(...) GIVE(run_or_submit, __VA_ARGS__)

static void op_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	AT_ONCE(parent, name, tree_work_lookup, (void)0);
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
	AT_ONCE(inode, NULL, tree_work_getattr, (void)0);
}

static void op_setattr(fuse_req_t request, fuse_ino_t inode, struct stat *st, int set, struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, tree_work_setattr, job->st = *st; job->set = set; if (fi) { job->fi = *fi; job->has_fi = true; });
}

static void op_readlink(fuse_req_t request, fuse_ino_t inode) { HANDOVER(inode, NULL, tree_work_readlink, (void)0); }

static void op_access(fuse_req_t request, fuse_ino_t inode, int mask)
{
	HANDOVER(inode, NULL, tree_work_access, job->flags = (unsigned)mask);
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
	AT_ONCE(inode, NULL, tree_work_open, job->fi = *fi);
}

static void op_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	HANDOVER(parent, name, tree_work_create, job->fi = *fi; job->mode = mode);
}

static void op_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *fi)
{
	AT_ONCE(inode, NULL, tree_work_read, job->fi = *fi; job->size = size; job->offset = offset);
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
	struct tree_job *job = tree_job_make(request, inode, NULL, tree_work_write);

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
	AT_ONCE(inode, NULL, tree_work_flush, job->fi = *fi);
}

static void op_release(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	AT_ONCE(inode, NULL, tree_work_release, job->fi = *fi);
}

static void op_fsync(fuse_req_t request, fuse_ino_t inode, int data_only, struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, tree_work_fsync, job->fi = *fi; job->flags = (unsigned)data_only);
}

static void op_fallocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi)
{
	HANDOVER(inode, NULL, tree_work_fallocate, job->fi = *fi; job->flags = (unsigned)mode; job->offset = offset;
		 job->length = length);
}

static void op_statfs(fuse_req_t request, fuse_ino_t inode) { HANDOVER(inode, NULL, tree_work_statfs, (void)0); }

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
	return pool_start(&file_pool, err);
}

void treefile_stop(void) { pool_stop(&file_pool); }

const struct fuse_lowlevel_ops treefile_operations = {
	.lookup = op_lookup, .forget = op_forget, .getattr = op_getattr, .setattr = op_setattr,
	.readlink = op_readlink, .access = op_access, .mknod = op_mknod, .mkdir = op_mkdir,
	.unlink = op_unlink, .rmdir = op_rmdir, .symlink = op_symlink, .link = op_link,
	.rename = op_rename, .open = op_open, .create = op_create, .read = op_read, .write = op_write,
	.flush = op_flush, .release = op_release, .fsync = op_fsync, .fallocate = op_fallocate,
	.statfs = op_statfs, .poll = op_poll, .opendir = op_opendir, .readdir = op_readdir,
	.readdirplus = op_readdirplus, .releasedir = op_releasedir, .fsyncdir = op_fsyncdir,
};
