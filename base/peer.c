/* The kernel's own answer (sock_diag(7)): the socket whose address is our peer's, its user and whether
 * a process still has it. One that was closed already is nobody's any more, which would count as
 * root's: it is not let in. Nor is one that the kernel does not find, which then may show whoever
 * listens at that address. */
#include "base/peer.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct question {
	struct nlmsghdr head;
	struct inet_diag_req_v2 of;
};

/* A socket by its own address and its peer's. */
static struct question about(const struct sockaddr_in *own, const struct sockaddr_in *peer)
{
	struct question q = {
		.head = { .nlmsg_len = sizeof q, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST },
		.of = { .sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0u },
	};

	q.of.id.idiag_sport = own->sin_port;
	q.of.id.idiag_dport = peer->sin_port;
	q.of.id.idiag_src[0] = own->sin_addr.s_addr;
	q.of.id.idiag_dst[0] = peer->sin_addr.s_addr;
	q.of.id.idiag_cookie[0] = q.of.id.idiag_cookie[1] = (uint32_t)INET_DIAG_NOCOOKIE;
	return q;
}

/* 1 with *told, 0 when there is no such socket, -1 when the kernel does not say. */
static int ask(int asking, const struct question *question, struct inet_diag_msg *told)
{
	union { struct nlmsghdr head; char bytes[1024]; } answer;
	ssize_t n;

	while (recv(asking, &answer, sizeof answer, MSG_DONTWAIT) > 0)
		; /* an answer that came too late for its question */
	if (send(asking, question, sizeof *question, 0) != sizeof *question)
		return -1;
	do
		n = recv(asking, &answer, sizeof answer, 0);
	while (n < 0 && errno == EINTR);
	if (n < (ssize_t)sizeof answer.head)
		return -1;
	if (answer.head.nlmsg_type == SOCK_DIAG_BY_FAMILY && n >= (ssize_t)(NLMSG_HDRLEN + sizeof *told)) {
		memcpy(told, answer.bytes + NLMSG_HDRLEN, sizeof *told);
		return 1;
	}
	return answer.head.nlmsg_type == NLMSG_ERROR ? 0 : -1;
}

int peer_open(int listening)
{
	static const struct timeval patience = { .tv_sec = 1 };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	struct sockaddr_in ours, nobody = { .sin_family = AF_INET };
	socklen_t size = sizeof ours;
	struct inet_diag_msg told;
	struct question question;

	if (fd < 0)
		return -1;
	if (!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) &&
	    !getsockname(listening, (struct sockaddr *)&ours, &size)) {
		question = about(&ours, &nobody);
		if (ask(fd, &question, &told) == 1)
			return fd;
	}
	(void)close(fd);
	return -1;
}

bool peer_may(int asking, int fd, uid_t owner)
{
	struct sockaddr_in ours, theirs;
	socklen_t size = sizeof ours, other = sizeof theirs;
	struct inet_diag_msg told;
	struct question question;
	int answer;

	if (asking < 0 || !owner)
		return true;
	if (getsockname(fd, (struct sockaddr *)&ours, &size) || getpeername(fd, (struct sockaddr *)&theirs, &other))
		return false;
	question = about(&theirs, &ours);
	answer = ask(asking, &question, &told);
	if (answer <= 0)
		return answer < 0;
	return told.id.idiag_dport == ours.sin_port && told.idiag_inode && (told.idiag_uid == owner || !told.idiag_uid);
}
