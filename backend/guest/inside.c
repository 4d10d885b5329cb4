/* What the guest answers beside commands: connections to what listens inside, sockets that listen
 * there for the runner, the root folder, the table of processes. */
#include "backend/guest/guest.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int root_folder = -1;

/* Sockets that listen for the runner. They are kept, so that a later runner gets the same one with
 * whoever waits in its queue. */
#define LISTENERS 16
static struct {
	char address[108];
	int fd;
} listeners[LISTENERS];
static size_t listener_count;

/* Closes fd and returns -1 with errno as it was. */
static int give_up(int fd)
{
	int e = errno;

	if (fd >= 0)
		close(fd);
	errno = e;
	return -1;
}

/* "tcp:PORT" on loopback, or the absolute path of a unix socket; its length, 0 with errno EINVAL or
 * ENAMETOOLONG. */
union address {
	struct sockaddr any;
	struct sockaddr_in tcp;
	struct sockaddr_un local;
};

static socklen_t parse_address(const char *text, union address *address)
{
	unsigned long port;
	char *end;

	memset(address, 0, sizeof *address);
	errno = EINVAL;
	if (text[0] == '/') {
		errno = ENAMETOOLONG;
		if (strlen(text) >= sizeof address->local.sun_path)
			return 0;
		address->local.sun_family = AF_UNIX;
		memcpy(address->local.sun_path, text, strlen(text) + 1);
		return sizeof address->local;
	}
	if (strncmp(text, "tcp:", 4) != 0)
		return 0;
	port = strtoul(text + 4, &end, 10);
	if (text[4] < '0' || text[4] > '9' || *end || !port || port > 65535) {
		errno = EINVAL;
		return 0;
	}
	address->tcp.sin_family = AF_INET;
	address->tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address->tcp.sin_port = htons((uint16_t)port);
	return sizeof address->tcp;
}

static int open_socket(const union address *address)
{
	return socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static void pass_or_fail(struct link *link, uint32_t stream, int fd, const char *what)
{
	if (fd < 0) {
		int e = errno;
		char text[512];

		(void)snprintf(text, sizeof text, "%s: %s", what, strerror(e));
		link_end(link, stream, e, 0, text);
	} else if (!link->passes) {
		close(fd);
		link_end(link, stream, EOPNOTSUPP, 0, "no descriptor can be passed over this connection");
	} else if (link_pass(link, stream, fd)) {
		link_end(link, stream, 0, 0, "");
	} else if (link->fd >= 0) {
		link_end(link, stream, EMFILE, 0, "too many descriptors are on their way");
	}
}

/* On loopback a connection is made or refused at once; the socket may still be connecting when
 * it is passed out, which its new owner sees as an error of the first write. */
int inside_dial(const char *text)
{
	union address address;
	socklen_t size = parse_address(text, &address);
	int fd = size ? open_socket(&address) : -1;

	if (fd >= 0 && connect(fd, &address.any, size) < 0 && errno != EINPROGRESS)
		return give_up(fd);
	return fd;
}

void inside_connect(struct link *link, uint32_t stream, const char *address)
{
	pass_or_fail(link, stream, inside_dial(address), address);
}

int inside_listen_at(const char *text)
{
	union address address;
	socklen_t size = parse_address(text, &address);
	int fd, one = 1;

	if (!size)
		return -1;
	for (size_t i = 0; i < listener_count; i++)
		if (!strcmp(listeners[i].address, text))
			return fcntl(listeners[i].fd, F_DUPFD_CLOEXEC, 3);
	errno = EMFILE;
	fd = listener_count < LISTENERS ? open_socket(&address) : -1;
	if (fd < 0)
		return -1;
	if (address.any.sa_family == AF_UNIX)
		(void)unlink(text); /* what an earlier guest left in a folder that outlived it */
	else
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, &address.any, size) < 0 || (address.any.sa_family == AF_UNIX && chmod(text, 0666) < 0) ||
	    listen(fd, 1024) < 0)
		return give_up(fd);
	(void)snprintf(listeners[listener_count].address, sizeof listeners[0].address, "%s", text);
	listeners[listener_count++].fd = fd;
	return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

void inside_listen(struct link *link, uint32_t stream, const char *address)
{
	pass_or_fail(link, stream, inside_listen_at(address), address);
}

void inside_root(struct link *link, uint32_t stream)
{
	pass_or_fail(link, stream, fcntl(root_folder, F_DUPFD_CLOEXEC, 3), "/");
}

/* The first n-1 bytes of a file in /proc as text; "" when it is gone. */
static size_t slurp(const char *path, char *text, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t k = fd < 0 ? -1 : read(fd, text, n - 1);

	if (fd >= 0)
		close(fd);
	text[k > 0 ? k : 0] = '\0';
	return k > 0 ? (size_t)k : 0;
}

/* A process chooses its names: none of them may begin a line of the table. */
static void make_printable(char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 127)
			text[i] = ' ';
}

static void process_line(struct buffer *out, const char *pid, double uptime, double ticks, long page_kb)
{
	char path[64], stat[1024], command[512], *after;
	unsigned long long utime, stime, start;
	long rss;
	int parent;
	char state;
	size_t n;

	(void)snprintf(path, sizeof path, "/proc/%s/stat", pid);
	if (!slurp(path, stat, sizeof stat) || !(after = strrchr(stat, ')')))
		return;
	if (sscanf(after + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %llu %*u %ld",
		   &state, &parent, &utime, &stime, &start, &rss) != 6)
		return;
	(void)snprintf(path, sizeof path, "/proc/%s/cmdline", pid);
	n = slurp(path, command, sizeof command);
	make_printable(command, n);
	while (n && command[n - 1] == ' ')
		command[--n] = '\0';
	if (!n && strchr(stat, '(')) {
		*after = '\0';
		(void)snprintf(command, sizeof command, "[%s]", strchr(stat, '(') + 1);
		make_printable(command, strlen(command));
	}
	(void)buffer_format(out, "%s %d %c %.0f %ld %s\n", pid, parent, state, uptime - (double)start / ticks,
			    rss * page_kb, command);
}

void inside_processes(struct link *link, uint32_t stream)
{
	struct buffer out = BUFFER(FRAME_PAYLOAD_MAX * 3);
	double uptime = 0, ticks = (double)sysconf(_SC_CLK_TCK);
	long page_kb = sysconf(_SC_PAGESIZE) / 1024;
	DIR *d = opendir("/proc");
	struct dirent *e;
	char text[64];

	if (!d) {
		link_end(link, stream, errno, 0, "/proc cannot be read");
		return;
	}
	(void)slurp("/proc/uptime", text, sizeof text);
	uptime = strtod(text, NULL);
	while ((e = readdir(d)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
			process_line(&out, e->d_name, uptime, ticks, page_kb);
	closedir(d);
	/* At most three frames: within the credit that every stream has from the start. */
	for (size_t at = 0; at < out.length; at += FRAME_PAYLOAD_MAX)
		if (!link_put(link, stream, GUEST_STDOUT, out.data + at,
			      out.length - at < FRAME_PAYLOAD_MAX ? out.length - at : FRAME_PAYLOAD_MAX))
			break;
	buffer_free(&out);
	if (link->fd >= 0)
		link_end(link, stream, 0, 0, "");
}
