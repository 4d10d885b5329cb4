/* Commands. Each has its own session and process group, separate pipes for stdout and stderr,
 * and credit of its own for output, so that one whose output nobody reads waits in its pipe
 * while the others go on.
 *
 *   running ── SIGCHLD ──> exited: what was in the pipes at that moment is still sent, then END
 *
 * A command ends when it ends: a background child that keeps the pipes open holds nothing up. */
#include "backend/guest/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIGNALS_OF_KERNEL 64
#define TERM_GRACE_MS 2000

struct job jobs[JOBS];
struct rlimit job_descriptors;

struct job *job_find(const struct link *link, uint32_t stream)
{
	for (size_t i = 0; i < JOBS; i++)
		if (jobs[i].pid && jobs[i].link == link && jobs[i].stream == stream)
			return &jobs[i];
	return NULL;
}

static void close_pipe(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void job_free(struct job *job)
{
	close_pipe(&job->out[0]);
	close_pipe(&job->out[1]);
	close_pipe(&job->in);
	buffer_free(&job->input);
	job->pid = 0;
	job->link = NULL;
}

/* The sandbox's environment with the command's variables over it; freed by the caller. */
static char **merge_environment(char **variables)
{
	extern char **environ;
	size_t n = 0, extra = 0, used = 0;
	char **all;

	while (environ[n])
		n++;
	while (variables[extra])
		extra++;
	all = calloc(n + extra + 1, sizeof *all);
	if (!all)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t name = strcspn(environ[i], "=") + 1;
		bool replaced = false;

		for (size_t j = 0; j < extra && !replaced; j++)
			replaced = !strncmp(environ[i], variables[j], name);
		if (!replaced)
			all[used++] = environ[i];
	}
	for (size_t j = 0; j < extra; j++)
		all[used++] = variables[j];
	return all;
}

/* What was added to the environment that the guest began with; NULL-terminated. */
static char **added;
static size_t added_count;

static int add_variable(const char *variable)
{
	size_t name = strcspn(variable, "=") + 1, at = 0;
	char *copy = strdup(variable), **more;

	while (at < added_count && strncmp(added[at], variable, name) != 0)
		at++;
	more = copy && at == added_count ? realloc(added, (at + 2) * sizeof *more) : added;
	if (!copy || !more) {
		free(copy);
		return -1;
	}
	added = more;
	if (at == added_count)
		added[++added_count] = NULL;
	else
		free(added[at]);
	added[at] = copy;
	return 0;
}

int job_environment(char **variables)
{
	extern char **environ;
	static char **first, **made;
	int result = 0;

	if (!made)
		first = environ;
	environ = first;
	while (*variables && !result)
		result = add_variable(*variables++);
	free(made);
	made = added ? merge_environment(added) : NULL;
	environ = made ? made : first;
	return made || !added ? result : -1;
}

/* Between vfork and exec: nothing here may allocate or return. */
static void __attribute__((noreturn)) run_child(const struct fields *fields, char **environment, const int pipes[3],
						volatile int *failed)
{
	/* The kernel's own structure, all zeros: SIG_DFL. signal(3) passes over those that libc keeps for
	 * itself, and one of them may have come ignored from whoever started the runtime. */
	static const uint64_t defaults[4];
	sigset_t none;

	for (int s = 1; s <= SIGNALS_OF_KERNEL; s++)
		(void)syscall(SYS_rt_sigaction, s, defaults, NULL, sizeof *defaults);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (job_descriptors.rlim_max)
		(void)setrlimit(RLIMIT_NOFILE, &job_descriptors);
	(void)setsid();
	if (dup2(pipes[0], 0) < 0 || dup2(pipes[1], 1) < 0 || dup2(pipes[2], 2) < 0)
		goto out;
	if (fields->folder) {
		if (chdir(fields->folder) < 0)
			goto out;
	} else if (!guest_adopted && chdir("/workspace") < 0 && chdir("/") < 0) {
		goto out;
	}
	execvpe(fields->arguments[0], fields->arguments, environment);
out:
	*failed = errno ? errno : EIO;
	_exit(127);
}

/* Not inlined: what lives across vfork is this function's alone. The process, or -1 with *code. */
static pid_t __attribute__((noinline)) spawn(const struct fields *fields, char **environment, const int pipes[3], int *code)
{
	volatile int failed = 0;
	pid_t pid;

	errno = 0;
	pid = vfork();
	if (pid == 0)
		run_child(fields, environment, pipes, &failed);
	*code = pid < 0 ? errno : failed;
	return pid;
}

static struct job *free_job(const struct link *link)
{
	struct job *found = NULL;
	unsigned streams = 0;

	for (size_t i = 0; i < JOBS; i++) {
		if (!jobs[i].pid && !found)
			found = &jobs[i];
		if (jobs[i].pid && jobs[i].link == link)
			streams++;
	}
	return streams < GUEST_STREAMS ? found : NULL;
}

