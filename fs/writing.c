/* See writing.h. */
#include "fs/writing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/config.h"

int writing_open(struct handle *h, struct error *err)
{
	struct writing *w = calloc(1, sizeof *w);

	if (!w)
		return error_memory(err);
	if (h->flags & O_TRUNC) {
		w->dirty = h->node.row->kind == FILE_DOCUMENT;
	} else if ((h->node.row->kind == FILE_DOCUMENT || h->node.row->file) &&
		   node_read(&h->node, &h->text, err) < 0) {
		free(w);
		return -1;
	}
	h->data = w;
	return 0;
}

static int judge_early(struct handle *h, struct error *err)
{
	const struct row *row = h->node.row;
	int r = 0;

	if (row->fields)
		r = judge(row->fields, h->text.data, h->text.length, false, NULL, err) < 0 ? -1 :
		    config_early(&h->node, h->text.data ? h->text.data : "", h->text.length, err);
	else if (row->judge)
		r = row->judge(&h->node, h->text.data, h->text.length, false, err);
	return r;
}

/* The offset of a writer that goes on after a refused write did not move: what it writes now
 * belongs behind what was refused, not over it. */
static off_t place(const struct handle *h, const struct writing *w, off_t offset)
{
	bool behind = h->flags & O_APPEND || w->refused || h->node.row->kind == FILE_NEW;

	return behind ? (off_t)h->text.length : offset;
}

/* Python writes a refused piece once more when it closes: that is not more text. */
static bool is_again(const struct handle *h, const struct writing *w, const char *data, size_t n, off_t offset)
{
	return w->refused && n == w->tail && offset == w->tail_offset && n <= h->text.length &&
	       !memcmp(h->text.data + h->text.length - n, data, n);
}

void writing_write(struct handle *h, fuse_req_t request, const char *data, size_t n, off_t offset)
{
	struct writing *w = h->data;
	struct error err;
	int code = 0;

	if (!is_again(h, w, data, n, offset))
		code = text_put(&h->text, data, n, place(h, w, offset));
	w->written = w->dirty = true;
	if (code && !w->refused) {
		(void)error_set(&err, code, "%s: %s", h->node.row->name, code == EFBIG ?
				"a document holds at most 1 MiB" : strerror(code));
		w->refused = code;
		refuse_node(&h->node, &err);
	} else if (!w->refused && judge_early(h, &err) < 0) {
		w->refused = err.code ? err.code : EINVAL;
		refuse_node(&h->node, &err);
	}
	if (w->refused) {
		w->tail = code ? 0 : n;
		w->tail_offset = offset;
		fuse_reply_err(request, w->refused);
	} else {
		fuse_reply_write(request, n);
	}
}

int writing_truncate(struct handle *h, off_t size)
{
	struct writing *w = h->data;
	int code;

	if (!w)
		return EBADF;
	code = size < 0 || (size_t)size > h->text.limit ? EFBIG : text_resize(&h->text, (size_t)size);
	if (code)
		return code;
	w->dirty = true;
	/* ftruncate(2) alone is a text too, unlike the O_TRUNC with which a shell begins one. */
	w->written = w->written || h->node.row->kind == FILE_DOCUMENT;
	if (!size)
		w->refused = w->code = 0; /* it begins anew */
	return 0;
}
