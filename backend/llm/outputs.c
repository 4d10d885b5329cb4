/* Files between the sandbox's /workspace/outputs and the session. What runs inside is not trusted:
 * each step of a path is opened from a descriptor, no link is ever followed, sizes are bounded. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/llm/session.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/inside.h"
#include "base/talk.h"

#define FILES_MAX 10000
#define BYTES_MAX ((off_t)1 << 30)
#define DEPTH_MAX 16
#define ROOT_SECONDS 5

struct copying {
	struct session *session;
	unsigned files;
	off_t bytes;
	bool full;
};

uint64_t session_sandbox(struct session *s)
{
	const cJSON *references = runner_references(s->runner);
	const cJSON *notebook = cJSON_GetObjectItemCaseSensitive(references, "notebook");
	const cJSON *serial = cJSON_GetObjectItemCaseSensitive(notebook, "serial");
	cleanup_buffer struct buffer text = BUFFER(8u << 20);
	cleanup_close int folder = -1;
	struct error ignored;
	cJSON *spec = NULL;
	uint64_t found = 0;

	if (cJSON_IsNumber(serial)) {
		folder = object_open(runner_state(s->runner), OBJECT_NOTEBOOK, (uint64_t)serial->valuedouble, &ignored);
		if (folder < 0 || file_read(folder, "spec.json", &text, &ignored) < 0)
			return 0;
		spec = cJSON_ParseWithLength(text.data, text.length);
		references = cJSON_GetObjectItemCaseSensitive(spec, "references");
	}
	serial = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(references, "sandbox"), "serial");
	if (cJSON_IsNumber(serial) && serial->valuedouble >= 1)
		found = (uint64_t)serial->valuedouble;
	cJSON_Delete(spec);
	return found;
}

/* Asks its runner for the root's descriptor, while commands are served: -1 with why. */
static int ask_for_root(struct session *s, int folder, struct error *why)
{
	double until = clock_seconds() + ROOT_SECONDS;
	bool halted = session_halted(s);
	struct talk_message m;
	struct talk talk;
	int got = -1, root = -1;

	if (talk_connect(&talk, folder, why) < 0)
		return -1;
	s->asking_fd = talk.fd;
	if (talk_ask(&talk, "root", "", 0, why) < 0 || runner_watch(s->runner, talk.fd, POLLIN, why) < 0)
		goto done;
	while ((got = talk_take(&talk, &m, why)) >= 0 && !(got == 1 && m.type == TALK_END)) {
		double left = until - clock_seconds();

		if (got == 1)
			continue;
		if (left <= 0 || s->quit || (!halted && session_halted(s))) {
			got = left > 0 ? error_set(why, EINTR, "the user interrupted") :
					 error_set(why, ETIMEDOUT, "no answer for %d s", ROOT_SECONDS);
			break;
		}
		if (session_next(s, (int)(left * 1000) + 1, why) < 0) {
			got = -1;
			break;
		}
	}
	if (got == 1 && m.code)
		got = error_set(why, m.code, "%s", m.text[0] ? m.text : strerror(m.code));
	if (got == 1 && talk.passed < 0)
		got = error_set(why, EPROTO, "no descriptor came");
	if (got == 1)
		root = steal_fd(&talk.passed);
	runner_unwatch(s->runner, talk.fd);
done:
	s->asking_fd = -1;
	talk_close(&talk);
	return root;
}

int session_root(struct session *s)
{
	uint64_t serial = session_sandbox(s);
	cleanup_close int folder = -1;
	struct error why;
	struct status status;

	if (s->root >= 0 || !serial)
		return s->root;
	folder = object_open(runner_state(s->runner), OBJECT_SANDBOX, serial, &why);
	if (folder < 0 || status_read(folder, &status, &why) < 0 || strcmp(status.state, "ready") != 0)
		return -1;
	s->root = ask_for_root(s, folder, &why);
	if (s->root < 0)
		runner_log(s->runner, "the sandbox's files cannot be reached: %s", why.text);
	return s->root;
}

/* No link is followed: an outputs that leads to /proc would have the host read what the kernel
 * tells only to root. */
static int open_folder(int root, const char *path)
{
	return inside_open(root, path, O_RDONLY | O_DIRECTORY, 0, INSIDE_NO_LINKS);
}

