/* interpfs-guest: process 1 of every sandbox.
 *
 *   interpfs-guest [DEADLINE]       seconds until the sandbox is stopped; 0 or absent: never
 *
 * Descriptor 3 is a listening unix socket that was bound outside and has no path inside;
 * descriptor 4 is the record of how the sandbox ended, open for appending:
 *
 *   1764090000.123 started 1        SECONDS.MS WHY CODE; why is started, stopped (asked to),
 *   1764093600.125 timeout 0        timeout (the deadline), terminated (SIGTERM from outside).
 *                                   No last line: it was killed.
 *
 * It reaps, runs commands, passes descriptors out and keeps the deadline, by itself, whoever else
 * of interpfs is alive. It is static and uses nothing of the sandbox but /proc. */
#include "backend/guest/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LISTENING = 3, RECORD = 4 };

#define TIMEOUT_GRACE_MS 1000

static int deadline_timer = -1;

int64_t guest_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void record(const char *why, int code)
{
	char line[128];
	struct timespec t;
	int n;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	n = snprintf(line, sizeof line, "%lld.%03ld %s %d\n", (long long)t.tv_sec, t.tv_nsec / 1000000, why, code);
	if (n > 0 && write(RECORD, line, (size_t)n) == n)
		(void)fsync(RECORD);
}

void guest_set_deadline(uint64_t seconds)
{
	struct itimerspec at = { .it_value.tv_sec = (time_t)(seconds > INT32_MAX ? INT32_MAX : seconds) };

	(void)timerfd_settime(deadline_timer, 0, &at, NULL);
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		job_reaped(pid, status);
}

void guest_leave(const char *why, int code, const char *text)
{
	int64_t end = guest_now() + TIMEOUT_GRACE_MS;

	record(why, code);
	/* At a deadline, programs get a moment to save what they have. */
	if (code) {
		(void)kill(-1, SIGTERM);
		while (guest_now() < end && (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD))
			(void)poll(NULL, 0, 10);
	}
	for (size_t i = 0; i < JOBS; i++)
		if (jobs[i].pid && jobs[i].link)
			link_end(jobs[i].link, jobs[i].stream, code ? ETIMEDOUT : ENOTCONN, 0, text);
	for (size_t i = 0; i < LINKS; i++)
		if (links[i].fd >= 0)
			link_writable(&links[i]);
	(void)kill(-1, SIGKILL);
	_exit(code);
}

static void prepare(int argc, char **argv, int *signals)
{
	sigset_t all;

	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)fcntl(LISTENING, F_SETFD, FD_CLOEXEC);
	(void)fcntl(RECORD, F_SETFD, FD_CLOEXEC);
	(void)fcntl(LISTENING, F_SETFL, O_NONBLOCK);
	/* Again, so that SO_PEERCRED of a connection names the guest and not who bound the socket. */
	(void)listen(LISTENING, LINKS);
	for (size_t i = 0; i < LINKS; i++)
		links[i].fd = -1;
	root_folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	*signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	deadline_timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (root_folder < 0 || *signals < 0 || deadline_timer < 0) {
		record("failed", errno);
		_exit(1);
	}
	if (argc > 1)
		guest_set_deadline(strtoull(argv[1], NULL, 10));
	record("started", (int)getpid());
}

static void handle_signals(int signals)
{
	struct signalfd_siginfo info;
	bool child = false;

	while (read(signals, &info, sizeof info) == sizeof info) {
		if (info.ssi_signo == SIGTERM)
			guest_leave("terminated", 0, "the sandbox was terminated");
		child |= info.ssi_signo == SIGCHLD;
	}
	if (child)
		reap();
}

enum what { LISTEN, SIGNALS, DEADLINE, LINK, JOB_OUT, JOB_ERR, JOB_IN };

static struct pollfd polled[3 + LINKS + 3 * JOBS];
static struct { enum what what; void *of; } meaning[3 + LINKS + 3 * JOBS];
static nfds_t count;

static void ask(int fd, short events, enum what what, void *of)
{
	if (fd < 0)
		return;
	polled[count] = (struct pollfd){ .fd = fd, .events = events };
	meaning[count].what = what;
	meaning[count].of = of;
	count++;
}

static void ask_all(int signals)
{
	count = 0;
	ask(LISTENING, POLLIN, LISTEN, NULL);
	ask(signals, POLLIN, SIGNALS, NULL);
	ask(deadline_timer, POLLIN, DEADLINE, NULL);
	for (size_t i = 0; i < LINKS; i++)
		if (links[i].fd >= 0)
			ask(links[i].fd, link_events(&links[i]), LINK, &links[i]);
	for (size_t i = 0; i < JOBS; i++) {
		struct job *job = &jobs[i];

		if (!job->pid)
			continue;
		if (job_wants(job, 0))
			ask(job->out[0], POLLIN, JOB_OUT, job);
		if (job_wants(job, 1))
			ask(job->out[1], POLLIN, JOB_ERR, job);
		if (job->in >= 0 && job->input.length)
			ask(job->in, POLLOUT, JOB_IN, job);
	}
}

/* An earlier event of the same turn may have ended what a later one is about: the descriptor of a
 * job or link that was freed is -1 by then, or another job's, which is polled again next turn. */
static void handle_one(const struct pollfd *p, enum what what, void *of, int signals)
{
	struct link *link = of;
	struct job *job = of;

	switch (what) {
	case LISTEN:
		link_accept(LISTENING);
		return;
	case SIGNALS:
		handle_signals(signals);
		return;
	case DEADLINE:
		guest_leave("timeout", 124, "the sandbox reached its timeout");
	case LINK:
		if (link->fd == p->fd && (p->revents & POLLOUT))
			link_writable(link);
		if (link->fd == p->fd && (p->revents & (POLLIN | POLLHUP | POLLERR)))
			link_readable(link);
		return;
	case JOB_OUT:
	case JOB_ERR:
		if (job->pid && job->out[what == JOB_ERR] == p->fd)
			job_readable(job, what == JOB_ERR);
		return;
	case JOB_IN:
		if (job->pid && job->in == p->fd)
			job_writable(job);
		return;
	}
}

int main(int argc, char **argv)
{
	int signals;

	prepare(argc, argv, &signals);
	for (;;) {
		ask_all(signals);
		if (poll(polled, count, jobs_timers()) < 0)
			continue;
		for (nfds_t i = 0; i < count; i++)
			if (polled[i].revents)
				handle_one(&polled[i], meaning[i].what, meaning[i].of, signals);
		for (size_t i = 0; i < LINKS; i++)
			if (links[i].fd >= 0 && links[i].out.length)
				link_writable(&links[i]);
	}
}
