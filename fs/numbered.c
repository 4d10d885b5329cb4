#include "fs/numbered.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fs/mount.h"
#include "fs/pool.h"
#include "fs/supervise.h"

#define DROPPED ".dropped-"
#define LAST ".last" /* among the names: where the last one that was made is */

/* A folder below the directory's, owned; -1 with errno. */
static int open_below(const struct node *directory, const char *name, int flags)
{
	char path[PATH_MAX], below[PATH_MAX];
	int folder = tree_folder(directory);

	if (folder < 0 || tree_path(directory, path, sizeof path) < 0 ||
	    (size_t)snprintf(below, sizeof below, "%s/%s", path, name) >= sizeof below)
		return -1;
	return openat(folder, below, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
}

static uint32_t read_number(int names, const char *name)
{
	char target[32], *end;
	ssize_t n = readlinkat(names, name, target, sizeof target - 1);
	unsigned long number;

	if (n < 4 || strncmp(target, "../", 3) != 0)
		return 0;
	target[n] = '\0';
	number = strtoul(target + 3, &end, 10);
	return *end || number > NUMBERED_MAX ? 0 : (uint32_t)number;
}

uint32_t numbered_find(const struct node *directory, const char *name)
{
	cleanup_close int names = name[0] == '.' ? -1 : open_below(directory, "names", 0);

	return names < 0 ? 0 : read_number(names, name);
}

int numbered_list(const struct node *directory, int (*visit)(void *context, const char *name, const struct node *child),
		  void *context)
{
	int names = open_below(directory, "names", 0);
	cleanup_dir DIR *dir = names < 0 ? NULL : fdopendir(names);
	struct dirent *entry;
	int result = 0;

	if (!dir && names >= 0)
		(void)close(names);
	while (dir && !result && (entry = readdir(dir))) {
		struct node child = { .row = directory->row->child, .object = directory->object };

		child.index = entry->d_name[0] == '.' ? 0 : read_number(names, entry->d_name);
		if (child.index)
			result = visit(context, entry->d_name, &child);
	}
	return result;
}

int numbered_name(const struct node *node, const char *folder, char name[256])
{
	char path[PATH_MAX];
	int object = tree_folder(node), names = -1, found = -1;
	cleanup_dir DIR *dir = NULL;
	struct dirent *entry;

	if (object >= 0 && (size_t)snprintf(path, sizeof path, "%s/names", folder) < sizeof path)
		names = openat(object, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = names < 0 ? NULL : fdopendir(names);
	if (!dir && names >= 0)
		(void)close(names);
	while (dir && found < 0 && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && read_number(names, entry->d_name) == node->index)
			found = snprintf(name, 256, "%s", entry->d_name) ? 0 : -1;
	return found;
}

/* ---- changes ---- */

struct numbering {
	fuse_req_t request;
	struct node directory; /* its object is pinned */
	int folder;            /* the object's, owned */
	char path[256];        /* of the directory in it */
	char *name, *to;       /* to: of a renaming */
	uint32_t number;
};

static int make(void *data, struct error *err)
{
	struct numbering *n = data;
	cleanup_close int names = -1;
	char path[PATH_MAX], target[32];

	(void)snprintf(path, sizeof path, "%s/names", n->path);
	if (file_make_folders(n->folder, path, 0700, err) < 0)
		return -1;
	names = file_open_folder(n->folder, path, err);
	if (names < 0)
		return -1;
	n->number = read_number(names, LAST) + 1;
	if (n->number > NUMBERED_MAX)
		return error_set(err, ENOSPC, "%u were made in it, and there are no more numbers", NUMBERED_MAX);
	(void)snprintf(target, sizeof target, "../%u", n->number);
	(void)snprintf(path, sizeof path, "%s/%u", n->path, n->number);
	if (file_make_folder(n->folder, path, 0700, err) < 0)
		return -1;
	(void)unlinkat(names, LAST "~", 0);
	if (symlinkat(target, names, LAST "~") < 0 || renameat(names, LAST "~", names, LAST) < 0 ||
	    symlinkat(target, names, n->name) < 0)
		return error_errno(err, "%s", n->name);
	return file_sync_folder(n->folder, n->path, err) < 0 ? -1 : file_sync_folder(names, ".", err);
}

/* The name becomes n->to, or nobody's where that is empty. */
static int rename_(void *data, struct error *err)
{
	struct numbering *n = data;
	char path[PATH_MAX];
	cleanup_close int names = -1;

	(void)snprintf(path, sizeof path, "%s/names", n->path);
	names = file_open_folder(n->folder, path, err);
	if (names < 0)
		return -1;
	if (*n->to ? renameat(names, n->name, names, n->to) : unlinkat(names, n->name, 0))
		return error_errno(err, "%s", n->name);
	return file_sync_folder(names, ".", err);
}

/* What is in it may take long to remove: it is out of sight at once, and goes afterwards. */
static int drop(void *data, struct error *err)
{
	struct numbering *n = data;
	char path[PATH_MAX], aside[PATH_MAX];

	(void)snprintf(path, sizeof path, "%s/%u", n->path, n->number);
	(void)snprintf(aside, sizeof aside, "%s/" DROPPED "%u", n->path, n->number);
	if (rename_(data, err) < 0)
		return -1;
	return renameat(n->folder, path, n->folder, aside) < 0 ? error_errno(err, "%s", n->name) : 0;
}

struct dropping {
	struct pool_job job;
	int folder; /* the directory */
};

/* Also what an earlier mount had no time for. */
static void remove_dropped(struct pool_job *job)
{
	struct dropping *d = (struct dropping *)job;
	cleanup_dir DIR *dir = file_list(d->folder, ".", 0);
	const struct dirent *entry;
	struct error ignored; /* the next one tries again */

	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, DROPPED, strlen(DROPPED)))
			(void)file_remove_tree(d->folder, entry->d_name, &ignored);
	(void)close(d->folder);
	free(d);
}

