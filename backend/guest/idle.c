/* Whether anything happens in the sandbox. It is used while a command runs, while somebody asks for
 * something, and while its processes compute: a share of one processor that a server which only
 * waits stays below. Whoever uses it without either (a cell that sleeps, a model that thinks) says so
 * by TOUCH. */
#include "backend/guest/guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOOK_MIN_MS 500
#define LOOK_MAX_MS 10000
#define LOOKS 10          /* in one idle time */
#define SHARE 0.03        /* of one processor */
#define LEAST_S 0.04      /* a few of the kernel's ticks mean nothing */

static int64_t patience, since, next_look; /* ms; patience 0: for ever */
static double computed;                    /* seconds, at the last look */
static int64_t looked;

/* Seconds that processes inside have computed. What has ended is in its parent's sum. */
static double processor_seconds(void)
{
	double ticks = (double)sysconf(_SC_CLK_TCK), sum = 0;
	struct rusage reaped;
	DIR *d = opendir("/proc");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		unsigned long long user, system, children_user, children_system;
		char path[300], stat[1024], *after;
		ssize_t n;
		int fd;

		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !strcmp(e->d_name, "1"))
			continue;
		(void)snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);
		if (fd >= 0)
			close(fd);
		stat[n > 0 ? n : 0] = '\0';
		after = strrchr(stat, ')');
		if (after && sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &user,
				    &system, &children_user, &children_system) == 4)
			sum += (double)(user + system + children_user + children_system) / ticks;
	}
	if (d)
		closedir(d);
	if (!getrusage(RUSAGE_CHILDREN, &reaped))
		sum += (double)reaped.ru_utime.tv_sec + (double)reaped.ru_stime.tv_sec +
		       (double)(reaped.ru_utime.tv_usec + reaped.ru_stime.tv_usec) / 1e6;
	return sum;
}

void idle_touch(void)
{
	since = guest_now();
}

void idle_set(uint64_t seconds)
{
	patience = seconds > INT32_MAX ? 0 : (int64_t)seconds * 1000;
	idle_touch();
	looked = since;
	computed = patience ? processor_seconds() : 0;
	next_look = since;
}

static bool commands_run(void)
{
	for (size_t i = 0; i < JOBS; i++)
		if (jobs[i].pid && !jobs[i].background)
			return true;
	for (size_t i = 0; i < TUNNELS; i++)
		if (tunnels[i].link && !tunnels[i].accepting)
			return true;
	return false;
}

static bool computes(int64_t now)
{
	double sum = processor_seconds(), used = sum - computed, elapsed = (double)(now - looked) / 1000;

	computed = sum;
	looked = now;
	return used > LEAST_S && used > SHARE * elapsed;
}

int idle_look(void)
{
	int64_t now = guest_now(), pause = patience / LOOKS;

	if (!patience)
		return -1;
	if (now >= next_look) {
		if (commands_run() || computes(now))
			idle_touch();
		if (now - since >= patience)
			guest_leave("idle", GUEST_IDLED, "nothing used the sandbox for its idle_timeout");
		next_look = now + (pause < LOOK_MIN_MS ? LOOK_MIN_MS : pause > LOOK_MAX_MS ? LOOK_MAX_MS : pause);
	}
	return (int)(next_look - now);
}
