/* The way to a sandbox's root. A guest that is reached by a socket passes its own descriptor out. Over a link
 * that is carried none can be passed: there the backend has found the sandbox's first process on this machine,
 * and the root is opened by it, once the guest has said that it lives (which is a use of it, too). */
#include "backend/sandbox/guest_own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void guest_expect_root(struct guest *g, const struct stat *root)
{
	g->root_device = root->st_dev;
	g->root_file = root->st_ino;
}

void guest_lead_to_root(struct guest *g, int process, const char *why)
{
	root_close(g);
	g->process = process;
	(void)snprintf(g->no_root, sizeof g->no_root, "%s", why);
}

struct guest_operation *guest_root(struct guest *g, const struct guest_callbacks *cb, void *context, struct error *err)
{
	struct guest_operation *o;

	if (!guest_is_carried(g))
		return guest_begin(g, GUEST_ROOT, NULL, cb, context, err);
	if (g->process < 0) {
		(void)error_set(err, EOPNOTSUPP, "fs is %s", g->no_root);
		return NULL;
	}
	o = guest_begin(g, GUEST_TOUCH, NULL, cb, context, err);
	if (o)
		o->leads = true;
	return o;
}

int root_pass(struct guest_operation *o)
{
	int fd;

	if (!o->leads || !o->callbacks.passed)
		return 0;
	/* ESRCH: the folder is that process's alone, whoever has its number by now. */
	fd = openat(o->guest->process, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ESRCH || errno == ENOENT ? ENOTCONN : errno;
	o->callbacks.passed(o->context, fd);
	return 0;
}

void root_close(struct guest *g)
{
	if (g->process >= 0)
		(void)close(g->process);
	g->process = -1;
}
