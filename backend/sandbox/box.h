/* One container: its folder, its start, its end, and finding it again. A sandbox's, a build's and
 * a probe's are the same thing. bundle.h draws the folder. */
#ifndef INTERPFS_BACKEND_SANDBOX_BOX_H
#define INTERPFS_BACKEND_SANDBOX_BOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "backend/sandbox/bundle.h"
#include "backend/sandbox/guest.h"
#include "backend/sandbox/uplink.h"
#include "base/error.h"

struct box {
	char *path;      /* BOX, absolute, owned */
	char *id;        /* the container's name, owned */
	char *runtimes;  /* STATE/runtime: what runtimes keep of their containers, owned */
	int folder, ctl; /* descriptors of BOX and BOX/ctl; -1 before box_make */
	/* while it runs */
	pid_t pid;       /* of its first process as the host sees it, 0 when it does not run */
	int pidfd;       /* readable when it has ended */
	pid_t helper;    /* the network's, when this process started it */
};

/* Only names things. */
int box_init(struct box *box, const char *state, const char *path, const char *id, struct error *err);
void box_free(struct box *box); /* a box that runs goes on */

/* Makes the folder and what is in it, where it is not there yet. */
int box_make(struct box *box, struct error *err);

/* Folders of / that are plain at first, and upper folders of overlays (BOX/up/NAME) from the time when
 * the box was above an image. NULL-terminated. The others that are made inside are, from the time when the
 * box was above parts (parts.h), BOX/up/top-NAME. */
extern const char *const box_own_folders[];
/* The upper folder of a folder of /; false where it is the host's, or the kernel's. */
#define BOX_UPPER_SIZE 300
bool box_upper(const char *name, char upper[BOX_UPPER_SIZE]);
/* Makes them upper folders, with what is in them; all: whatever is in /. It does not run. */
int box_make_uppers(struct box *box, bool all, struct error *err);
/* What lies directly in the / of a system below the box (rootfs.h): links as they are, overlays' folders for
 * all else, those of an image above that system too (its `up`; NULL: none), each with the owner and the mode
 * of what it hides. It does not run. */
int box_stand_on(struct box *box, const char *base, const char *up, struct error *err);
bool box_has_upper(const struct box *box, const char *name);
/* Calls visit for each BOX/up/top-NAME, until it returns non-zero. */
int box_each_top(const struct box *box, int (*visit)(void *context, const char *name, struct error *err),
		 void *context, struct error *err);

/* A file of the overlay's upper layer or of the private root, by its path inside ("/etc/hosts"),
 * made or replaced; only while the box does not run, and never through a link. */
int box_put(struct box *box, const char *inside, const void *data, size_t n, mode_t mode, struct error *err);
/* Opens a path inside for the host to fill (flags as openat2's; with O_CREAT the folders before it
 * are made). EROFS where the path is in none of the private folders. */
int box_open(struct box *box, const char *inside, int flags, mode_t mode, struct error *err);

/* A folder inside and those before it, where they are missing; never through a link to the host. */
int box_folder(struct box *box, const char *inside, struct error *err);

/* Starts the helper of a way out, which writes into ctl/network.log. */
int box_start_uplink(struct box *box, struct uplink *uplink, struct error *err);

struct box_start {
	const char *runtime;             /* the program */
	const struct bundle *bundle;
	struct uplink *uplink;           /* begun, and started if it is that early; finished or ended after */
	const char *const *env;          /* of commands, NAME=VALUE, NULL-terminated; never on a disk */
	int cpus;                        /* processors it is kept to; 0: all (for users) */
};

/* Starts it and waits until the guest answers (some 30 ms). On failure nothing of it is left and
 * the sentence is the runtime's own. The guest's link is the caller's to detach. */
int box_start(struct box *box, const struct box_start *start, struct guest **guest, struct error *err);

/* Finds a box that an earlier runner started and that lives: 1 with its link, 0 when none does, -1. */
int box_adopt(struct box *box, struct guest **guest, struct error *err);

/* Waits until it has ended, killing it after timeout_ms, and removes what the runtime keeps of
 * it. The caller has detached the guest's link. Nothing to do when it does not run. */
int box_end(struct box *box, int timeout_ms, struct error *err);

/* Ends whatever is left of an earlier start: a half-made container, its groups. */
int box_reap(struct box *box, struct error *err);

/* Removes the folder. It must not run. */
int box_remove(struct box *box, struct error *err);

#endif
