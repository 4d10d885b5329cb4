/* interpfs-guest: process 1 of every sandbox.
 *
 *   interpfs-guest [DEADLINE]       seconds until the sandbox is stopped; 0 or absent: never
 *   interpfs-guest engine [DEADLINE]    in a container of Docker or Podman, where it is handed no
 *   interpfs-guest connect [TOKEN]      descriptor: engine.c says how it is reached there
 *   interpfs-guest adopted TOKEN        in one that somebody else has started, as one process of many
 *   interpfs-guest remove               and its own file is removed there
 *   interpfs-guest hold             outside, before there is one (hold.c)
 *
 * Descriptor 3 is a listening unix socket that was bound outside and has no path inside;
 * descriptor 4 is the record of how the sandbox ended, open for appending:
 *
 *   1764090000.123 started 1        SECONDS.MS WHY CODE; why is started, stopped (asked to),
 *   1764093600.125 timeout 0        timeout (the deadline), idle (idle.c), terminated (SIGTERM from outside).
 *                                   No last line: it was killed. failed: it could not begin.
 *
 * An engine's container has no such record: there the exit status says the same.
 *
 * Descriptor 5, where there is one, is kept open and nothing else: who waits at the other end of
 * that pipe sees when the sandbox has ended. Descriptor 6, where there is one, is a file with the
 * environment of commands, a NUL behind each NAME=VALUE. So it is on no disk.
 *
 * It reaps, runs commands, passes descriptors out and keeps the deadline, by itself, whoever else
 * of interpfs is alive. It is static and uses nothing of the sandbox but /proc. */
#include "backend/guest/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { LISTENING = 3, RECORD = 4, ALIVE = 5, ENVIRONMENT = 6 };

#define TIMEOUT_GRACE_MS 1000
#define ENVIRONMENT_MAX (16 << 20)
#define TIMED_OUT 124              /* exit status */
#define TERMINATED (128 + SIGTERM) /* exit status */

static int deadline_timer = -1;

int64_t guest_now(void) { return clock_ms(); }

/* How it ended is to survive what comes next; that it started is of no use after a power cut. */
static void record(const char *why, int code, bool ended)
{
	char line[128];
	struct timespec t;
	int n;

	if (engine_container)
		return;
	(void)clock_gettime(CLOCK_REALTIME, &t);
	n = snprintf(line, sizeof line, "%lld.%03ld %s %d\n", (long long)t.tv_sec, t.tv_nsec / 1000000, why, code);
	if (n > 0 && write(RECORD, line, (size_t)n) == n && ended)
		(void)fsync(RECORD);
}

void guest_set_deadline(uint64_t seconds)
{
	struct itimerspec at = { .it_value.tv_sec = (time_t)(seconds > INT32_MAX ? INT32_MAX : seconds) };

	(void)timerfd_settime(deadline_timer, 0, &at, NULL);
}

void guest_leave(const char *why, int code, const char *text)
{
	bool late = code == TIMED_OUT || code == GUEST_IDLED;

	record(why, code, true);
	/* At a deadline, programs get a moment to save what they have. */
	if (late) {
		int64_t end = guest_now() + TIMEOUT_GRACE_MS;

		family_signal(SIGTERM);
		family_await(end);
	}
	for (size_t i = 0; i < JOBS; i++)
		if (jobs[i].pid && jobs[i].link)
			link_end(jobs[i].link, jobs[i].stream, late ? ETIMEDOUT : ENOTCONN, 0, text);
	for (size_t i = 0; i < LINKS; i++)
		if (links[i].fd >= 0)
			link_flush(&links[i]);
	family_kill();
	engine_leave();
	_exit(code);
}

static void deadline_reached(void)
{
	guest_leave("timeout", TIMED_OUT, "the sandbox reached its timeout");
}

/* A pipe that got the number 0, 1 or 2 would be in the way of a command's own. */
static void occupy_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		(void)close(fd);
}

/* Room for every command's pipes; commands themselves get what the sandbox was given. */
static void raise_limits(void)
{
	struct rlimit mine;

	if (getrlimit(RLIMIT_NOFILE, &job_descriptors) < 0)
		return;
	mine = job_descriptors;
	mine.rlim_cur = mine.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &mine);
}

/* The runtimes do it, most of them; where one does not and the guest may not, it stays down. */
void guest_raise_loopback(void)
{
	struct ifreq lo = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (!ioctl(fd, SIOCGIFFLAGS, &lo) && !(lo.ifr_flags & IFF_UP)) {
		lo.ifr_flags |= IFF_UP;
		(void)ioctl(fd, SIOCSIFFLAGS, &lo);
	}
	(void)close(fd);
}

