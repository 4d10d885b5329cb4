/* What a story writes into its object's folder. Each change is announced before the function
 * returns, and nothing is announced before write(2) or rename(2) was done: what a reader has seen
 * survives kill -9 of everything. */
#include "backend/runner_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

static void announce(struct runner *r, const char *path, const struct stat *st)
{
	runner_notice(r, path, (long long)st->st_size,
		      (long long)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec);
}

/* The folder that holds path; 0 too when it was there. */
static int make_parents(struct runner *r, const char *path, struct error *err)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (!slash)
		return 0;
	if ((size_t)(slash - path) >= sizeof parent)
		return error_set(err, ENAMETOOLONG, "%.64s…: the path is too long", path);
	memcpy(parent, path, (size_t)(slash - path));
	parent[slash - path] = '\0';
	return file_make_folders(r->folder, parent, 0700, err);
}

static int may_write(const struct runner *r, const char *path, struct error *err)
{
	if (r->removed)
		return error_set(err, ENOENT, "%s: the object is removed", path);
	return 0;
}

static void close_log(struct open_log *log)
{
	if (log->path)
		(void)close(log->fd);
	free(log->path);
	*log = (struct open_log){ .fd = -1 };
}

void runner_close_logs(struct runner *r)
{
	for (size_t i = 0; i < OPEN_LOGS; i++)
		close_log(&r->logs[i]);
}

static struct open_log *find_log(struct runner *r, const char *path)
{
	for (size_t i = 0; i < OPEN_LOGS; i++)
		if (r->logs[i].path && !strcmp(r->logs[i].path, path))
			return &r->logs[i];
	return NULL;
}

static void forget_log(struct runner *r, const char *path)
{
	struct open_log *log = find_log(r, path);

	if (log)
		close_log(log);
}

void runner_changed(struct runner *r, const char *path)
{
	struct stat st;

	if (r->corked)
		runner_notice(r, path, 0, 0); /* looked at when it is sent */
	else if (fstatat(r->folder, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		announce(r, path, &st);
	} else {
		forget_log(r, path);
		runner_notice(r, path, -1, 0);
	}
}

int runner_set_value(struct runner *r, const char *path, const void *data, size_t n, mode_t mode,
		     struct error *err)
{
	if (may_write(r, path, err) < 0)
		return -1;
	forget_log(r, path);
	if (file_replace(r->folder, path, data, n, mode, false, err) < 0) {
		if (err->code != ENOENT || make_parents(r, path, err) < 0 ||
		    file_replace(r->folder, path, data, n, mode, false, err) < 0)
			return -1;
	}
	runner_changed(r, path);
	return 0;
}

int runner_set_text(struct runner *r, const char *path, const char *text, struct error *err)
{
	return runner_set_value(r, path, text, strlen(text), 0600, err);
}

static int set_state(struct runner *r, const char *state, bool wait, struct error *err)
{
	struct status next = { .generation = r->want.generation };
	struct timespec now;
	bool durable;

	if (may_write(r, "status", err) < 0)
		return -1;
	if (strlen(state) >= sizeof next.state)
		return error_set(err, EINVAL, "'%s' is no state", state);
	if (clock_gettime(CLOCK_REALTIME, &now) < 0)
		return error_errno(err, "clock");
	memcpy(next.state, state, strlen(state) + 1);
	next.since = (double)now.tv_sec + (double)(now.tv_nsec / 1000000) / 1000;
	/* What is acted on again is not a new state. */
	if (!strcmp(r->status.state, state) && r->status.since > 0)
		next.since = r->status.since;
	/* Between idle and busy there is nothing that a power cut would leave: it ends the process. */
	durable = wait && (next.generation != r->status.generation || status_resting(r->kind, state) ||
			   status_resting(r->kind, r->status.state));
	if (status_write(r->folder, &next, durable, err) < 0)
		return -1;
	r->status = next;
	runner_changed(r, "status");
	return 0;
}

int runner_set_state(struct runner *r, const char *state, struct error *err)
{
	return set_state(r, state, true, err);
}

int runner_show_state(struct runner *r, const char *state, struct error *err)
{
	return set_state(r, state, false, err);
}

int runner_set_failure(struct runner *r, const char *text, struct error *err)
{
	cleanup_buffer struct buffer b = BUFFER(2 * ERROR_TEXT_SIZE);

	if (may_write(r, "failure", err) < 0)
		return -1;
	if (!*text) {
		if (unlinkat(r->folder, "failure", 0) == 0)
			runner_notice(r, "failure", -1, 0);
		else if (errno != ENOENT)
			return error_errno(err, "failure");
		return 0;
	}
	if (buffer_format(&b, "%.*s\n", ERROR_TEXT_SIZE, text) < 0)
		return error_memory(err);
	runner_scrub(r, &b);
	for (size_t i = 0; i + 1 < b.length; i++)
		if (b.data[i] == '\n')
			b.data[i] = ' ';
	if (file_replace(r->folder, "failure", b.data, b.length, 0600, true, err) < 0)
		return -1;
	runner_changed(r, "failure");
	return 0;
}

bool runner_ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && !strcmp(text + n - m, end);
}

