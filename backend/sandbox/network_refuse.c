/* A child goes into the namespace and adds routes (rtnetlink(7)), since a process cannot come back
 * from a user namespace. */
#include "backend/sandbox/network_refuse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdbool.h>
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

/* One request of rtnetlink: its header, a struct rtmsg or fib_rule_hdr, attributes. */
struct request {
	union { struct nlmsghdr head; char bytes[256]; } text;
};

static void begin(struct request *r, unsigned short type, const void *of, size_t n)
{
	memset(r, 0, sizeof *r);
	r->text.head = (struct nlmsghdr){ .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK,
					  .nlmsg_len = (uint32_t)NLMSG_LENGTH(n) };
	memcpy(r->text.bytes + NLMSG_HDRLEN, of, n);
}

static void add(struct request *r, unsigned short type, const void *value, size_t n)
{
	struct rtattr attribute = { .rta_type = type, .rta_len = (unsigned short)RTA_LENGTH(n) };
	char *at = r->text.bytes + NLMSG_ALIGN(r->text.head.nlmsg_len);

	memcpy(at, &attribute, sizeof attribute);
	memcpy(at + RTA_LENGTH(0), value, n);
	r->text.head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->text.head.nlmsg_len) + RTA_LENGTH(n));
}

/* 0 or an errno. */
static int ask(int fd, const struct request *r)
{
	union { struct nlmsghdr head; char bytes[1024]; } answer;
	struct nlmsgerr told;
	ssize_t got;

	if (send(fd, r->text.bytes, r->text.head.nlmsg_len, 0) < 0 || (got = recv(fd, &answer, sizeof answer, 0)) < 0)
		return errno;
	if ((size_t)got < NLMSG_LENGTH(sizeof told) || answer.head.nlmsg_type != NLMSG_ERROR)
		return EPROTO;
	memcpy(&told, answer.bytes + NLMSG_HDRLEN, sizeof told);
	return -told.error;
}

static int add_route(int fd, const struct refused *what, unsigned char table)
{
	const struct rtmsg of = { .rtm_family = (unsigned char)what->family, .rtm_dst_len = what->bits, .rtm_table = table,
				  .rtm_protocol = RTPROT_STATIC, .rtm_type = RTN_UNREACHABLE };
	unsigned char address[16];
	struct request r;
	int code;

	if (inet_pton(what->family, what->address, address) != 1)
		return EINVAL;
	begin(&r, RTM_NEWROUTE, &of, sizeof of);
	add(&r, RTA_DST, address, what->family == AF_INET ? 4 : 16);
	code = ask(fd, &r);
	/* A kernel without IPv6, or a network without, reaches nothing by it. */
	return what->family == AF_INET6 && (code == EOPNOTSUPP || code == EAFNOSUPPORT || code == EACCES) ? 0 : code;
}

static int add_routes_to(int fd, unsigned char table)
{
	int code = 0;

	for (size_t i = 0; !code && i < sizeof refused / sizeof *refused; i++)
		code = add_route(fd, &refused[i], refused[i].family == AF_INET ? table : RT_TABLE_MAIN);
	return code;
}

int network_refuse_here(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), code;

	if (fd < 0)
		return errno;
	code = add_routes_to(fd, RT_TABLE_MAIN);
	(void)close(fd);
	return code;
}

/* ---- where names are told by such an address (some clouds' machines are) ---- */

#define OWN_TABLE 169     /* asked before the main one */
#define NAMES_FIRST 100   /* but for names */
#define OWN_SECOND 200

static bool is_refused(struct in_addr address)
{
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		struct in_addr what;

		if (refused[i].family == AF_INET && inet_pton(AF_INET, refused[i].address, &what) == 1 &&
		    !((ntohl(what.s_addr) ^ ntohl(address.s_addr)) >> (32 - refused[i].bits)))
			return true;
	}
	return false;
}

/* Packets for that address's port of names go by the main table. */
static int allow_names(int fd, struct in_addr server, unsigned char protocol)
{
	const struct fib_rule_hdr of = { .family = AF_INET, .dst_len = 32, .table = RT_TABLE_MAIN, .action = FR_ACT_TO_TBL };
	const struct fib_rule_port_range port = { 53, 53 };
	const uint32_t priority = NAMES_FIRST;
	struct request r;
	int code;

	begin(&r, RTM_NEWRULE, &of, sizeof of);
	add(&r, FRA_PRIORITY, &priority, sizeof priority);
	add(&r, FRA_DST, &server, sizeof server);
	add(&r, FRA_IP_PROTO, &protocol, sizeof protocol);
	add(&r, FRA_DPORT_RANGE, &port, sizeof port);
	code = ask(fd, &r);
	return code == EEXIST ? 0 : code;
}

static int ask_own_table(int fd)
{
	const struct fib_rule_hdr of = { .family = AF_INET, .table = OWN_TABLE, .action = FR_ACT_TO_TBL };
	const uint32_t priority = OWN_SECOND;
	struct request r;
	int code;

	begin(&r, RTM_NEWRULE, &of, sizeof of);
	add(&r, FRA_PRIORITY, &priority, sizeof priority);
	code = ask(fd, &r);
	return code == EEXIST ? 0 : code;
}

int network_refuse_but_names(const char *resolver)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), code = fd < 0 ? errno : 0;
	bool own = false;

	for (const char *line = resolver; !code && *line; line += strcspn(line, "\n"), line += *line == '\n') {
		struct in_addr server;
		char text[64];

		if (sscanf(line, " nameserver %63[0-9.]", text) != 1 || inet_pton(AF_INET, text, &server) != 1 || !is_refused(server))
			continue;
		own = true;
		code = allow_names(fd, server, IPPROTO_UDP);
		if (!code)
			code = allow_names(fd, server, IPPROTO_TCP);
	}
	if (!code)
		code = add_routes_to(fd, own ? OWN_TABLE : RT_TABLE_MAIN);
	if (!code && own)
		code = ask_own_table(fd);
	if (fd >= 0)
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
