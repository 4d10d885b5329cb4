/* Not built yet: a folder on disk answers ENOTCONN. */
#include "fs/treefile.h"

#include <errno.h>

int treefile_start(struct fuse_session *session, struct error *err)
{
	(void)session;
	(void)err;
	return 0;
}

void treefile_stop(void)
{
}

void treefile_enter(fuse_req_t request, const struct node *node)
{
	(void)node;
	fuse_reply_err(request, ENOTCONN);
}

void treefile_forget(uint64_t inode, uint64_t lookups)
{
	(void)inode;
	(void)lookups;
}

const struct fuse_lowlevel_ops treefile_operations = { .init = NULL };
