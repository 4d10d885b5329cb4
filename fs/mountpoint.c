/* What lies on a folder, from the kernel's own table of mounts, and taking away what is dead. */
#include "fs/mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mounts.h"
#include "fs/loop.h"

#define DEVICE_SIZE 32
#define GRACE_MS 100 /* for /dev/fuse to tell of an ordinary unmount itself, with all that came before it */

static struct {
	struct loop_watch mounts;
	struct loop_timer timer;
	char device[DEVICE_SIZE];
	void (*gone)(void);
} watched = { .mounts = { .fd = -1 } };

char *mountpoint_resolve(const char *folder, struct error *err)
{
	/* Nothing is asked of the file system that lies there, so a dead one is found too. */
	cleanup_close int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char link[32], path[PATH_MAX], *copy;
	ssize_t n;

	if (fd < 0) {
		error_errno(err, "%s", folder);
		return NULL;
	}
	(void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path);
	if (n < 0 || (size_t)n == sizeof path) {
		error_set(err, n < 0 ? errno : ENAMETOOLONG, "%s: its path cannot be told", folder);
		return NULL;
	}
	copy = strndup(path, (size_t)n);
	if (!copy)
		error_memory(err);
	return copy;
}

/* The topmost mount of interpfs on a path (NULL: anywhere) of a device ("": any, which is filled in). */
static bool find(const char *path, char device[DEVICE_SIZE])
{
	cleanup_file FILE *mounts = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	char wanted[DEVICE_SIZE];
	size_t room = 0;
	bool found = false;

	memcpy(wanted, device, sizeof wanted);
	while (mounts && getline(&line, &room, mounts) > 0) {
		/* id parent DEVICE root POINT options … - TYPE source … */
		char *at = line, *fields[5] = { NULL }, *type = strstr(line, " - ");

		if (!type || strncmp(type + 3, "fuse.interpfs ", 14) != 0)
			continue;
		for (int i = 0; i < 5 && at; i++)
			fields[i] = strsep(&at, " ");
		if (!fields[4])
			continue;
		mounts_unescape(fields[4]);
		if ((path && strcmp(fields[4], path) != 0) || (*wanted && strcmp(fields[2], wanted) != 0))
			continue;
		(void)snprintf(device, DEVICE_SIZE, "%s", fields[2]);
		found = true;
	}
	return found;
}

bool mountpoint_taken(const char *path)
{
	char device[DEVICE_SIZE] = "";

	return find(path, device);
}

static bool is_dead(const char *path)
{
	struct statfs fs;

	/* not stat: the kernel answers it from its cache long after the daemon has died */
	return statfs(path, &fs) < 0 && errno == ENOTCONN && mountpoint_taken(path);
}

void mountpoint_clean(const char *path)
{
	char *argv[] = { (char *)"fusermount3", (char *)"-uz", (char *)"--", (char *)path, NULL };
	pid_t pid;
	int status;

	if (!is_dead(path) || !umount2(path, MNT_DETACH))
		return;
	pid = fork(); /* an ordinary user's: the program that mounted it unmounts it */
	if (!pid) {
		(void)execvp(argv[0], argv);
		_exit(127);
	}
	if (pid > 0)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
}

int mountpoint_refuse_inside(const char *path, const char *state, struct error *err)
{
	cleanup_free char *real = realpath(state, NULL);
	size_t n = strlen(path);

	if (!real || strncmp(real, path, n) != 0 || (real[n] && real[n] != '/' && n > 1))
		return 0;
	return error_set(err, EINVAL, "state directory %s lies below the mount point %s, which would hide it", real, path);
}

static void grace_is_over(struct loop_timer *timer)
{
	(void)timer;
	watched.gone();
}

static void mounts_changed(struct loop_watch *watch, uint32_t events)
{
	(void)watch;
	(void)events;
	if (watched.timer.armed || find(NULL, watched.device))
		return;
	watched.timer.fire = grace_is_over;
	loop_set_timer(&watched.timer, GRACE_MS);
}

int mountpoint_watch(const char *path, void (*gone)(void), struct error *err)
{
	int fd;

	watched.device[0] = '\0';
	if (!find(path, watched.device))
		return 0; /* it is told by /dev/fuse alone */
	fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, "/proc/self/mountinfo");
	watched.gone = gone;
	watched.mounts = (struct loop_watch){ .fd = fd, .ready = mounts_changed };
	return loop_watch(&watched.mounts, EPOLLPRI, err);
}

void mountpoint_unwatch(void)
{
	loop_clear_timer(&watched.timer);
	if (watched.mounts.fd < 0)
		return;
	loop_unwatch(&watched.mounts);
	(void)close(watched.mounts.fd);
	watched.mounts.fd = -1;
}
