/* Frames: the one way in which interpfs's processes speak to each other, between the mount and
 * a runner (base/talk.h), and between a runner and the guest (docs/guest-protocol.md).
 *
 *      0        4        8    9   12               12 + length
 *      | length | stream |type|zero| payload ...     |        little endian
 *
 * length counts the payload alone, at most FRAME_PAYLOAD_MAX. stream says whose frame it is on
 * a connection that carries several; 0 where it carries one. The three bytes after type are 0.
 * Frames are hostile input: a length past the maximum or a byte that should be 0 ends the
 * connection, and the sender is never trusted again. */
#ifndef INTERPFS_BASE_FRAME_H
#define INTERPFS_BASE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

#define FRAME_HEADER_SIZE 12u
#define FRAME_PAYLOAD_MAX 65536u

struct frame {
	uint32_t length;
	uint32_t stream;
	uint8_t type;
	const uint8_t *payload; /* borrowed from the buffer that was parsed */
};

/* Looks at the first frame in data. Returns its whole size in bytes, 0 when more bytes are
 * needed, -1 (EPROTO) when this is no frame. */
long frame_parse(const void *data, size_t n, struct frame *frame, struct error *err);

/* Appends one frame. Returns 0 or -1 (EMSGSIZE past FRAME_PAYLOAD_MAX, ENOMEM, EFBIG). */
int frame_append(struct buffer *out, uint32_t stream, uint8_t type, const void *payload, size_t n);

#endif
