/* Logs and their followers.
 *
 * X is an ordinary file that grows: true size, end of file at its end; poll(2) says when it is
 * longer than where this open last read to. X.follow is the same bytes from the start and then as
 * they come: a read at the end is parked, and ends when the object has come to rest for what is
 * wanted of it. Before anything was ever wanted it waits.
 *
 * A log that `turns` gets another name when it is full, and a new one begins in its place. Whoever follows
 * goes on there; of an open that reads X itself a read at 0 does (tail -f: the file has become shorter). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/files.h"

#define READ_MAX (1u << 20)

static int open_backing(struct handle *h)
{
	char path[512];
	int folder;

	if (h->fd >= 0)
		return 0;
	folder = tree_folder(&h->node);
	if (folder >= 0 && !tree_path(&h->node, path, sizeof path))
		h->fd = openat(folder, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return h->fd < 0 ? -1 : 0; /* it may not have begun */
}

/* Whether another file has its name by now. */
static bool has_turned(const struct handle *h)
{
	char path[512];
	struct stat mine, there;
	int folder = h->node.row->turns && h->fd >= 0 ? tree_folder(&h->node) : -1;

	return folder >= 0 && !tree_path(&h->node, path, sizeof path) && !fstat(h->fd, &mine) &&
	       !fstatat(folder, path, &there, AT_SYMLINK_NOFOLLOW) && there.st_ino != mine.st_ino;
}

static void begin_anew(struct handle *h)
{
	(void)close(h->fd);
	h->fd = -1;
	h->position = 0;
}

static int log_open(struct handle *h, struct error *err)
{
	(void)err;
	(void)open_backing(h);
	return 0;
}

/* Bytes at offset; 0 at the end or before the beginning; -1 with errno. */
static ssize_t read_at(struct handle *h, char *out, size_t size, off_t offset)
{
	ssize_t n;

	if (open_backing(h) < 0)
		return 0;
	do
		n = pread(h->fd, out, size, offset);
	while (n < 0 && errno == EINTR);
	return n;
}

static void log_read(struct handle *h, fuse_req_t request, size_t size, off_t offset)
{
	char *out = malloc(size = size < READ_MAX ? size : READ_MAX);
	ssize_t n;

	if (!offset && has_turned(h))
		begin_anew(h);
	n = out ? read_at(h, out, size, offset) : -1;
	if (n < 0) {
		fuse_reply_err(request, out ? errno : ENOMEM);
	} else {
		h->position = offset + n;
		fuse_reply_buf(request, out, (size_t)n);
	}
	free(out);
}

static bool is_longer(struct handle *h)
{
	struct stat st;

	return !open_backing(h) && !fstat(h->fd, &st) && st.st_size > h->position;
}

static bool has_more(struct handle *h)
{
	if (is_longer(h))
		return true;
	if (!has_turned(h))
		return false;
	if (!h->node.follow)
		return true; /* what came is at 0 */
	begin_anew(h);
	return is_longer(h);
}

static unsigned log_poll(struct handle *h)
{
	return has_more(h) ? POLLIN | POLLRDNORM : 0;
}

static bool is_over(const struct handle *h)
{
	const struct object *object = h->node.object;

	return object && (object->removed || (object->want.generation && object_at_rest(object)));
}

/* Answers if there is something to say. */
static bool follow_answer(struct handle *h, fuse_req_t request, size_t size, struct parked *parked)
{
	/* Looked at before the bytes: what is written before an object rests is not missed. */
	bool over = is_over(h), more = has_more(h);
	char *out;
	ssize_t n;

	if (!over && !more)
		return false;
	out = malloc(size = size < READ_MAX ? size : READ_MAX);
	n = out ? read_at(h, out, size, h->position) : -1;
	if (n == 0 && !over) {
		free(out);
		return false;
	}
	if (parked)
		request = unpark(parked);
	if (n < 0) {
		fuse_reply_err(request, out ? errno : ENOMEM);
	} else if (!fuse_reply_buf(request, out, (size_t)n)) {
		h->position += n; /* else the reader was gone: the next read gets them */
	}
	free(out);
	return true;
}

static void follow_read(struct handle *h, fuse_req_t request, size_t size, off_t offset)
{
	(void)offset;
	if (!h->parked && follow_answer(h, request, size, NULL))
		return;
	if (h->flags & O_NONBLOCK)
		fuse_reply_err(request, EAGAIN);
	else
		(void)park(request, h, size, NULL, NULL);
}

static void follow_changed(struct handle *h)
{
	while (h->parked && follow_answer(h, NULL, h->parked->size, h->parked))
		;
}

static unsigned follow_poll(struct handle *h)
{
	return is_over(h) || has_more(h) ? POLLIN | POLLRDNORM : 0;
}

static void log_stat(const struct node *node, struct stat *st)
{
	file_kinds[FILE_VALUE]->stat(node, st);
}

static void follow_stat(const struct node *node, struct stat *st)
{
	if (node->object)
		st->st_mtim = node->object->changed;
}

struct kind log_kind = { .mode = 0444, .stat = log_stat, .open = log_open, .read = log_read, .poll = log_poll };
struct kind follow_kind = { .mode = 0444, .stat = follow_stat, .read = follow_read, .poll = follow_poll,
			    .changed = follow_changed };
