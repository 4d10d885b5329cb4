/* The way to a box's first process: a socket that is bound here, handed over as descriptor 3, and
 * has no path inside. The first request is queued before the runtime runs, so the first answer
 * says that it is ready, without polling (guest_await.c). */
#include "backend/sandbox/box_own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* /proc/self/fd/N/guest.sock: a socket's name has 108 bytes at most, a folder's path has not. */
static struct sockaddr_un guest_address(const struct box *box)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/guest.sock", box->ctl);
	return address;
}

int box_listen(struct box *box, struct error *err)
{
	struct sockaddr_un address = guest_address(box);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return error_errno(err, "cannot make the guest's socket");
	if ((unlinkat(box->ctl, "guest.sock", 0) && errno != ENOENT) ||
	    bind(fd, (const struct sockaddr *)&address, sizeof address) || listen(fd, 16)) {
		error_errno(err, "cannot make the guest's socket");
		(void)close(fd);
		return -1;
	}
	return fd;
}

int box_connect(struct box *box, struct error *err)
{
	struct sockaddr_un address = guest_address(box);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && !connect(fd, (const struct sockaddr *)&address, sizeof address))
		return fd;
	error_errno(err, "cannot reach the sandbox's first process");
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

int box_attach(struct box *box, int connection, struct guest **guest, struct error *err)
{
	struct stat root;

	if (fstatat(box->folder, "root", &root, AT_SYMLINK_NOFOLLOW)) {
		(void)close(connection);
		return error_errno(err, "cannot find the sandbox's folder");
	}
	if (guest_attach(guest, connection, err)) {
		(void)close(connection);
		return -1;
	}
	guest_expect_root(*guest, &root);
	return 0;
}

pid_t box_peer(int fd)
{
	struct ucred who;
	socklen_t size = sizeof who;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) ? 0 : who.pid;
}
