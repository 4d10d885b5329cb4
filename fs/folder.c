/* What changes a directory: mkdir, rmdir, rename, unlink, create. A parked one would freeze its
 * parent in the kernel, so each is answered at once, or when the one disk write that records it is
 * done; the work that follows (a container to release) is the runner's. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fs/files.h"
#include "fs/kept.h"
#include "fs/mount.h"
#include "fs/named.h"
#include "fs/notify.h"
#include "fs/numbered.h"
#include "fs/snapshots.h"
#include "fs/supervise.h"
#include "fs/treefile.h"
#include "fs/workspaces.h"

/* A change of the tree that is refused is explained by the root's `error`: what was tried, so that
 * nobody takes an older refusal for his own, and why not. */
static void refuse_change(fuse_req_t request, const char *what, const struct node *directory, const char *name,
			  struct error *err)
{
	cleanup_buffer struct buffer place = BUFFER(4096);
	char shown[JUDGE_SHOWN];

	(void)judge_shown(name, shown);
	(void)tree_place(directory, &place);
	(void)error_wrap(err, "%s %s%s", what, place.length ? place.data : "", shown);
	refuse(NULL, err);
	fuse_reply_err(request, err->code);
}

void folder_refuse(fuse_req_t request, fuse_ino_t parent, const char *what, const char *name, const char *why)
{
	struct node directory;
	struct named *named;
	struct error err;

	(void)error_set(&err, EPERM, "%s", why);
	if (node_of(parent, &directory, &named) < 0 || named)
		fuse_reply_err(request, EPERM);
	else
		refuse_change(request, what, &directory, name, &err);
}

/* What desktops make to throw something away: never made here. */
static bool is_trash(const char *name)
{
	return !strncmp(name, ".Trash", 6);
}

/* A change of an object's name on its way through the storage thread. */
struct change {
	fuse_req_t request;
	enum object_kind kind;
	const struct row *above; /* the directory in which it happens */
	struct object *object; /* pinned; NULL for mkdir */
	uint64_t serial;
	char *name, *to;
};

static struct change *change_make(fuse_req_t request, const struct row *above, struct object *object,
				  const char *name, const char *to)
{
	struct change *c = calloc(1, sizeof *c);

	if (c)
		*c = (struct change){ request, above->objects, above, object, object ? object->serial : 0, strdup(name),
				      to ? strdup(to) : NULL };
	if (!c || !c->name || (to && !c->to)) {
		if (c)
			free(c->name);
		free(c);
		fuse_reply_err(request, ENOMEM);
		return NULL;
	}
	object_pin(object);
	return c;
}

static void change_free(struct change *c)
{
	object_unpin(c->object);
	free(c->name);
	free(c->to);
	free(c);
}

/* The storage thread could not do it. */
static void change_refused(const struct change *c, const char *what, const struct error *error)
{
	const struct node directory = { .row = c->above };
	struct error err = *error;

	refuse_change(c->request, what, &directory, c->name, &err);
}

static void change_submit(struct change *c, int (*work)(void *data, struct error *err),
			  void (*finish)(void *data, int result, const struct error *error))
{
	if (!in_storage(work, finish, c))
		return;
	fuse_reply_err(c->request, ENOMEM);
	change_free(c);
}

void folder_too_long(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct node directory;
	struct named *named;
	struct error err;

	if (!node_of(parent, &directory, &named) && !named && state_check_name(name, &err) < 0 && err.code == ENAMETOOLONG)
		refuse_change(request, "a name in", &directory, "", &err);
	else
		fuse_reply_err(request, ENAMETOOLONG);
}

/* The directory that an operation is about; replies when there is none. */
static int directory_of(fuse_req_t request, fuse_ino_t inode, struct node *directory)
{
	struct named *named;

	if (!node_of(inode, directory, &named) && !named && !(directory->object && directory->object->removed))
		return 0;
	fuse_reply_err(request, ENOENT);
	return -1;
}