/* Where the last whole line ends. */
static int whole_lines(int fd, off_t size, off_t *end, struct error *err)
{
	char piece[4096];

	while (size > 0) {
		size_t n = size < (off_t)sizeof piece ? (size_t)size : sizeof piece;
		ssize_t got = pread(fd, piece, n, size - (off_t)n);
		const char *newline;

		if (got < 0 || (size_t)got != n)
			return error_errno(err, "read");
		newline = memrchr(piece, '\n', n);
		if (newline) {
			*end = size - (off_t)n + (newline - piece) + 1;
			return 0;
		}
		size -= (off_t)n;
	}
	*end = 0;
	return 0;
}

/* What a runner that was killed left in the middle of a line. */
static int mend(int fd, const char *path, struct error *err)
{
	static const char mark[] = "\n[interrupted]\n";
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	struct stat st;
	off_t end;

	if (fstat(fd, &st) < 0)
		return error_errno(err, "stat");
	if (!st.st_size)
		return 0;
	if (runner_ends_with(name, ".jsonl")) {
		if (whole_lines(fd, st.st_size, &end, err) < 0)
			return -1;
		if (end != st.st_size && ftruncate(fd, end) < 0)
			return error_errno(err, "cannot be cut");
	} else if (!strcmp(name, "log") || !strcmp(name, "messages")) {
		char last;

		if (pread(fd, &last, 1, st.st_size - 1) != 1)
			return error_errno(err, "read");
		if (last != '\n')
			return file_write_all(fd, mark, sizeof mark - 1, err);
	}
	return 0;
}

static struct open_log *open_log(struct runner *r, const char *path, struct error *err)
{
	struct open_log *log = find_log(r, path);
	struct stat st;
	cleanup_close int fd = -1;
	bool there;

