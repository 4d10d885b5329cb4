/* Listings: a snapshot of names, taken when a directory is read from its start, so that what comes
 * and goes meanwhile neither doubles nor hides an entry. Offsets are places in it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/coming.h"
#include "fs/files.h"
#include "fs/named.h"

struct item {
	size_t name; /* in names */
	uint64_t serial;
	struct object *object; /* good as long as none was freed since */
	struct row *row;
	uint32_t index;
	bool scratch, listed;
};

struct listing_snapshot {
	struct buffer names;
	struct item *items;
	size_t count, room;
	uint64_t freed; /* objects_freed() when it was taken */
	bool taken;
};

static int add(struct listing_snapshot *s, const char *name, const struct item *item)
{
	if (s->count == s->room) {
		size_t room = s->room ? 2 * s->room : 32;
		struct item *items = realloc(s->items, room * sizeof *items);

		if (!items)
			return -1;
		s->items = items;
		s->room = room;
	}
	s->items[s->count] = *item;
	s->items[s->count].name = s->names.length;
	if (buffer_append(&s->names, name, strlen(name) + 1) < 0)
		return -1;
	s->count++;
	return 0;
}

struct taking {
	struct listing_snapshot *snapshot;
	const struct node *directory;
};

static int take_child(void *context, const char *name, const struct node *child)
{
	struct taking *t = context;
	struct item item = { .row = (struct row *)child->row, .index = child->index,
			     .serial = child->object ? child->object->serial : 0, .object = child->object };

	if (document_hidden(child))
		return 0;
	item.listed = t->directory->row->listing == LIST_FILES && child->row == t->directory->row->child;
	return add(t->snapshot, name, &item);
}

static int take_scratch(void *context, const struct named *named)
{
	struct taking *t = context;
	struct item item = { .scratch = true };

	return add(t->snapshot, named->name, &item);
}

static int take(struct listing_snapshot *s, const struct node *directory)
{
	struct taking t = { s, directory };

	s->count = 0;
	s->freed = objects_freed();
	buffer_clear(&s->names);
	if (tree_list(directory, take_child, &t) || named_each(directory, take_scratch, &t))
		return -1;
	s->taken = true;
	return 0;
}

static void opendir_again(fuse_req_t request, fuse_ino_t inode, const char *name, struct fuse_file_info *fi)
{
	(void)name;
	folder_opendir(request, inode, fi);
}

void folder_opendir(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct listing_snapshot *s;
	struct named *named;
	struct node node;
	struct handle *h;

	if (node_of(inode, &node, &named) < 0 || named || (node.object && node.object->removed)) {
		fuse_reply_err(request, ENOENT);
		return;
	}
	if (coming_holds(&node, request, inode, NULL, fi, opendir_again))
		return;
	s = calloc(1, sizeof *s);
	h = s ? handle_make(file_kinds[FILE_DIRECTORY], &node, 0, request) : NULL;
	if (!h) {
		free(s);
		fuse_reply_err(request, ENOMEM);
		return;
	}
	s->names = BUFFER(64u << 20);
	h->data = s;
	fi->fh = h->number;
	if (fuse_reply_open(request, fi) < 0) {
		free(s);
		handle_free(h);
	}
}

/* Of an entry whose inode only a LOOKUP makes. Not 0: glibc's readdir(3) passes over such entries. */
#define INODE_UNKNOWN 0xffffffffu

/* Whether an item still has the name that the snapshot gives it: the kernel would keep another's. */
static bool is_there(const struct node *directory, const struct node *child, const char *name)
{
	if (document_hidden(child))
		return false;
	return child->object == directory->object ||
	       (child->object && !child->object->removed && !strcmp(child->object->name, name));
}

/* As readdir tells it. */
static void attributes_of_item(const struct item *item, struct stat *st)
{
	struct object none = { .serial = item->serial };
	struct node child = { .row = item->row, .index = item->index, .object = item->serial ? &none : NULL };

	memset(st, 0, sizeof *st);
	st->st_mode = S_IFREG;
	st->st_ino = INODE_UNKNOWN;
	if (item->scratch || item->listed)
		return;
	st->st_ino = tree_inode(&child);
	if (item->row->kind == FILE_DIRECTORY || item->row->kind == FILE_TREE)
		st->st_mode = S_IFDIR;
	else if (item->row->kind == FILE_LINK)
		st->st_mode = S_IFLNK;
}

/* As readdirplus tells it: what needs a LOOKUP of its own, or has gone, has no inode here. */
static void entry_of_item(const struct listing_snapshot *s, const struct node *directory, const struct item *item,
			  struct fuse_entry_param *entry)
{
	struct node child = { .row = item->row, .index = item->index };

	memset(entry, 0, sizeof *entry);
	if (!item->scratch && !item->listed) {
		if (item->serial)
			child.object = s->freed == objects_freed() ? item->object : objects_by_serial(item->serial);
		if (is_there(directory, &child, s->names.data + item->name) && item->row->kind != FILE_CTL &&
		    item->row->kind != FILE_TREE) {
			entry_of(&child, entry);
			return;
		}
	}
	attributes_of_item(item, &entry->attr);
}

/* The folder itself and the one above it. */
static void entry_of_dots(fuse_ino_t inode, size_t i, struct fuse_entry_param *entry)
{
	entry->attr.st_ino = i ? INODE_UNKNOWN : inode;
	entry->attr.st_mode = S_IFDIR;
}

static void read_listing(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
			 struct fuse_file_info *fi, bool plus)
{
	struct handle *h = handle_of(fi->fh);
	struct listing_snapshot *s = h ? h->data : NULL;
	char *out = s ? malloc(size) : NULL;
	size_t used = 0;

	if (!out) {
		fuse_reply_err(request, s ? ENOMEM : EBADF);
		return;
	}
	if ((!offset || !s->taken) && take(s, &h->node) < 0) {
		free(out);
		fuse_reply_err(request, ENOMEM);
		return;
	}
	for (size_t i = (size_t)offset; i < s->count + 2; i++) {
		struct fuse_entry_param entry = { .ino = 0 };
		const struct item *item = i < 2 ? NULL : &s->items[i - 2];
		const char *name = i == 0 ? "." : i == 1 ? ".." : s->names.data + item->name;
		size_t n, room = size - used;

		if (item && i + 6 < s->count && s->freed == objects_freed())
			__builtin_prefetch(s->items[i + 6].object);
		if (!plus) {
			if (item)
				attributes_of_item(item, &entry.attr);
			else
				entry_of_dots(inode, i, &entry);
			n = fuse_add_direntry(request, out + used, room, name, &entry.attr, (off_t)i + 1);
		} else {
			/* Its size first: an entry that does not fit must not be noted as known. */
			n = fuse_add_direntry_plus(request, NULL, 0, name, NULL, 0);
			if (n <= room) {
				if (item)
					entry_of_item(s, &h->node, item, &entry);
				else
					entry_of_dots(inode, i, &entry);
				n = fuse_add_direntry_plus(request, out + used, room, name, &entry, (off_t)i + 1);
			}
		}
		if (n > room)
			break;
		used += n;
	}
	fuse_reply_buf(request, out, used);
	free(out);
}

void folder_readdir(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	read_listing(request, inode, size, offset, fi, false);
}

void folder_readdirplus(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
			struct fuse_file_info *fi)
{
	read_listing(request, inode, size, offset, fi, true);
}

void folder_releasedir(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi->fh);

	(void)inode;
	if (h) {
		struct listing_snapshot *s = h->data;

		buffer_free(&s->names);
		free(s->items);
		free(s);
		handle_free(h);
	}
	fuse_reply_err(request, 0);
}