static bool makes_objects(const struct node *directory)
{
	return directory->row->listing == LIST_OBJECTS && directory->row->child->kind == FILE_DIRECTORY;
}

static bool all_digits(const char *name)
{
	for (; *name; name++)
		if (!isdigit((unsigned char)*name))
			return false;
	return true;
}

/* Whether the name may be one of a new object in the directory. */
static int check_name(const struct node *directory, const char *name, struct error *err)
{
	struct node child;

	if (is_trash(name))
		return error_set(err, EPERM, "there is no trash here; delete with rmdir");
	if (state_check_name(name, err) < 0)
		return -1;
	if (!tree_find(directory, name, &child))
		return error_set(err, EEXIST, "there is one already");
	if (directory->row->objects == OBJECT_SESSION && all_digits(name))
		return error_set(err, EINVAL, "numbers are given by sessions/new");
	return 0;
}

static int mkdir_work(void *data, struct error *err)
{
	struct change *c = data;

	if (state_add(objects_state(), c->kind, c->name, &c->serial, err) < 0)
		return -1;
	if (c->above->child->made) {
		cleanup_close int folder = object_open(objects_state(), c->kind, c->serial, err);

		if (folder < 0 || c->above->child->made(folder, err) < 0) {
			supervise_undo(objects_state(), c->kind, c->name, c->serial);
			return -1;
		}
	}
	return 0;
}

static void mkdir_finish(void *data, int result, const struct error *error)
{
	struct change *c = data;
	struct fuse_entry_param entry;
	struct node node = { .row = c->above->child };

	if (result) {
		change_refused(c, "mkdir", error);
	} else if (!(node.object = objects_add(c->kind, c->name, c->serial))) {
		fuse_reply_err(c->request, ENOMEM);
	} else {
		accept_again(NULL);
		supervise_poke(mount_supervisor(), c->kind, c->serial);
		entry_of(&node, &entry);
		fuse_reply_entry(c->request, &entry);
	}
	change_free(c);
}

void folder_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct node directory;
	struct change *c;
	struct error err;

	(void)mode;
	if (directory_of(request, parent, &directory) < 0)
		return;
	if (directory.row->listing == LIST_NAMED && !directory.row->found && directory.object && check_name(&directory, name, &err) == 0) {
		numbered_make(request, &directory, name);
		return;
	}
	if (!makes_objects(&directory)) {
		if (directory.row->listing == LIST_NAMED && !directory.row->found)
			(void)check_name(&directory, name, &err);
		else if (!is_trash(name))
			(void)error_set(&err, EPERM, "a folder cannot be made here");
		else
			(void)check_name(&directory, name, &err);
		refuse_change(request, "mkdir", &directory, name, &err);
		return;
	}
	if (check_name(&directory, name, &err) < 0 ||
	    (directory.row->unmade && error_set(&err, EPERM, "%s", directory.row->unmade) < 0)) {
		refuse_change(request, "mkdir", &directory, name, &err);
		return;
	}
	c = change_make(request, directory.row, NULL, name, NULL);
	if (c)
		change_submit(c, mkdir_work, mkdir_finish);
}

static int rmdir_work(void *data, struct error *err)
{
	struct change *c = data;

	return supervise_remove(objects_state(), c->kind, c->name, c->serial, err);
}

static void rmdir_finish(void *data, int result, const struct error *error)
{
	struct change *c = data;

	if (result) {
		change_refused(c, "rmdir", error);
	} else {
		c->object->want.generation++;
		c->object->want.what = WANT_REMOVED;
		object_pin(c->object); /* until it is gone: the log tells its name */
		objects_remove(c->object);
		accept_again(NULL);
		supervise_poke(mount_supervisor(), c->kind, c->serial);
		fuse_reply_err(c->request, 0);
		files_object_changed(c->object); /* readers come to the end of their file */
		treefile_object_changed(c->object);
		named_remove_all(c->object);
		document_forget(c->object);
	}
	change_free(c);
}

