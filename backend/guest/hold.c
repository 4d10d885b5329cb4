/* Namespaces before the sandbox that will live in them, so that the network's helper comes up
 * beside the container's runtime and not behind it. Runs outside, as the user who mounted:
 *
 *   interpfs-guest hold        makes a network namespace with what a sandbox's has before there is a
 *                              way out, and for an ordinary user a user namespace around it with
 *                              that user as root
 *   interpfs-guest hold both   both of them; who started it writes the maps of the user namespace
 *   interpfs-guest hold user   a user namespace alone; the same
 *
 * One byte on descriptor 3 says how that went (an errno, 0: well); it stays until descriptor 4, a
 * pipe's read end, hangs up. */
#include "backend/guest/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/sandbox/network_refuse.h"

enum { SAYS = 3, HOLDS = 4 };

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), failed;

	if (fd < 0)
		return -1;
	failed = write(fd, text, strlen(text)) < 0 ? errno : 0;
	(void)close(fd);
	errno = failed;
	return failed ? -1 : 0;
}

static int become_root_of(uid_t user, gid_t group)
{
	char uids[32], gids[32];

	(void)snprintf(uids, sizeof uids, "0 %u 1", (unsigned)user);
	(void)snprintf(gids, sizeof gids, "0 %u 1", (unsigned)group);
	return write_text("/proc/self/setgroups", "deny") || write_text("/proc/self/uid_map", uids) ||
	       write_text("/proc/self/gid_map", gids) ? -1 : 0;
}

int hold_namespaces(const char *which)
{
	uid_t user = geteuid();
	gid_t group = getegid();
	bool network = !which || strcmp(which, "user") != 0;
	unsigned char code = 0, byte;

	if (unshare((network ? CLONE_NEWNET : 0) | (user ? CLONE_NEWUSER : 0)) || (user && !which && become_root_of(user, group)))
		code = (unsigned char)errno;
	else if (network) {
		guest_raise_loopback();
		code = (unsigned char)network_refuse_here();
	}
	if (write(SAYS, &code, 1) != 1)
		return 1;
	while (read(HOLDS, &byte, 1) < 0 && errno == EINTR)
		;
	return code ? 1 : 0;
}
