#include "backend/sandbox/freeze.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backend/sandbox/cgroup.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

#define ROUNDS 2000
#define ROUND_NS 1000000

/* ---- by signals ---- */

struct process {
	pid_t pid, parent;
	char state;
	bool inside;
};

struct processes {
	struct process *all;
	size_t count, room;
};

/* name: what is below /proc. */
static bool read_stat(const char *name, struct process *p)
{
	cleanup_buffer struct buffer stat = BUFFER(4096);
	struct error ignored;
	char path[64];
	const char *end;
	int parent;

	(void)snprintf(path, sizeof path, "/proc/%.48s/stat", name);
	if (file_read(AT_FDCWD, path, &stat, &ignored) || !stat.length)
		return false;
	end = strrchr(stat.data, ')'); /* the command's name may hold anything */
	if (!end || sscanf(end + 1, " %c %d", &p->state, &parent) != 2)
		return false;
	p->pid = (pid_t)strtol(name, NULL, 10);
	p->parent = parent;
	return true;
}

static int list_processes(struct processes *list, struct error *err)
{
	cleanup_dir DIR *dir = opendir("/proc");
	const struct dirent *entry;

	list->count = 0;
	if (!dir)
		return error_errno(err, "/proc");
	while ((entry = readdir(dir))) {
		struct process p = { .inside = false };

		if (*entry->d_name < '1' || *entry->d_name > '9' || !read_stat(entry->d_name, &p))
			continue;
		if (list->count == list->room) {
			size_t room = list->room ? 2 * list->room : 256;
			struct process *more = realloc(list->all, room * sizeof *more);

			if (!more)
				return error_memory(err);
			list->all = more;
			list->room = room;
		}
		list->all[list->count++] = p;
	}
	return 0;
}

/* The first one and all that come from it: who loses its parent inside becomes the first one's child. */
static void mark(struct processes *list, pid_t first)
{
	for (bool more = true; more;) {
		more = false;
		for (size_t i = 0; i < list->count; i++) {
			struct process *p = &list->all[i];

			if (p->inside)
				continue;
			p->inside = p->pid == first;
			for (size_t k = 0; k < list->count && !p->inside; k++)
				p->inside = list->all[k].inside && list->all[k].pid == p->parent;
			more = more || p->inside;
		}
	}
}

static bool is_stopped(char state)
{
	return strchr("TtZX", state);
}

/* A thread that waits, uninterruptibly, for a child of vfork(2) to go its own way: it stands as long as the child
 * does. What the kernel calls the place changes with its version. */
static bool waits_for_vfork(pid_t pid, const char *thread)
{
	static const char *const places[] = { "kernel_clone", "wait_for_vfork_done", "_do_fork", "do_fork" };
	cleanup_buffer struct buffer place = BUFFER(256);
	struct error ignored;
	char path[64];
	bool found = false;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%.16s/wchan", (int)pid, thread);
	if (file_read(AT_FDCWD, path, &place, &ignored) || !place.length)
		return false;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		found = found || !strcmp(place.data, places[i]);
	return found;
}

/* Whether each thread of a process stands, those included that wait for their child of vfork. */
static bool stands_in_vfork(pid_t pid)
{
	char path[64];
	cleanup_dir DIR *dir = NULL;
	const struct dirent *entry;
	size_t threads = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		struct process thread;
		char name[64];

		if (*entry->d_name == '.')
			continue;
		(void)snprintf(name, sizeof name, "%d/task/%.16s", (int)pid, entry->d_name);
		if (!read_stat(name, &thread) || (!is_stopped(thread.state) && !(thread.state == 'D' && waits_for_vfork(pid, entry->d_name))))
			return false;
		threads++;
	}
	return threads;
}

/* Until a look at all of them finds none that runs; the child of one that stands in vfork may have come behind the
 * look, so that there it takes two. */
static int stop_all(pid_t first, struct error *err)
{
	const struct timespec pause = { .tv_nsec = ROUND_NS };
	struct processes list = { .all = NULL };
	int result = 1;

	for (int round = 0, calm = 0; result > 0; round++) {
		bool running = false, vfork = false;

		if (list_processes(&list, err)) {
			result = -1;
			break;
		}
		mark(&list, first);
		for (size_t i = 0; i < list.count; i++)
			if (list.all[i].inside && !is_stopped(list.all[i].state)) {
				if (list.all[i].state == 'D' && stands_in_vfork(list.all[i].pid))
					vfork = true;
				else
					running = true;
				(void)kill(list.all[i].pid, SIGSTOP);
			}
		calm = running ? 0 : calm + 1;
		if (calm > vfork)
			result = 0;
		else if (round == ROUNDS)
			result = error_set(err, ETIMEDOUT, "the sandbox does not stand still: a process in it waits for the kernel");
		else if (round)
			(void)nanosleep(&pause, NULL);
	}
	free(list.all);
	return result;
}

