/* Gathering a text that is judged early: what documents, inboxes and sessions/new share. */
#ifndef INTERPFS_FS_WRITING_H
#define INTERPFS_FS_WRITING_H

#include "fs/files.h"

/* handle->data of an open for writing; the text is handle->text. */
struct writing {
	bool written;     /* something was written or cut, more than O_TRUNC alone */
	bool dirty;       /* it changed since the last verdict */
	int refused;      /* the errno that every further write and close gets */
	int code;         /* the last verdict */
	size_t tail;      /* bytes of the refused write that came last */
	off_t tail_offset; /* at which its writer had it */
	char kept[64];    /* inbox: where the text is on the disk already, "" when it is not */
	void *making;     /* new: what is being made */
	bool made;        /* new: it was, or could not be */
};

/* Sets handle->data; the text as it is stored unless O_TRUNC. */
int writing_open(struct handle *h, struct error *err);
void writing_write(struct handle *h, fuse_req_t request, const char *data, size_t n, off_t offset);
int writing_truncate(struct handle *h, off_t size);

/* inbox.c: a whole text at once; replies the verdict (request NULL: nobody waits), and 0 when a message
 * is on the disk. */
void inbox_put(const struct node *node, const char *text, size_t n, fuse_req_t request);

#endif
