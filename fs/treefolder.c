/* A tree's folders while they are open. Names come from the disk as they are asked for: a sandbox may
 * put a hundred million of them into one folder. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/treejob.h"

struct folder {
	DIR *dir;
	off_t at;                    /* the offset behind the last name that was taken */
	const struct dirent *waits;  /* read from dir, and did not fit into the reply */
};

int tree_work_opendir(struct tree_job *job)
{
	struct folder *folder = calloc(1, sizeof *folder);
	int fd = folder ? node_open(job->node, O_RDONLY | O_DIRECTORY) : -ENOMEM;

	if (fd >= 0 && !(folder->dir = fdopendir(fd))) {
		int code = -errno;

		(void)close(fd);
		fd = code;
	}
	if (fd < 0) {
		free(folder);
		return fd;
	}
	node_hold(job->node, fd);
	job->fi.fh = (uint64_t)(uintptr_t)folder;
	if (fuse_reply_open(job->request, &job->fi) < 0) {
		node_release(job->node);
		(void)closedir(folder->dir);
		free(folder);
	}
	return 0;
}

/* The next name; NULL at the end, or with errno. What is in /proc and /sys of a sandbox is not shown. */
static const struct dirent *next_entry(struct folder *folder, const struct tree_node *node)
{
	const struct dirent *entry = folder->waits;

	folder->waits = NULL;
	errno = 0;
	while (!entry && (entry = readdir(folder->dir)))
		if (node->empty && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			entry = NULL;
	return entry;
}

/* One entry at the end of the reply; its size, or 0 when it is to be left out (gone meanwhile). */
static size_t put_entry(struct tree_job *job, const struct folder *folder, const struct dirent *found, char *at,
			size_t room, bool plus)
{
	const char *name = found->d_name;
	bool itself = !strcmp(name, ".") || !strcmp(name, "..");
	struct fuse_entry_param entry = { .ino = 0 };
	size_t n;

	entry.attr.st_ino = found->d_ino;
	entry.attr.st_mode = DTTOIF(found->d_type);
	if (!plus) {
		entry.attr.st_ino = tree_shown_inode(job->node->device, found->d_ino);
		return fuse_add_direntry(job->request, at, room, name, &entry.attr, found->d_off);
	}
	if (!itself && tree_entry(job->node, dirfd(folder->dir), name, &entry) < 0)
		return 0;
	n = fuse_add_direntry_plus(job->request, at, room, name, &entry, found->d_off);
	if (n > room && !itself)
		node_forget(entry.ino, 1);
	return n;
}

int tree_work_readdir(struct tree_job *job)
{
	struct folder *folder = (struct folder *)(uintptr_t)job->fi.fh;
	cleanup_free char *reply = malloc(job->size);
	const struct dirent *entry;
	size_t used = 0;

	if (!reply)
		return -ENOMEM;
	if (!job->offset || job->offset != folder->at) {
		if (job->offset)
			seekdir(folder->dir, job->offset);
		else
			rewinddir(folder->dir);
		folder->waits = NULL;
		folder->at = job->offset;
	}
	while ((entry = next_entry(folder, job->node))) {
		size_t n = put_entry(job, folder, entry, reply + used, job->size - used, job->flags);

		if (n > job->size - used) {
			folder->waits = entry;
			break;
		}
		used += n;
		folder->at = entry->d_off;
	}
	if (!entry && errno && !used)
		return -errno;
	fuse_reply_buf(job->request, reply, used);
	return 0;
}

int tree_work_releasedir(struct tree_job *job)
{
	struct folder *folder = (struct folder *)(uintptr_t)job->fi.fh;

	node_release(job->node);
	(void)closedir(folder->dir);
	free(folder);
	fuse_reply_err(job->request, 0);
	return 0;
}

int tree_work_fsyncdir(struct tree_job *job)
{
	if (fsync(dirfd(((struct folder *)(uintptr_t)job->fi.fh)->dir)) < 0)
		return -errno;
	fuse_reply_err(job->request, 0);
	return 0;
}
