/* Both ends of the guest's stream. The first byte says which one reads (bit 0), whether
 * descriptors ride along (bit 1), whether the link is an engine's (bit 2) and, with the second, how
 * the rest is cut into pieces.
 *
 * The guest's end: whatever comes, at most its connection ends, and nothing stays open. Nothing is
 * really run, killed or connected to: those three calls are replaced.
 * The runner's end: each operation ends exactly once, what is not asked for is closed, and the
 * same is told however the bytes were cut. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t fake_fork(void)
{
	static pid_t last = 1 << 22;

	return ++last;
}

static int fake_kill(pid_t pid, int number)
{
	(void)number;
	if (pid >= -1)
		abort(); /* never but to the group of a command */
	return 0;
}

static int fake_connect(int fd, const void *address, socklen_t n)
{
	(void)fd;
	(void)address;
	errno = ECONNREFUSED;
	return n % 2 ? -1 : 0;
}

#define vfork() fake_fork()
#define kill(pid, number) fake_kill(pid, number)
#define connect(fd, address, n) fake_connect(fd, address, n)
#define opendir(path) opendir("/proc/self/task")
#include "backend/guest/engine.c"
#include "backend/guest/family.c"
#include "backend/guest/inside.c"
#include "backend/guest/job.c"
#include "backend/guest/link.c"
#include "backend/guest/loop.c"
#include "backend/guest/tunnel.c"

/* Not idle.c: it looks at every process of this machine. */
void idle_set(uint64_t seconds) { (void)seconds; }
void idle_touch(void) { }
int idle_look(void) { return -1; }
#undef kill
#include "backend/sandbox/guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void guest_set_deadline(uint64_t seconds) { (void)seconds; }
int64_t guest_now(void) { return 1; }

static sigjmp_buf left;

void guest_leave(const char *why, int code, const char *text)
{
	(void)why;
	(void)code;
	(void)text;
	siglongjmp(left, 1);
}

static int first_free(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static void drain(int fd)
{
	union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int) * 8)]; } control;
	static char bytes[1 << 16];
	struct iovec part = { bytes, sizeof bytes };

	for (;;) {
		struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
					  .msg_controllen = sizeof control.bytes };

		if (recvmsg(fd, &message, MSG_DONTWAIT) <= 0)
			return;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
			int passed;

			memcpy(&passed, CMSG_DATA(c), sizeof passed);
			close(passed);
		}
	}
}

/* ---- the guest's end ---- */

static void run_guest(const uint8_t *data, size_t size, size_t piece, bool carried)
{
	static struct loop loop = { .listening = -1, .signals = -1, .timer = -1 };
	int ends[2];

	(void)signal(SIGPIPE, SIG_IGN);
	root_folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < LINKS; i++)
		links[i].fd = -1;
	if (root_folder < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		abort();
	if (!link_add(ends[0], ends[0], !carried))
		abort();
	if (!sigsetjmp(left, 0)) {
		for (size_t at = 0; at < size && links[0].fd >= 0;) {
			ssize_t n = send(ends[1], data + at, size - at < piece ? size - at : piece, MSG_DONTWAIT | MSG_NOSIGNAL);

			if (n > 0)
				at += (size_t)n;
			loop_turn(&loop, 0);
			drain(ends[1]);
		}
		for (int i = 0; i < 4; i++) {
			loop_turn(&loop, 0);
			drain(ends[1]);
		}
	}
#ifdef PLANTED
	for (size_t i = 0; i < JOBS; i++)
		if (jobs[i].pid && jobs[i].in >= 0 && jobs[i].credit > GUEST_CREDIT + 1)
			__builtin_trap();
#endif
	for (size_t i = 0; i < JOBS; i++)
		if (jobs[i].pid)
			job_reaped(jobs[i].pid, 9);
	link_close(&links[0]);
	for (size_t i = 0; i < JOBS; i++)
		if (jobs[i].pid)
			abort();
	close(ends[1]);
	close(root_folder);
}

/* ---- the runner's end ---- */

#define OPERATIONS 7

struct seen {
	struct guest_operation *operation;
	uint64_t *sum;
	int ended;
};

static void add(uint64_t *sum, const void *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		*sum = (*sum ^ ((const uint8_t *)data)[i]) * 1099511628211u;
}

static void on_output(void *context, int channel, const void *data, size_t n)
{
	struct seen *s = context;

	if (s->ended)
		abort();
	add(s->sum, &channel, sizeof channel);
	add(s->sum, data, n);
	guest_consumed(s->operation, n);
}

