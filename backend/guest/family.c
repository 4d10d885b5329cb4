/* The processes that are the guest's to count and to end. As process 1 of a sandbox: all of them. In a
 * container that is somebody else's (engine.c, `adopted`): what it has started, and what came of that.
 * There it is the reaper of its descendants: one whose parent has ended becomes its child, so that none
 * is lost, and nobody else's process is ever touched. */
#include "backend/guest/guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define RELATIVES_MAX (1u << 20)
#define KILL_MS 5000 /* for those that make others faster than they are found */
#define AGAIN_MS 5

static struct relative *relatives;
static size_t relative_count, relative_room;

int family_begin(void)
{
	return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

static void add_process(const char *name, double ticks)
{
	unsigned long long user, system, children_user, children_system;
	char path[300], stat[1024], *after;
	struct relative *more;
	ssize_t n;
	int fd, parent;

	(void)snprintf(path, sizeof path, "/proc/%s/stat", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);
	if (fd >= 0)
		(void)close(fd);
	stat[n > 0 ? n : 0] = '\0';
	after = strrchr(stat, ')'); /* the command's name may hold anything */
	if (!after || sscanf(after + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &parent, &user, &system,
			     &children_user, &children_system) != 5)
		return;
	if (relative_count == relative_room) {
		size_t room = relative_room ? 2 * relative_room : 256;

		more = room > RELATIVES_MAX ? NULL : realloc(relatives, room * sizeof *more);
		if (!more)
			return;
		relatives = more;
		relative_room = room;
	}
	relatives[relative_count++] = (struct relative){
		.pid = (pid_t)strtol(name, NULL, 10), .parent = parent,
		.seconds = (double)(user + system + children_user + children_system) / ticks,
	};
}

static int by_pid(const void *a, const void *b)
{
	const struct relative *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static bool is_ours(pid_t pid)
{
	const struct relative key = { .pid = pid };
	const struct relative *found = bsearch(&key, relatives, relative_count, sizeof key, by_pid);

	return found && found->ours;
}

/* A child may have a smaller number than its parent: until nothing is found any more. */
static void find_descendants(void)
{
	pid_t self = getpid();
	bool found = true;

	qsort(relatives, relative_count, sizeof *relatives, by_pid);
	while (found) {
		found = false;
		for (size_t i = 0; i < relative_count; i++) {
			struct relative *r = &relatives[i];

			if (r->ours || (r->parent != self && !is_ours(r->parent)))
				continue;
			r->ours = found = true;
		}
	}
}

size_t family_look(const struct relative **list)
{
	double ticks = (double)sysconf(_SC_CLK_TCK);
	DIR *d = opendir("/proc");
	size_t kept = 0;
	struct dirent *e;

	relative_count = 0;
	while (d && (e = readdir(d)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
			add_process(e->d_name, ticks);
	if (d)
		(void)closedir(d);
	if (guest_adopted)
		find_descendants();
	for (size_t i = 0; i < relative_count; i++)
		if (guest_adopted ? relatives[i].ours : relatives[i].pid != 1)
			relatives[kept++] = relatives[i];
	*list = relatives;
	return kept;
}

void family_signal(int signal)
{
	const struct relative *list;
	size_t n;

	if (!guest_adopted) {
		(void)kill(-1, signal);
		return;
	}
	n = family_look(&list);
	for (size_t i = 0; i < n; i++)
		(void)kill(list[i].pid, signal);
}

void family_await(int64_t until)
{
	while (guest_now() < until && (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD))
		(void)poll(NULL, 0, AGAIN_MS);
}

void family_kill(void)
{
	int64_t end = guest_now() + KILL_MS;

	family_signal(SIGKILL);
	/* As process 1 its end is everybody's. Elsewhere one may have been made while the others were counted. */
	while (guest_adopted && guest_now() < end) {
		family_await(guest_now() + AGAIN_MS);
		if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
			return;
		family_signal(SIGKILL);
	}
}
