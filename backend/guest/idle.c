/* Whether anything happens in the sandbox. It is used while a command runs, while somebody asks for
 * something, and while its processes compute: a share of one processor that a server which only
 * waits stays below. Whoever uses it without either (a cell that sleeps, a model that thinks) says so
 * by TOUCH. */
#include "backend/guest/guest.h"

#include <sys/resource.h>

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
	const struct relative *list;
	size_t n = family_look(&list);
	struct rusage reaped;
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += list[i].seconds;
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
