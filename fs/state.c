/* See state.h. Everything that a user was told is done is on disk: an object's folder is synced
 * before its name is made, the folder of names before a call returns. A folder without a name is
 * what a crash in between leaves; the mount removes it (fs/supervise.c). */
#include "fs/state.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/utf8.h"

#define LAYOUT_VERSION 1
#define SERIALS_AT_ONCE 64

const char *const object_folder[OBJECT_KINDS] = { "sandboxes", "workspaces", "notebooks", "sessions", "snapshots" };
const char *const object_noun[OBJECT_KINDS] = { "sandbox", "workspace", "notebook", "session", "snapshot" };

char *state_default_path(void)
{
	const char *base = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	char *path = NULL;
	int n;

	if (base && base[0] == '/') {
		n = asprintf(&path, "%s/interpfs", base);
	} else if (geteuid() == 0) {
		n = asprintf(&path, "/var/lib/interpfs");
	} else {
		if (!home || home[0] != '/') {
			const struct passwd *user = getpwuid(geteuid());

			home = user ? user->pw_dir : NULL;
		}
		if (!home || home[0] != '/')
			return NULL;
		n = asprintf(&path, "%s/.local/state/interpfs", home);
	}
	return n < 0 ? NULL : path;
}

/* One line, its newline cut off, of a small file. */
static int read_line(int dir, const char *path, struct buffer *out, struct error *err)
{
	if (file_read(dir, path, out, err) < 0)
		return -1;
	while (out->length && (out->data[out->length - 1] == '\n'))
		out->data[--out->length] = '\0';
	if (!out->length || strlen(out->data) != out->length)
		return error_set(err, EBADMSG, "%s: damaged", path);
	return 0;
}

static int read_number(int dir, const char *path, uint64_t *value, struct error *err)
{
	cleanup_buffer struct buffer b = BUFFER(64);
	char *end;

	if (read_line(dir, path, &b, err) < 0)
		return -1;
	errno = 0;
	*value = isdigit((unsigned char)b.data[0]) ? strtoull(b.data, &end, 10) : (errno = EINVAL, 0);
	if (errno || *end)
		return error_set(err, EBADMSG, "%s: damaged", path);
	return 0;
}

/* Nothing but what an interrupted first start leaves. */
static bool folder_is_new(int fd)
{
	cleanup_dir DIR *d = file_list(fd, ".", 0);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
		    strcmp(e->d_name, ".version~") != 0)
			return false;
	return d;
}

static int check_version(int fd, struct error *err)
{
	uint64_t version;

	if (read_number(fd, "version", &version, err) == 0) {
		if (version > LAYOUT_VERSION)
			return error_set(err, ENOTSUP, "was made by a newer interpfs (layout %" PRIu64
					 ", this one knows %d)", version, LAYOUT_VERSION);
		return version ? 0 : error_set(err, EBADMSG, "version: damaged");
	}
	if (err->code != ENOENT)
		return -1;
	if (!folder_is_new(fd))
		return error_set(err, ENOTEMPTY, "holds other things; a state directory must begin empty");
	return file_replace(fd, "version", "1\n", 2, 0600, true, err);
}

static int make_id(struct state *state, struct error *err)
{
	cleanup_buffer struct buffer b = BUFFER(64);
	uint64_t id;

	if (read_line(state->fd, "id", &b, err) == 0) {
		if (b.length != 16 || strspn(b.data, "0123456789abcdef") != 16)
			return error_set(err, EBADMSG, "id: damaged");
		memcpy(state->id, b.data, 17);
		return 0;
	}
	if (err->code != ENOENT)
		return -1;
	if (getrandom(&id, sizeof id, 0) != sizeof id)
		return error_errno(err, "no random numbers");
	(void)snprintf(state->id, sizeof state->id, "%016" PRIx64, id);
	buffer_clear(&b);
	if (buffer_format(&b, "%s\n", state->id) < 0)
		return error_memory(err);
	return file_replace(state->fd, "id", b.data, b.length, 0600, true, err);
}