	if (log && fstat(log->fd, &st) == 0 && st.st_nlink) {
		log->used = ++r->log_clock;
		return log;
	}
	if (log)
		close_log(log);
	log = &r->logs[0];
	for (size_t i = 1; i < OPEN_LOGS; i++)
		if (r->logs[i].used < log->used)
			log = &r->logs[i];
	there = faccessat(r->folder, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	for (int attempt = 0; attempt < 2 && fd < 0; attempt++) {
		fd = openat(r->folder, path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0 && (errno != ENOENT || attempt)) {
			(void)error_errno(err, "%s", path);
			return NULL;
		}
		if (fd < 0 && make_parents(r, path, err) < 0)
			return NULL;
	}
	if (there && mend(fd, path, err) < 0) {
		(void)error_wrap(err, "%s", path);
		return NULL;
	}
	close_log(log);
	log->path = strdup(path);
	if (!log->path) {
		(void)error_memory(err);
		return NULL;
	}
	log->fd = steal_fd(&fd);
	log->made = !there;
	log->used = ++r->log_clock;
	return log;
}

int runner_append(struct runner *r, const char *path, const void *data, size_t n, struct error *err)
{
	cleanup_buffer struct buffer clean = BUFFER(SIZE_MAX / 2);
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	struct open_log *log;
	struct stat st;
	ssize_t done;

	if (may_write(r, path, err) < 0)
		return -1;
	if (r->secrets && (!strcmp(name, "log") || runner_ends_with(name, ".log"))) {
		if (buffer_append(&clean, data, n) < 0)
			return error_memory(err);
		runner_scrub(r, &clean);
		data = clean.data;
		n = clean.length;
	}
	log = open_log(r, path, err);
	if (!log)
		return -1;
	failpoint("runner-append");
	do {
		done = write(log->fd, data, n);
	} while (done < 0 && errno == EINTR);
	if (done < 0)
		return error_errno(err, "%s", path);
	if (fstat(log->fd, &st) < 0)
		return error_errno(err, "%s", path);
	if ((size_t)done != n) {
		/* Half a record is none. */
		if (ftruncate(log->fd, st.st_size - done) < 0)
			return error_errno(err, "%s: half a record was written", path);
		return error_set(err, ENOSPC, "%s: no space left", path);
	}
	failpoint("runner-appended");
	announce(r, path, &st);
	return 0;
}

int runner_append_turning(struct runner *r, const char *path, const char *older, const void *data, size_t n,
			  struct error *err)
{
	struct open_log *log = may_write(r, path, err) < 0 ? NULL : open_log(r, path, err);
	struct stat st;

	if (!log)
		return -1;
	/* What cannot be moved goes on growing. */
	if (!fstat(log->fd, &st) && st.st_size && (size_t)st.st_size + n > RUNNER_LOG_MAX &&
	    !renameat(r->folder, path, r->folder, older)) {
		close_log(log);
		runner_changed(r, older);
	}
	return runner_append(r, path, data, n, err);
}

int runner_sync(struct runner *r, const char *path, struct error *err)
{
	struct open_log *log = find_log(r, path);
	cleanup_close int opened = -1;
	int fd = log ? log->fd : (opened = openat(r->folder, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));

	if (fd < 0)
		return error_errno(err, "%s", path);
	if (fsync(fd) < 0)
		return error_errno(err, "%s: sync", path);
	if (!log || log->made) {
		const char *slash = strrchr(path, '/');
		cleanup_free char *parent = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");

		if (!parent)
			return error_memory(err);
		if (file_sync_folder(r->folder, parent, err) < 0)
			return -1;
		if (log)
			log->made = false;
	}
	return 0;
}

void runner_log(struct runner *r, const char *format, ...)
{
	cleanup_buffer struct buffer b = BUFFER(16384);
	char text[8192], when[32];
	struct error ignored;
	struct tm tm;
	time_t now = time(NULL);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (!gmtime_r(&now, &tm) || !strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm))
		return;
	if (buffer_format(&b, "%s %s\n", when, text) == 0)
		(void)runner_append(r, "log", b.data, b.length, &ignored);
}

int runner_remove_folder(struct runner *r, struct error *err)
{
	cleanup_dir DIR *d = NULL;
	struct dirent *e;

	if (r->removed)
		return 0;
	runner_close_logs(r);
	d = file_list(r->folder, ".", 0);
	if (!d)
		return error_errno(err, "%s", r->path);
	while ((errno = 0, e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || !strcmp(e->d_name, "want") ||
		    !strcmp(e->d_name, "run"))
			continue;
		failpoint("runner-remove");
		if (file_remove_tree(r->folder, e->d_name, err) < 0)
			return -1;
	}
	if (errno)
		return error_errno(err, "%s", r->path);
	failpoint("runner-remove-want");
	/* From here on a new runner would find nothing that it could understand; the mount deletes an
	 * empty folder itself. */
	r->removed = true;
	if (file_remove_tree(r->folder, "run", err) < 0 || file_remove_tree(r->folder, "want", err) < 0)
		return -1;
	failpoint("runner-remove-folder");
	return file_remove_tree(AT_FDCWD, r->path, err);
}
