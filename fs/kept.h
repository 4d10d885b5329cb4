/* Files that lie beside a document and are kept on the disk, in a listed folder whose child is of the kind
 * FILE_KEPT: modules beside an interface.py. What editors make for a moment stays a scratch file. */
#ifndef INTERPFS_FS_KEPT_H
#define INTERPFS_FS_KEPT_H

#include "fs/files.h"

/* Whether a file of this name is kept in this folder. */
bool kept_takes(const struct node *directory, const char *name);

/* What folder.c and attributes.c ask of them; those with a request reply, when it is on the disk (NULL: nobody waits). */
struct named *kept_create(const struct node *directory, const char *name); /* NULL with errno */
void kept_put(fuse_req_t request, const struct node *directory, const char *name, const struct buffer *text);
void kept_remove(fuse_req_t request, const struct node *directory, const char *name);
/* What it holds, in a scratch file of the same name, which hides it; it is still on the disk. NULL with errno. */
struct named *kept_lift(const struct node *directory, const char *name);
void kept_resize(fuse_req_t request, struct named *named, off_t size);
/* Whether the renaming was about one of them; then it is taken care of. */
bool kept_rename(fuse_req_t request, const struct node *directory, const char *name, const char *to);

#endif