static int make_layout(struct state *state, struct error *err)
{
	static const char *const others[] = { "layers", "empty", NULL };
	char path[64];
	bool made = false;

	for (int kind = 0; kind < OBJECT_KINDS; kind++) {
		(void)snprintf(path, sizeof path, "%s/names", object_folder[kind]);
		if (faccessat(state->fd, path, F_OK, 0) == 0)
			continue;
		made = true;
		if (file_make_folders(state->fd, path, 0700, err) < 0 ||
		    file_sync_folder(state->fd, object_folder[kind], err) < 0)
			return -1;
	}
	for (const char *const *o = others; *o; o++)
		if (file_make_folder(state->fd, *o, 0700, err) < 0)
			return -1;
	return made ? file_sync_folder(state->fd, ".", err) : 0;
}

static int open_state(struct state *state, const char *path, struct error *err)
{
	struct stat st;

	if (file_make_folders(AT_FDCWD, path, 0700, err) < 0)
		return -1;
	state->fd = file_open_folder(AT_FDCWD, path, err);
	if (state->fd < 0)
		return -1;
	if (fstat(state->fd, &st) < 0)
		return error_errno(err, "%s", path);
	if (st.st_uid != geteuid())
		return error_set(err, EACCES, "belongs to user %u", st.st_uid);
	state->path = realpath(path, NULL);
	if (!state->path)
		return error_errno(err, "%s", path);
	if (check_version(state->fd, err) < 0)
		return -1;
	if ((st.st_mode & 077) && fchmod(state->fd, 0700) < 0)
		return error_errno(err, "cannot be made private");
	if (make_id(state, err) < 0)
		return -1;
	return make_layout(state, err);
}

int state_open(struct state *state, const char *path, struct error *err)
{
	*state = (struct state){ .fd = -1, .lock = -1 };
	if (open_state(state, path, err) < 0) {
		state_close(state);
		return error_wrap(err, "state directory %s", path);
	}
	return 0;
}

void state_close(struct state *state)
{
	if (state->fd >= 0)
		(void)close(state->fd);
	if (state->lock >= 0)
		(void)close(state->lock);
	free(state->path);
	*state = (struct state){ .fd = -1, .lock = -1 };
}

int state_lock(struct state *state, const char *mount_point, struct error *err)
{
	cleanup_close int fd = openat(state->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	cleanup_buffer struct buffer b = BUFFER(PATH_MAX + 64);
	struct error ignored;

	if (fd < 0)
		return error_errno(err, "state directory %s: lock", state->path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		char *where;

		if (errno != EWOULDBLOCK)
			return error_errno(err, "state directory %s: lock", state->path);
		if (read_line(state->fd, "lock", &b, &ignored) < 0 || !(where = strchr(b.data, ' ')))
			return error_set(err, EBUSY, "state directory %s is in use", state->path);
		*where = '\0';
		return error_set(err, EBUSY, "state directory %s is mounted on %s already (process %s)",
				 state->path, where + 1, b.data);
	}
	if (buffer_format(&b, "%ld %s\n", (long)getpid(), mount_point) < 0)
		return error_memory(err);
	if (ftruncate(fd, 0) < 0)
		return error_errno(err, "state directory %s: lock", state->path);
	if (file_write_all(fd, b.data, b.length, err) < 0)
		return error_wrap(err, "state directory %s: lock", state->path);
	state->lock = steal_fd(&fd);
	return 0;
}

/* Takes the next serial. The file is ahead of what was given out, so a serial is never used again. */
static int take_serial(struct state *state, uint64_t *serial, struct error *err)
{
	cleanup_buffer struct buffer b = BUFFER(64);
	uint64_t next = 1;

	if (state->serial_next == state->serial_end) {
		if (read_number(state->fd, "serial", &next, err) < 0 && err->code != ENOENT)
			return -1;
		if (next < 1 || next > UINT64_MAX / 2)
			return error_set(err, EBADMSG, "serial: damaged");
		if (buffer_format(&b, "%" PRIu64 "\n", next + SERIALS_AT_ONCE) < 0)
			return error_memory(err);
		if (file_replace(state->fd, "serial", b.data, b.length, 0600, true, err) < 0)
			return -1;
		state->serial_next = next;
		state->serial_end = next + SERIALS_AT_ONCE;
	}
	*serial = state->serial_next++;
	return 0;
}

int state_check_name(const char *name, struct error *err)
{
	size_t n = strlen(name);

	if (!n)
		return error_set(err, EINVAL, "a name must not be empty");
	if (n > NAME_MAX)
		return error_set(err, ENAMETOOLONG, "a name has at most 255 bytes");
	if (name[0] == '.')
		return error_set(err, EINVAL, "a name must not begin with a dot");
	for (size_t i = 0, length; i < n; i += length) {
		length = utf8_length(name + i, n - i);
		if (!length) /* it stands in info.json */
			return error_set(err, EINVAL, "a name must be UTF-8");
		if (name[i] == '/')
			return error_set(err, EINVAL, "a name must not contain '/'");
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f ||
		    ((unsigned char)name[i] == 0xc2 && (unsigned char)name[i + 1] < 0xa0))
			return error_set(err, EINVAL, "a name must not contain control characters");
	}
	return 0;
}

