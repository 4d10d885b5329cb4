/* The way into a tree: its root's descriptor, opened below the object's folder or passed out by a
 * sandbox's runner, and let go of when the sandbox stops, since it would keep its mounts alive. */
#include "fs/treefile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fs/mount.h"
#include "fs/supervise.h"
#include "fs/treejob.h"

static void reply_top(fuse_req_t request, const struct tree *like, int fd)
{
	struct fuse_entry_param entry = { .entry_timeout = 0 };
	struct tree_node *top;

	if (fstat(fd, &entry.attr) < 0 || !S_ISDIR(entry.attr.st_mode)) {
		(void)close(fd);
		fuse_reply_err(request, ENOTCONN);
		return;
	}
	top = tree_enter(like, fd, &entry.attr);
	if (!top) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	entry.ino = top->number;
	entry.attr_timeout = tree_show(like, &entry.attr);
	if (fuse_reply_entry(request, &entry) < 0)
		node_forget(entry.ino, 1);
}

/* A sandbox's root comes from its runner. */
struct arrival {
	fuse_req_t request;
	struct tree like;
};

static void root_came(void *context, int code, int exit, const char *text, int passed)
{
	struct arrival *arrival = context;

	(void)exit;
	(void)text;
	if (!code && passed >= 0) {
		reply_top(arrival->request, &arrival->like, passed);
	} else {
		if (passed >= 0)
			(void)close(passed);
		fuse_reply_err(arrival->request, code ? code : ENOTCONN);
	}
	free(arrival);
}

static void enter_by_call(fuse_req_t request, const struct node *node, const struct tree *like)
{
	static const struct supervise_call_callbacks callbacks = { .ended = root_came };
	struct arrival *arrival;

	if (!node->object || strcmp(node->object->status.state, "ready") != 0) {
		fuse_reply_err(request, ENOTCONN);
		return;
	}
	arrival = malloc(sizeof *arrival);
	if (arrival)
		*arrival = (struct arrival){ request, *like };
	if (!arrival || !supervise_call(mount_supervisor(), node->object->kind, node->object->serial, node->row->call,
					NULL, 0, &callbacks, arrival)) {
		free(arrival);
		fuse_reply_err(request, ENOMEM);
	}
}

/* A folder that is not there yet is made: outputs/ of a session that left nothing. */
static int open_backing(const struct node *node, struct error *err)
{
	char path[PATH_MAX];
	int folder = tree_folder(node);

	if (folder < 0)
		return error_errno(err, "%s", node->row->name);
	if (tree_path(node, path, sizeof path) < 0)
		return error_set(err, ENAMETOOLONG, "%s: the path is too long", node->row->name);
	if (file_make_folder(folder, path, 0755, err) < 0)
		return -1;
	return file_open_folder(folder, path, err);
}

void treefile_enter(fuse_req_t request, const struct node *node)
{
	struct tree like = {
		.row = node->row->number,
		.serial = node->object ? node->object->serial : 0,
		.sandbox = node->row->call != NULL,
		.read_only = node->row->read_only,
		.watched = node->object && node->object->kind == OBJECT_WORKSPACE,
		.writers_elsewhere = !node->object || node->object->kind != OBJECT_WORKSPACE,
	};
	struct error err = { .code = EIO };
	int fd;

	if (tree_has_root(like.row, like.serial)) {
		struct fuse_entry_param entry = { .entry_timeout = 0 };
		struct tree_node *top = tree_enter(&like, -1, &entry.attr);
		cleanup_close int known = top ? node_open(top, O_PATH | O_DIRECTORY) : -1;

		if (known >= 0 && !fstat(known, &entry.attr)) {
			entry.ino = top->number;
			entry.attr_timeout = tree_show(&like, &entry.attr);
			if (fuse_reply_entry(request, &entry) < 0)
				node_forget(entry.ino, 1);
			return;
		}
		if (top)
			node_forget(top->number, 1);
	}
	if (node->row->call) {
		enter_by_call(request, node, &like);
		return;
	}
	fd = node->row->root ? node->row->root(node, &err) : open_backing(node, &err);
	if (fd < 0)
		fuse_reply_err(request, err.code);
	else
		reply_top(request, &like, fd);
}

void treefile_object_changed(const struct object *object)
{
	static const struct row *row;

	if (object->kind != OBJECT_SANDBOX || (!object->removed && !strcmp(object->status.state, "ready")))
		return;
	for (const struct row *r = row ? NULL : root_row.rows; r && r->name; r++)
		if (r->child && r->child->kind == FILE_TREE && r->objects == OBJECT_SANDBOX)
			row = r->child;
	if (row)
		tree_leave(row->number, object->serial);
}
