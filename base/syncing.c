#include "base/syncing.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static int sync_file(int folder, const char *name, struct error *err)
{
	cleanup_close int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 || fsync(fd) < 0 ? error_errno(err, "%s: sync", name) : 0;
}

static void *work(void *context)
{
	struct syncing *s = context;

	for (const char *const *name = s->names; *name && !s->result; name++)
		s->result = sync_file(s->folder, *name, &s->err);
	if (!s->result)
		s->result = file_sync_folder(s->folder, ".", &s->err);
	return NULL;
}

void syncing_begin(struct syncing *s)
{
	s->result = 0;
	s->running = !pthread_create(&s->thread, NULL, work, s);
	if (!s->running)
		(void)work(s);
}

int syncing_end(struct syncing *s, struct error *err)
{
	if (s->running)
		(void)pthread_join(s->thread, NULL);
	s->running = false;
	if (s->result)
		*err = s->err;
	return s->result;
}
