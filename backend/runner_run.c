/* Runs a short-lived helper program to its end and gathers what it prints. It is over when the
 * program has ended, not when the last of its children lets go of the pipe. */
#include "backend/runner_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/launch.h"

extern char **environ;

/* Takes what is in the pipe now. 0: it is empty or too much came; 1: end of file. */
static int drain_pipe(int fd, struct buffer *out)
{
	char piece[16384];

	for (;;) {
		ssize_t n = read(fd, piece, sizeof piece);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return 0;
		if (n == 0)
			return 1;
		/* What is more than the owner wants is read and forgotten, so that the program ends. */
		(void)buffer_append(out, piece, (size_t)n);
	}
}

int runner_run(struct runner *r, char *const argv[], char *const envp[], int timeout_ms,
	       struct buffer *out, int *status, struct error *err)
{
	int64_t end = timeout_ms < 0 ? INT64_MAX : clock_ms() + timeout_ms;
	cleanup_close int in = -1;
	cleanup_close int ended = -1;
	bool late = false, open = true;
	int pipes[2], code;
	pid_t pid;

	(void)r;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return error_errno(err, "pipe");
	in = pipes[0];
	code = fcntl(in, F_SETFL, O_NONBLOCK) < 0 ? errno : launch(argv, envp ? envp : environ, pipes[1], pipes[1], &pid);
	(void)close(pipes[1]);
	if (code)
		return error_set(err, code, "%s: %s", argv[0], strerror(code));
	ended = (int)syscall(SYS_pidfd_open, pid, 0);
	while (ended >= 0) {
		struct pollfd p[2] = { { .fd = open ? in : -1, .events = POLLIN },
				       { .fd = ended, .events = POLLIN } };
		int64_t left = end == INT64_MAX ? -1 : end - clock_ms();

		if (left <= 0 && end != INT64_MAX) {
			late = true;
			break;
		}
		if (poll(p, 2, left > INT_MAX ? INT_MAX : (int)left) < 0 && errno != EINTR) {
			late = true;
			break;
		}
		if (open && drain_pipe(in, out) == 1)
			open = false;
		if (p[1].revents)
			break;
	}
	if (late || ended < 0)
		(void)kill(-pid, SIGKILL);
	while (waitpid(pid, status, 0) < 0)
		if (errno != EINTR)
			return error_errno(err, "%s", argv[0]);
	if (open)
		(void)drain_pipe(in, out);
	if (late)
		return error_set(err, ETIMEDOUT, "%s: not done within %d ms", argv[0], timeout_ms);
	if (ended < 0)
		return error_set(err, ENOSYS, "%s: no pidfd", argv[0]);
	return 0;
}
