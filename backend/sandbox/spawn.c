#include "backend/sandbox/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* What a helper may know: where programs, the user's files and the user's runtime folder are. */
static const char *const kept[] = { "PATH", "HOME", "XDG_RUNTIME_DIR", "PYENV_VERSION", "PYENV_ROOT", "TMPDIR" };
#define KEPT (sizeof kept / sizeof *kept)

struct environment {
	char *list[KEPT + 2];
	size_t count;
};

static void environment_free(struct environment *e)
{
	for (size_t i = 0; i < e->count; i++)
		free(e->list[i]);
}

static int environment_make(struct environment *e)
{
	for (size_t i = 0; i < KEPT; i++) {
		const char *value = getenv(kept[i]);

		if (!value && i == 0)
			value = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
		if (value && asprintf(&e->list[e->count], "%s=%s", kept[i], value) < 0)
			return -1;
		e->count += value != NULL;
	}
	return 0;
}

static void child_signals(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		(void)signal(s, SIG_DFL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The first `cpus` of those that this process may use. Advisory: the sandbox can undo it. */
static void child_cpus(int cpus)
{
	cpu_set_t mine, fewer;

	if (cpus <= 0 || sched_getaffinity(0, sizeof mine, &mine))
		return;
	CPU_ZERO(&fewer);
	for (int i = 0; i < CPU_SETSIZE && cpus > 0; i++)
		if (CPU_ISSET(i, &mine)) {
			CPU_SET(i, &fewer);
			cpus--;
		}
	(void)sched_setaffinity(0, sizeof fewer, &fewer);
}

/* Between fork and exec: system calls only. Descriptors first go high, so that none is
 * overwritten before it has found its place. */
static void child_descriptors(const struct spawn *what)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int from[3 + SPAWN_PASSED] = { null, what->output >= 0 ? what->output : null };
	int high[3 + SPAWN_PASSED];
	unsigned last = 2;

	from[2] = from[1];
	for (int i = 0; i < SPAWN_PASSED; i++)
		from[3 + i] = what->passed[i];
	for (int i = 0; i < 3 + SPAWN_PASSED; i++)
		high[i] = from[i] >= 0 ? fcntl(from[i], F_DUPFD_CLOEXEC, 20) : -1;
	for (int i = 0; i < 3 + SPAWN_PASSED; i++)
		if (high[i] >= 0) {
			(void)dup2(high[i], i);
			last = (unsigned)i;
		}
	(void)syscall(SYS_close_range, last + 1, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
}

pid_t spawn(const struct spawn *what, int *pidfd, struct error *err)
{
	__attribute__((cleanup(environment_free))) struct environment env = { .count = 0 };
	int report[2], said = 0;
	pid_t parent = getpid(), pid;
	ssize_t n;

	if (environment_make(&env))
		return error_memory(err);
	if (pipe2(report, O_CLOEXEC))
		return error_errno(err, "cannot start %s", what->argv[0]);
	pid = fork();
	if (!pid) {
		int high = fcntl(report[1], F_DUPFD_CLOEXEC, 30);

		child_signals();
		if (what->lasting)
			(void)setsid();
		else if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
			_exit(127);
		child_cpus(what->cpus);
		child_descriptors(what);
		execve(what->argv[0], what->argv, env.list);
		said = errno;
		if (write(high, &said, sizeof said) < 0)
			_exit(126);
		_exit(127);
	}
	said = errno;
	(void)close(report[1]);
	if (pid < 0) {
		(void)close(report[0]);
		errno = said;
		return error_errno(err, "cannot start %s", what->argv[0]);
	}
	said = 0;
	do
		n = read(report[0], &said, sizeof said);
	while (n < 0 && errno == EINTR);
	(void)close(report[0]);
	if (n == (ssize_t)sizeof said) {
		(void)waitpid(pid, NULL, 0);
		errno = said;
		return error_errno(err, "cannot run %s", what->argv[0]);
	}
	*pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (*pidfd < 0) {
		error_errno(err, "cannot watch %s", what->argv[0]);
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return -1;
	}
	return pid;
}

int spawn_wait(pid_t pid, int pidfd, int timeout_ms, int *status, struct error *err)
{
	int64_t end = clock_ms() + timeout_ms;
	bool late = false;

	for (;;) {
		struct pollfd p = { .fd = pidfd, .events = POLLIN };
		int64_t left = end - clock_ms();

		if (poll(&p, 1, left > 0 ? (int)left : 0) > 0)
			break;
		if (left <= 0) {
			late = true;
			(void)kill(pid, SIGKILL);
			break;
		}
	}
	while (waitpid(pid, status, 0) < 0)
		if (errno != EINTR)
			return error_errno(err, "waiting for a helper process");
	return late ? error_set(err, ETIMEDOUT, "it did not end within %d ms", timeout_ms) : 0;
}

/* Takes what is in the pipe now; whether more may come. What is more than the owner wants is forgotten, so
 * that the program ends. */
static bool drain(int fd, struct buffer *out)
{
	char some[4096];
	ssize_t n = 1;

	for (int i = 0; i < 64 && n > 0; i++) { /* it may print for ever */
		n = read(fd, some, sizeof some);
		if (n > 0)
			(void)buffer_append(out, some, (size_t)n);
	}
	return n != 0;
}

int spawn_run(char *const argv[], int timeout_ms, struct buffer *out, int *status, struct error *err)
{
	int ends[2], result;
	cleanup_close int pidfd = -1;
	cleanup_close int from = -1;
	struct spawn what = { .argv = argv, .passed = { -1, -1, -1, -1 } };
	int64_t end = clock_ms() + timeout_ms, left;
	bool open = true;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return error_errno(err, "cannot start %s", argv[0]);
	from = ends[0];
	what.output = ends[1];
	pid = fcntl(from, F_SETFL, O_NONBLOCK) ? error_errno(err, "cannot start %s", argv[0]) : spawn(&what, &pidfd, err);
	(void)close(ends[1]);
	if (pid < 0)
		return -1;
	while ((left = end - clock_ms()) > 0) {
		struct pollfd p[2] = { { .fd = pidfd, .events = POLLIN }, { .fd = open ? from : -1, .events = POLLIN } };

		if (poll(p, 2, (int)left) <= 0)
			continue;
		if (open)
			open = drain(from, out);
		if (p[0].revents)
			break;
	}
	result = spawn_wait(pid, pidfd, left > 0 ? (int)left : 0, status, err);
	if (open)
		(void)drain(from, out);
	return result ? error_wrap(err, "%s", argv[0]) : 0;
}