static int open_names(const struct state *state, enum object_kind kind, struct error *err)
{
	char path[64];

	(void)snprintf(path, sizeof path, "%s/names", object_folder[kind]);
	return file_open_folder(state->fd, path, err);
}

static int parse_serial(const char *text, uint64_t *serial)
{
	char *end;

	/* One spelling a serial: no sign, no leading zero. */
	if (*text < '1' || *text > '9')
		return -1;
	errno = 0;
	*serial = strtoull(text, &end, 10);
	return errno || *end ? -1 : 0;
}

static int read_name(int names, const char *name, uint64_t *serial, struct error *err)
{
	char target[64];
	ssize_t n = readlinkat(names, name, target, sizeof target - 1);

	if (n < 0 && errno == ENOENT)
		return error_set(err, ENOENT, "there is no '%s'", name);
	if (n < 0)
		return error_errno(err, "%s", name);
	target[n] = '\0';
	if (strncmp(target, "../", 3) != 0 || parse_serial(target + 3, serial) < 0)
		return error_set(err, EBADMSG, "names/%s: damaged", name);
	return 0;
}

int state_find(struct state *state, enum object_kind kind, const char *name, uint64_t *serial,
	       struct error *err)
{
	cleanup_close int names = -1;

	if (state_check_name(name, err) < 0)
		return error_set(err, ENOENT, "there is no %s '%.255s'", object_noun[kind], name);
	names = open_names(state, kind, err);
	if (names < 0)
		return -1;
	return read_name(names, name, serial, err);
}

static int fill_object(int folder, struct error *err)
{
	struct want want = { 0, WANT_NOTHING };
	struct status status = { .state = "draft" };

	if (file_make_folder(folder, "run", 0700, err) < 0 || want_write(folder, &want, false, err) < 0)
		return -1;
	failpoint("state-add-want");
	if (status_write(folder, &status, false, err) < 0)
		return -1;
	return file_sync_folder(folder, ".", err);
}

int state_make(struct state *state, enum object_kind kind, uint64_t *serial, struct error *err)
{
	cleanup_close int parent = file_open_folder(state->fd, object_folder[kind], err), folder = -1;
	struct error ignored;
	char number[24];

	if (parent < 0 || take_serial(state, serial, err) < 0)
		return -1;
	(void)snprintf(number, sizeof number, "%" PRIu64, *serial);
	if (mkdirat(parent, number, 0700) < 0)
		return error_errno(err, "%s/%s", object_folder[kind], number);
	folder = file_open_folder(parent, number, err);
	/* The folder must be there before anything points to it. */
	if (folder >= 0 && fill_object(folder, err) == 0 && file_sync_folder(parent, ".", err) == 0) {
		failpoint("state-add-folder");
		return 0;
	}
	(void)file_remove_tree(parent, number, &ignored);
	return -1;
}

int state_name(struct state *state, enum object_kind kind, const char *name, uint64_t serial, struct error *err)
{
	cleanup_close int names = open_names(state, kind, err);
	char target[32];

	if (names < 0)
		return -1;
	(void)snprintf(target, sizeof target, "../%" PRIu64, serial);
	if (symlinkat(target, names, name) < 0)
		return errno == EEXIST ? error_set(err, EEXIST, "there is a %s '%s' already", object_noun[kind], name)
				       : error_errno(err, "names/%s", name);
	failpoint("state-add-name");
	return file_sync_folder(names, ".", err);
}

