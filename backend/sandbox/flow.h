/* Bytes on their way from one socket to another, as fast as the other takes them: what the relay and the
 * callers of interfaces copy by. Nothing here waits. */
#ifndef INTERPFS_BACKEND_SANDBOX_FLOW_H
#define INTERPFS_BACKEND_SANDBOX_FLOW_H

#include <stdbool.h>
#include <stddef.h>

/* One direction. Only what could not be sent at once is kept. */
struct flow {
	char *bytes;         /* owned, NULL when nothing waits */
	size_t length, sent;
	bool ended;          /* nothing more comes: the other was told */
};

/* Moves what can be moved. -1: one of the two is over. */
int flow_move(struct flow *flow, int from, int to);
void flow_free(struct flow *flow);

#endif
