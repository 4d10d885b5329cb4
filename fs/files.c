/* Open files: what a kind does not say, handles, and telling them of changes. */
#include "fs/files.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fs/named.h"

#define HANDLES_MAX 65536u

static struct {
	struct handle **table; /* by number - 1 */
	uint32_t size, hint;
	struct handle *first;
} open_files;

static struct kind directory_kind = { .mode = 0755 }, link_kind = { .mode = 0777 }, tree_kind = { .mode = 0755 };

struct kind *const file_kinds[] = {
	[FILE_DIRECTORY] = &directory_kind,
	[FILE_VALUE] = &value_kind,
	[FILE_DOCUMENT] = &document_kind,
	[FILE_INBOX] = &inbox_kind,
	[FILE_NEW] = &new_kind,
	[FILE_CTL] = &ctl_kind,
	[FILE_LOG] = &log_kind,
	[FILE_CALL] = &call_kind,
	[FILE_TREE] = &tree_kind,
	[FILE_LINK] = &link_kind,
	[FILE_HOLD] = &hold_kind,
	[FILE_KEPT] = &kept_kind,
};

/* What a kind does not say. */

static void stat_nothing(const struct node *node, struct stat *st)
{
	(void)node;
	st->st_size = 0;
}

static int open_nothing(struct handle *h, struct error *err)
{
	(void)h;
	(void)err;
	return 0;
}

static void read_text(struct handle *h, fuse_req_t request, size_t size, off_t offset)
{
	size_t n = (size_t)offset < h->text.length ? h->text.length - (size_t)offset : 0;

	fuse_reply_buf(request, n ? h->text.data + offset : NULL, n < size ? n : size);
}

static void write_refused(struct handle *h, fuse_req_t request, const char *data, size_t n, off_t offset)
{
	(void)h;
	(void)data;
	(void)n;
	(void)offset;
	fuse_reply_err(request, EACCES);
}

static void reply_well(struct handle *h, fuse_req_t request)
{
	(void)h;
	fuse_reply_err(request, 0);
}

static int truncate_nothing(struct handle *h, off_t size)
{
	(void)h;
	(void)size;
	return 0;
}

static unsigned poll_always(struct handle *h)
{
	(void)h;
	return POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;
}

static void nothing(struct handle *h)
{
	(void)h;
}

static void fill(struct kind *kind)
{
#define DEFAULT(member, value) if (!kind->member) kind->member = value
	DEFAULT(stat, stat_nothing);
	DEFAULT(open, open_nothing);
	DEFAULT(read, read_text);
	DEFAULT(write, write_refused);
	DEFAULT(flush, reply_well);
	DEFAULT(sync, reply_well);
	DEFAULT(truncate, truncate_nothing);
	DEFAULT(poll, poll_always);
	DEFAULT(changed, nothing);
	DEFAULT(release, nothing);
#undef DEFAULT
}

void files_open(void)
{
	for (size_t i = 0; i < sizeof file_kinds / sizeof *file_kinds; i++)
		fill(file_kinds[i]);
	fill(&follow_kind);
	fill(&scratch_kind);
}

/* Handles */

static int number_of_its_own(struct handle *h)
{
	uint32_t i;

	for (i = open_files.hint; i < open_files.size && open_files.table[i]; i++)
		;
	if (i == open_files.size) {
		uint32_t size = open_files.size ? 2 * open_files.size : 64;
		struct handle **table;

		if (size > HANDLES_MAX)
			return -1;
		table = realloc(open_files.table, size * sizeof *table);
		if (!table)
			return -1;
		memset(table + open_files.size, 0, (size - open_files.size) * sizeof *table);
		open_files.table = table;
		open_files.size = size;
	}
	open_files.table[i] = h;
	open_files.hint = i + 1;
	h->number = i + 1;
	return 0;
}

struct handle *handle_make(const struct kind *kind, const struct node *node, int flags, fuse_req_t request)
{
	struct handle *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	*h = (struct handle){ .kind = kind, .node = *node, .flags = flags, .fd = -1, .text = BUFFER(DOCUMENT_MAX) };
	if (number_of_its_own(h) < 0) {
		free(h);
		return NULL;
	}
	if (handle_writes(h))
		h->opener = caller_group(request);
	object_pin(node->object);
	h->next = open_files.first;
	h->link = &open_files.first;
	if (h->next)
		h->next->link = &h->next;
	open_files.first = h;
	return h;
}

struct handle *handle_of(uint64_t number)
{
	return number && number <= open_files.size ? open_files.table[number - 1] : NULL;
}

struct handle *handle_first(void)
{
	return open_files.first;
}

bool handle_writes(const struct handle *h)
{
	return (h->flags & O_ACCMODE) != O_RDONLY;
}

void handle_free(struct handle *h)
{
	while (h->parked)
		fuse_reply_err(unpark(h->parked), EINTR);
	if (h->poll)
		fuse_pollhandle_destroy(h->poll);
	if (h->fd >= 0)
		(void)close(h->fd);
	if (h->named)
		named_close(h->named);
	*h->link = h->next;
	if (h->next)
		h->next->link = h->link;
	open_files.table[h->number - 1] = NULL;
	if (h->number - 1 < open_files.hint)
		open_files.hint = h->number - 1;
	object_unpin(h->node.object);
	buffer_free(&h->text);
	free(h);
}

bool handle_caches(const struct handle *h)
{
	return h->kind == &value_kind && h->node.row->own && h->node.row->bit && h->node.object && !h->named;
}

void handle_reply(struct handle *h, struct fuse_file_info *fi)
{
	struct object *object = h->node.object;

	fi->fh = h->number;
	fi->direct_io = 1;
	if (handle_caches(h)) {
		fi->direct_io = 0;
		fi->keep_cache = object->cached >> h->node.row->bit & 1;
		object->cached |= UINT64_C(1) << h->node.row->bit;
	}
	fi->noflush = !h->kind->flushes || !handle_writes(h);
}

static void tell(struct handle *h)
{
	h->kind->changed(h);
	if (h->poll && h->kind->poll(h) & POLLIN) {
		struct fuse_pollhandle *poll = h->poll;

		h->poll = NULL;
		(void)fuse_lowlevel_notify_poll(poll);
		fuse_pollhandle_destroy(poll);
	}
}

void files_changed(const struct node *node)
{
	for (struct handle *h = open_files.first, *next; h; h = next) {
		next = h->next;
		if (h->node.row == node->row && h->node.object == node->object && h->node.index == node->index)
			tell(h);
	}
}

void files_object_changed(struct object *object)
{
	tree_changed(object, "status");
	for (struct handle *h = open_files.first, *next; h; h = next) {
		next = h->next;
		if (h->node.object == object)
			tell(h);
	}
}
