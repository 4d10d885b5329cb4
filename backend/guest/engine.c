/* The guest in a container that an engine (Docker, Podman) made, where nobody can hand it a
 * descriptor. Its first link is its standard input and output: whoever starts the container is
 * attached to them. A later runner has the engine run
 *
 *   interpfs-guest connect       copies standard input to process 1, and what it says to standard output
 *
 * which reaches it at an abstract socket. Only a process whose parent is outside of the container is
 * let in there: one that the engine put in, never one that was started inside.
 *
 * In a container that somebody else has started it was put into a file of its own, PROGRAM, and the engine runs
 *
 *   PROGRAM adopted TOKEN     with the link as its standard input and output
 *   PROGRAM connect TOKEN     the same as above
 *   PROGRAM remove            as root, where the guest was not and could not remove its file itself
 *
 * It mounts nothing there, makes no folder, changes no route: nothing but its own processes and its file
 * is its to change. Process 1 has no parent inside, either, and is not let in. */
#include "backend/guest/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/sandbox/network_refuse.h"

bool engine_container, guest_adopted;

static const char socket_name[] = "interpfs-guest";

/* Abstract: no file that anybody inside could take away or put in its place. */
static socklen_t engine_address(struct sockaddr_un *address, const char *token)
{
	int n;

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, token ? "%s-%s" : "%s", socket_name, token);
	if (n >= (int)sizeof address->sun_path - 1)
		n = (int)sizeof address->sun_path - 2;
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

/* The one capability that nothing inside is to have: the guest's own, for the routes below, and gone for
 * good before anything else runs. 0, or -1 with errno. */
static int drop_network_admin(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2];
	const uint32_t bit = 1u << CAP_NET_ADMIN;

	if (syscall(SYS_capget, &head, sets) < 0 || prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0) < 0)
		return -1;
	sets[0].effective &= ~bit;
	sets[0].permitted &= ~bit;
	sets[0].inheritable &= ~bit;
	return (int)syscall(SYS_capset, &head, sets);
}

/* Where clouds answer any program with the machine's own credentials is out of reach (network_refuse.h). */
static int refuse_credentials(void)
{
	static char resolver[65536];
	int fd = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC | O_NONBLOCK), code;
	ssize_t n = fd < 0 ? -1 : read(fd, resolver, sizeof resolver - 1);

	if (fd >= 0)
		(void)close(fd);
	resolver[n > 0 ? n : 0] = '\0';
	code = network_refuse_but_names(resolver);
	if (code)
		(void)fprintf(stderr, "interpfs-guest: the machine's own credentials cannot be put out of reach: %s\n", strerror(code));
	errno = code;
	return code ? -1 : 0;
}

/* Its standard input and output become the first link; the descriptor that listens for others, or -1. */
static int begin(const char *token)
{
	struct sockaddr_un address;
	socklen_t size = engine_address(&address, token);
	int in = fcntl(0, F_DUPFD_CLOEXEC, 3), out = fcntl(1, F_DUPFD_CLOEXEC, 3);
	int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	engine_container = true;
	if (in < 0 || out < 0 || fd < 0 || nowhere < 0 || dup2(nowhere, 0) < 0 || dup2(nowhere, 1) < 0 ||
	    fcntl(in, F_SETFL, fcntl(in, F_GETFL) | O_NONBLOCK) < 0 ||
	    fcntl(out, F_SETFL, fcntl(out, F_GETFL) | O_NONBLOCK) < 0 ||
	    bind(fd, (const struct sockaddr *)&address, size) < 0 || listen(fd, LINKS) < 0)
		return -1;
	(void)close(nowhere);
	(void)link_add(in, out, false);
	return fd;
}

int engine_begin(void)
{
	int fd = refuse_credentials() < 0 || drop_network_admin() < 0 ? -1 : begin(NULL);

	if (fd < 0)
		return -1;
	/* An image need not have them. */
	(void)mkdir("/workspace", 0755);
	(void)mkdir("/run", 0755);
	(void)mkdir("/run/interpfs", 0755);
	return fd;
}

static const char *own_file;

int engine_begin_adopted(const char *program, const char *token)
{
	int fd;

	guest_adopted = true;
	own_file = *program == '/' ? program : NULL;
	fd = family_begin() < 0 ? -1 : begin(token);
	if (fd < 0)
		(void)fprintf(stderr, "interpfs-guest: it cannot begin: %s\n", strerror(errno));
	return fd;
}

void engine_leave(void)
{
	if (own_file)
		(void)unlink(own_file);
}

int engine_remove(const char *program)
{
	return *program != '/' || unlink(program) < 0;
}

bool engine_let_in(int fd)
{
	struct ucred who = { .pid = 0 };
	socklen_t size = sizeof who;
	char path[64], stat[512], *after;
	int file, parent = -1;
	ssize_t n;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || who.pid <= 0)
		return false;
	if (guest_adopted && (who.pid == 1 || (who.uid && who.uid != getuid())))
		return false;
	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)who.pid);
	file = open(path, O_RDONLY | O_CLOEXEC);
	n = file < 0 ? -1 : read(file, stat, sizeof stat - 1);
	if (file >= 0)
		(void)close(file);
	if (n <= 0)
		return false;
	stat[n] = '\0';
	after = strrchr(stat, ')'); /* the command's name may hold anything */
	return after && sscanf(after + 1, " %*c %d", &parent) == 1 && !parent;
}

struct way {
	int from, to;
	char bytes[65536];
	size_t length, sent;
	bool ended;
};

/* -1: nothing more can come through. */
static int go_through(struct way *way)
{
	ssize_t n;

	if (way->length) {
		n = write(way->to, way->bytes + way->sent, way->length - way->sent);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		way->sent += (size_t)n;
		if (way->sent == way->length)
			way->length = way->sent = 0;
		return 0;
	}
	n = read(way->from, way->bytes, sizeof way->bytes);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (!n)
		return -1;
	way->length = (size_t)n;
	return 0;
}

int engine_connect(const char *token)
{
	static struct way in, out;
	struct sockaddr_un address;
	socklen_t size = engine_address(&address, token);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)prctl(PR_SET_DUMPABLE, 0);
	if (!token && drop_network_admin() < 0) {
		(void)fprintf(stderr, "interpfs-guest: a capability cannot be dropped: %s\n", strerror(errno));
		return 1;
	}
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, size) < 0) {
		(void)fprintf(stderr, "interpfs-guest: the guest does not answer: %s\n", strerror(errno));
		return 1;
	}
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	(void)fcntl(1, F_SETFL, fcntl(1, F_GETFL) | O_NONBLOCK);
	in = (struct way){ .from = 0, .to = fd };
	out = (struct way){ .from = fd, .to = 1 };
	for (;;) {
		struct pollfd p[2] = { { .fd = in.length ? fd : 0, .events = in.length ? POLLOUT : POLLIN },
				       { .fd = out.length ? 1 : fd, .events = out.length ? POLLOUT : POLLIN } };

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return 1;
		if ((p[0].revents && go_through(&in) < 0) || (p[1].revents && go_through(&out) < 0))
			return 0;
	}
}