static void on_passed(void *context, int fd)
{
	struct seen *s = context;

	if (s->ended || fcntl(fd, F_GETFD) < 0)
		abort();
	close(fd);
}

static void on_ended(void *context, int code, int status, const char *text)
{
	struct seen *s = context;

	if (s->ended++ || status < 0 || status > 255 || strlen(text) >= ERROR_TEXT_SIZE)
		abort();
	add(s->sum, &code, sizeof code);
	add(s->sum, &status, sizeof status);
	add(s->sum, text, strlen(text));
}

static void begin_all(struct guest *g, struct seen *s)
{
	static const struct guest_callbacks callbacks = { on_output, on_passed, on_ended };
	static char input[100000];
	const char *argv[] = { "true", NULL };
	struct guest_command command = { .argv = argv };
	struct error err;

	s[0].operation = guest_exec(g, &command, &callbacks, &s[0], &err);
	command.input = input;
	command.input_length = sizeof input;
	s[1].operation = guest_exec(g, &command, &callbacks, &s[1], &err);
	s[2].operation = guest_connect(g, "/x", &callbacks, &s[2], &err);
	s[3].operation = guest_root(g, &callbacks, &s[3], &err);
	s[4].operation = guest_processes(g, &callbacks, &s[4], &err);
	s[5].operation = guest_ping(g, &callbacks, &s[5], &err);
	s[6].operation = guest_exec(g, &command, &callbacks, &s[6], &err);
	guest_forget(s[6].operation);
}

static void send_piece(int fd, const uint8_t *data, size_t n, int passed)
{
	union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct iovec part = { (void *)(uintptr_t)data, n };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (passed >= 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof control.bytes;
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &passed, sizeof passed);
	}
	(void)sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The same over somebody else's connection. */
static ssize_t carry_in(void *context, void *data, size_t n)
{
	return recv(*(int *)context, data, n, MSG_DONTWAIT);
}

static ssize_t carry_out(void *context, const void *data, size_t n)
{
	return send(*(int *)context, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool is_pending(void *context)
{
	(void)context;
	return false;
}

static void carry_no_more(void *context)
{
	close(*(int *)context);
}

static int attach(struct guest **g, int *fd, bool carried, struct error *err)
{
	struct guest_carrier carrier = { fd, *fd, carry_in, carry_out, is_pending, carry_no_more };

	return carried ? guest_attach_carrier(g, &carrier, err) : guest_attach(g, *fd, err);
}

static uint64_t run_runner(const uint8_t *data, size_t size, size_t piece, int with_descriptors, bool carried)
{
	uint64_t sum = 14695981039346656037u;
	struct seen s[OPERATIONS];
	struct guest *g;
	struct error err;
	int ends[2], folder = with_descriptors ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1, got = 0;

	for (int i = 0; i < OPERATIONS; i++)
		s[i] = (struct seen){ .sum = &sum };
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0 ||
	    attach(&g, &ends[0], carried, &err) < 0)
		abort();
	if (carried)
		guest_lead_to_root(g, open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "");
	begin_all(g, s);
	for (size_t at = 0; at < size && !got; at += piece) {
		send_piece(ends[1], data + at, size - at < piece ? size - at : piece,
			   !with_descriptors ? -1 : at % 3 ? folder : ends[1]);
		(void)guest_events(g);
		got = guest_step(g, &err);
		drain(ends[1]);
	}
	guest_detach(g);
	for (int i = 0; i < OPERATIONS; i++)
		if (s[i].ended != (i < OPERATIONS - 1))
			abort();
	close(ends[1]);
	if (folder >= 0)
		close(folder);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int before = first_free();
	size_t piece;

	if (size < 3)
		return 0;
	piece = (size_t)data[1] * 7 + 1;
	if (piece < size / 16)
		piece = size / 16; /* more pieces only cost time */
	if (!(data[0] & 1))
		run_guest(data + 2, size - 2, piece, data[0] & 4);
	else if (data[0] & 2)
		(void)run_runner(data + 2, size - 2, piece, 1, false);
	else if (run_runner(data + 2, size - 2, piece, 0, data[0] & 4) != run_runner(data + 2, size - 2, size, 0, data[0] & 4))
		abort();
	if (first_free() != before)
		abort(); /* a descriptor stays open */
	return 0;
}
