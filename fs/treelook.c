/* What a tree's files look like: entries, attributes, links. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/inside.h"
#include "fs/treejob.h"

#define KNOWN 1.0 /* seconds that the kernel may remember what the mount alone changes */

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

int tree_entry_of(struct tree_node *folder, const char *name, const struct stat *found, struct fuse_entry_param *entry)
{
	struct tree_node *node = node_child(folder, name, found);

	memset(entry, 0, sizeof *entry);
	if (!node)
		return -ENOMEM;
	entry->attr = *found;
	entry->ino = node->number;
	entry->attr_timeout = tree_show(node_tree(folder), &entry->attr);
	entry->entry_timeout = KNOWN;
	return 0;
}

int tree_entry(struct tree_node *folder, int fd, const char *name, struct fuse_entry_param *entry)
{
	struct stat found;

	return fstatat(fd, name, &found, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0 ? -errno : tree_entry_of(folder, name, &found, entry);
}

static int reply_entry(struct tree_job *job, const struct fuse_entry_param *entry)
{
	if (fuse_reply_entry(job->request, entry) < 0)
		node_forget(entry->ino, 1);
	return 0;
}

int tree_reply_entry(struct tree_job *job, int fd, const char *name)
{
	struct fuse_entry_param entry;
	int code = tree_entry(job->other ? job->other : job->node, fd, name, &entry);

	return code ? code : reply_entry(job, &entry);
}

/* A stat by name may wait, for the name; that of what has been opened does not. */
static int look_up_at_once(struct tree_job *job)
{
	cleanup_close int folder = tree_job_open(job, O_PATH | O_DIRECTORY), child = -1;
	struct fuse_entry_param entry;
	struct stat found;
	int code;

	if (folder < 0)
		return folder;
	if (job->node->empty)
		return -ENOENT;
	child = inside_open(folder, job->name, O_PATH | O_NOFOLLOW, 0, INSIDE_AT_ONCE);
	if (child < 0 || fstat(child, &found) < 0)
		return errno == ENOENT ? -ENOENT : -EAGAIN;
	code = tree_entry_of(job->node, job->name, &found, &entry);
	return code ? code : reply_entry(job, &entry);
}

int tree_work_lookup(struct tree_job *job)
{
	if (job->at_once)
		return look_up_at_once(job);
	cleanup_close int folder = tree_job_folder(job->node, job->name, false);

	return folder < 0 ? folder : tree_reply_entry(job, folder, job->name);
}

int tree_work_getattr(struct tree_job *job)
{
	cleanup_close int fd = job->has_fi ? -1 : tree_job_open(job, O_PATH);
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

int tree_work_readlink(struct tree_job *job)
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

int tree_work_access(struct tree_job *job)
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

int tree_work_statfs(struct tree_job *job)
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
