/* Which process a box's first one is, as ctl/pid records it, and ending a box: also one that a
 * killed runner left half made. */
#include "backend/sandbox/box_own.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/sandbox/cgroup.h"
#include "backend/sandbox/spawn.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"

#define KILL_MS 60000

/* ---- who it is ---- */

uint64_t box_start_time(pid_t pid)
{
	cleanup_buffer struct buffer stat = BUFFER(4096);
	struct error ignored;
	char path[64], *p;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (file_read(AT_FDCWD, path, &stat, &ignored) || !stat.length)
		return 0;
	p = strrchr(stat.data, ')'); /* the command's name may hold anything */
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p + 1, NULL, 10) : 0;
}

static int boot_id(char out[64], struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(128);

	if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &text, err))
		return -1;
	(void)snprintf(out, 64, "%.*s", (int)strcspn(text.data ? text.data : "", "\n"), text.data ? text.data : "");
	return 0;
}

static int record(struct box *box, const char *name, pid_t pid, struct error *err)
{
	char boot[64], line[160];
	int n;

	if (boot_id(boot, err))
		return -1;
	n = snprintf(line, sizeof line, "%d %llu %s\n", (int)pid, (unsigned long long)box_start_time(pid), boot);
	return file_replace(box->ctl, name, line, (size_t)n, 0600, false, err);
}

int box_record(struct box *box, struct error *err)
{
	return record(box, "pid", box->pid, err);
}

int box_record_helper(struct box *box, struct error *err)
{
	return record(box, "helper", box->helper, err);
}

/* 0: there is none, or it is not that one any more. */
static pid_t recorded(struct box *box, const char *name, int *found)
{
	cleanup_buffer struct buffer text = BUFFER(256);
	struct error ignored;
	char boot[64], then[64];
	unsigned long long started;
	int pid, pidfd;

	if (box->ctl < 0 || file_read(box->ctl, name, &text, &ignored) || !text.length ||
	    sscanf(text.data, "%d %llu %63s", &pid, &started, then) != 3 || pid <= 1 ||
	    boot_id(boot, &ignored) || strcmp(boot, then))
		return 0;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return 0;
	/* The descriptor is of whoever has the number now; the start time tells whether it is ours. */
	if (box_start_time(pid) != started) {
		(void)close(pidfd);
		return 0;
	}
	*found = pidfd;
	return pid;
}

pid_t box_recorded(struct box *box)
{
	int pidfd = -1;
	pid_t pid = recorded(box, "pid", &pidfd);

	if (pid) {
		box_close_fd(&box->pidfd);
		box->pidfd = pidfd;
	}
	return pid;
}

/* The network's helper has nothing to put in order. It may be an earlier runner's. */
static void end_helper(struct box *box)
{
	cleanup_close int pidfd = -1;

	if (recorded(box, "helper", &pidfd))
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	if (box->helper > 0 && waitpid(box->helper, NULL, WNOHANG) == 0) { /* a child of ours that runs */
		(void)kill(box->helper, SIGKILL);
		(void)waitpid(box->helper, NULL, 0);
	}
	box->helper = 0;
	if (box->ctl >= 0)
		(void)unlinkat(box->ctl, "helper", 0);
}

/* ---- the runtime ---- */

const char *box_runtime_name(const char *program)
{
	const char *slash = strrchr(program, '/');

	return slash ? slash + 1 : program;
}

/* "runc --root STATE/runtime/runc" + what is to be done. */
static int run_runtime(struct box *box, const char *program, char *const words[], struct error *err)
{
	cleanup_free char *root = NULL;
	cleanup_buffer struct buffer out = BUFFER(RUNTIME_LOG_MAX);
	char *argv[8] = { (char *)(uintptr_t)program, "--root" };
	int status, n = 2;

	if (asprintf(&root, "%s/%s", box->runtimes, box_runtime_name(program)) < 0)
		return error_memory(err);
	argv[n++] = root;
	while (*words && n < 7)
		argv[n++] = *words++;
	if (spawn_run(argv, RUNTIME_MS, &out, &status, err))
		return -1;
	if (status)
		return error_set(err, EIO, "%s: %.400s", box_runtime_name(program), out.length ? out.data : "failed");
	return 0;
}

/* ---- the end ---- */

/* Waits for the pidfd, killing after timeout_ms. */
static int await_end(struct box *box, int timeout_ms, struct error *err)
{
	struct pollfd p = { .fd = box->pidfd, .events = POLLIN };
	int n;

	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n <= 0) {
		(void)syscall(SYS_pidfd_send_signal, box->pidfd, SIGKILL, NULL, 0);
		if (poll(&p, 1, KILL_MS) <= 0)
			return error_set(err, EBUSY, "the sandbox's first process cannot be killed");
	}
	(void)waitpid(box->pid, NULL, WNOHANG); /* ours when this runner started it */
	return 0;
}

static char *recorded_runtime(struct box *box)
{
	cleanup_buffer struct buffer text = BUFFER(4096);
	struct error ignored;

	if (box->ctl < 0 || file_read(box->ctl, "runtime", &text, &ignored) || !text.length || text.data[0] != '/')
		return NULL;
	return strdup(text.data);
}

int box_end(struct box *box, int timeout_ms, struct error *err)
{
	cleanup_free char *program = recorded_runtime(box);
	char *words[] = { "delete", box->id, NULL };
	struct error ignored;

	if (!box->pid)
		return 0;
	if (await_end(box, timeout_ms, err))
		return -1;
	end_helper(box);
	box->pid = 0;
	box_close_fd(&box->pidfd);
	if (program && !run_runtime(box, program, words, &ignored)) {
		(void)unlinkat(box->ctl, "etc", 0);
		(void)unlinkat(box->ctl, "pid", 0);
		(void)unlinkat(box->ctl, "runtime", 0);
		return 0;
	}
	return box_reap(box, err);
}

int box_reap(struct box *box, struct error *err)
{
	cleanup_free char *program = NULL;
	char *words[] = { "delete", "-f", box->id, NULL };
	struct error ignored;

	if (box->folder < 0) {
		box->folder = open(box->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		box->ctl = box->folder < 0 ? -1 : openat(box->folder, "ctl", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	program = recorded_runtime(box);
	if (!program)
		return 0; /* nothing was started, or all of it was removed */
	box->pid = box_recorded(box);
	if (box->pid) {
		if (await_end(box, 0, err))
			return -1;
		box->pid = 0;
		box_close_fd(&box->pidfd);
	}
	end_helper(box);
	if (!access(program, X_OK))
		(void)run_runtime(box, program, words, &ignored); /* it fails when it knows of none */
	if (cgroup_remove(box->id, err))
		return -1;
	(void)unlinkat(box->folder, "bundle/config.json", 0);
	(void)unlinkat(box->ctl, "etc", 0);
	(void)unlinkat(box->ctl, "pid", 0);
	(void)unlinkat(box->ctl, "runtime", 0);
	return 0;
}
