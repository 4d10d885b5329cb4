/* Objects on their way to the disk whose maker does not wait: a session from a closed `sessions/new`. Who
 * looks for one is held back until it is there, so that a command sees what was closed before it,
 * and the loop waits for no disk. The same for what a process of a moment finds out (fs/backends.h), and
 * for the cells of a notebook whose runner has a text of an inbox still to take. */
#ifndef INTERPFS_FS_COMING_H
#define INTERPFS_FS_COMING_H

#include <fuse_lowlevel.h>
#include <stdbool.h>

#include "fs/tree.h"

/* Brackets the making of an object; what was held back goes on after the last. */
void coming_begin(enum object_kind kind);
void coming_end(enum object_kind kind);

/* What was held back for something else looks again. */
void coming_arrived(void);

/* Brackets a text on its way to an object's runner; call coming_arrived after it. Who looks at what it may
 * change waits for it, as long as the runner takes one in five seconds: it may be stuck, however many more are sent. */
void coming_text(struct object *object);
void coming_text_taken(struct object *object);

/* Whether the request has to wait: `again` is called with the same arguments when it need not any
 * more. Also true when it was answered for want of memory. name and fi may be NULL. */
bool coming_holds(const struct node *directory, fuse_req_t request, fuse_ino_t inode, const char *name,
		  const struct fuse_file_info *fi,
		  void (*again)(fuse_req_t request, fuse_ino_t inode, const char *name, struct fuse_file_info *fi));

#endif
