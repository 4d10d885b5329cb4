/* A request for a tree's file on its way through the pool; private to fs/treefile.c, which hands it over, and
 * to treelook.c, treeopen.c, treechange.c and treefolder.c, which do the work. */
#ifndef INTERPFS_FS_TREEJOB_H
#define INTERPFS_FS_TREEJOB_H

#include <fuse_lowlevel.h>

#include "fs/pool.h"
#include "fs/treenode.h"

struct tree_job {
	struct pool_job pool;
	/* In a thread of the pool, or in the loop with at_once: replies and returns 0, or returns an errno, negative. */
	int (*work)(struct tree_job *job);
	fuse_req_t request;
	struct tree_node *node, *other; /* pinned; other may be NULL */
	char *name, *text;              /* owned; a second name, a link's target, bytes to write */
	struct fuse_file_info fi;
	bool has_fi;
	struct stat st;
	int set;
	size_t size;
	off_t offset, length;
	mode_t mode;
	dev_t device;
	unsigned flags;
	bool at_once; /* in the loop: work returns -EAGAIN where it would have to wait, before it has replied */
};

/* Makes a job for the inode; NULL: the request has been answered. name may be NULL. */
struct tree_job *tree_job_make(fuse_req_t request, fuse_ino_t inode, const char *name,
			       int (*work)(struct tree_job *job));
/* The same for its second inode and name; false: answered, and the job is gone. */
bool tree_job_other(struct tree_job *job, fuse_ino_t inode, const char *text);
void tree_job_submit(struct tree_job *job);
/* The job's node, opened as the job may. */
int tree_job_open(struct tree_job *job, int flags);

/* The folder of a job as a descriptor, or -errno; what may not be changed is EROFS, EACCES, EBUSY. */
int tree_job_folder(struct tree_node *folder, const char *name, bool change);

/* The entry of a file with these attributes: looked up once more. 0 or -errno. */
int tree_entry_of(struct tree_node *folder, const char *name, const struct stat *found, struct fuse_entry_param *entry);
/* The entry that `name` in the folder (fd) is. */
int tree_entry(struct tree_node *folder, int fd, const char *name, struct fuse_entry_param *entry);

/* Replies it; the kernel that did not take it does not know it. */
int tree_reply_entry(struct tree_job *job, int fd, const char *name);

/* Something below a watched tree was changed: told before the reply, so that a command which
 * comes next finds it told. */
void tree_touched(struct tree_node *node);

/* One number a file, the same by all its names, so that tar and rsync know hard links. */
ino_t tree_shown_inode(dev_t device, ino_t file);
/* Attributes as they are shown; returns how long they may be remembered. */
double tree_show(const struct tree *tree, struct stat *st);

/* fs/treelink.c: a link's target as it is shown inside a sandbox's tree: below its root, whatever
 * it says. Returns 0 or -errno. */
int tree_link_shown(int root, struct tree_node *link, const char *target, char *shown, size_t size);

/* `work` of the operation that it is named after. */
int tree_work_lookup(struct tree_job *job);
int tree_work_getattr(struct tree_job *job);
int tree_work_readlink(struct tree_job *job);
int tree_work_access(struct tree_job *job);
int tree_work_statfs(struct tree_job *job);
int tree_work_open(struct tree_job *job);
int tree_work_create(struct tree_job *job);
int tree_work_read(struct tree_job *job);
int tree_work_write(struct tree_job *job);
int tree_work_flush(struct tree_job *job);
int tree_work_release(struct tree_job *job);
int tree_work_fsync(struct tree_job *job);
int tree_work_fallocate(struct tree_job *job);
int tree_work_mkdir(struct tree_job *job);
int tree_work_mknod(struct tree_job *job);
int tree_work_symlink(struct tree_job *job);
int tree_work_link(struct tree_job *job);
int tree_work_unlink(struct tree_job *job);
int tree_work_rename(struct tree_job *job);
int tree_work_setattr(struct tree_job *job);
int tree_work_opendir(struct tree_job *job);
int tree_work_readdir(struct tree_job *job);
int tree_work_releasedir(struct tree_job *job);
int tree_work_fsyncdir(struct tree_job *job);

#endif
