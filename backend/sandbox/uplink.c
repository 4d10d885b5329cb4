#include "backend/sandbox/uplink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/sandbox/network_refuse.h"
#include "backend/sandbox/spawn.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/program.h"

#define READY_MS 60000
#define ARGUMENTS_MAX (NETWORK_ARGUMENTS + 2)

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void let_go(struct uplink_process *p)
{
	close_fd(&p->pidfd);
	close_fd(&p->says);
	p->pid = 0;
}

static void end(struct uplink_process *p)
{
	if (p->pid > 0) {
		(void)kill(p->pid, SIGKILL); /* neither has anything to put in order */
		while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	let_go(p);
}

/* A process with the writing end of a pipe as descriptor 3, by which it says that it is ready. */
static int launch(struct uplink_process *p, struct spawn *what, struct error *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return error_errno(err, "cannot start %s", what->argv[0]);
	p->says = ends[0];
	what->passed[0] = ends[1];
	p->pid = spawn(what, &p->pidfd, err);
	(void)close(ends[1]);
	if (p->pid > 0)
		return 0;
	let_go(p);
	return -1;
}

/* The byte that it says; -1 when it ended or is late. */
static int heard(const struct uplink_process *p)
{
	struct pollfd said = { .fd = p->says, .events = POLLIN };
	unsigned char byte;
	int n;

	do
		n = poll(&said, 1, READY_MS);
	while (n < 0 && errno == EINTR);
	return n > 0 && read(p->says, &byte, 1) == 1 ? byte : -1;
}

static bool is_early(const struct network *network)
{
	return network->kind == NETWORK_OWN && network->helper->early;
}

int uplink_begin(struct uplink *u, const struct network *network, const struct ids *ids, struct error *err)
{
	cleanup_free char *program = NULL;
	char word[] = "hold", both[] = "both", user[] = "user", *argv[] = { NULL, word, NULL, NULL };
	struct spawn what = { .argv = argv, .output = -1, .passed = { -1, -1, -1, -1 } };
	int ends[2];

	*u = (struct uplink)UPLINK;
	u->network = network;
	u->ids = ids && ids->users.count ? ids : NULL;
	if (pipe2(u->alive, O_CLOEXEC))
		return error_errno(err, "cannot start a sandbox");
	if (!is_early(network) && !u->ids)
		return 0;
	if (u->ids)
		argv[2] = network->kind == NETWORK_HOST ? user : both;
	argv[0] = program = program_guest();
	if (!program)
		return error_memory(err);
	if (pipe2(ends, O_CLOEXEC))
		return error_errno(err, "cannot start a sandbox");
	u->hold = ends[1];
	what.passed[1] = ends[0];
	if (launch(&u->holder, &what, err)) {
		(void)close(ends[0]);
		return -1;
	}
	(void)close(ends[0]);
	return 0;
}

pid_t uplink_space(const struct uplink *u)
{
	return u->holder.pid;
}

static int launch_helper(struct uplink *u, pid_t pid, const char *pid_file, struct error *err)
{
	const struct network *network = u->network;
	const char *const *arguments = network->helper->arguments;
	char *argv[ARGUMENTS_MAX], number[16];
	struct spawn what = { .argv = argv, .output = u->log, .passed = { -1, u->alive[0], -1, -1 }, .lasting = true };
	size_t n = 0;

	/* The holder has done so in its own. */
	if (!u->holder.pid && network_refuse(pid, err))
		return -1;
	(void)snprintf(number, sizeof number, "%d", (int)pid);
	argv[n++] = network->program;
	for (; *arguments; arguments++)
		argv[n++] = (char *)(uintptr_t)(!strcmp(*arguments, "%d") ? number : !strcmp(*arguments, "%p") ? pid_file
											   : *arguments);
	argv[n] = NULL;
	return launch(&u->helper, &what, err);
}

int uplink_start(struct uplink *u, int log, struct error *err)
{
	int code;

	u->log = log;
	if (!u->holder.pid)
		return 0;
	code = heard(&u->holder);
	if (code)
		return error_set(err, code > 0 ? code : EIO, "cannot make the sandbox's network%s%s",
				 code > 0 ? ": " : "", code > 0 ? strerror(code) : "");
	if (u->ids && ids_give(u->holder.pid, u->ids, err))
		return -1;
	return is_early(u->network) ? launch_helper(u, u->holder.pid, "", err) : 0;
}

/* One that forks when it is ready: its child is nobody's, and is known by what it wrote. */
static int await_fork(struct uplink *u, const char *pid_file)
{
	cleanup_buffer struct buffer text = BUFFER(64);
	struct error ignored;
	int status;
	long pid;

	if (spawn_wait(u->helper.pid, u->helper.pidfd, READY_MS, &status, &ignored))
		return -1;
	let_go(&u->helper);
	if (!WIFEXITED(status) || WEXITSTATUS(status) || file_read(AT_FDCWD, pid_file, &text, &ignored) || !text.length)
		return -1;
	pid = strtol(text.data, NULL, 10);
	u->helper.pid = pid > 1 && pid <= INT32_MAX ? (pid_t)pid : 0;
	return u->helper.pid ? 0 : -1;
}

int uplink_finish(struct uplink *u, pid_t guest, const char *pid_file, pid_t *helper, struct error *err)
{
	int failed = 0;

	*helper = 0;
	if (u->network->kind == NETWORK_OWN) {
		if (!u->helper.pid && launch_helper(u, guest, pid_file, err))
			return -1;
		failed = is_early(u->network) ? heard(&u->helper) < 0 : await_fork(u, pid_file);
	}
	if (failed)
		return error_set(err, EIO, "%s did not join the sandbox's network to the outside",
				 u->network->helper->name);
	*helper = u->helper.pid;
	let_go(&u->helper);
	uplink_end(u);
	return 0;
}

void uplink_end(struct uplink *u)
{
	end(&u->helper);
	close_fd(&u->hold);
	end(&u->holder);
	close_fd(&u->log);
	close_fd(&u->alive[0]);
	close_fd(&u->alive[1]);
}
