/* A child process with three pipes: see process.h. */
#include "mcp/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

extern char **environ;

/* Between fork and exec: only calls that are safe there. Tells the errno through `report`. */
static void become(const char *const *argv, const char *const *env, const char *cwd, pid_t parent,
		   const int *pipes, int report)
{
	struct sigaction fresh = { .sa_handler = SIG_DFL };
	sigset_t none;
	int code, from[3];

	/* Clear of 0 … 2 first, should the parent have had any of those closed. */
	for (int i = 0; i < 3; i++)
		if ((from[i] = fcntl(pipes[i], F_DUPFD_CLOEXEC, 3)) < 0)
			goto failed;
	if ((report = fcntl(report, F_DUPFD_CLOEXEC, 3)) < 0)
		_exit(127);
	for (int i = 0; i < 3; i++)
		if (dup2(from[i], i) < 0)
			goto failed;
	for (int s = 1; s < NSIG; s++)
		(void)sigaction(s, &fresh, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (setpgid(0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
		goto failed;
	if (getppid() != parent)
		_exit(127); /* it died before the line above */
	if (cwd && chdir(cwd) < 0)
		goto failed;
	/* Nothing of ours goes along, whatever its flags say. The report closes at the exec. */
#ifdef SYS_close_range
	(void)syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
#endif
	if (env)
		(void)execvpe(argv[0], (char *const *)argv, (char *const *)env);
	else
		(void)execvp(argv[0], (char *const *)argv);
failed:
	code = errno;
	if (write(report, &code, sizeof code) < 0)
		_exit(126);
	_exit(127);
}

static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void close_pair(int (*pair)[2])
{
	for (int i = 0; i < 2; i++)
		if ((*pair)[i] >= 0)
			(void)close((*pair)[i]);
}

#define cleanup_pair __attribute__((cleanup(close_pair)))

int process_start(struct process *p, const char *const *argv, const char *const *env, const char *cwd,
		  struct error *err)
{
	int in[2] cleanup_pair = { -1, -1 }, out[2] cleanup_pair = { -1, -1 };
	int errors[2] cleanup_pair = { -1, -1 }, report[2] cleanup_pair = { -1, -1 };
	pid_t parent = getpid(), pid;
	int code = 0;
	ssize_t n;

	*p = (struct process){ .pidfd = -1, .in = -1, .out = -1, .err = -1 };
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(errors, O_CLOEXEC) < 0 ||
	    pipe2(report, O_CLOEXEC) < 0 || set_nonblocking(in[1]) < 0 || set_nonblocking(out[0]) < 0 ||
	    set_nonblocking(errors[0]) < 0)
		return error_errno(err, "pipe");
	pid = fork();
	if (pid < 0)
		return error_errno(err, "fork");
	if (pid == 0) {
		int ends[3] = { in[0], out[1], errors[1] };

		become(argv, env, cwd, parent, ends, report[1]);
	}
	(void)close(steal_fd(&report[1]));
	do
		n = read(report[0], &code, sizeof code);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof code) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		errno = code;
		return error_errno(err, "%s", argv[0]);
	}
	p->pid = pid;
#ifdef SYS_pidfd_open
	p->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
#endif
	p->in = steal_fd(&in[1]);
	p->out = steal_fd(&out[0]);
	p->err = steal_fd(&errors[0]);
	return 0;
}

/* Whether the process has ended, waiting for it at most ms. It is not reaped: its number is its group's. */
static bool ended(const struct process *p, int ms)
{
	long until = clock_ms() + ms;

	for (;;) {
		struct pollfd end = { .fd = p->pidfd, .events = POLLIN };
		siginfo_t info = { .si_pid = 0 };
		int got = waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT);
		long left = until - clock_ms();

		if ((got == 0 && info.si_pid == p->pid) || (got < 0 && errno == ECHILD))
			return true; /* or somebody else has reaped it */
		if (left <= 0)
			return false;
		/* Without a pidfd this is a wait of 10 ms. */
		(void)poll(&end, 1, p->pidfd >= 0 ? (int)left : left < 10 ? (int)left : 10);
	}
}

/* Whoever the process has left in its group goes with it. After it is reaped, its number may be another's. */
static void end_group(const struct process *p)
{
	siginfo_t info = { .si_pid = 0 };

	if (waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
		(void)kill(-p->pid, SIGKILL);
	(void)waitpid(p->pid, NULL, WNOHANG);
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		(void)close(steal_fd(fd));
}

void process_end(struct process *p, int grace_ms)
{
	close_one(&p->in);
	if (p->pid > 0) {
		if (!ended(p, grace_ms)) {
			(void)kill(-p->pid, SIGTERM);
			if (!ended(p, grace_ms)) {
				(void)kill(-p->pid, SIGKILL);
				(void)ended(p, 5000); /* a process in an uninterruptible wait is left behind */
			}
		}
		end_group(p);
	}
	close_one(&p->out);
	close_one(&p->err);
	close_one(&p->pidfd);
	p->pid = 0;
}
