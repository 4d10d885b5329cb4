#include "backend/sandbox/flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#define PIECE 65536u

/* Sends what waits. 1: all of it went; 0: the rest waits; -1: it is over. */
static int flush(struct flow *flow, int to)
{
	ssize_t n = send(to, flow->bytes + flow->sent, flow->length - flow->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	flow->sent += (size_t)n;
	if (flow->sent < flow->length)
		return 0;
	free(flow->bytes);
	flow->bytes = NULL;
	flow->length = flow->sent = 0;
	return 1;
}

/* Sends a piece, and keeps what does not go at once. As flush(). */
static int pass_on(struct flow *flow, const char *piece, size_t length, int to)
{
	ssize_t n = send(to, piece, length, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -1;
	if (n < 0)
		n = 0;
	if ((size_t)n == length)
		return 1;
	flow->length = length - (size_t)n;
	flow->bytes = malloc(flow->length);
	if (!flow->bytes)
		return -1;
	memcpy(flow->bytes, piece + n, flow->length);
	return 0;
}

int flow_move(struct flow *flow, int from, int to)
{
	static char piece[PIECE]; /* of the one that is moved now */

	for (int turn = 0; turn < 8; turn++) {
		int went = 1;
		ssize_t n;

		if (flow->length)
			went = flush(flow, to);
		if (went <= 0 || flow->ended)
			return went < 0 ? -1 : 0;
		n = recv(from, piece, sizeof piece, MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		if (n == 0) {
			flow->ended = true;
			(void)shutdown(to, SHUT_WR);
			return 0;
		}
		went = pass_on(flow, piece, (size_t)n, to);
		if (went <= 0)
			return went;
	}
	return 0;
}

void flow_free(struct flow *flow)
{
	free(flow->bytes);
	flow->bytes = NULL;
}
