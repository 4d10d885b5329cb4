/* A server's side of a WebSocket: its answer to the handshake, then frames; and that what a client
 * sends can be read back. */
// sources: backend/kernel/websocket.c base/buffer.c base/error.c
#include <stdlib.h>
#include <string.h>

#include "backend/kernel/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(int condition)
{
	if (!condition)
		abort();
}

static void send_back(const uint8_t *payload, size_t n)
{
	cleanup_buffer struct buffer out = BUFFER(1 << 20);
	struct websocket_frame frame;
	struct error err;
	uint8_t *p;

	require(websocket_append(&out, WEBSOCKET_BINARY, payload, n, &err) == 0);
	p = (uint8_t *)out.data;
	require(p[1] & 0x80);
	p[1] &= 0x7f;
	require(websocket_parse(p, out.length, &frame, &err) == 1);
	require(frame.final && frame.length == n && out.length == frame.header + 4 + n);
	for (size_t i = 0; i < n; i++)
		require((p[frame.header + 4 + i] ^ p[frame.header + (i & 3)]) == payload[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char key[] = "dGhlIHNhbXBsZSBub25jZQ=="; /* RFC 6455's own example */
	struct websocket_frame frame;
	struct error err;
	size_t at = 0;
	long head = websocket_answer(data, n, "v1.kernel.websocket.jupyter.org", key, &err);

	require(head <= (long)n);
	if (head > 0)
		at = (size_t)head;
	while (websocket_parse(data + at, n - at, &frame, &err) > 0) {
		require(frame.header >= 2 && frame.header <= 10 && frame.header <= n - at);
		at += frame.header;
		if (frame.length > n - at)
			break;
		send_back(data + at, (size_t)frame.length);
#ifdef PLANTED
		if (head > 0 && frame.opcode == WEBSOCKET_PING && frame.length > 2 && data[at] != 'p')
			__builtin_trap();
#endif
		at += (size_t)frame.length;
	}
	return 0;
}