void folder_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct node directory, child;
	struct change *c;
	struct error err;

	if (directory_of(request, parent, &directory) < 0)
		return;
	if (tree_find(&directory, name, &child) < 0) {
		fuse_reply_err(request, ENOENT);
		return;
	}
	if (child.row->kind != FILE_DIRECTORY && child.row->kind != FILE_TREE) {
		fuse_reply_err(request, ENOTDIR);
		return;
	}
	if (directory.row->listing == LIST_NAMED && !directory.row->found && child.row == directory.row->child) {
		numbered_remove(request, &directory, name);
		return;
	}
	if (directory.row->drops && child.row == directory.row->child) {
		if (directory.row->drops(&child, name, &err) < 0)
			refuse_change(request, "rmdir", &directory, name, &err);
		else
			numbered_drop(request, &directory, name);
		return;
	}
	if (!makes_objects(&directory) || child.row != directory.row->child) {
		/* rm -r comes by here on its way to the object; what belongs to it stays. */
		if (child.object)
			fuse_reply_err(request, 0);
		else
			folder_refuse(request, parent, "rmdir", name, "it belongs to the mount");
		return;
	}
	if (object_in_use(child.object, &err) || snapshots_hold(child.object, &err)) {
		refuse(child.object, &err); /* where one looks for what is wrong with it, too */
		refuse(NULL, &err);
		fuse_reply_err(request, err.code);
		return;
	}
	if (workspace_stays(child.object, &err)) {
		refuse_change(request, "rmdir", &directory, name, &err);
		return;
	}
	c = change_make(request, directory.row, child.object, name, NULL);
	if (c)
		change_submit(c, rmdir_work, rmdir_finish);
}

/* mv, install, tar and cp --remove-destination unlink and create again: the document hides meanwhile.
 * A config stays in force, what runs goes on; of an init.py or a prompt nothing is left. */
static void unlink_document(fuse_req_t request, const struct node *document)
{
	const struct row *row = document->row;
	struct error err;

	document_hide(document);
	if (row->fields || (row->judge && row->judge(document, "", 0, true, &err) < 0))
		fuse_reply_err(request, 0); /* on rm -r's way, where it could not be emptied */
	else
		document_put(document, "", 0, (struct awaiting){ request, 0 });
}

void folder_unlink(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct node directory, child;
	struct named *named;

	if (directory_of(request, parent, &directory) < 0)
		return;
	named = named_find(&directory, name);
	if (named && !named->listed) {
		named_unlink(named);
		fuse_reply_err(request, 0);
	} else if (tree_find(&directory, name, &child) < 0) {
		fuse_reply_err(request, ENOENT);
	} else if (!directory.object) {
		folder_refuse(request, parent, "rm", name, "it belongs to the mount");
	} else if (child.row->kind == FILE_KEPT) {
		kept_remove(request, &directory, name);
	} else if (child.row->kind == FILE_DOCUMENT) {
		unlink_document(request, &child);
	} else {
		fuse_reply_err(request, 0); /* rm -r comes by, as above */
	}
}

static int rename_work(void *data, struct error *err)
{
	struct change *c = data;

	return state_rename(objects_state(), c->kind, c->name, c->to, err);
}

static void rename_finish(void *data, int result, const struct error *error)
{
	struct change *c = data;

	if (result) {
		change_refused(c, "mv", error);
	} else if (objects_rename(c->object, c->to) < 0) {
		fuse_reply_err(c->request, ENOMEM); /* it has the name at the next mount */
	} else {
		accept_again(NULL);
		fuse_reply_err(c->request, 0);
		files_object_changed(c->object);
	}
	change_free(c);
}

