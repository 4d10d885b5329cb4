#include "base/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRIES 1000

int inside_open(int root, const char *path, int flags, mode_t mode, enum inside_links links)
{
	struct open_how how = { .flags = (unsigned)flags | O_CLOEXEC, .mode = flags & O_CREAT ? mode : 0,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS |
					   (links == INSIDE_LINKS ? 0 : RESOLVE_NO_SYMLINKS) |
					   (links == INSIDE_AT_ONCE ? RESOLVE_CACHED | RESOLVE_NO_XDEV : 0) };
	int tries = links == INSIDE_AT_ONCE ? 0 : TRIES;
	long fd;

	/* EAGAIN: somewhere on this machine something was renamed or mounted, and the kernel cannot tell
	 * any more where a `..` leads. Whoever is inside can have that go on for ever. */
	for (int i = 0; (fd = syscall(SYS_openat2, root, path, &how, sizeof how)) < 0 && errno == EAGAIN && i < tries; i++)
		;
	/* EINVAL: a kernel before 5.12. */
	if (fd < 0 && links == INSIDE_AT_ONCE && (errno == EXDEV || errno == EINVAL))
		errno = EAGAIN;
	return (int)fd;
}
