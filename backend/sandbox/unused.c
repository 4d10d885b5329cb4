#include "backend/sandbox/unused.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backend/sandbox/ids.h"
#include "backend/sandbox/making.h"
#include "backend/sandbox/parts.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

#define USING "layers/.using"
#define SWEEPING "layers/.sweeping"
#define GONE ".gone-"
#define HASH_LENGTH (MAKING_HASH_SIZE - 1)

static const char *const folders[] = { "roots", "images" };
static const char *const records[] = { "root", "image" };
#define KINDS (sizeof folders / sizeof *folders)

static int hold(const struct state *state, const char *name, int how, struct error *err)
{
	int fd = openat(state->fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600), result;

	if (fd < 0)
		return error_errno(err, "%s", name);
	do
		result = flock(fd, how);
	while (result && errno == EINTR);
	if (!result)
		return fd;
	(void)error_errno(err, "%s", name);
	(void)close(fd);
	return -1;
}

int unused_hold(const struct state *state, struct error *err)
{
	return hold(state, USING, LOCK_SH, err);
}

void unused_touch(const char *folder)
{
	(void)utimensat(AT_FDCWD, folder, NULL, 0); /* else it goes earlier, and is made again */
}

struct sweep {
	const struct state *state;
	char (*used)[MAKING_HASH_SIZE];
	size_t count, room;
	time_t before;
	void (*told)(const char *path);
	const char *folder; /* that is swept */
};

/* ---- what is used ---- */

static int note(struct sweep *s, const char *hash, struct error *err)
{
	if (s->count == s->room) {
		size_t room = 2 * s->room + 16;
		void *more = reallocarray(s->used, room, sizeof *s->used);

		if (!more)
			return error_memory(err);
		s->used = more;
		s->room = room;
	}
	(void)snprintf(s->used[s->count++], MAKING_HASH_SIZE, "%s", hash);
	return 0;
}

/* One that cannot be understood may name anything: then nothing goes. */
static int note_records(struct sweep *s, int object, const char *below, struct error *err)
{
	for (size_t i = 0; i < KINDS; i++) {
		cleanup_buffer struct buffer text = BUFFER(256);
		char path[64];
		struct error why;

		(void)snprintf(path, sizeof path, "%s%s", below, records[i]);
		if (file_read(object, path, &text, &why)) {
			if (why.code == ENOENT || why.code == ENOTDIR)
				continue;
			*err = why;
			return -1;
		}
		if (text.length != 2 * HASH_LENGTH + 2)
			return error_set(err, EBADMSG, "%s: damaged", path);
		text.data[text.length - 1] = '\0';
		if (note(s, text.data + HASH_LENGTH + 1, err))
			return -1;
	}
	return 0;
}

static int note_object(struct sweep *s, int parent, const char *name, const char *below, struct error *err)
{
	cleanup_close int object = -1;

	if (*name < '1' || *name > '9')
		return 0;
	object = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (object < 0)
		return errno == ENOENT ? 0 : error_errno(err, "%s", name);
	return note_records(s, object, below, err);
}

static int note_sandbox(void *context, int parent, const char *name, struct error *err)
{
	return note_object(context, parent, name, "box/ctl/", err);
}

static int note_snapshot(void *context, int parent, const char *name, struct error *err)
{
	return note_object(context, parent, name, "", err);
}

/* ---- what goes ---- */

static int put_aside(void *context, int folder, const char *name, struct error *err)
{
	const struct sweep *s = context;
	char aside[sizeof GONE + MAKING_HASH_SIZE];
	struct stat st;

	if (strlen(name) != HASH_LENGTH || strspn(name, "0123456789abcdef") != HASH_LENGTH)
		return 0;
	for (size_t i = 0; i < s->count; i++)
		if (!strcmp(s->used[i], name))
			return 0;
	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW))
		return error_errno(err, "%s", name);
	if (st.st_mtim.tv_sec > s->before)
		return 0;
	(void)snprintf(aside, sizeof aside, GONE "%s", name);
	/* One of that name that a sweep has left goes first. */
	return file_remove_tree(folder, aside, err) || renameat(folder, name, folder, aside) ? error_errno(err, "%s", name) : 0;
}

static int remove_aside(void *context, int folder, const char *name, struct error *err)
{
	const struct sweep *s = context;
	char path[128];

	if (strncmp(name, GONE, sizeof GONE - 1))
		return 0;
	if (file_remove_tree(folder, name, err))
		return -1;
	(void)snprintf(path, sizeof path, "%s/%s", s->folder, name + sizeof GONE - 1);
	if (s->told)
		s->told(path);
	return 0;
}

/* Nobody begins from a snapshot, or takes one, meanwhile. */
static int find_unused(struct sweep *s, struct error *err)
{
	cleanup_close int parts = parts_lock(s->state->path, err);

	if (parts < 0)
		return -1;
	if (file_each_folder(s->state->fd, object_folder[OBJECT_SANDBOX], note_sandbox, s, err) ||
	    file_each_folder(s->state->fd, object_folder[OBJECT_SNAPSHOT], note_snapshot, s, err))
		return -1;
	for (size_t i = 0; i < KINDS; i++)
		if (file_each_folder(s->state->fd, folders[i], put_aside, s, err))
			return -1;
	return 0;
}

int unused_sweep(const struct state *state, double seconds, void (*told)(const char *path), struct error *err)
{
	struct sweep s = { .state = state, .before = time(NULL) - (time_t)seconds, .told = told };
	cleanup_close int alone = -1, using = -1;
	int result;

	if (faccessat(state->fd, "layers", F_OK, 0))
		return 0;
	alone = hold(state, SWEEPING, LOCK_EX | LOCK_NB, err);
	using = alone < 0 ? -1 : hold(state, USING, LOCK_EX | LOCK_NB, err);
	if (using < 0)
		return err->code == EWOULDBLOCK ? 0 : -1;
	ids_enter_if_marked(state);
	result = find_unused(&s, err);
	free(s.used);
	(void)close(steal_fd(&using));
	failpoint("unused-aside");
	for (size_t i = 0; !result && i < KINDS; i++) {
		s.folder = folders[i];
		result = file_each_folder(state->fd, folders[i], remove_aside, &s, err);
	}
	return result;
}
