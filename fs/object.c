/* An object's own small files: want, status, run/pid (state.h). Each is one line that is replaced
 * whole; what does not parse to the last byte is damaged and is never guessed at. */
#include "fs/state.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

static const char *const want_words[] = { "nothing", "run", "stopped", "removed" };

/* In which states an object of each kind rests, and at which others a wait ends. */
static const struct {
	const char *resting, *settled;
} ends[OBJECT_KINDS] = {
	[OBJECT_SANDBOX] = { "draft stopped failed died", "ready" },
	[OBJECT_WORKSPACE] = { "draft ready stopped failed", "" },
	[OBJECT_NOTEBOOK] = { "draft stopped failed died", "idle" },
	[OBJECT_SESSION] = { "draft idle done interrupted stopped stalled limited failed", "approving paused" },
	[OBJECT_SNAPSHOT] = { "draft ready failed", "" },
};

static bool listed(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; n && (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
			return true;
	return false;
}

bool status_resting(enum object_kind kind, const char *state)
{
	return listed(ends[kind].resting, state);
}

/* "has died", but "is stopped" */
static bool is_event(const char *state)
{
	return !strcmp(state, "died") || !strcmp(state, "failed");
}

void status_sentence(enum object_kind kind, const struct status *status, int folder, char *text, size_t size)
{
	cleanup_buffer struct buffer why = BUFFER(4096);
	struct error ignored;

	if (folder < 0 || file_read(folder, "failure", &why, &ignored) < 0)
		buffer_clear(&why);
	while (why.length && why.data[why.length - 1] == '\n')
		why.data[--why.length] = '\0';
	(void)snprintf(text, size, "the %s %s %s%s%s", object_noun[kind], is_event(status->state) ? "has" : "is",
		       status->state, why.length ? ": " : "", why.length ? why.data : "");
}

bool status_settled(enum object_kind kind, const char *state)
{
	return status_resting(kind, state) || listed(ends[kind].settled, state);
}

/* Takes a decimal number and the one byte that must follow it. */
static int take_number(const char **text, char after, uint64_t *value)
{
	char *end;

	if (!isdigit((unsigned char)**text))
		return -1;
	errno = 0;
	*value = strtoull(*text, &end, 10);
	if (errno || *end != after)
		return -1;
	*text = end + 1;
	return 0;
}

/* A line with its newline and nothing behind it but the zeros of one that was to be longer (replace). */
static int read_whole_line(int folder, const char *path, struct buffer *b, struct error *err)
{
	if (file_read(folder, path, b, err) < 0)
		return -1;
	while (b->length && !b->data[b->length - 1])
		b->length--;
	if (!b->length || b->data[b->length - 1] != '\n' || strlen(b->data) != b->length)
		return error_set(err, EBADMSG, "%s: damaged", path);
	b->data[b->length - 1] = '\0';
	return 0;
}

/* A new object's first files are not synced one by one, so a power cut may leave them without
 * their bytes; whatever is written later is. Empty means what they began with. */
static bool is_empty(const struct buffer *b, const struct error *err)
{
	return err->code == EBADMSG && !b->length;
}

int want_read(int folder, struct want *want, struct error *err)
{
	cleanup_buffer struct buffer b = BUFFER(64);
	struct want read = { 0, WANT_NOTHING };
	const char *p;

	if (read_whole_line(folder, "want", &b, err) < 0) {
		if (err->code != ENOENT && !is_empty(&b, err))
			return -1;
		*want = read;
		return 0;
	}
	p = b.data;
	if (take_number(&p, ' ', &read.generation) < 0)
		return error_set(err, EBADMSG, "want: damaged");
	for (int i = 0; i < 4; i++) {
		if (!strcmp(p, want_words[i])) {
			read.what = (enum want_what)i;
			*want = read;
			return 0;
		}
	}
	return error_set(err, EBADMSG, "want: damaged");
}

/* On a full disk a line is written over the one that is there, in the block that it has: what runs can
 * be stopped and removed, which is how room is made. A shorter one gets zeros before its generation.
 * After a power cut it is the old one, the new one, or the old one with zeros behind it. */
static int replace_in_place(int folder, const char *path, const struct buffer *line)
{
	cleanup_close int fd = openat(folder, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	cleanup_buffer struct buffer filled = BUFFER(1024);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !st.st_size || st.st_size > 512)
		return -1;
	for (size_t n = line->length; n < (size_t)st.st_size; n++)
		if (buffer_text(&filled, "0") < 0)
			return -1;
	if (buffer_append(&filled, line->data, line->length) < 0)
		return -1;
	return pwrite(fd, filled.data, filled.length, 0) == (ssize_t)filled.length && fsync(fd) == 0 ? 0 : -1;
}

static int replace(int folder, const char *path, const struct buffer *line, bool durable, struct error *err)
{
	if (file_replace(folder, path, line->data, line->length, 0600, durable, err) == 0)
		return 0;
	if ((err->code == ENOSPC || err->code == EDQUOT) && replace_in_place(folder, path, line) == 0)
		return 0;
	return -1;
}

int want_write(int folder, const struct want *want, bool durable, struct error *err)
{
	cleanup_buffer struct buffer b = BUFFER(64);

	if (buffer_format(&b, "%" PRIu64 " %s\n", want->generation, want_words[want->what]) < 0)
		return error_memory(err);
	failpoint("want-write");
	if (replace(folder, "want", &b, durable, err) < 0)
		return -1;
	failpoint("want-written");
	return 0;
}

int status_read(int folder, struct status *status, struct error *err)
{
	cleanup_buffer struct buffer b = BUFFER(128);
	struct status read = { .state = "draft" };
	const char *p, *space;
	char *end;

	if (read_whole_line(folder, "status", &b, err) < 0) {
		if (err->code != ENOENT && !is_empty(&b, err))
			return -1;
		*status = read;
		return 0;
	}
	p = b.data;
	if (take_number(&p, ' ', &read.generation) < 0)
		return error_set(err, EBADMSG, "status: damaged");
	space = strchr(p, ' ');
	if (!space || space == p || (size_t)(space - p) >= sizeof read.state)
		return error_set(err, EBADMSG, "status: damaged");
	memset(read.state, 0, sizeof read.state);
	memcpy(read.state, p, (size_t)(space - p));
	for (const char *c = read.state; *c; c++)
		if (!islower((unsigned char)*c))
			return error_set(err, EBADMSG, "status: damaged");
	errno = 0;
	read.since = strtod(space + 1, &end);
	if (!isdigit((unsigned char)space[1]) || errno || *end || !isfinite(read.since))
		return error_set(err, EBADMSG, "status: damaged");
	*status = read;
	return 0;
}

/* Writes over a line of the same length ("idle" over "busy"), which after a power cut is the old
 * one or the new. Whoever reads in this moment is told of the change right after it. */
static bool overwrite(int folder, const struct buffer *line)
{
	cleanup_close int fd = openat(folder, "status", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_size == (off_t)line->length &&
	       pwrite(fd, line->data, line->length, 0) == (ssize_t)line->length;
}

int status_write(int folder, const struct status *status, bool durable, struct error *err)
{
	cleanup_buffer struct buffer b = BUFFER(512);

	if (buffer_format(&b, "%" PRIu64 " %s %.3f\n", status->generation, status->state,
			  status->since) < 0)
		return error_memory(err);
	failpoint("status-write");
	if ((durable || !overwrite(folder, &b)) && replace(folder, "status", &b, durable, err) < 0)
		return -1;
	failpoint("status-written");
	return 0;
}

static int read_boot_id(char boot[40], struct error *err)
{
	cleanup_buffer struct buffer b = BUFFER(64);

	if (read_whole_line(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &b, err) < 0)
		return -1;
	(void)snprintf(boot, 40, "%.36s", b.data);
	return 0;
}

/* When the process started, in ticks since the boot; -1 when it is gone or a zombie. */
static int read_start(int pid, uint64_t *start)
{
	cleanup_buffer struct buffer b = BUFFER(4096);
	struct error ignored;
	char path[32];
	const char *p;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
	if (file_read(AT_FDCWD, path, &b, &ignored) < 0 || !b.length)
		return -1;
	/* The command's name may hold anything, also ") "; the last parenthesis ends it. */
	p = strrchr(b.data, ')');
	if (!p || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X')
		return -1;
	p++;
	for (int field = 3; field < 22 && p; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return -1;
	p++;
	return take_number(&p, ' ', start);
}

int runner_record_self(struct runner_record *record, struct error *err)
{
	record->pid = (int)getpid();
	if (read_start(record->pid, &record->start) < 0)
		return error_set(err, EIO, "/proc does not show this process");
	return read_boot_id(record->boot, err);
}

int runner_record_write(int folder, const struct runner_record *record, struct error *err)
{
	cleanup_buffer struct buffer b = BUFFER(128);

	if (buffer_format(&b, "%d %" PRIu64 " %s\n", record->pid, record->start, record->boot) < 0)
		return error_memory(err);
	return file_replace(folder, "run/pid", b.data, b.length, 0600, false, err);
}

int runner_record_read(int folder, struct runner_record *record, struct error *err)
{
	cleanup_buffer struct buffer b = BUFFER(128);
	uint64_t pid, start;
	const char *p;

	if (read_whole_line(folder, "run/pid", &b, err) < 0)
		return -1;
	p = b.data;
	if (take_number(&p, ' ', &pid) < 0 || take_number(&p, ' ', &start) < 0 || !pid ||
	    pid > INT32_MAX || strlen(p) != 36 || strspn(p, "0123456789abcdef-") != 36)
		return error_set(err, EBADMSG, "run/pid: damaged");
	record->pid = (int)pid;
	record->start = start;
	memcpy(record->boot, p, 37);
	return 0;
}

bool runner_of_earlier_boot(int folder)
{
	struct runner_record record;
	struct error ignored;
	char boot[40];

	if (read_boot_id(boot, &ignored) < 0)
		return false;
	return runner_record_read(folder, &record, &ignored) < 0 || strcmp(boot, record.boot) != 0;
}

bool runner_alive(int folder, int *pid)
{
	struct runner_record record;
	struct error ignored;
	uint64_t start;

	if (runner_record_read(folder, &record, &ignored) < 0 || runner_of_earlier_boot(folder) ||
	    read_start(record.pid, &start) < 0 || start != record.start)
		return false;
	if (pid)
		*pid = record.pid;
	return true;
}