/* /workspace/outputs inside, made where it is missing. */
static int open_outputs(int root, bool make)
{
	int fd = open_folder(root, "/workspace/outputs");
	cleanup_close int workspace = -1;

	if (fd >= 0 || errno != ENOENT || !make)
		return fd;
	workspace = open_folder(root, "/workspace");
	if (workspace < 0 || mkdirat(workspace, "outputs", 0777) < 0)
		return -1;
	return open_folder(root, "/workspace/outputs");
}

static int copy_bytes(struct copying *c, int from, int to, off_t limit)
{
	static char piece[65536];
	ssize_t n;
	struct error ignored;
	off_t done = 0;

	while ((n = read(from, piece, sizeof piece)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || (done += n) > limit)
			return -1;
		if (file_write_all(to, piece, (size_t)n, &ignored) < 0)
			return -1;
	}
	c->bytes += done;
	return 0;
}

static int copy_file(struct copying *c, int from_folder, const char *name, int to_folder)
{
	cleanup_close int from = openat(from_folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	cleanup_close int to = -1;
	char temporary[NAME_MAX + 16];
	struct stat st, old;
	struct timespec times[2];

	if (from < 0 || fstat(from, &st) < 0 || !S_ISREG(st.st_mode))
		return -1;
	if (fstatat(to_folder, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(old.st_mode) &&
	    old.st_size == st.st_size && old.st_mtim.tv_sec == st.st_mtim.tv_sec &&
	    old.st_mtim.tv_nsec == st.st_mtim.tv_nsec)
		return 0;
	if (st.st_size > BYTES_MAX - c->bytes) {
		c->full = true;
		return -1;
	}
	snprintf(temporary, sizeof temporary, ".copying-%d", (int)getpid());
	to = openat(to_folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	if (to < 0 || copy_bytes(c, from, to, BYTES_MAX - c->bytes) < 0 || futimens(to, times) < 0 ||
	    renameat(to_folder, temporary, to_folder, name) < 0) {
		(void)unlinkat(to_folder, temporary, 0);
		return -1;
	}
	return 0;
}

/* Takes from and to. */
static void copy_folder(struct copying *c, int from, int to, int depth)
{
	cleanup_close int target = to;
	cleanup_dir DIR *dir = fdopendir(from);
	struct dirent *entry;

	if (!dir) {
		(void)close(from);
		return;
	}
	while ((entry = readdir(dir))) {
		const char *name = entry->d_name;
		struct stat st;
		int inner, made;

		if (!strcmp(name, ".") || !strcmp(name, "..") ||
		    fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (++c->files > FILES_MAX)
			c->full = true;
		if (c->full)
			return;
		if (S_ISREG(st.st_mode)) {
			if (copy_file(c, dirfd(dir), name, target) < 0 && !c->full)
				runner_log(c->session->runner, "outputs: %s could not be copied", name);
			continue;
		}
		if (!S_ISDIR(st.st_mode) || depth >= DEPTH_MAX)
			continue;
		inner = openat(dirfd(dir), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (inner < 0)
			continue;
		(void)mkdirat(target, name, 0700);
		made = openat(target, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (made < 0)
			(void)close(inner);
		else
			copy_folder(c, inner, made, depth + 1);
	}
}

void session_collect(struct session *s)
{
	struct copying c = { .session = s };
	int root = session_root(s);
	struct error err;
	int from, to;

	if (root < 0 || (from = open_outputs(root, false)) < 0)
		return;
	if (file_make_folder(runner_folder(s->runner), "outputs", 0700, &err) < 0 ||
	    (to = file_open_folder(runner_folder(s->runner), "outputs", &err)) < 0) {
		(void)close(from);
		runner_log(s->runner, "outputs: %s", err.text);
		return;
	}
	copy_folder(&c, from, to, 0);
	if (c.full)
		runner_log(s->runner, "outputs: only %d files and %lld bytes are copied", FILES_MAX,
			   (long long)BYTES_MAX);
	runner_changed(s->runner, "outputs");
}

int session_leave(struct session *s, const char *name, const void *data, size_t n, char *path, size_t size)
{
	int root = session_root(s);
	cleanup_close int outputs = root < 0 ? -1 : open_outputs(root, true);
	cleanup_close int file = -1;
	struct error ignored;

	if (outputs < 0)
		return -1;
	(void)unlinkat(outputs, name, 0);
	file = openat(outputs, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (file < 0 || file_write_all(file, data, n, &ignored) < 0)
		return -1;
	snprintf(path, size, "/workspace/outputs/%s", name);
	return 0;
}
