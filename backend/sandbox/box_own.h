/* What the files of a box share (box.h): box.c its folder, box_start.c its start and finding it
 * again, box_link.c the guest's socket, box_end.c its record and its end. */
#ifndef INTERPFS_BACKEND_SANDBOX_BOX_OWN_H
#define INTERPFS_BACKEND_SANDBOX_BOX_OWN_H

#include <stdint.h>
#include <sys/types.h>

#include "backend/sandbox/box.h"

#define RUNTIME_LOG_MAX 65536
#define RUNTIME_MS 60000

void box_close_fd(int *fd);

/* box_link.c: the guest's socket, which has a name only in ctl/. Descriptors are the caller's. */
int box_listen(struct box *box, struct error *err);
int box_connect(struct box *box, struct error *err);
/* The guest's link over a connection, which it takes, also when it fails. */
int box_attach(struct box *box, int connection, struct guest **guest, struct error *err);
/* Who listens at the other end, as the kernel knows it. 0 when it cannot be told. */
pid_t box_peer(int fd);

/* box_end.c: ctl/pid. */
int box_record(struct box *box, struct error *err);
int box_record_helper(struct box *box, struct error *err); /* the network's */
/* The recorded first process, when it is still that one. 0 otherwise. Fills in box->pidfd. */
pid_t box_recorded(struct box *box);
/* When a process was started, as the kernel counts; 0 when there is none. */
uint64_t box_start_time(pid_t pid);
/* A runtime's name: the last part of its program's path. Borrowed. */
const char *box_runtime_name(const char *program);

/* BOX/up/top-NAME: the upper folder of a /NAME that is neither the host's nor in box_own_folders. */
#define TOP "top-"

#endif
