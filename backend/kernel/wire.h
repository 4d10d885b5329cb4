/* Messages of the Jupyter protocol as they cross a kernel's WebSocket, subprotocol
 * v1.kernel.websocket.jupyter.org (jupyter_server's documentation, "WebSocket kernel wire
 * protocol"): one binary WebSocket message is
 *
 *      u64 N   u64 offset[0 … N-1]   channel header parent_header metadata content buffers…
 *
 * little endian; part i lies between offset i and offset i+1, the last offset is the message's
 * length, the first one is 8·(N+1). Without buffers N is 6.
 *
 * Messages are routed by header and parent_header; content stays unparsed (json.h). All of it is
 * hostile input: it comes from inside the sandbox. */
#ifndef INTERPFS_BACKEND_KERNEL_WIRE_H
#define INTERPFS_BACKEND_KERNEL_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "backend/kernel/json.h"
#include "base/buffer.h"
#include "base/error.h"

#define WIRE_ID_SIZE 96
#define WIRE_TYPE_SIZE 32

/* The kinds of message that a notebook acts upon. */
enum wire_type {
	WIRE_OTHER,
	WIRE_STATUS,
	WIRE_EXECUTE_INPUT,
	WIRE_STREAM,
	WIRE_DISPLAY_DATA,
	WIRE_UPDATE_DISPLAY_DATA,
	WIRE_EXECUTE_RESULT,
	WIRE_ERROR,
	WIRE_CLEAR_OUTPUT,
	WIRE_EXECUTE_REPLY,
	WIRE_KERNEL_INFO_REPLY,
	WIRE_HELD, /* not Jupyter's: what setup.c says in a kernel */
};

struct wire_message {
	enum wire_type type;
	char parent[WIRE_ID_SIZE]; /* parent_header's msg_id; "" without a parent or with an odd one */
	uint64_t count;            /* the kernel numbers its messages in their ids (jupyter_client's Session does:
	                              SESSION_PID_COUNT, from 1); 0 when this one has none */
	struct json channel;       /* plain bytes, no JSON */
	struct json content;       /* borrowed from the frame; not validated */
};

/* Takes a frame apart. 0, or -1 (EPROTO) with what is wrong; *message borrows from data. */
int wire_parse(const void *data, size_t n, struct wire_message *message, struct error *err);

/* Appends a request on the shell channel. `type` is the msg_type, `content` the JSON object. */
int wire_request(struct buffer *out, const char *type, const char *session, const char *id,
		 struct json content, struct error *err);

struct wire_execute {
	const char *code;
	size_t length;
	bool silent;        /* no execute_input, no result, no history */
	bool store_history; /* false keeps the execution count where it is */
};

int wire_execute_request(struct buffer *out, const char *session, const char *id,
			 const struct wire_execute *execute, struct error *err);

#endif
