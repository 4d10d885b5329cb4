/* The way to a box's first process: a socket that is bound here, handed over as descriptor 3, and
 * has no path inside. The first request is queued before the runtime runs, so the first answer
 * says that it is ready, without polling. */
#include "backend/sandbox/box_own.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
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

static void answered(void *context, int code, int exit_, const char *text)
{
	struct box_answer *answer = context;

	(void)exit_;
	(void)text;
	*answer = (struct box_answer){ .ended = true, .code = code };
}

static void nothing_passed(void *context, int fd)
{
	(void)context;
	(void)close(fd);
}

static void no_output(void *context, int channel, const void *data, size_t n)
{
	(void)context;
	(void)channel;
	(void)data;
	(void)n;
}

const struct guest_callbacks box_ping_callbacks = { no_output, nothing_passed, answered };

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int box_await(struct guest *guest, struct box_answer *answer, int runtime, int timeout_ms, struct error *err)
{
	int64_t end = now_ms() + timeout_ms;
	bool runtime_ended = false;

	while (!answer->ended) {
		struct pollfd p[2] = { { .fd = guest_fd(guest), .events = guest_events(guest) },
				       { .fd = runtime_ended ? -1 : runtime, .events = POLLIN } };
		int64_t left = end - now_ms();
		siginfo_t info = { .si_pid = 0 };

		if (left <= 0)
			return error_set(err, ETIMEDOUT, "the sandbox did not answer in time");
		if (poll(p, 2, (int)left) < 0 && errno != EINTR)
			return error_errno(err, "waiting for the sandbox");
		if (p[0].revents && guest_step(guest, err))
			return -1;
		if (!p[1].revents || answer->ended)
			continue;
		runtime_ended = true;
		if (!waitid(P_PIDFD, (id_t)runtime, &info, WEXITED | WNOWAIT) &&
		    (info.si_code != CLD_EXITED || info.si_status))
			return error_set(err, EIO, "the container runtime failed");
	}
	return answer->code ? error_set(err, answer->code, "the sandbox's first process refused") : 0;
}