void job_start(struct link *link, uint32_t stream, const struct fields *fields)
{
	struct job *job = free_job(link);
	int out[2] = { -1, -1 }, err[2] = { -1, -1 }, in[2] = { -1, -1 };
	char **environment = NULL;
	char text[512];
	pid_t pid = -1;
	int code = 0;

	if (!job) {
		link_end(link, stream, EMFILE, 0, "too many commands run at once");
		return;
	}
	if (!fields->arguments[0]) {
		link_end(link, stream, EINVAL, 0, "a command without a name");
		return;
	}
	environment = merge_environment(fields->variables);
	if (!environment || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 ||
	    (fields->input ? pipe2(in, O_CLOEXEC) : (in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC))) < 0) {
		code = errno ? errno : ENOMEM;
	} else {
		int pipes[3] = { in[0], out[1], err[1] };

		pid = spawn(fields, environment, pipes, &code);
	}
	free(environment);
	close_pipe(&in[0]);
	close_pipe(&out[1]);
	close_pipe(&err[1]);
	if (code) {
		close_pipe(&in[1]);
		close_pipe(&out[0]);
		close_pipe(&err[0]);
		(void)snprintf(text, sizeof text, "%s: %s", fields->arguments[0], strerror(code));
		link_end(link, stream, code, 127, text);
		return;
	}
	(void)fcntl(out[0], F_SETFL, O_NONBLOCK);
	(void)fcntl(err[0], F_SETFL, O_NONBLOCK);
	if (in[1] >= 0)
		(void)fcntl(in[1], F_SETFL, O_NONBLOCK);
	*job = (struct job){ .pid = pid, .link = link, .stream = stream, .out = { out[0], err[0] }, .in = in[1],
			     .background = fields->background, .input = BUFFER(GUEST_INPUT_CREDIT), .credit = GUEST_CREDIT };
}

int job_input(struct job *job, const void *data, size_t n)
{
	if (job->in < 0)
		return 0; /* it reads no more, which its sender may not know yet */
	if (job->input_ended || n > job->input.limit - job->input.length)
		return -1;
	if (buffer_append(&job->input, data, n) < 0)
		close_pipe(&job->in); /* no memory: better an early end of file than a gap */
	else
		job_writable(job);
	return 0;
}

void job_input_end(struct job *job)
{
	job->input_ended = true;
	if (!job->input.length)
		close_pipe(&job->in);
}

void job_writable(struct job *job)
{
	uint8_t taken[4];
	size_t sum = 0;

	while (job->in >= 0 && job->input.length) {
		ssize_t n = write(job->in, job->input.data, job->input.length);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) { /* the command reads no more: what else comes is dropped */
			sum += job->input.length;
			buffer_clear(&job->input);
			close_pipe(&job->in);
			break;
		}
		buffer_consume(&job->input, (size_t)n);
		sum += (size_t)n;
	}
	if (job->in >= 0 && job->input_ended && !job->input.length)
		close_pipe(&job->in);
	if (sum && job->link) {
		guest_put32(taken, (uint32_t)sum);
		(void)link_put(job->link, job->stream, GUEST_TAKEN, taken, 4);
	}
}

void job_signal(struct job *job, int signal)
{
	if (signal < 1 || signal >= NSIG || job->exited)
		return;
	(void)kill(-job->pid, signal);
	if (signal == SIGTERM && !job->kill_at)
		job->kill_at = guest_now() + TERM_GRACE_MS;
}

void job_window(struct job *job, uint32_t more)
{
	if (job->credit <= UINT32_MAX)
		job->credit += more;
}

int jobs_timers(void)
{
	int64_t now = guest_now(), next = -1;

	for (size_t i = 0; i < JOBS; i++) {
		if (!jobs[i].pid || !jobs[i].kill_at || jobs[i].exited)
			continue;
		if (jobs[i].kill_at <= now) {
			(void)kill(-jobs[i].pid, SIGKILL);
			jobs[i].kill_at = 0;
		} else if (next < 0 || jobs[i].kill_at - now < next) {
			next = jobs[i].kill_at - now;
		}
	}
	return (int)next;
}

static void end_if_drained(struct job *job)
{
	if (!job->exited || (job->out[0] >= 0 && job->left[0] > 0) || (job->out[1] >= 0 && job->left[1] > 0))
		return;
	if (job->link)
		link_end(job->link, job->stream, 0, job->status, "");
	job_free(job);
}

void job_reaped(pid_t pid, int status)
{
	for (size_t i = 0; i < JOBS; i++) {
		struct job *job = &jobs[i];

		if (job->pid != pid || job->exited)
			continue;
		job->exited = true;
		job->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		close_pipe(&job->in);
		for (int which = 0; which < 2; which++)
			if (job->out[which] < 0 || ioctl(job->out[which], FIONREAD, &job->left[which]) < 0)
				job->left[which] = 0;
		for (int which = 0; which < 2 && job->pid; which++)
			if (job->left[which] > 0)
				job_readable(job, which);
		if (job->pid)
			end_if_drained(job);
		return;
	}
}

void jobs_reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		job_reaped(pid, status);
}

bool job_wants(const struct job *job, int which)
{
	if (job->out[which] < 0 || (job->exited && job->left[which] <= 0))
		return false;
	return !job->link || (job->credit > 0 && !link_full(job->link));
}

void job_readable(struct job *job, int which)
{
	static uint8_t bytes[FRAME_PAYLOAD_MAX];

	while (job->pid && job_wants(job, which)) {
		size_t want = sizeof bytes;
		ssize_t n;

		if (job->link && want > job->credit)
			want = (size_t)job->credit;
		if (job->exited && want > (size_t)job->left[which])
			want = (size_t)job->left[which];
		n = read(job->out[which], bytes, want);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			close_pipe(&job->out[which]);
			end_if_drained(job);
			return;
		}
		if (job->exited)
			job->left[which] -= (int)n;
		if (job->link) {
			job->credit -= (uint64_t)n;
			if (!link_put(job->link, job->stream, which ? GUEST_STDERR : GUEST_STDOUT, bytes, (size_t)n))
				continue; /* the connection was closed: go on without it */
		}
		if (job->exited) {
			end_if_drained(job);
		} else if ((size_t)n < want || !job->link) {
			return; /* what nobody limits by credit must not keep the loop */
		}
	}
}

void jobs_lost(struct link *link)
{
	for (size_t i = 0; i < JOBS; i++)
		if (jobs[i].pid && jobs[i].link == link) {
			jobs[i].link = NULL;
			close_pipe(&jobs[i].in);
			end_if_drained(&jobs[i]);
		}
}
