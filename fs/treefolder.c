/* A tree's folders while they are open: their names as they were at the last rewind. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/treejob.h"

/* An open folder: its names as they were at its last rewind. */
struct folder {
	int fd;
	size_t count, room;
	struct {
		char *name;
		ino_t file;
		mode_t type;
	} *entries;
};

static void folder_clear(struct folder *folder)
{
	for (size_t i = 0; i < folder->count; i++)
		free(folder->entries[i].name);
	folder->count = 0;
}

static int folder_add(struct folder *folder, const struct dirent *entry)
{
	if (folder->count == folder->room) {
		size_t room = folder->room ? folder->room * 2 : 32;
		void *grown = realloc(folder->entries, room * sizeof *folder->entries);

		if (!grown)
			return -ENOMEM;
		folder->entries = grown;
		folder->room = room;
	}
	folder->entries[folder->count].name = strdup(entry->d_name);
	folder->entries[folder->count].file = entry->d_ino;
	folder->entries[folder->count].type = DTTOIF(entry->d_type);
	return folder->entries[folder->count].name ? (int)(folder->count++, 0) : -ENOMEM;
}

static int folder_fill(struct folder *folder, const struct tree_node *node)
{
	int copy = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	int code = 0;

	folder_clear(folder);
	if (!dir) {
		code = -errno;
		if (copy >= 0)
			(void)close(copy);
		return code;
	}
	for (errno = 0; !code && (entry = readdir(dir)); errno = 0)
		if (!node->empty || !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			code = folder_add(folder, entry);
	return code ? code : -errno;
}

int tree_work_opendir(struct tree_job *job)
{
	struct folder *folder = calloc(1, sizeof *folder);

	if (!folder)
		return -ENOMEM;
	folder->fd = node_open(job->node, O_RDONLY | O_DIRECTORY);
	if (folder->fd < 0) {
		int code = folder->fd;

		free(folder);
		return code;
	}
	node_hold(job->node, folder->fd);
	job->fi.fh = (uint64_t)(uintptr_t)folder;
	if (fuse_reply_open(job->request, &job->fi) < 0) {
		node_release(job->node);
		(void)close(folder->fd);
		free(folder);
	}
	return 0;
}

/* One entry at the end of the reply; its size, or 0 when it is to be left out (gone meanwhile). */
static size_t put_entry(struct tree_job *job, const struct folder *folder, size_t i, char *at, size_t room, bool plus)
{
	const char *name = folder->entries[i].name;
	bool itself = !strcmp(name, ".") || !strcmp(name, "..");
	struct fuse_entry_param entry = { .ino = 0 };
	size_t n;

	entry.attr.st_ino = folder->entries[i].file;
	entry.attr.st_mode = folder->entries[i].type;
	if (!plus) {
		entry.attr.st_ino = tree_shown_inode(job->node->device, folder->entries[i].file);
		return fuse_add_direntry(job->request, at, room, name, &entry.attr, (off_t)i + 1);
	}
	if (!itself && tree_entry(job->node, folder->fd, name, &entry) < 0)
		return 0;
	n = fuse_add_direntry_plus(job->request, at, room, name, &entry, (off_t)i + 1);
	if (n > room && !itself)
		node_forget(entry.ino, 1);
	return n;
}

int tree_work_readdir(struct tree_job *job)
{
	struct folder *folder = (struct folder *)(uintptr_t)job->fi.fh;
	cleanup_free char *reply = malloc(job->size);
	size_t used = 0;
	int code = job->offset ? 0 : folder_fill(folder, job->node);

	if (!reply)
		return -ENOMEM;
	if (code)
		return code;
	for (size_t i = (size_t)job->offset; i < folder->count; i++) {
		size_t n = put_entry(job, folder, i, reply + used, job->size - used, job->flags);

		if (n > job->size - used)
			break;
		used += n;
	}
	fuse_reply_buf(job->request, reply, used);
	return 0;
}

int tree_work_releasedir(struct tree_job *job)
{
	struct folder *folder = (struct folder *)(uintptr_t)job->fi.fh;

	node_release(job->node);
	folder_clear(folder);
	free(folder->entries);
	(void)close(folder->fd);
	free(folder);
	fuse_reply_err(job->request, 0);
	return 0;
}

int tree_work_fsyncdir(struct tree_job *job)
{
	if (fsync(((struct folder *)(uintptr_t)job->fi.fh)->fd) < 0)
		return -errno;
	fuse_reply_err(job->request, 0);
	return 0;
}
