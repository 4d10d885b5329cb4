/* The first read hands the work to the pool and is parked; when it is done, h->fd is a file without a
 * name that holds the whole, and reads are read(2). A large one lies on the state's disk; what that
 * does not take, and what is small, in memory that is the kernel's. */
#include "fs/assembly.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/pool.h"

#define IN_MEMORY (4 << 20)

struct assembly {
	struct pool_job job;
	struct loop_post post;
	struct handle *handle; /* NULL: it has closed meanwhile */
	int (*assemble)(int folder, int out, struct error *err);
	int folder, out;
	off_t size;            /* about */
	bool begun, over;
	int code;
};

int assembly_open(struct handle *h, struct error *err)
{
	struct assembly *a = calloc(1, sizeof *a);
	struct stat st = { .st_size = 0 };
	int folder = tree_folder(&h->node);

	if (!a)
		return error_memory(err);
	h->node.row->measure(&h->node, &st);
	*a = (struct assembly){ .handle = h, .assemble = h->node.row->assemble, .out = -1, .size = st.st_size,
				.folder = folder < 0 ? -1 : fcntl(folder, F_DUPFD_CLOEXEC, 0) };
	if (a->folder < 0) {
		free(a);
		return error_errno(err, "%s", h->node.row->name);
	}
	h->data = a;
	return 0;
}

static void assembly_free(struct assembly *a)
{
	if (a->folder >= 0)
		(void)close(a->folder);
	if (a->out >= 0)
		(void)close(a->out);
	free(a);
}

static int try(struct assembly *a, int out)
{
	struct error err;

	a->out = out;
	if (out < 0)
		return errno;
	if (a->assemble(a->folder, out, &err) == 0)
		return 0;
	(void)close(out);
	a->out = -1;
	return err.code;
}

static void work(struct pool_job *job)
{
	struct assembly *a = (struct assembly *)job;

	a->code = ENOSPC;
	if (a->size > IN_MEMORY)
		a->code = try(a, openat(a->folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
	if (a->code == ENOSPC || a->code == EDQUOT || a->code == EOPNOTSUPP || a->code == EROFS)
		a->code = try(a, memfd_create("interpfs", MFD_CLOEXEC));
	loop_post(&a->post);
}

static void answer(struct handle *h)
{
	while (h->parked) {
		size_t size = h->parked->size;
		off_t offset = (off_t)(intptr_t)h->parked->data;

		h->kind->read(h, unpark(h->parked), size, offset);
	}
}

static void done(struct loop_post *post)
{
	struct assembly *a = post->data;
	struct handle *h = a->handle;

	a->over = true;
	if (!h) {
		assembly_free(a);
		return;
	}
	h->fd = a->out;
	a->out = -1;
	answer(h);
}

bool assembly_parks(struct handle *h, fuse_req_t request, size_t size, off_t offset)
{
	struct assembly *a = h->data;

	if (a->over && a->code)
		fuse_reply_err(request, a->code);
	if (a->over)
		return a->code != 0;
	(void)park(request, h, size, NULL, (void *)(intptr_t)offset);
	if (!a->begun) {
		a->begun = true;
		a->job.run = work;
		a->post = (struct loop_post){ .call = done, .data = a };
		pool_submit(&file_pool, &a->job);
	}
	return true;
}

void assembly_close(struct handle *h)
{
	struct assembly *a = h->data;

	h->data = NULL;
	if (a->begun && !a->over)
		a->handle = NULL;
	else
		assembly_free(a);
}
