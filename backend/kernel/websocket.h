/* The client's side of WebSocket (RFC 6455) as bytes: the handshake, frames, masks. Knows no
 * descriptor (socket.c has it). libwebsockets is not used: its client takes no connection that is
 * made already, and looks at each byte by itself, which was half of what a printing cell cost. */
#ifndef INTERPFS_BACKEND_KERNEL_WEBSOCKET_H
#define INTERPFS_BACKEND_KERNEL_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

#define WEBSOCKET_KEY_SIZE 25      /* base64 of 16 bytes, NUL included */
#define WEBSOCKET_HEAD_MAX 16384u  /* of the server's answer */
#define WEBSOCKET_CONTROL_MAX 125u /* payload of a control frame */

enum websocket_opcode {
	WEBSOCKET_CONTINUATION = 0,
	WEBSOCKET_TEXT = 1,
	WEBSOCKET_BINARY = 2,
	WEBSOCKET_CLOSE = 8,
	WEBSOCKET_PING = 9,
	WEBSOCKET_PONG = 10,
};

struct websocket_frame {
	enum websocket_opcode opcode;
	bool final;
	size_t header;   /* bytes before the payload */
	uint64_t length; /* of the payload, below 2^63 */
};

/* A new key for a handshake. */
int websocket_key(char key[WEBSOCKET_KEY_SIZE], struct error *err);

/* Appends the request that opens a WebSocket at path. */
int websocket_request(struct buffer *out, const char *path, const char *token, const char *protocol,
		      const char *key, struct error *err);

/* Looks at the server's answer. Its length when it agrees, 0 while more of it has to come, -1 with
 * what is wrong (EPROTO), or with what the server says instead (ECONNREFUSED). */
long websocket_answer(const void *data, size_t n, const char *protocol, const char *key, struct error *err);

/* Reads a frame's header. 1, 0 while more bytes are needed, -1: no frame that a server may send. */
int websocket_parse(const void *data, size_t n, struct websocket_frame *frame, struct error *err);

/* Appends one whole message or control frame, masked. */
int websocket_append(struct buffer *out, enum websocket_opcode opcode, const void *data, size_t n,
		     struct error *err);

#endif