static void rename_object(fuse_req_t request, const struct node *directory, const char *name, const char *to,
			  unsigned flags)
{
	struct object *object = objects_find(directory->row->objects, name);
	struct error err;
	struct change *c;

	if (!object) {
		fuse_reply_err(request, ENOENT);
		return;
	}
	if (flags & ~(unsigned)RENAME_NOREPLACE) {
		fuse_reply_err(request, EINVAL);
		return;
	}
	if (workspace_stays(object, &err)) {
		refuse_change(request, "mv", directory, name, &err);
		return;
	}
	if (check_name(directory, to, &err) < 0) {
		err.code = err.code == EINVAL ? EPERM : err.code; /* mv(1) takes it for a move into itself */
		refuse_change(request, "mv to", directory, to, &err);
		return;
	}
	c = change_make(request, directory->row, object, name, to);
	if (c)
		change_submit(c, rename_work, rename_finish);
}

/* vim's backup: the document's text goes on under a scratch name, the document hides. */
static void rename_document(fuse_req_t request, const struct node *directory, const struct node *from,
			    const char *to, fuse_ino_t parent)
{
	struct named *named = named_find(directory, to);
	struct error err;

	if (!named)
		named = named_make(directory, to, false);
	if (!named) {
		fuse_reply_err(request, errno);
		return;
	}
	buffer_clear(&named->text);
	if (node_read(from, &named->text, &err) < 0) {
		named_unlink(named);
		fuse_reply_err(request, err.code);
		return;
	}
	document_hide(from);
	fuse_reply_err(request, 0);
	/* The kernel has moved the document's inode there: it must ask again. */
	notify_entry(parent, to);
}

/* A scratch file becomes the text of a document. */
static void rename_to_document(fuse_req_t request, struct named *named, const struct node *document,
			       fuse_ino_t parent, const char *to)
{
	document_appear(document);
	named_open(named); /* stays while document_put looks at its text */
	document_put(document, named->text.data, named->text.length, (struct awaiting){ request, 0 });
	if (named->opens > 1 || named->lookups)
		named_become(named, document);
	else
		named_unlink(named);
	named_close(named);
	notify_entry(parent, to);
}

/* A document gets a name under which it is kept; nothing is left of it at its own. */
static void rename_to_kept(fuse_req_t request, const struct node *directory, const struct node *from, fuse_ino_t parent,
			   const char *to)
{
	cleanup_buffer struct buffer text = BUFFER(DOCUMENT_MAX);
	struct error err;

	if (node_read(from, &text, &err) < 0) {
		fuse_reply_err(request, err.code);
		return;
	}
	kept_put(request, directory, to, &text);
	document_hide(from);
	document_put(from, "", 0, (struct awaiting){ NULL, 0 });
	notify_entry(parent, to);
}

/* A file that is kept beside a document takes its place. The disk has the text there before it is gone here. */
static void rename_kept(fuse_req_t request, const struct node *directory, const char *name, const struct node *document,
			fuse_ino_t parent, const char *to)
{
	struct named *named = kept_lift(directory, name);

	if (!named) {
		fuse_reply_err(request, errno);
		return;
	}
	rename_to_document(request, named, document, parent, to);
	kept_remove(NULL, directory, name);
}