int state_add(struct state *state, enum object_kind kind, const char *name, uint64_t *serial, struct error *err)
{
	cleanup_close int names = -1;
	struct error ignored;
	uint64_t there;
	char path[64];

	if (state_check_name(name, err) < 0)
		return -1;
	names = open_names(state, kind, err);
	if (names < 0)
		return -1;
	if (read_name(names, name, &there, &ignored) == 0)
		return error_set(err, EEXIST, "there is a %s '%s' already", object_noun[kind], name);
	if (state_make(state, kind, serial, err) < 0)
		return -1;
	if (state_name(state, kind, name, *serial, err) == 0)
		return 0;
	if (read_name(names, name, &there, &ignored) == 0 && there == *serial)
		return -1; /* it has its name, which may not survive a power cut */
	(void)snprintf(path, sizeof path, "%s/%" PRIu64, object_folder[kind], *serial);
	(void)file_remove_tree(state->fd, path, &ignored);
	return -1;
}

/* Never over another name, also on a file system without that flag: the mount alone changes names. */
static int rename_name(int names, const char *from, const char *to)
{
	struct stat st;

	if (renameat2(names, from, names, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL)
		return -1;
	if (fstatat(names, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		errno = EEXIST;
		return -1;
	}
	return errno == ENOENT ? renameat(names, from, names, to) : -1;
}

int state_rename(struct state *state, enum object_kind kind, const char *from, const char *to,
		 struct error *err)
{
	cleanup_close int names = -1;

	if (state_check_name(to, err) < 0)
		return -1;
	names = open_names(state, kind, err);
	if (names < 0)
		return -1;
	if (rename_name(names, from, to) < 0) {
		if (errno == EEXIST)
			return error_set(err, EEXIST, "there is a %s '%s' already", object_noun[kind], to);
		if (errno == ENOENT)
			return error_set(err, ENOENT, "there is no %s '%s'", object_noun[kind], from);
		return error_errno(err, "%s", from);
	}
	failpoint("state-renamed");
	return file_sync_folder(names, ".", err);
}

int state_forget_name(struct state *state, enum object_kind kind, const char *name, struct error *err)
{
	cleanup_close int names = open_names(state, kind, err);

	if (names < 0)
		return -1;
	if (unlinkat(names, name, 0) < 0) {
		if (errno == ENOENT)
			return error_set(err, ENOENT, "there is no %s '%s'", object_noun[kind], name);
		return error_errno(err, "%s", name);
	}
	failpoint("state-forgotten");
	return file_sync_folder(names, ".", err);
}

int state_each_name(struct state *state, enum object_kind kind,
		    int (*visit)(void *context, const char *name, uint64_t serial), void *context,
		    struct error *err)
{
	cleanup_close int names = open_names(state, kind, err);
	cleanup_dir DIR *d = names < 0 ? NULL : file_list(names, ".", 0);
	struct dirent *e;

	if (!d)
		return names < 0 ? -1 : error_errno(err, "names");
	while ((errno = 0, e = readdir(d))) {
		struct error ignored;
		uint64_t serial;
		int result;

		/* What is no name of ours is left alone. */
		if (e->d_name[0] == '.' || read_name(names, e->d_name, &serial, &ignored) < 0)
			continue;
		result = visit(context, e->d_name, serial);
		if (result)
			return result;
	}
	return errno ? error_errno(err, "names") : 0;
}

int state_each_serial(struct state *state, enum object_kind kind,
		      int (*visit)(void *context, uint64_t serial), void *context, struct error *err)
{
	cleanup_dir DIR *d = file_list(state->fd, object_folder[kind], 0);
	struct dirent *e;

	if (!d)
		return error_errno(err, "%s", object_folder[kind]);
	while ((errno = 0, e = readdir(d))) {
		uint64_t serial;
		int result;

		if (parse_serial(e->d_name, &serial) < 0)
			continue;
		result = visit(context, serial);
		if (result)
			return result;
	}
	return errno ? error_errno(err, "%s", object_folder[kind]) : 0;
}

int object_open(const struct state *state, enum object_kind kind, uint64_t serial, struct error *err)
{
	char path[64];

	(void)snprintf(path, sizeof path, "%s/%" PRIu64, object_folder[kind], serial);
	return file_open_folder(state->fd, path, err);
}

int object_delete(const struct state *state, enum object_kind kind, uint64_t serial, struct error *err)
{
	char path[64];

	(void)snprintf(path, sizeof path, "%s/%" PRIu64, object_folder[kind], serial);
	return file_remove_tree(state->fd, path, err);
}
