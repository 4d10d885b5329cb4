/* The texts that the mount keeps: read from the disk, and put there by the storage thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "fs/files.h"
#include "fs/mount.h"
#include "fs/supervise.h"

int node_read(const struct node *node, struct buffer *out, struct error *err)
{
	int folder = tree_folder(node);
	const char *coming;
	char path[512];
	size_t n;

	if (save_is_coming(node, &coming, &n))
		return buffer_append(out, coming, n) < 0 ? error_memory(err) : 0;
	if (folder < 0 || tree_path(node, path, sizeof path) < 0)
		return error_errno(err, "%s", node->row->name);
	if (file_read(folder, path, out, err) < 0 && err->code != ENOENT)
		return -1;
	return 0;
}

struct saving {
	struct awaiting awaiting;
	struct object *object;
	int folder, verdict;
	mode_t mode;
	char *text;
	size_t length;
	char path[512];
	struct saving *next; /* of those that nobody waits for, the newest first */
};

static struct saving *unawaited;

static void forget_saving(struct saving *s)
{
	for (struct saving **at = &unawaited; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			return;
		}
}

bool save_is_coming(const struct node *node, const char **text, size_t *n)
{
	char path[512];

	if (!unawaited || tree_path(node, path, sizeof path) < 0)
		return false;
	for (const struct saving *s = unawaited; s; s = s->next)
		if (s->object == node->object && !strcmp(s->path, path)) {
			*text = s->text;
			*n = s->length;
			return true;
		}
	return false;
}

bool save_is_under_way(const struct object *object)
{
	for (const struct saving *s = unawaited; s; s = s->next)
		if (s->object == object)
			return true;
	return false;
}

static int nothing(void *data, struct error *err)
{
	(void)data;
	(void)err;
	return 0;
}

static void poke(void *data, int result, const struct error *error)
{
	struct object *object = data;

	(void)result;
	(void)error;
	supervise_poke(mount_supervisor(), object->kind, object->serial);
	object_unpin(object);
}

void save_then_poke(struct object *object)
{
	object_pin(object);
	/* The storage thread keeps the order. */
	if (!save_is_under_way(object) || in_storage(nothing, poke, object))
		poke(object, 0, NULL);
}

static int save_work(void *data, struct error *err)
{
	struct saving *s = data;

	return file_replace(s->folder, s->path, s->text, s->length, s->mode, true, err);
}

static void save_finish(void *data, int result, const struct error *error)
{
	struct saving *s = data;

	forget_saving(s);
	if (result)
		refuse(s->object, error);
	tree_changed(s->object, s->path);
	if (s->awaiting.truncated && !result && !s->verdict)
		reply_attributes(s->awaiting.request, s->awaiting.truncated, NULL);
	else if (s->awaiting.request)
		fuse_reply_err(s->awaiting.request, result ? error->code : s->verdict);
	object_unpin(s->object);
	(void)close(s->folder);
	free(s->text);
	free(s);
}

void save(struct object *object, const char *path, const char *text, size_t n, mode_t mode,
	  struct awaiting awaiting, int verdict)
{
	int folder = object ? object_folder_fd(object) : objects_state()->fd, code = errno;
	struct saving *s = calloc(1, sizeof *s);

	if (s)
		*s = (struct saving){ .awaiting = awaiting, .object = object, .verdict = verdict, .mode = mode,
				      .length = n, .text = malloc(n + 1), .folder = -1 };
	if (s && s->text && folder >= 0) {
		memcpy(s->text, n ? text : "", n);
		(void)snprintf(s->path, sizeof s->path, "%s", path);
		s->folder = fcntl(folder, F_DUPFD_CLOEXEC, 0);
		code = errno;
		object_pin(object);
		if (s->folder >= 0 && !in_storage(save_work, save_finish, s)) {
			if (!awaiting.request) {
				s->next = unawaited;
				unawaited = s;
				tree_changed(object, path);
			}
			return;
		}
		object_unpin(object);
		if (s->folder >= 0)
			(void)close(s->folder);
	}
	if (awaiting.request)
		fuse_reply_err(awaiting.request, s && s->text ? code : ENOMEM);
	if (s)
		free(s->text);
	free(s);
}
