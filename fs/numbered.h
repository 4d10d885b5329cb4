/* Folders of an object that are made by mkdir and have a name and a number (interfaces/IF), as an object
 * has a name and a serial: in the backing folder, names/NAME is a link to ../NUMBER. A number is never
 * given twice, so an old descriptor never joins a new folder. */
#ifndef INTERPFS_FS_NUMBERED_H
#define INTERPFS_FS_NUMBERED_H

#include "fs/files.h"

#define NUMBERED_BITS 12
#define NUMBERED_MAX ((1u << NUMBERED_BITS) - 1)

uint32_t numbered_find(const struct node *directory, const char *name); /* 0: there is none */
int numbered_list(const struct node *directory, int (*visit)(void *context, const char *name, const struct node *child),
		  void *context);

/* The name that a node below such a folder has it by; -1 without one. */
int numbered_name(const struct node *node, const char *folder, char name[256]);

/* mkdir, rmdir and mv: in the storage thread, then they reply; the object's runner is told. What was in a
 * removed one the runner deletes. */
void numbered_make(fuse_req_t request, const struct node *directory, const char *name);
/* rmdir where no runner is told: it and all that is in it goes. */
void numbered_drop(fuse_req_t request, const struct node *directory, const char *name);
void numbered_remove(fuse_req_t request, const struct node *directory, const char *name);
void numbered_rename(fuse_req_t request, const struct node *directory, const char *name, const char *to);

#endif
