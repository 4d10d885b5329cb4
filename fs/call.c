/* Calls: a private conversation for each open. What is written before the first read is the request;
 * the answer comes to the end of file. Offsets mean nothing: `exec 3<> f` reads where it wrote. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/files.h"
#include "fs/mount.h"
#include "fs/named.h"
#include "fs/supervise.h"

#define REQUEST_MAX (8u << 20)
#define ANSWER_FULL (256u << 10) /* unread bytes at which the runner is held back */
#define CALL_NAME_MAX (NAME_MAX + 64)

struct call {
	struct handle *handle;
	struct supervise_call *call; /* NULL: not begun, or over */
	struct buffer answer;
	size_t read;                 /* of answer */
	char last;                   /* byte that came */
	bool begun, over, paused;
	int code;                    /* what a read at the end gets */
};

static void answer(struct handle *h);

static void came(void *context, int channel, const void *data, size_t n)
{
	struct call *c = context;

	(void)channel; /* both to one reader, in the order in which they came */
	if (!n)
		return;
	if (buffer_append(&c->answer, data, n) < 0)
		c->code = EIO;
	c->last = ((const char *)data)[n - 1];
	if (c->answer.length - c->read > ANSWER_FULL && !c->paused && c->call) {
		c->paused = true;
		supervise_call_pause(c->call, true);
	}
	answer(c->handle);
}

static void ended(void *context, int code, int exit, const char *text, int passed)
{
	struct call *c = context;
	struct handle *h = c->handle;
	struct error err;

	if (passed >= 0)
		(void)close(passed);
	c->call = NULL;
	c->over = true;
	if (code) {
		(void)error_set(&err, code, "%s", text && *text ? text : strerror(code));
		refuse(h->node.object, &err);
		h->node.object->call_refused = true;
		if (!c->code)
			c->code = code;
		answer(h);
		return;
	}
	if (h->node.object->call_refused)
		accept_again(h->node.object);
	if (exit && !h->named && h->node.row->exit_line) {
		if (c->last && c->last != '\n')
			(void)buffer_append(&c->answer, "\n", 1);
		(void)buffer_format(&c->answer, "[exit %d]\n", exit);
	}
	answer(h);
}

static const struct supervise_call_callbacks callbacks = { .data = came, .ended = ended };

/* Writes what the runner knows the call by into name, and returns it. */
static const char *name_call(const struct handle *h, char name[CALL_NAME_MAX])
{
	/* One of a listed folder is known by the folder's number and its own name. */
	if (h->named)
		(void)snprintf(name, CALL_NAME_MAX, "%s %u %s file", h->node.row->child->call, h->node.index,
			       h->named->name);
	else
		(void)snprintf(name, CALL_NAME_MAX, "%s", h->node.row->call);
	return name;
}

static int begin(struct call *c)
{
	struct handle *h = c->handle;
	struct object *object = h->node.object;
	char name[CALL_NAME_MAX];

	c->begun = true;
	c->call = supervise_call(mount_supervisor(), object->kind, object->serial, name_call(h, name), h->text.data,
				 h->text.length, &callbacks, c);
	return c->call ? 0 : -1;
}

static bool has_answer(const struct call *c)
{
	return c->answer.length > c->read || c->over;
}

/* Gives what there is to one reader. */
static void give(struct call *c, fuse_req_t request, size_t size)
{
	size_t n = c->answer.length - c->read;

	n = n < size ? n : size;
	if (!n && c->code) {
		fuse_reply_err(request, c->code);
		c->code = 0; /* said once */
		return;
	}
	if (fuse_reply_buf(request, n ? c->answer.data + c->read : NULL, n) == 0)
		c->read += n; /* else the reader was gone */
	if (c->read == c->answer.length) {
		buffer_clear(&c->answer);
		c->read = 0;
	} else if (c->read > ANSWER_FULL) {
		buffer_consume(&c->answer, c->read);
		c->read = 0;
	}
	if (c->paused && c->call && c->answer.length - c->read <= ANSWER_FULL / 2) {
		c->paused = false;
		supervise_call_pause(c->call, false);
	}
}

static void answer(struct handle *h)
{
	struct call *c = h->data;

	while (h->parked && has_answer(c)) {
		size_t size = h->parked->size;

		give(c, unpark(h->parked), size);
	}
	if (h->poll && has_answer(c)) {
		struct fuse_pollhandle *poll = h->poll;

		h->poll = NULL;
		(void)fuse_lowlevel_notify_poll(poll);
		fuse_pollhandle_destroy(poll);
	}
}

static int call_open(struct handle *h, struct error *err)
{
	struct call *c;

	h->text.limit = REQUEST_MAX;
	if (!handle_writes(h))
		return 0;
	c = calloc(1, sizeof *c);
	if (!c)
		return error_memory(err);
	*c = (struct call){ .handle = h, .answer = BUFFER(64u << 20) };
	h->data = c;
	return 0;
}

static void call_write(struct handle *h, fuse_req_t request, const char *data, size_t n, off_t offset)
{
	struct call *c = h->data;

	(void)offset;
	if (c->begun)
		fuse_reply_err(request, EBUSY);
	else if (buffer_append(&h->text, data, n) < 0)
		fuse_reply_err(request, errno);
	else
		fuse_reply_write(request, n);
}

static void call_read(struct handle *h, fuse_req_t request, size_t size, off_t offset)
{
	struct call *c = h->data;

	(void)offset;
	if (!c || (!c->begun && !h->text.length)) {
		fuse_reply_buf(request, NULL, 0); /* nothing was asked */
		return;
	}
	if (!c->begun && begin(c) < 0) {
		c->over = true;
		fuse_reply_err(request, ENOMEM);
		return;
	}
	if (has_answer(c) && !h->parked)
		give(c, request, size);
	else if (h->flags & O_NONBLOCK)
		fuse_reply_err(request, EAGAIN);
	else
		(void)park(request, h, size, NULL, NULL);
}

static unsigned call_poll(struct handle *h)
{
	const struct call *c = h->data;

	if (!c)
		return POLLIN | POLLRDNORM;
	return (!c->begun || has_answer(c) ? POLLIN | POLLRDNORM : 0) | (c->begun ? 0 : POLLOUT | POLLWRNORM);
}

static void call_release(struct handle *h)
{
	struct call *c = h->data;
	char name[CALL_NAME_MAX];

	if (!c)
		return;
	if (!c->begun && h->text.length) {
		/* Closed unread: it runs, and what it prints goes into the log. */
		(void)supervise_call_unread(mount_supervisor(), h->node.object->kind, h->node.object->serial,
					    name_call(h, name), h->text.data, h->text.length);
	} else if (c->call) {
		supervise_call_close(c->call);
	}
	buffer_free(&c->answer);
	free(c);
	h->data = NULL;
}

struct kind call_kind = { .mode = 0600, .open = call_open, .read = call_read, .write = call_write,
			  .poll = call_poll, .release = call_release };
