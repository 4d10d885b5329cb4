/* sessions/new: a config written here becomes the next number, which a read on the same descriptor
 * answers. Read or closed, whichever comes first, makes it, once; a refused config makes nothing.
 *
 *      WRITE ... -> READ: making, the read is parked -> made: its number, then the end of file
 *                -> RELEASE: making; who looks for sessions meanwhile is held back (coming.h) */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fs/coming.h"
#include "fs/config.h"
#include "fs/mount.h"
#include "fs/notify.h"
#include "fs/supervise.h"
#include "fs/writing.h"

#define CONFIG "config"

/* A session that is being made. */
struct making {
	enum object_kind kind;
	struct node directory;
	struct handle *handle; /* NULL when it was closed */
	char name[24];
	uint64_t serial;
	char *text;
	size_t length;
	struct verdict verdict;
};

static unsigned long last_number;

static int note_number(void *context, struct object *object)
{
	char *end;
	unsigned long n = strtoul(object->name, &end, 10);

	(void)context;
	if (isdigit((unsigned char)object->name[0]) && !*end && n > last_number)
		last_number = n;
	return 0;
}

/* Never one that was given before: the last is kept on the disk. */
static void number_path(enum object_kind kind, char *path, size_t size)
{
	(void)snprintf(path, size, "%s/number", object_folder[kind]);
}

static void next_number(struct making *m)
{
	struct buffer text = BUFFER(32);
	char path[64];
	struct error err;

	if (!last_number) {
		number_path(m->kind, path, sizeof path);
		if (!file_read(objects_state()->fd, path, &text, &err) && text.data)
			last_number = strtoul(text.data, NULL, 10);
		buffer_free(&text);
		(void)objects_each(m->kind, note_number, NULL);
	}
	(void)snprintf(m->name, sizeof m->name, "%lu", ++last_number);
}

static int make(void *data, struct error *err)
{
	struct making *m = data;
	cleanup_close int folder = -1;
	char path[64];

	number_path(m->kind, path, sizeof path);
	if (file_replace(objects_state()->fd, path, m->name, strlen(m->name), 0600, true, err) < 0 ||
	    state_add(objects_state(), m->kind, m->name, &m->serial, err) < 0)
		return -1;
	folder = object_open(objects_state(), m->kind, m->serial, err);
	if (folder >= 0 && file_replace(folder, CONFIG, m->text, m->length, 0600, true, err) == 0)
		return 0;
	supervise_undo(objects_state(), m->kind, m->name, m->serial);
	return -1;
}

static void reply_number(struct handle *h, fuse_req_t request, size_t size)
{
	size_t n = h->text.length - (size_t)h->position;

	n = n < size ? n : size;
	fuse_reply_buf(request, h->text.data + h->position, n);
	h->position += (off_t)n;
}

/* Its open is told, and whoever reads there. */
static void tell(struct handle *h, const struct making *m, int code)
{
	struct writing *w = h->data;

	w->making = NULL;
	w->made = true;
	w->refused = code;
	buffer_clear(&h->text);
	if (!code && buffer_format(&h->text, "%s\n", m->name) < 0)
		w->refused = ENOMEM;
	while (h->parked) {
		size_t size = h->parked->size;
		fuse_req_t request = unpark(h->parked);

		if (w->refused)
			fuse_reply_err(request, w->refused);
		else
			reply_number(h, request, size);
	}
}

static void made(void *data, int result, const struct error *error)
{
	struct making *m = data;
	struct object *object = result ? NULL : objects_add(m->kind, m->name, m->serial);

	if (object) {
		supervise_poke(mount_supervisor(), m->kind, m->serial);
		config_take(object, m->text, m->length, &m->verdict);
		notify_attributes(tree_inode(&m->directory));
		tree_changed(NULL, "latest");
	} else if (result) {
		refuse(NULL, error);
	}
	if (m->handle)
		tell(m->handle, m, object ? 0 : result ? error->code : ENOMEM);
	coming_end(m->kind);
	free(m->text);
	verdict_clear(&m->verdict);
	free(m);
}

/* Judges the whole text and, if it is right, begins to make the object. 0 or an errno. */
static int begin(struct handle *h)
{
	struct writing *w = h->data;
	struct making *m = calloc(1, sizeof *m);
	int code;

	if (!m)
		return ENOMEM;
	*m = (struct making){ .kind = h->node.row->objects, .handle = h,
			      .text = malloc(h->text.length + 1), .length = h->text.length };
	m->directory.row = &root_row;
	for (struct row *row = root_row.rows; row->name; row++)
		if (row->listing == LIST_OBJECTS && row->objects == m->kind && row->child->kind == FILE_DIRECTORY)
			m->directory.row = row;
	code = m->text ? 0 : ENOMEM;
	if (!code) {
		memcpy(m->text, h->text.data, h->text.length);
		config_judge(&h->node, m->text, m->length, &m->verdict);
		code = m->verdict.code;
		if (code)
			refuse(NULL, &m->verdict.error);
		else if (!m->verdict.fields)
			code = EINVAL; /* nothing but comments */
	}
	if (!code) {
		next_number(m);
		accept_again(NULL);
		if (!in_storage(make, made, m)) {
			w->making = m;
			coming_begin(m->kind);
			return 0;
		}
		code = ENOMEM;
	}
	free(m->text);
	verdict_clear(&m->verdict);
	free(m);
	return code;
}

static int new_open(struct handle *h, struct error *err)
{
	return handle_writes(h) ? writing_open(h, err) : 0;
}

static void new_read(struct handle *h, fuse_req_t request, size_t size, off_t offset)
{
	struct writing *w = h->data;

	(void)offset;
	if (!w || (!w->made && !w->making && !h->text.length)) {
		fuse_reply_buf(request, NULL, 0);
		return;
	}
	if (!w->made && !w->making && !w->refused)
		w->refused = begin(h);
	if (w->refused)
		fuse_reply_err(request, w->refused);
	else if (w->made)
		reply_number(h, request, size);
	else
		(void)park(request, h, size, NULL, NULL);
}

static void new_write(struct handle *h, fuse_req_t request, const char *data, size_t n, off_t offset)
{
	struct writing *w = h->data;

	if (w->made || w->making)
		fuse_reply_err(request, EBUSY);
	else
		writing_write(h, request, data, n, offset);
}

static void new_flush(struct handle *h, fuse_req_t request)
{
	struct writing *w = h->data;
	struct verdict v = { .code = 0 };

	if (!w->made && !w->making && !w->refused && w->dirty && h->text.length && caller_group(request) == h->opener) {
		config_judge(&h->node, h->text.data, h->text.length, &v);
		if (v.code)
			refuse(NULL, &v.error);
	}
	fuse_reply_err(request, w->refused ? w->refused : v.code);
	verdict_clear(&v);
}

static void new_release(struct handle *h)
{
	struct writing *w = h->data;

	if (!w)
		return;
	if (!w->made && !w->making && w->written && !w->refused && h->text.length)
		(void)begin(h);
	if (w->making)
		((struct making *)w->making)->handle = NULL;
	free(w);
	h->data = NULL;
}

struct kind new_kind = { .mode = 0600, .flushes = true, .open = new_open, .read = new_read,
			 .write = new_write, .flush = new_flush, .truncate = writing_truncate,
			 .release = new_release };
