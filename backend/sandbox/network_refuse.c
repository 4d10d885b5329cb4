/* A child goes into the namespace and adds routes (rtnetlink(7)), since a process cannot come back
 * from a user namespace. */
#include "backend/sandbox/network_refuse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct refused {
	int family;
	const char *address;
	unsigned char bits;
} refused[] = {
	{ AF_INET, "169.254.0.0", 16 },     /* the link's own: 169.254.169.254 of nearly all, 169.254.170.2 … */
	{ AF_INET, "100.100.100.200", 32 }, /* Alibaba */
	{ AF_INET, "168.63.129.16", 32 },   /* Azure */
	{ AF_INET, "192.0.0.192", 32 },     /* Oracle */
	{ AF_INET6, "fd00:ec2::", 32 },     /* Amazon */
	{ AF_INET6, "fd20:ce::", 32 },      /* Google */
};

struct route {
	struct nlmsghdr head;
	struct rtmsg of;
	struct rtattr attribute;
	unsigned char address[16];
};

/* 0 or an errno. */
static int add_route(int fd, const struct refused *what)
{
	size_t n = what->family == AF_INET ? 4 : 16;
	struct route route = {
		.head = { .nlmsg_type = RTM_NEWROUTE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK,
			  .nlmsg_len = (uint32_t)(offsetof(struct route, address) + n) },
		.of = { .rtm_family = (unsigned char)what->family, .rtm_dst_len = what->bits, .rtm_table = RT_TABLE_MAIN,
			.rtm_protocol = RTPROT_STATIC, .rtm_type = RTN_UNREACHABLE },
		.attribute = { .rta_type = RTA_DST, .rta_len = (unsigned short)RTA_LENGTH(n) },
	};
	union { struct nlmsghdr head; char bytes[1024]; } answer;
	struct nlmsgerr told;
	ssize_t got;

	if (inet_pton(what->family, what->address, route.address) != 1 ||
	    send(fd, &route, route.head.nlmsg_len, 0) < 0 || (got = recv(fd, &answer, sizeof answer, 0)) < 0)
		return errno ? errno : EINVAL;
	if ((size_t)got < NLMSG_LENGTH(sizeof told) || answer.head.nlmsg_type != NLMSG_ERROR)
		return EPROTO;
	memcpy(&told, answer.bytes + NLMSG_HDRLEN, sizeof told);
	/* A kernel without IPv6 reaches nothing by it. */
	return what->family == AF_INET6 && (told.error == -EOPNOTSUPP || told.error == -EAFNOSUPPORT) ? 0 : -told.error;
}

int network_refuse_here(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), code = 0;

	if (fd < 0)
		return errno;
	for (size_t i = 0; !code && i < sizeof refused / sizeof *refused; i++)
		code = add_route(fd, &refused[i]);
	(void)close(fd);
	return code;
}

/* In the child. 0 or an errno. */
static int add_routes(int user, int network)
{
	if ((user >= 0 && setns(user, CLONE_NEWUSER)) || setns(network, CLONE_NEWNET))
		return errno;
	return network_refuse_here();
}

static int open_namespace(pid_t pid, const char *name)
{
	char path[64];

	(void)snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

int network_refuse(pid_t pid, struct error *err)
{
	int network = open_namespace(pid, "net"), user = geteuid() ? open_namespace(pid, "user") : -1;
	int status = 0, code = network < 0 || (geteuid() && user < 0) ? errno : 0;
	pid_t child = code ? -1 : fork();

	if (!child)
		_exit(add_routes(user, network));
	if (!code && child < 0)
		code = errno;
	if (network >= 0)
		(void)close(network);
	if (user >= 0)
		(void)close(user);
	while (child > 0 && waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return error_errno(err, "waiting for a helper process");
	if (!code)
		code = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
	return code ? error_set(err, code, "cannot keep the sandbox from the machine's own credentials: %s", strerror(code)) : 0;
}
