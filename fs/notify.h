/* Telling the kernel to forget. A thread without locks sends what can meet a lock of the kernel's:
 * entries (fuse_lowlevel_notify_inval_entry froze the loop against another
 * process's mkdir). Only attributes may be forgotten from the loop itself, at once. */
#ifndef INTERPFS_FS_NOTIFY_H
#define INTERPFS_FS_NOTIFY_H

#include <stdint.h>

#include "base/error.h"
#include "fs/loop.h"

struct fuse_session;

int notify_start(struct fuse_session *session, struct error *err);
/* Nothing more is told; `ended` is posted to the loop when what is being told has come through. Until
 * then the loop must go on answering: the kernel may wait there for a folder that a process holds
 * which waits for the loop, and neither a signal nor closing /dev/fuse would free either. */
void notify_end(struct loop_post *ended);
void notify_stop(void); /* afterwards, or when the kernel has ended the connection */

/* At once, from the loop: the next stat asks. */
void notify_attributes(uint64_t inode);
/* In the loop: a reply is about to show an inode, with attributes that the kernel may keep; and it has asked for
 * one that it got that way. Attributes that change between are told once the reply has arrived. */
void notify_shown(uint64_t inode);
void notify_known(uint64_t inode);

/* Queued: sent after the loop's current request has been answered. */
void notify_entry(uint64_t parent, const char *name);

#endif
