#include "backend/sandbox/network.h"

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

#include "backend/sandbox/gate.h"
#include "backend/sandbox/spawn.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/program.h"

#define READY_MS 5000
#define TUN "/dev/net/tun"
#define ARGUMENTS_MAX 24

/* A program that gives a namespace a way out. %d in an argument is the process's id. */
static const struct network_helper {
	const char *name, *told;
	const char *resolver;                 /* the address of its own name server; NULL: the host's */
	bool ready_on_3;                      /* writes to descriptor 3 when it works; else: forks then */
	const char *arguments[ARGUMENTS_MAX];
} helpers[] = {
	{ "slirp4netns", "full (slirp4netns)", "10.0.2.3", true,
	  { "--configure", "--mtu=65520", "--disable-host-loopback", "--enable-seccomp", "--ready-fd=3",
	    "--exit-fd=4", "%d", "tap0", NULL } },
	{ "pasta", "full (pasta)", "169.254.1.1", false,
	  { "--config-net", "--quiet", "--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none",
	    "--dns-forward", "169.254.1.1", "%d", NULL } },
};

int network_choose(const char *asked, struct network *network, struct error *err)
{
	*network = (struct network){ .kind = NETWORK_NONE };
	if (!strcmp(asked, "none"))
		return 0;
	if (!strcmp(asked, "listed")) {
		network->kind = NETWORK_LISTED;
		return 0;
	}
	if (strcmp(asked, "full"))
		return error_set(err, EINVAL, "there is no network '%s'", asked);
	network->kind = NETWORK_HOST;
	/* Both make a tap device. */
	if (access(TUN, R_OK | W_OK))
		return 0;
	for (size_t i = 0; i < sizeof helpers / sizeof *helpers; i++) {
		network->program = program_find(helpers[i].name);
		if (network->program) {
			network->kind = NETWORK_OWN;
			network->helper = &helpers[i];
			return 0;
		}
	}
	return 0;
}

void network_free(struct network *network)
{
	free(network->program);
	network->program = NULL;
}

const char *network_told(const struct network *network)
{
	switch (network->kind) {
	case NETWORK_NONE:
		return "none";
	case NETWORK_LISTED:
		return "listed hosts (a proxy at " GATE_URL ")";
	case NETWORK_OWN:
		return network->helper->told;
	case NETWORK_HOST:
		break;
	}
	if (access(TUN, R_OK | W_OK))
		return "host (its loopback is reachable; " TUN " cannot be opened, which a network of its own needs)";
	return "host (its loopback is reachable; install slirp4netns or pasta for a network of its own)";
}

char *network_resolver(const struct network *network)
{
	cleanup_buffer struct buffer host = BUFFER(65536);
	struct error ignored;
	char *text = NULL;

	if (network->kind == NETWORK_OWN && network->helper->resolver)
		return asprintf(&text, "nameserver %s\n", network->helper->resolver) < 0 ? NULL : text;
	/* The host's, as a file: it may be a link into /run, which is not visible inside. */
	if (network->kind == NETWORK_HOST && !file_read(AT_FDCWD, "/etc/resolv.conf", &host, &ignored) && host.length)
		return strdup(host.data);
	return NULL;
}

static int wait_ready(const struct network_helper *helper, pid_t pid, int pidfd, int ready, struct error *err)
{
	struct pollfd p[2] = { { .fd = ready, .events = POLLIN }, { .fd = pidfd, .events = POLLIN } };
	int status = 0, n;
	char byte;

	do
		n = poll(p, 2, READY_MS);
	while (n < 0 && errno == EINTR);
	if (helper->ready_on_3 && p[0].revents && read(ready, &byte, 1) == 1)
		return 0;
	if (!helper->ready_on_3 && p[1].revents && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	    !WEXITSTATUS(status))
		return 0;
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	return error_set(err, EIO, "%s did not join the sandbox's network to the outside%s", helper->name,
			 n ? "" : " in time");
}

pid_t network_start(const struct network *network, pid_t pid, int alive, int log, struct error *err)
{
	const struct network_helper *helper = network->helper;
	char *argv[ARGUMENTS_MAX + 1], number[16];
	int ends[2];
	cleanup_close int pidfd = -1;
	struct spawn what = { .argv = argv, .output = log, .passed = { -1, -1, -1, -1 }, .lasting = true };
	size_t n = 0;
	pid_t child;

	if (network->kind != NETWORK_OWN)
		return 0;
	(void)snprintf(number, sizeof number, "%d", (int)pid);
	argv[n++] = network->program;
	for (size_t i = 0; helper->arguments[i]; i++)
		argv[n++] = strcmp(helper->arguments[i], "%d") ? (char *)(uintptr_t)helper->arguments[i] : number;
	argv[n] = NULL;
	if (pipe2(ends, O_CLOEXEC))
		return error_errno(err, "cannot start %s", helper->name);
	what.passed[0] = helper->ready_on_3 ? ends[1] : -1;
	what.passed[1] = helper->ready_on_3 ? alive : -1;
	child = spawn(&what, &pidfd, err);
	(void)close(ends[1]);
	if (child > 0 && wait_ready(helper, child, pidfd, ends[0], err))
		child = -1;
	(void)close(ends[0]);
	return child > 0 && !helper->ready_on_3 ? 0 : child;
}