void folder_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		   const char *to, unsigned flags)
{
	struct node directory, other, from, target;
	struct named *named, *over;
	struct error err;
	bool there;

	if (directory_of(request, parent, &directory) < 0 || directory_of(request, new_parent, &other) < 0)
		return;
	if (is_trash(to) || parent != new_parent) {
		/* Never EXDEV: mv would copy, and then delete. */
		folder_refuse(request, parent, "mv", name, is_trash(to) ? "there is no trash here; delete with rmdir" :
			      "it cannot be moved out of its folder");
		return;
	}
	named = named_find(&directory, name);
	if (makes_objects(&directory) && !named) {
		rename_object(request, &directory, name, to, flags);
		return;
	}
	if (flags & ~(unsigned)RENAME_NOREPLACE) {
		fuse_reply_err(request, EINVAL);
		return;
	}
	if (directory.row->listing == LIST_NAMED && directory.object && !tree_find(&directory, name, &from) && from.row == directory.row->child) {
		if (check_name(&directory, to, &err) < 0)
			refuse_change(request, "mv to", &directory, to, &err);
		else
			numbered_rename(request, &directory, name, to);
		return;
	}
	over = named_find(&directory, to);
	there = !tree_find(&directory, to, &target);
	if (flags & RENAME_NOREPLACE && (there ? !document_hidden(&target) : over && !over->listed)) {
		fuse_reply_err(request, EEXIST);
		return;
	}
	if (kept_rename(request, &directory, name, to))
		return;
	if (named && !named->listed) {
		if (there) {
			if (row_takes_text(target.row))
				rename_to_document(request, named, &target, parent, to);
			else
				fuse_reply_err(request, EPERM);
			return;
		}
		if (over && over != named)
			named_unlink(over);
		fuse_reply_err(request, named_rename(named, to, false) < 0 ? ENOMEM : 0);
		return;
	}
	if (tree_find(&directory, name, &from) < 0 || document_hidden(&from))
		fuse_reply_err(request, ENOENT);
	else if (from.row->kind == FILE_KEPT && there && row_takes_text(target.row))
		rename_kept(request, &directory, name, &target, parent, to);
	else if (from.row->kind == FILE_DOCUMENT && kept_takes(&directory, to))
		rename_to_kept(request, &directory, &from, parent, to);
	else if (from.row->kind == FILE_DOCUMENT && !there)
		rename_document(request, &directory, &from, to, parent);
	else
		fuse_reply_err(request, EPERM);
}

static bool takes_scratch(const struct node *directory)
{
	for (const struct row *row = directory->row->rows; row && row->name; row++)
		if (row_takes_text(row))
			return true;
	return false;
}

void folder_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
		   struct fuse_file_info *fi)
{
	struct fuse_entry_param entry;
	struct node directory, child;
	struct named *named = NULL;
	struct handle *h = NULL;
	struct error err = { .code = EPERM };

	if (directory_of(request, parent, &directory) < 0)
		return;
	if (kept_takes(&directory, name)) {
		bool there = !tree_find(&directory, name, &child);

		named = there && fi->flags & O_EXCL ? (errno = EEXIST, NULL) : kept_create(&directory, name);
		err.code = errno;
		child = directory;
		if (named)
			h = open_node(&child, named, fi->flags, request, &err);
	} else if (!tree_find(&directory, name, &child)) {
		bool hidden = document_hidden(&child);

		if (hidden)
			document_appear(&child);
		else if (fi->flags & O_EXCL)
			err.code = EEXIST;
		if (err.code != EEXIST && child.row->kind != FILE_DIRECTORY && child.row->kind != FILE_TREE)
			h = open_node(&child, NULL, fi->flags | (hidden ? O_TRUNC : 0), request, &err);
	} else if (directory.object && takes_scratch(&directory) && !is_trash(name) && strlen(name) <= 255) {
		named = named_find(&directory, name);
		if (!named)
			named = named_make(&directory, name, false);
		child = directory;
		if (named)
			named->mode = mode & 0777;
		else
			err.code = errno;
		if (named)
			h = open_node(&child, named, fi->flags, request, &err);
	}
	if (!h && err.code == EPERM) {
		folder_refuse(request, parent, "a file", name, makes_objects(&directory) ? "mkdir makes one" : "no file can be made here");
		return;
	}
	if (!h) {
		fuse_reply_err(request, err.code);
		return;
	}
	if (named) {
		entry_of_named(named, &entry);
		named_looked_up(named);
	} else {
		entry_of(&child, &entry);
	}
	handle_reply(h, fi);
	if (fuse_reply_create(request, &entry, fi) < 0) {
		if (named)
			named_forget(named->inode, 1);
		h->kind->release(h);
		handle_free(h);
	}
}
