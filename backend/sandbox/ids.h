/* An ordinary user's subordinate ids (subuid(5)): what users and groups of an image are on this machine.
 *
 *      inside          0       1 … COUNT               beyond
 *      on this machine UID     FIRST … FIRST+COUNT-1   nobody: becomes root's
 *
 * newuidmap and newgidmap, which are setuid root, give such a map to one namespace of this process's: it enters
 * that, in which each id is called what it is called outside, and has root's rights over the files of all of
 * them. Namespaces of sandboxes are made within it and get their maps from here. Whatever needs those rights
 * enters first: a sandbox's runner before it makes anything of an image, a snapshot's, `doctor --reap`.
 *
 *      STATE/ids               "UID:FIRST:COUNT GID:FIRST:COUNT": there are files of such ids
 *      STATE/roots/HASH/ids    the same of one system (rootfs.h); without it all is the user's */
#ifndef INTERPFS_BACKEND_SANDBOX_IDS_H
#define INTERPFS_BACKEND_SANDBOX_IDS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "fs/state.h"

#define IDS_FILE "ids"
#define IDS_TEXT_SIZE 96

struct ids_map {
	uint32_t own, first, count; /* count 0: one id, the user's own */
};

struct ids {
	struct ids_map users, groups;
};

/* Those of the one who runs this. -1 with the command that gives some. */
int ids_find(struct ids *ids, struct error *err);
/* The largest range of a user, by name or number, in the text of a table; map->own is the user's, which is in none
 * of them. *free_from becomes what is past all that the table has. */
void ids_look_up(const char *text, const char *user, uid_t uid, struct ids_map *map, uint32_t *free_from);

/* This process, which has one thread, enters the namespace, once: later calls say the same. NULL with why not:
 * then it is as it was. Borrowed. */
const struct ids *ids_enter(struct error *err);
/* The same where STATE has files of such ids; what is missing will be said by whoever finds one. */
void ids_enter_if_marked(const struct state *state);
/* Rights over the user's own files alone, where there is no more; nothing where the machine gives none. */
void ids_enter_own(void);

/* The map of the namespace of process `holder`, a child of ours, made within the one that was entered. */
int ids_give(pid_t holder, const struct ids *ids, struct error *err);

/* What an id of an image is on this machine; *known: whether there is one. And the other way round: others keep
 * their number. */
uint32_t ids_outside(const struct ids_map *map, uint32_t inside, bool *known);
uint32_t ids_inside(const struct ids_map *map, uint32_t outside);

int ids_write(const struct ids *ids, int folder, bool durable, struct error *err);
/* 1: read. 0: there is none, and *ids has one id. */
int ids_read(struct ids *ids, int folder, struct error *err);
void ids_text(const struct ids *ids, char out[IDS_TEXT_SIZE]);
bool ids_same(const struct ids *a, const struct ids *b);

#endif
