/* Documents: text that is judged while it is written and in force when its last writer has closed.
 *
 * Each open gathers a text of its own. A WRITE that nothing can make right is refused there, which
 * is the only failure that a shell's `echo >` shows, and poisons the text until it is truncated or
 * closed. FLUSH is not close: the opener's own gives the verdict and puts the text on the disk, a
 * child's says nothing. RELEASE of the last writer acts.
 *
 *      open -> WRITE ... -> FLUSH (opener): judged, stored, verdict -> ... -> RELEASE: in force
 *
 * Other readers go on reading the file as it was last stored. Inboxes and sessions/new gather
 * their text here too. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/config.h"
#include "fs/files.h"
#include "fs/mount.h"
#include "fs/supervise.h"
#include "fs/writing.h"

/* A document that has writers or is hidden. */
struct document {
	struct node node;       /* its object is pinned */
	unsigned writers;
	bool hidden;
	bool judged;            /* there is a verdict about what was last stored */
	struct verdict verdict;
	char *text;             /* of the verdict */
	size_t length;
	struct document *next;
};

static struct document *documents;

bool row_takes_text(const struct row *row)
{
	return row->kind == FILE_DOCUMENT || row->kind == FILE_INBOX;
}

static struct document **place_of(const struct node *node)
{
	struct document **d = &documents;

	while (*d && ((*d)->node.row != node->row || (*d)->node.object != node->object ||
		      (*d)->node.index != node->index))
		d = &(*d)->next;
	return d;
}

static struct document *document_of(const struct node *node)
{
	struct document **place = place_of(node), *d = *place;

	if (d)
		return d;
	d = calloc(1, sizeof *d);
	if (!d)
		return NULL;
	d->node = *node;
	object_pin(node->object);
	*place = d;
	return d;
}

static void settle(struct document *d)
{
	struct document **place = place_of(&d->node);

	if (d->writers || d->hidden)
		return;
	*place = d->next;
	verdict_clear(&d->verdict);
	object_unpin(d->node.object);
	free(d->text);
	free(d);
}

bool document_hidden(const struct node *node)
{
	const struct document *d = documents && node->row->kind == FILE_DOCUMENT ? *place_of(node) : NULL;

	return d && d->hidden;
}

bool document_is_open(const struct node *node)
{
	const struct document *d = documents ? *place_of(node) : NULL;

	return d && d->writers;
}

void document_hide(const struct node *node)
{
	struct document *d = document_of(node);

	if (d)
		d->hidden = true;
}

void document_appear(const struct node *node)
{
	struct document *d = documents ? *place_of(node) : NULL;

	if (d) {
		d->hidden = false;
		settle(d);
	}
}

void document_forget(const struct object *object)
{
	for (struct document *d = documents, *next; d; d = next) {
		next = d->next;
		if (d->node.object == object) {
			d->hidden = false;
			settle(d);
		}
	}
}

/* The verdict about a whole text, kept for the last close. */
static int decide(struct document *d, const char *text, size_t n)
{
	free(d->text);
	d->text = malloc(n + 1);
	d->length = d->text ? n : 0;
	if (d->text) {
		memcpy(d->text, n ? text : "", n);
		d->text[n] = '\0';
	}
	config_judge(&d->node, d->text, d->length, &d->verdict);
	if (!d->text)
		d->verdict.code = ENOMEM;
	d->judged = true;
	if (d->verdict.code)
		refuse_node(&d->node, &d->verdict.error);
	else
		accept_node(&d->node);
	return d->verdict.code;
}

static void store(struct document *d, const char *text, size_t n, struct awaiting awaiting, int code)
{
	char path[512];

	if (!tree_path(&d->node, path, sizeof path))
		save(d->node.object, path, text, n, 0600, awaiting, code);
	else if (awaiting.request)
		fuse_reply_err(awaiting.request, ENAMETOOLONG);
}

