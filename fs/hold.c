/* hold: an object lives as long as somebody has it open for writing. The kernel says when the last
 * descriptor has closed, in whatever way its process ended. */
#include "fs/config.h"
#include "fs/files.h"

static void list_holders(const struct node *node, struct buffer *out)
{
	for (struct handle *h = handle_first(); h; h = h->next)
		if (h->kind == &hold_kind && h->node.object == node->object && handle_writes(h))
			(void)buffer_format(out, "%d\n", h->opener);
}

static void hold_stat(const struct node *node, struct stat *st)
{
	struct buffer text = BUFFER(DOCUMENT_MAX);

	list_holders(node, &text);
	st->st_size = (off_t)text.length;
	buffer_free(&text);
}

static int hold_open(struct handle *h, struct error *err)
{
	(void)err;
	if (!handle_writes(h))
		list_holders(&h->node, &h->text);
	else
		tree_changed(h->node.object, h->node.row->name);
	return 0;
}

static void hold_write(struct handle *h, fuse_req_t request, const char *data, size_t n, off_t offset)
{
	(void)h;
	(void)data;
	(void)offset;
	fuse_reply_write(request, n); /* being open is what counts */
}

static void hold_release(struct handle *h)
{
	struct object *object = h->node.object;

	if (!handle_writes(h) || !object || object->removed)
		return;
	for (struct handle *other = handle_first(); other; other = other->next)
		if (other != h && other->kind == &hold_kind && other->node.object == object && handle_writes(other))
			return;
	tree_changed(object, h->node.row->name);
	if (object->want.what == WANT_RUN && !object_at_rest(object))
		(void)object_want(object, WANT_STOPPED, NULL, NULL);
}

struct kind hold_kind = { .mode = 0600, .stat = hold_stat, .open = hold_open, .write = hold_write,
			  .release = hold_release };
