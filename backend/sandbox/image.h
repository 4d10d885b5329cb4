/* An image: what lies between the host's system and a sandbox's own files. It is what a box left:
 *
 *      STATE/images/HASH/up/X      the upper folder of each overlay (usr etc opt var-lib-dpkg)
 *      STATE/images/HASH/root/X    the rest of its / (var root home srv mnt workspace)
 *
 * Made once from `system_packages` and `setup`, shared by every sandbox that asks for the same. Above the
 * host's system only root can: apt changes files that belong to the host's root, which a user's namespace
 * does not map. Above a system of the config's `image` (rootfs.h) all of it lies in up/. */
#ifndef INTERPFS_BACKEND_SANDBOX_IMAGE_H
#define INTERPFS_BACKEND_SANDBOX_IMAGE_H

#include <cjson/cJSON.h>

#include "backend/sandbox/backend.h"
#include "backend/sandbox/ids.h"
#include "backend/sandbox/making.h"
#include "base/error.h"

struct image {
	char *path;                   /* absolute, owned; NULL: the system below alone */
	char hash[MAKING_HASH_SIZE];  /* "" without one */
	char *base;                   /* the system below, of rootfs.h, absolute, owned; NULL: the host's */
	char base_hash[MAKING_HASH_SIZE];
	struct ids ids;               /* of its users and groups; a count of 0: all is the one user's */
};

/* The image for a list of packages and one of shell commands, made when it is not there yet; both
 * empty: none. `kept` is a folder of the sandbox's in which its image is remembered: it starts with the
 * same again, also when the host's packages have changed meanwhile. -1 with apt's own sentence, or the
 * command that failed; ECANCELED. */
/* Above image->base, which is the caller's to have found. */
int image_find(struct sandbox *s, const char *runtime, int kept, const cJSON *packages, const cJSON *setup,
	       struct image *image, struct error *err);
void image_free(struct image *image);

/* A shell's script that installs "$@" by whichever package manager is there. */
extern const char image_install_script[];

/* The commands of `setup`, one after the other, as a shell runs them; -1 with the first that failed. */
struct commands;
int image_set_up(struct commands *commands, const cJSON *setup, struct error *err);

#endif
