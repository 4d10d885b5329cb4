/* See failpoint.h. Empty in builds without -DINTERPFS_FAILPOINTS. */
#include "base/failpoint.h"

#ifdef INTERPFS_FAILPOINTS

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void failpoint(const char *name)
{
	const char *wanted = getenv("INTERPFS_FAILPOINT");
	size_t n = strlen(name);
	int fd;

	if (!wanted || strncmp(wanted, name, n) != 0 || wanted[n] != ':')
		return;
	fd = open(wanted + n + 1, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	(void)close(fd);
	(void)kill(getpid(), SIGKILL);
	for (;;)
		(void)pause();
}

#else

/* ISO C wants something in every file. */
typedef int failpoints_are_compiled_out;

#endif
