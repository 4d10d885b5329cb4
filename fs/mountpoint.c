/* What lies on a folder, from the kernel's own table of mounts, and taking away what is dead. */
#include "fs/mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

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

/* "my\040lab" is "my lab": blanks, newlines and backslashes stand in the table as three octal digits. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		unsigned code;

		if (*text == '\\' && sscanf(text + 1, "%3o", &code) == 1) {
			*to++ = (char)code;
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
}

bool mountpoint_taken(const char *path)
{
	cleanup_file FILE *mounts = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	size_t room = 0;

	while (mounts && getline(&line, &room, mounts) > 0) {
		/* id parent dev root POINT options … - TYPE source … */
		char *at = line, *point = NULL, *type = strstr(line, " - ");

		if (!type || strncmp(type + 3, "fuse.interpfs ", 14) != 0)
			continue;
		for (int i = 0; i < 5 && at; i++)
			point = strsep(&at, " ");
		if (!point)
			continue;
		unescape(point);
		if (!strcmp(point, path))
			return true;
	}
	return false;
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
