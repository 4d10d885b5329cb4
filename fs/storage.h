/* The storage thread: every write that must be synced, one after the other in the order in which
 * the loop asked for it. The loop never waits for a disk; it replies when a job is done. */
#ifndef INTERPFS_FS_STORAGE_H
#define INTERPFS_FS_STORAGE_H

#include "base/error.h"
#include "fs/loop.h"

struct storage_job {
	int (*work)(struct storage_job *job, struct error *err); /* in the storage thread */
	void (*done)(struct storage_job *job);                   /* in the loop; may free the job */
	void *data;
	int result;           /* of work */
	struct error error;   /* when result is not 0 */
	struct loop_post post;
	struct storage_job *next;
};

int storage_start(struct error *err);
void storage_submit(struct storage_job *job); /* the caller owns job and keeps it until done */
void storage_stop(void);                      /* finishes what was submitted; done is called */

#endif