/* The last writer has closed. */
static void put_into_force(struct document *d)
{
	if (!d->judged || d->verdict.code || !d->node.object || d->node.object->removed)
		return;
	d->judged = false;
	if (d->node.row->fields)
		config_take(d->node.object, d->text, d->length, &d->verdict);
	else
		save_then_poke(d->node.object);
}

void document_put(const struct node *node, const char *text, size_t n, struct awaiting awaiting)
{
	struct document *d;
	int code;

	if (node->row->kind == FILE_INBOX) {
		inbox_put(node, text, n, awaiting.request);
		return;
	}
	d = document_of(node);
	if (!d) {
		if (awaiting.request)
			fuse_reply_err(awaiting.request, ENOMEM);
		return;
	}
	code = decide(d, text, n);
	store(d, d->text, d->length, awaiting, code);
	if (!d->writers)
		put_into_force(d);
	settle(d);
}

static int document_open(struct handle *h, struct error *err)
{
	struct document *d;
	const char *text;
	size_t n;

	if (!handle_writes(h)) {
		if (save_is_coming(&h->node, &text, &n))
			return buffer_append(&h->text, text, n) < 0 ? error_memory(err) : 0;
		return file_kinds[FILE_VALUE]->open(h, err);
	}
	d = document_of(&h->node);
	if (!d)
		return error_memory(err);
	if (writing_open(h, err) < 0) {
		settle(d);
		return -1;
	}
	d->writers++;
	return 0;
}

/* The verdict about the text of an open, stored, replied. */
static void judge_written(struct handle *h, struct document *d, fuse_req_t request)
{
	struct writing *w = h->data;

	if (w->refused) {
		verdict_clear(&d->verdict);
		d->verdict.code = w->code = w->refused;
		d->judged = true;
	} else if (request && caller_is_killed(request)) {
		verdict_clear(&d->verdict);
		w->code = d->verdict.code = EINTR;
		(void)error_set(&d->verdict.error, EINTR, "%s: its writer was killed before it had closed it",
				h->node.row->name);
		d->judged = true;
		refuse_node(&h->node, &d->verdict.error);
	} else {
		w->code = decide(d, h->text.data, h->text.length);
	}
	w->dirty = false;
	store(d, h->text.data, h->text.length, (struct awaiting){ request, 0 }, w->code);
}

static void document_flush(struct handle *h, fuse_req_t request)
{
	struct writing *w = h->data;
	struct document *d = document_of(&h->node);

	if (!d) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	if (!w->written || (!w->dirty && !caller_is_killed(request))) {
		fuse_reply_err(request, w->code);
		return;
	}
	if (!w->refused && caller_group(request) != h->opener) {
		fuse_reply_err(request, 0); /* a child's close; the text may go on */
		return;
	}
	judge_written(h, d, request);
}

static void document_sync(struct handle *h, fuse_req_t request)
{
	struct writing *w = h->data;
	struct document *d = document_of(&h->node);

	if (d && w->dirty)
		judge_written(h, d, request);
	else
		fuse_reply_err(request, w->code);
}

static void document_release(struct handle *h)
{
	struct writing *w = h->data;
	struct document *d;

	if (!handle_writes(h) || !w)
		return;
	d = document_of(&h->node);
	if (d) {
		if (w->dirty)
			judge_written(h, d, NULL);
		if (d->writers)
			d->writers--;
		if (!d->writers)
			put_into_force(d);
		settle(d);
	}
	free(w);
	h->data = NULL;
}

static void document_read(struct handle *h, fuse_req_t request, size_t size, off_t offset)
{
	file_kinds[FILE_VALUE]->read(h, request, size, offset);
}

static void document_stat(const struct node *node, struct stat *st)
{
	const char *text;
	size_t n;

	if (save_is_coming(node, &text, &n)) {
		st->st_size = (off_t)n;
		return;
	}
	file_kinds[FILE_VALUE]->stat(node, st);
}

struct kind document_kind = {
	.mode = 0644, .flushes = true, .stat = document_stat, .open = document_open, .read = document_read,
	.write = writing_write, .flush = document_flush, .sync = document_sync, .truncate = writing_truncate,
	.release = document_release,
};
