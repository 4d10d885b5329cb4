/* Files without a row: editors' scratch files, which live in memory and are private to their
 * folder, and the files of a listed folder (images/, outputs/). Their inodes are numbers, given once
 * and never again; they live as long as the kernel knows them or they have a name.
 *
 * Saving by rename: a scratch file that is renamed over a document becomes an alias of it until
 * the kernel has forgotten its inode. */
#ifndef INTERPFS_FS_NAMED_H
#define INTERPFS_FS_NAMED_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/buffer.h"
#include "fs/tree.h"

#define NAMED_INODE (UINT64_C(1) << 63)

static inline bool named_owns(uint64_t inode) { return inode >> 62 == 2; }

struct named {
	uint64_t inode;
	struct node directory;  /* its object is pinned; for an alias: the document itself */
	char *name;             /* NULL: it has none any more */
	bool listed;            /* a file of the backing folder, else scratch; named_rename changes it */
	bool alias;
	uint64_t lookups;       /* the kernel's */
	uint32_t opens;
	mode_t mode;
	struct buffer text;     /* scratch: its bytes */
	struct timespec changed;
	struct named *next;                   /* in its bucket, while it has a name */
	struct named *next_scratch, **scratch_link; /* scratch files with a name */
};

struct named *named_by_inode(uint64_t inode);
struct named *named_find(const struct node *directory, const char *name);
/* A new one; NULL with errno: ENOSPC when the folder has too many. */
struct named *named_make(const struct node *directory, const char *name, bool listed);
/* In its folder; to a name under which it is a file of the backing folder, or a scratch file. */
int named_rename(struct named *named, const char *name, bool listed);
void named_unlink(struct named *named);                  /* may free it */
void named_become(struct named *named, const struct node *document);
void named_looked_up(struct named *named);
void named_forget(uint64_t inode, uint64_t lookups);
void named_open(struct named *named);
void named_close(struct named *named);
/* Scratch files of a folder, for its listing. */
int named_each(const struct node *directory, int (*visit)(void *context, const struct named *named),
	       void *context);
/* The object is gone: its scratch files lose their names. */
void named_remove_all(const struct object *object);

#endif
