/* Values that are put together from many files when they are first read: row->assemble. */
#ifndef INTERPFS_FS_ASSEMBLY_H
#define INTERPFS_FS_ASSEMBLY_H

#include "fs/files.h"

int assembly_open(struct handle *h, struct error *err);  /* sets h->data */
/* Whether a read has to wait for it, or was refused; when it can be answered, h->fd is the snapshot. */
bool assembly_parks(struct handle *h, fuse_req_t request, size_t size, off_t offset);
void assembly_close(struct handle *h);

#endif
