#include "backend/sandbox/network.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/sandbox/gate.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/program.h"

#define TUN "/dev/net/tun"

static const struct network_helper helpers[] = {
	{ "slirp4netns", "full (slirp4netns)", "10.0.2.3", true, true,
	  { "--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp", "--ready-fd=3",
	    "--exit-fd=4", "%d", "tap0", NULL } },
	/* The name server's address is one that nobody has (RFC 5737). */
	{ "pasta", "full (pasta)", "198.51.100.53", false, false,
	  { "--config-net", "--quiet", "--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none",
	    "--dns-forward", "198.51.100.53", "--pid", "%p", "%d", NULL } },
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
		network->program = geteuid() || helpers[i].of_root ? program_find(helpers[i].name) : NULL;
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
	return geteuid() ? "host (its loopback is reachable; install slirp4netns or pasta for a network of its own)"
			 : "host (its loopback is reachable; install slirp4netns for a network of its own)";
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

