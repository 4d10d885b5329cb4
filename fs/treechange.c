/* What changes a tree's folders and attributes: mkdir, mknod, symlink, link, unlink, rename,
 * setattr. Each is one system call on the folder's descriptor and a change of the node table. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/treejob.h"

/* An O_PATH descriptor's own file, without its name: the magic link that the kernel keeps. */
static void descriptor_path(char path[32], int fd) { (void)snprintf(path, 32, "/proc/self/fd/%d", fd); }

int tree_work_mkdir(struct tree_job *job)
{
	cleanup_close int folder = tree_job_folder(job->node, job->name, true);

	if (folder < 0)
		return folder;
	if (mkdirat(folder, job->name, job->mode & 07777) < 0)
		return -errno;
	tree_touched(job->node);
	return tree_reply_entry(job, folder, job->name);
}

int tree_work_mknod(struct tree_job *job)
{
	cleanup_close int folder = tree_job_folder(job->node, job->name, true);

	if (folder < 0)
		return folder;
	if (!S_ISREG(job->mode) && !S_ISFIFO(job->mode) && !S_ISSOCK(job->mode))
		return -EPERM;
	if (mknodat(folder, job->name, job->mode, 0) < 0)
		return -errno;
	tree_touched(job->node);
	return tree_reply_entry(job, folder, job->name);
}

int tree_work_symlink(struct tree_job *job)
{
	cleanup_close int folder = tree_job_folder(job->node, job->name, true);

	if (folder < 0)
		return folder;
	if (symlinkat(job->text, folder, job->name) < 0)
		return -errno;
	tree_touched(job->node);
	return tree_reply_entry(job, folder, job->name);
}

/* node: the file; other, text: the folder and the new name. */
int tree_work_link(struct tree_job *job)
{
	cleanup_close int folder = tree_job_folder(job->other, job->text, true);
	cleanup_close int file = -1;
	char path[32];

	if (folder < 0)
		return folder;
	file = node_open(job->node, O_PATH);
	if (file < 0)
		return file;
	descriptor_path(path, file);
	if (linkat(AT_FDCWD, path, folder, job->text, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	tree_touched(job->other);
	return tree_reply_entry(job, folder, job->text);
}

/* flags: AT_REMOVEDIR for rmdir. */
int tree_work_unlink(struct tree_job *job)
{
	cleanup_close int folder = tree_job_folder(job->node, job->name, true);

	if (folder < 0)
		return folder;
	if (unlinkat(folder, job->name, (int)job->flags) < 0)
		return -errno;
	node_removed(job->node, job->name);
	tree_touched(job->node);
	fuse_reply_err(job->request, 0);
	return 0;
}

int tree_work_rename(struct tree_job *job)
{
	cleanup_close int from = tree_job_folder(job->node, job->name, true);
	cleanup_close int to = -1;

	if (from < 0)
		return from;
	to = tree_job_folder(job->other, job->text, true);
	if (to < 0)
		return to;
	if (renameat2(from, job->name, to, job->text, job->flags) < 0)
		return -errno;
	node_renamed(job->node, job->name, job->other, job->text, job->flags & RENAME_EXCHANGE);
	tree_touched(job->node);
	if (node_tree(job->other) != node_tree(job->node))
		tree_touched(job->other);
	fuse_reply_err(job->request, 0);
	return 0;
}

/* 0 or -errno. Without an open file it is opened, and not truncated by its name: truncate(2) would
 * wait for somebody's lease on it (fcntl(2)), and this thread with it. */
static int set_size(struct tree_job *job)
{
	cleanup_close int opened = -1;
	struct stat st;
	int fd = (int)job->fi.fh;

	if (!job->has_fi) {
		fd = opened = node_open(job->node, O_WRONLY | O_NONBLOCK | O_NOCTTY);
		if (fd < 0)
			return fd;
		if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
			return -EINVAL;
	}
	if (ftruncate(fd, job->st.st_size) < 0)
		return -errno;
	job->node->dirty = true;
	return 0;
}

static int set_times(struct tree_job *job, int fd)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

	if (job->set & FUSE_SET_ATTR_ATIME_NOW)
		times[0].tv_nsec = UTIME_NOW;
	else if (job->set & FUSE_SET_ATTR_ATIME)
		times[0] = job->st.st_atim;
	if (job->set & FUSE_SET_ATTR_MTIME_NOW)
		times[1].tv_nsec = UTIME_NOW;
	else if (job->set & FUSE_SET_ATTR_MTIME)
		times[1] = job->st.st_mtim;
	return utimensat(fd, "", times, AT_EMPTY_PATH);
}

int tree_work_setattr(struct tree_job *job)
{
	const struct tree *tree = node_tree(job->node);
	cleanup_close int fd = -1;
	char path[32];
	int code;

	if (tree->read_only)
		return -EROFS;
	if (job->node->empty)
		return -EACCES;
	fd = node_open(job->node, O_PATH);
	if (fd < 0)
		return fd;
	descriptor_path(path, fd);
	if (job->set & FUSE_SET_ATTR_MODE && chmod(path, job->st.st_mode & 07777) < 0)
		return -errno;
	/* Inside a sandbox all is its root user's, shown as the mounting user's: nothing to give away. */
	if (job->set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) && !tree->sandbox
	    && fchownat(fd, "", job->set & FUSE_SET_ATTR_UID ? job->st.st_uid : (uid_t)-1,
			job->set & FUSE_SET_ATTR_GID ? job->st.st_gid : (gid_t)-1, AT_EMPTY_PATH) < 0)
		return -errno;
	if (job->set & FUSE_SET_ATTR_SIZE && (code = set_size(job)) < 0)
		return code;
	if (job->set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW)
	    && set_times(job, fd) < 0)
		return -errno;
	/* truncate(2) without an open file: no FLUSH will come. */
	if (job->set & FUSE_SET_ATTR_SIZE && !job->has_fi)
		tree_touched(job->node);
	return tree_work_getattr(job);
}