/* In place of what the runtime gave. The text is kept for good. 0, or -1 with errno. */
static int take_environment(void)
{
	extern char **environ;
	struct stat st;
	char *text, **list;
	size_t size, n = 0, count = 0;

	if (fstat(ENVIRONMENT, &st))
		return errno == EBADF ? 0 : -1;
	size = st.st_size > 0 && st.st_size <= ENVIRONMENT_MAX ? (size_t)st.st_size : 0;
	text = malloc(size + 1);
	if (!text)
		return -1;
	while (n < size) {
		ssize_t got = pread(ENVIRONMENT, text + n, size - n, (off_t)n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	(void)close(ENVIRONMENT);
	text[n] = '\0';
	for (char *p = text; p < text + n; p += strlen(p) + 1)
		count++;
	list = calloc(count + 1, sizeof *list);
	if (n < size || !list) {
		free(list);
		free(text);
		errno = list ? EIO : ENOMEM;
		return -1;
	}
	count = 0;
	for (char *p = text; p < text + n; p += strlen(p) + 1)
		list[count++] = p;
	environ = list;
	return 0;
}

/* What the local backend hands over. */
static int take_descriptors(void)
{
	(void)fcntl(LISTENING, F_SETFD, FD_CLOEXEC);
	(void)fcntl(RECORD, F_SETFD, FD_CLOEXEC);
	(void)fcntl(ALIVE, F_SETFD, FD_CLOEXEC);
	(void)fcntl(LISTENING, F_SETFL, O_NONBLOCK);
	/* Again, so that SO_PEERCRED of a connection names the guest and not who bound the socket. */
	(void)listen(LISTENING, LINKS);
	return LISTENING;
}

/* token: NULL but in somebody else's container. */
static int begin(bool engine, const char *program, const char *token)
{
	if (token)
		return engine_begin_adopted(program, token);
	guest_raise_loopback();
	return engine ? engine_begin() : take_descriptors();
}

static void prepare(bool engine, const char *program, const char *token, const char *deadline, struct loop *loop)
{
	sigset_t all;
	uint64_t seconds = 0;
	int failed;

	(void)prctl(PR_SET_DUMPABLE, 0);
	failed = !engine && take_environment() ? errno : 0; /* before another file gets the number */
	occupy_standard_descriptors();
	raise_limits();
	for (size_t i = 0; i < LINKS; i++)
		links[i].fd = -1;
	loop->listening = begin(engine, program, token);
	root_folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	loop->signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	loop->timer = deadline_timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!failed && (root_folder < 0 || loop->listening < 0 || loop->signals < 0 || loop->timer < 0 ||
			(deadline && parse_seconds(deadline, &seconds) < 0)))
		failed = errno ? errno : EINVAL;
	if (failed) {
		record("failed", failed, true);
		_exit(1);
	}
	guest_set_deadline(seconds);
	record("started", (int)getpid(), false);
}

static void handle_signals(int signals)
{
	struct signalfd_siginfo info;
	bool child = false;

	while (read(signals, &info, sizeof info) == sizeof info) {
		/* The sender is 0 when it is outside of this process namespace: `kill 1` inside means nothing. In
		 * somebody else's container it is that one's process 1 that has all others end. */
		if (info.ssi_signo == SIGTERM && (!info.ssi_pid || guest_adopted))
			guest_leave("terminated", TERMINATED, "the sandbox was terminated");
		child |= info.ssi_signo == SIGCHLD;
	}
	if (child)
		jobs_reap();
}

int main(int argc, char **argv)
{
	struct loop loop = { .signalled = handle_signals, .due = deadline_reached };
	bool engine = argc > 1 && !strcmp(argv[1], "engine");
	const char *token = argc == 3 && !strcmp(argv[1], "adopted") ? argv[2] : NULL;

	if (argc > 1 && !strcmp(argv[1], "connect"))
		return engine_connect(argc > 2 ? argv[2] : NULL);
	if (argc == 2 && !strcmp(argv[1], "remove"))
		return engine_remove(argv[0]);
	if (argc > 1 && !strcmp(argv[1], "hold"))
		return hold_namespaces(argv[2]);
	/* Elsewhere its kill(-1) would mean everything that its user runs. */
	if (getpid() != 1 && !token) {
		(void)fprintf(stderr, "interpfs-guest: this is process 1 of a sandbox and runs nowhere else\n");
		return 2;
	}
	prepare(engine || token, argv[0], token, !token && argc > 1 + engine ? argv[1 + engine] : NULL, &loop);
	for (;;)
		loop_turn(&loop, -1);
}
