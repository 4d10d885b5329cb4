/* Names become nodes: what a LOOKUP replies, and how long the kernel may remember it. */
#include <errno.h>
#include <string.h>

#include "fs/coming.h"
#include "fs/files.h"
#include "fs/named.h"
#include "fs/notify.h"
#include "fs/numbered.h"
#include "fs/treefile.h"

/* Files that desktops look for everywhere and that are nowhere here. */
static bool never_here(const char *name)
{
	return name[0] == '.' || !strcmp(name, "autorun.inf") || !strcmp(name, "desktop.ini");
}

int node_of(fuse_ino_t inode, struct node *node, struct named **named)
{
	*named = NULL;
	if (!named_owns(inode))
		return tree_node(inode, node);
	*named = named_by_inode(inode);
	if (!*named)
		return -1;
	*node = (*named)->directory;
	if ((*named)->alias)
		*named = NULL;
	return 0;
}

double cache_time(const struct node *node)
{
	const struct row *row = node->row;

	switch (row->kind) {
	case FILE_DIRECTORY:
		return row->found && !node->object ? 0 : CACHED; /* runners fill it, and tell nobody */
	case FILE_CTL:
	case FILE_CALL:
	case FILE_HOLD:
		return CACHED;
	case FILE_VALUE:
		if (row->assemble || (row->render && !(row->own && row->bit)))
			return 0; /* it may depend on more than its object's changes tell */
		return node->object ? CACHED : 0;
	case FILE_LOG:
		return node->object ? CACHED : 0;
	case FILE_DOCUMENT:
		return document_is_open(node) ? 0 : CACHED;
	default:
		return 0;
	}
}

void note_known(const struct node *node, double time)
{
	if (node->object && node->row->bit && time > 0)
		node->object->known |= UINT64_C(1) << node->row->bit;
}

/* After a crash in a removal: told that it is gone before this reply has arrived, the kernel would keep the name. */
static bool is_going(const struct node *node)
{
	return node->object && node->object->want.what == WANT_REMOVED;
}

void entry_of(const struct node *node, struct fuse_entry_param *entry)
{
	static uint32_t ctl_count;
	struct node fresh = *node;

	memset(entry, 0, sizeof *entry);
	attributes_of(node, &entry->attr);
	entry->ino = entry->attr.st_ino;
	entry->attr_timeout = cache_time(node);
	entry->entry_timeout = node->row->present || node->row->passing || is_going(node) ? 0 : CACHED;
	note_known(node, entry->attr_timeout);
	if (entry->attr_timeout > 0)
		notify_shown(entry->ino);
	if (node->row->kind == FILE_CTL) {
		/* A parked write holds the inode's lock in the kernel: each LOOKUP gets an inode. */
		fresh.index = node->row->call ? ++ctl_count << NUMBERED_BITS | node->index : ++ctl_count;
		entry->ino = tree_inode(&fresh);
		entry->entry_timeout = 0;
	}
}

void entry_of_named(struct named *named, struct fuse_entry_param *entry)
{
	memset(entry, 0, sizeof *entry);
	attributes_of_named(named, &entry->attr);
	entry->ino = named->inode;
}

static void reply_named(fuse_req_t request, struct named *named)
{
	struct fuse_entry_param entry;

	entry_of_named(named, &entry);
	named_looked_up(named);
	if (fuse_reply_entry(request, &entry) < 0)
		named_forget(named->inode, 1);
}

static void lookup_again(fuse_req_t request, fuse_ino_t parent, const char *name, struct fuse_file_info *fi)
{
	(void)fi;
	entry_lookup(request, parent, name);
}

void entry_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry;
	struct node directory, child;
	struct named *named;

	if (strlen(name) > 255) {
		folder_too_long(request, parent, name); /* the kernel asks for no mkdir after this */
		return;
	}
	if (node_of(parent, &directory, &named) < 0 || named || (directory.object && directory.object->removed)) {
		fuse_reply_err(request, ENOENT);
		return;
	}
	if (coming_holds(&directory, request, parent, name, NULL, lookup_again))
		return;
	named = named_find(&directory, name);
	if (named && !named->listed) {
		reply_named(request, named);
		return;
	}
	if (tree_find(&directory, name, &child) < 0 || document_hidden(&child)) {
		memset(&entry, 0, sizeof entry);
		entry.entry_timeout = never_here(name) ? CACHED : 0;
		if (entry.entry_timeout > 0)
			fuse_reply_entry(request, &entry);
		else
			fuse_reply_err(request, ENOENT);
		return;
	}
	if (child.row->kind == FILE_TREE) {
		treefile_enter(request, &child);
		return;
	}
	if (directory.row->listing == LIST_FILES && child.row == directory.row->child) {
		if (!named)
			named = named_make(&directory, name, true);
		if (named)
			reply_named(request, named);
		else
			fuse_reply_err(request, errno);
		return;
	}
	entry_of(&child, &entry);
	fuse_reply_entry(request, &entry);
}
