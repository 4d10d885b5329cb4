#include "base/frame.h"

#include <errno.h>
#include <string.h>

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

long frame_parse(const void *data, size_t n, struct frame *frame, struct error *err)
{
	const uint8_t *p = data;
	uint32_t length;

	if (n < FRAME_HEADER_SIZE)
		return 0;
	length = get32(p);
	if (length > FRAME_PAYLOAD_MAX)
		return error_set(err, EPROTO, "a frame of %u bytes is longer than %u", length,
				 FRAME_PAYLOAD_MAX);
	if (p[9] || p[10] || p[11])
		return error_set(err, EPROTO, "a frame whose reserved bytes are not 0");
	if (n - FRAME_HEADER_SIZE < length)
		return 0;
	*frame = (struct frame){ .length = length, .stream = get32(p + 4), .type = p[8],
				 .payload = p + FRAME_HEADER_SIZE };
	return (long)(FRAME_HEADER_SIZE + length);
}

int frame_append(struct buffer *out, uint32_t stream, uint8_t type, const void *payload, size_t n)
{
	uint8_t header[FRAME_HEADER_SIZE] = { 0 };

	if (n > FRAME_PAYLOAD_MAX) {
		errno = EMSGSIZE;
		return -1;
	}
	if (buffer_reserve(out, FRAME_HEADER_SIZE + n) < 0)
		return -1;
	put32(header, (uint32_t)n);
	put32(header + 4, stream);
	header[8] = type;
	(void)buffer_append(out, header, sizeof header);
	(void)buffer_append(out, payload, n);
	return 0;
}
