/* A tree's open files: each is a descriptor, read and written as it is. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/loop.h"
#include "fs/treejob.h"
#include "fs/workspaces.h"

#define READ_AT_ONCE (128u << 10)

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
	job->fi.noflush = (job->fi.flags & O_ACCMODE) == O_RDONLY; /* nothing of it is told */
	job->fi.keep_cache = !node_tree(node)->writers_elsewhere && st.st_nlink == 1;
	return 0;
}

/* Who opens a file to read reads it next: the disk begins now. Nothing is waited for. */
static void begin_to_read(int fd)
{
	char first;
	struct iovec room = { &first, 1 };

	(void)!preadv2(fd, &room, 1, 0, RWF_NOWAIT);
}

int tree_work_open(struct tree_job *job)
{
	int access = job->fi.flags & O_ACCMODE, fd, code;

	if (node_tree(job->node)->read_only && (access != O_RDONLY || job->fi.flags & O_TRUNC))
		return -EROFS;
	if (job->at_once && (access != O_RDONLY || job->fi.flags & O_TRUNC))
		return -EAGAIN;
	fd = tree_job_open(job, open_flags(job->fi.flags));
	if (fd < 0)
		return fd;
	code = keep_open(job, job->node, fd);
	if (code) {
		(void)close(fd);
		return code;
	}
	if (access == O_RDONLY)
		begin_to_read(fd);
	if (fuse_reply_open(job->request, &job->fi) < 0) {
		node_release(job->node);
		(void)close(fd);
	}
	return 0;
}

int tree_work_create(struct tree_job *job)
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

/* What the kernel has in memory; a file's last bytes are fewer than were asked for. */
static int read_at_once(struct tree_job *job)
{
	static char bytes[READ_AT_ONCE]; /* the loop's alone */
	struct iovec room = { bytes, job->size };
	ssize_t n = job->size <= sizeof bytes ? preadv2((int)job->fi.fh, &room, 1, job->offset, RWF_NOWAIT) : -1;
	struct stat st;

	if (n < 0 || ((size_t)n < job->size && (fstat((int)job->fi.fh, &st) < 0 || job->offset + n < st.st_size)))
		return -EAGAIN;
	fuse_reply_buf(job->request, bytes, (size_t)n);
	return 0;
}

int tree_work_read(struct tree_job *job)
{
	if (job->at_once)
		return read_at_once(job);
	struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(job->size);

	bytes.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	bytes.buf[0].fd = (int)job->fi.fh;
	bytes.buf[0].pos = job->offset;
	fuse_reply_data(job->request, &bytes, 0);
	return 0;
}

int tree_work_write(struct tree_job *job)
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

int tree_work_flush(struct tree_job *job)
{
	if (job->at_once && job->node->dirty)
		return -EAGAIN;
	touched_if_dirty(job->node);
	fuse_reply_err(job->request, 0);
	return 0;
}

int tree_work_release(struct tree_job *job)
{
	struct stat st;

	/* The last close of a deleted file frees its blocks. */
	if (job->at_once && (job->node->dirty || fstat((int)job->fi.fh, &st) < 0 || !st.st_nlink))
		return -EAGAIN;
	touched_if_dirty(job->node);
	node_release(job->node);
	(void)close((int)job->fi.fh);
	fuse_reply_err(job->request, 0);
	return 0;
}

int tree_work_fsync(struct tree_job *job)
{
	if ((job->flags ? fdatasync((int)job->fi.fh) : fsync((int)job->fi.fh)) < 0)
		return -errno;
	fuse_reply_err(job->request, 0);
	return 0;
}

int tree_work_fallocate(struct tree_job *job)
{
	if (fallocate((int)job->fi.fh, (int)job->flags, job->offset, job->length) < 0)
		return -errno;
	job->node->dirty = true;
	fuse_reply_err(job->request, 0);
	return 0;
}
