/* Trees that lie on disk: libraries/, skills/, files/, outputs/, and a sandbox's own files behind
 * `fs`. Their disks may be slow and their roots hostile, so a small pool of threads serves them, and
 * every path is opened below the root with openat2(RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS).
 *
 * The loop hands over every request whose inode has the two top bits set, with the very arguments
 * that libfuse gave; they are borrowed for the call, and the reply may come from any thread. */
#ifndef INTERPFS_FS_TREEFILE_H
#define INTERPFS_FS_TREEFILE_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/tree.h"

#define TREEFILE_INODE (UINT64_C(3) << 62)

static inline bool treefile_owns(uint64_t inode) { return inode >> 62 == 3; }

int treefile_start(struct fuse_session *session, struct error *err);
void treefile_stop(void); /* after the last request */

/* LOOKUP of a row of kind tree in a directory of tables: replies with the entry of the tree's root,
 * or an error (ENOTCONN while a sandbox is stopped). */
void treefile_enter(fuse_req_t request, const struct node *node);

/* One of a batch of FORGETs. */
void treefile_forget(uint64_t inode, uint64_t lookups);

/* The object's state has changed, or it was removed: the root of a sandbox that does not run is let go of. */
void treefile_object_changed(const struct object *object);

/* Every other operation. Members that are NULL answer ENOSYS. */
extern const struct fuse_lowlevel_ops treefile_operations;

#endif
