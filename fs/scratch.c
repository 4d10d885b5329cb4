/* Scratch files: what an editor or a copying program makes beside a document before it renames
 * it. They live in memory and are lost with the mount. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fs/files.h"
#include "fs/named.h"

int text_resize(struct buffer *text, size_t size)
{
	size_t old = text->length;

	if (size > old) {
		if (buffer_reserve(text, size - old) < 0)
			return errno;
		memset(text->data + old, 0, size - old);
	}
	text->length = size;
	if (text->data)
		text->data[size] = '\0';
	return 0;
}

int scratch_resize(struct named *named, off_t size)
{
	int code = size < 0 ? EINVAL : text_resize(&named->text, (size_t)size);

	if (!code)
		(void)clock_gettime(CLOCK_REALTIME, &named->changed);
	return code;
}

/* Puts data at offset, zeros in between. */
int text_put(struct buffer *text, const char *data, size_t n, off_t offset)
{
	size_t end;

	if (offset < 0 || (size_t)offset > text->limit || n > text->limit - (size_t)offset)
		return EFBIG;
	end = (size_t)offset + n;
	if (end > text->length) {
		int code = text_resize(text, end);

		if (code)
			return code;
	}
	memcpy(text->data + offset, data, n);
	return 0;
}

static int scratch_open(struct handle *h, struct error *err)
{
	(void)err;
	if (h->flags & O_TRUNC && handle_writes(h))
		(void)scratch_resize(h->named, 0);
	return 0;
}

static void scratch_read(struct handle *h, fuse_req_t request, size_t size, off_t offset)
{
	const struct buffer *text = &h->named->text;
	size_t n = (size_t)offset < text->length ? text->length - (size_t)offset : 0;

	fuse_reply_buf(request, n ? text->data + offset : NULL, n < size ? n : size);
}

static void scratch_write(struct handle *h, fuse_req_t request, const char *data, size_t n, off_t offset)
{
	int code = text_put(&h->named->text, data, n,
			    h->flags & O_APPEND ? (off_t)h->named->text.length : offset);

	(void)clock_gettime(CLOCK_REALTIME, &h->named->changed);
	if (code)
		fuse_reply_err(request, code);
	else
		fuse_reply_write(request, n);
}

static int scratch_truncate(struct handle *h, off_t size)
{
	return scratch_resize(h->named, size);
}

struct kind scratch_kind = { .mode = 0600, .open = scratch_open, .read = scratch_read, .write = scratch_write,
			     .truncate = scratch_truncate };