/* One that was stopped before goes on, too: who stopped it cannot be told. And one that does not stand yet, but
 * would once the kernel lets go of it. */
static void continue_all(pid_t first)
{
	struct processes list = { .all = NULL };
	struct error ignored;

	if (!list_processes(&list, &ignored)) {
		mark(&list, first);
		for (size_t i = 0; i < list.count; i++)
			if (list.all[i].inside)
				(void)kill(list.all[i].pid, SIGCONT);
	}
	free(list.all);
}

/* ---- either ---- */

void freeze_release(const char *id, pid_t first)
{
	struct error ignored;

	if (geteuid() || !cgroup_freeze(id, false, &ignored))
		continue_all(first);
}

static int hold(const char *id, pid_t first, struct error *err)
{
	int result = geteuid() ? 0 : cgroup_freeze(id, true, err);

	if (!result)
		result = stop_all(first, err) ? -1 : 1;
	if (result > 0)
		return 0;
	freeze_release(id, first);
	return -1;
}

/* What the guard is told: whose first process to hold, 0 to let go. And what it answers. */
struct answer {
	int result;
	struct error err;
};

static bool passed(ssize_t n, size_t size)
{
	return n == (ssize_t)size;
}

/* Its parent's descriptors would outlive the parent in it: only the lock shall, so that nobody holds the sandbox
 * before this one has let it go. */
static void guard(int talk, int lock, const char *id)
{
	int kept = fcntl(lock, F_DUPFD, 5), end = fcntl(talk, F_DUPFD, 5);
	pid_t held = 0, first;

	(void)dup2(end, 3);
	(void)dup2(kept, 4);
	(void)close_range(5, ~0u, 0);
	(void)setsid();
	for (;;) {
		struct answer answer = { .result = 0 };
		ssize_t n = recv(3, &first, sizeof first, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (held)
			freeze_release(id, held);
		held = 0;
		if (!passed(n, sizeof first))
			_exit(0);
		if (first) {
			answer.result = hold(id, first, &answer.err);
			held = answer.result ? 0 : first;
		}
		(void)send(3, &answer, sizeof answer, MSG_NOSIGNAL);
	}
}

int freeze_open(struct freeze *freeze, const char *id, int lock, struct error *err)
{
	int ends[2];

	*freeze = (struct freeze){ .talk = -1, .id = id };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return error_errno(err, "socketpair");
	freeze->guard = fork();
	if (!freeze->guard) {
		(void)close(ends[1]);
		guard(ends[0], lock, id);
	}
	(void)close(ends[0]);
	freeze->talk = ends[1];
	if (freeze->guard > 0)
		return 0;
	(void)error_errno(err, "fork");
	(void)close(freeze->talk);
	freeze->talk = -1;
	return -1;
}

/* False when somebody has killed the guard. */
static bool ask(const struct freeze *freeze, pid_t first, struct answer *answer)
{
	ssize_t n;

	if (!passed(send(freeze->talk, &first, sizeof first, MSG_NOSIGNAL), sizeof first))
		return false;
	do
		n = recv(freeze->talk, answer, sizeof *answer, 0);
	while (n < 0 && errno == EINTR);
	return passed(n, sizeof *answer);
}

int freeze_begin(struct freeze *freeze, pid_t first, struct error *err)
{
	struct answer answer;

	freeze->first = first;
	if (!ask(freeze, first, &answer))
		return error_set(err, ESRCH, "the process that holds the sandbox still was killed");
	if (answer.result) {
		*err = answer.err;
		return -1;
	}
	failpoint("snapshot-frozen");
	return 0;
}

void freeze_end(struct freeze *freeze)
{
	struct answer answer;

	/* Also when somebody has killed the guard. */
	if (!ask(freeze, 0, &answer))
		freeze_release(freeze->id, freeze->first);
}

void freeze_close(struct freeze *freeze)
{
	if (freeze->talk < 0)
		return;
	(void)close(freeze->talk);
	freeze->talk = -1;
	while (waitpid(freeze->guard, NULL, 0) < 0 && errno == EINTR)
		;
}