static void finish(struct numbering *n)
{
	struct object *object = n->directory.object;

	tree_changed(object, n->path);
	if (object)
		supervise_poke(mount_supervisor(), object->kind, object->serial);
	object_unpin(object);
	(void)close(n->folder);
	free(n->name);
	free(n->to);
	free(n);
}

static void refused(const struct numbering *n, const struct error *error)
{
	refuse(n->directory.object, error);
	fuse_reply_err(n->request, error->code);
}

static void made(void *data, int result, const struct error *error)
{
	struct numbering *n = data;
	struct fuse_entry_param entry;
	struct node node = { .row = n->directory.row->child, .object = n->directory.object, .index = n->number };

	if (result) {
		refused(n, error);
	} else {
		entry_of(&node, &entry);
		fuse_reply_entry(n->request, &entry);
	}
	finish(n);
}

static void changed(void *data, int result, const struct error *error)
{
	struct numbering *n = data;

	if (result)
		refused(n, error);
	else
		fuse_reply_err(n->request, 0);
	finish(n);
}

static void dropped(void *data, int result, const struct error *error)
{
	struct numbering *n = data;
	struct dropping *d = result ? NULL : malloc(sizeof *d);

	if (d) {
		*d = (struct dropping){ .job.run = remove_dropped, .folder = openat(n->folder, n->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
		pool_submit(&file_pool, &d->job);
	}
	changed(data, result, error);
}

static void submit(fuse_req_t request, const struct node *directory, const char *name, const char *to,
		   int (*work)(void *data, struct error *err),
		   void (*done)(void *data, int result, const struct error *error))
{
	struct numbering *n = calloc(1, sizeof *n);
	int folder = tree_folder(directory);

	if (n)
		*n = (struct numbering){ .request = request, .directory = *directory, .name = strdup(name), .to = strdup(to),
					 .number = numbered_find(directory, name),
					 .folder = folder < 0 ? -1 : fcntl(folder, F_DUPFD_CLOEXEC, 0) };
	if (n && n->name && n->to && n->folder >= 0 && !tree_path(directory, n->path, sizeof n->path)) {
		object_pin(directory->object);
		if (!in_storage(work, done, n))
			return;
		object_unpin(directory->object);
	}
	if (n && n->folder >= 0)
		(void)close(n->folder);
	if (n) {
		free(n->name);
		free(n->to);
	}
	free(n);
	fuse_reply_err(request, ENOMEM);
}

void numbered_make(fuse_req_t request, const struct node *directory, const char *name)
{
	submit(request, directory, name, "", make, made);
}

void numbered_remove(fuse_req_t request, const struct node *directory, const char *name)
{
	submit(request, directory, name, "", rename_, changed);
}

void numbered_rename(fuse_req_t request, const struct node *directory, const char *name, const char *to)
{
	submit(request, directory, name, to, rename_, changed);
}

void numbered_drop(fuse_req_t request, const struct node *directory, const char *name)
{
	submit(request, directory, name, "", drop, dropped);
}
