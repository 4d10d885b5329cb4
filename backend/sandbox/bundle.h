/* A container's bundle: what crun and runc read from config.json. Pure: it writes no file.
 *
 * A container ("box") has one folder on the host:
 *
 *      BOX/root/          its / : symbolic links bin sbin lib* as on the host, plain folders
 *      BOX/up/X work/X    upper and work folder of each overlay (usr etc opt …)
 *      BOX/mask/X         what is hidden of the host's X (mask.h)
 *      BOX/ctl/           0700, never visible inside: guest.sock exit pid runtime.log
 *      BOX/bundle/        config.json while it starts
 *
 * Only /usr, /etc, /opt (and what a config names) come from the host; everything else is private.
 * Root's and a user's bundle differ only where the kernel makes them. */
#ifndef INTERPFS_BACKEND_SANDBOX_BUNDLE_H
#define INTERPFS_BACKEND_SANDBOX_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "backend/sandbox/ids.h"
#include "base/error.h"

#define BUNDLE_GUEST "/run/interpfs/guest"   /* where the guest's program is inside */
#define BUNDLE_PIDS 4096                     /* processes and threads in one sandbox */

/* What root inside may do, NULL-terminated; the same on every backend. */
extern const char *const bundle_capabilities[];

struct bundle_bind {
	const char *source, *destination;
	bool writable;
	bool device;                /* a node: it works as one, and root's device group allows it */
};

struct bundle_overlay {
	const char *destination;    /* inside */
	const char *name;           /* of its folders in BOX/up and BOX/work */
	const char *const *lowers;  /* host folders, topmost first, NULL-terminated */
};

struct bundle {
	const char *box;            /* absolute */
	const char *guest;          /* the guest's program on the host */
	const char *hostname;
	bool user;                  /* not root: a user namespace */
	struct ids ids;             /* what it maps */
	bool host_network;          /* the host's own; false: a network namespace */
	pid_t space;                /* whose network namespace (and user namespace) it joins; 0: new ones */
	uint64_t timeout;           /* seconds, 0 none */
	const struct bundle_overlay *overlays; /* in order of mounting */
	size_t overlay_count;
	const struct bundle_bind *binds;
	size_t bind_count;
	const char *cgroup;         /* path in every hierarchy; root only */
	uint64_t memory;            /* bytes, 0 none; root only */
	double cpu;                 /* cores, 0 none; root only */
};

/* The text of config.json, owned by the caller. NULL with err: ENOMEM, or ENAMETOOLONG when the
 * options of one mount pass a page, which the kernel does not take. */
char *bundle_render(const struct bundle *bundle, struct error *err);

#endif
