#include "backend/kernel/websocket.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

static int random_bytes(void *bytes, size_t n, struct error *err)
{
	return getrandom(bytes, n, 0) == (ssize_t)n ? 0 : error_errno(err, "random numbers");
}

int websocket_key(char key[WEBSOCKET_KEY_SIZE], struct error *err)
{
	unsigned char bytes[16];

	if (random_bytes(bytes, sizeof bytes, err) < 0)
		return -1;
	(void)EVP_EncodeBlock((unsigned char *)key, bytes, sizeof bytes);
	return 0;
}

int websocket_request(struct buffer *out, const char *path, const char *token, const char *protocol,
		      const char *key, struct error *err)
{
	return buffer_format(out,
			     "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
			     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: %s\r\n"
			     "Authorization: token %s\r\n\r\n", path, key, protocol, token) < 0
		? error_errno(err, "a WebSocket's request") : 0;
}

/* What the server has to make of our key. */
static int expected_accept(const char *key, char accept[32], struct error *err)
{
	static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455, 1.3 */
	unsigned char digest[EVP_MAX_MD_SIZE];
	char text[WEBSOCKET_KEY_SIZE + sizeof magic];
	unsigned int n = 0;

	memcpy(text, key, WEBSOCKET_KEY_SIZE - 1);
	memcpy(text + WEBSOCKET_KEY_SIZE - 1, magic, sizeof magic - 1);
	if (EVP_Digest(text, WEBSOCKET_KEY_SIZE - 1 + sizeof magic - 1, digest, &n, EVP_sha1(), NULL) != 1 || n != 20)
		return error_set(err, EIO, "OpenSSL has no SHA-1");
	(void)EVP_EncodeBlock((unsigned char *)accept, digest, 20);
	return 0;
}

/* A header's value, from the head's second line on; its length, or -1 when it is not there. */
static long find_header(const char *head, const char *name, const char **value)
{
	size_t n = strlen(name);

	for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r'; line = strstr(line, "\r\n")) {
		const char *end;

		line += 2;
		if (strncasecmp(line, name, n) || line[n] != ':')
			continue;
		for (line += n + 1; *line == ' ' || *line == '\t'; line++)
			;
		end = strstr(line, "\r\n");
		while (end > line && (end[-1] == ' ' || end[-1] == '\t'))
			end--;
		*value = line;
		return end - line;
	}
	return -1;
}

static bool header_is(const char *head, const char *name, const char *expected, bool any_case)
{
	const char *value;
	long n = find_header(head, name, &value);

	return n == (long)strlen(expected) &&
	       !(any_case ? strncasecmp(value, expected, (size_t)n) : strncmp(value, expected, (size_t)n));
}

static int line_length(const char *text)
{
	size_t n = strcspn(text, "\r\n");

	return n < 200 ? (int)n : 200;
}

long websocket_answer(const void *data, size_t n, const char *protocol, const char *key, struct error *err)
{
	const char *end = memmem(data, n, "\r\n\r\n", 4), *status;
	char head[WEBSOCKET_HEAD_MAX + 1], accept[32];
	size_t length;

	if (!end && n < WEBSOCKET_HEAD_MAX)
		return 0;
	length = end ? (size_t)(end - (const char *)data) + 4 : n;
	if (length > WEBSOCKET_HEAD_MAX)
		return error_set(err, EPROTO, "the server's answer has a head of more than %u bytes", WEBSOCKET_HEAD_MAX);
	memcpy(head, data, length);
	head[length] = '\0';
	if (!end || strlen(head) != length || strncmp(head, "HTTP/1.", 7) || !isdigit((unsigned char)head[7]) ||
	    head[8] != ' ')
		return error_set(err, EPROTO, "what answers is no HTTP server");
	status = head + 9;
	if (strncmp(status, "101 ", 4))
		return error_set(err, ECONNREFUSED, "the server answers %.*s", line_length(status), status);
	if (expected_accept(key, accept, err) < 0)
		return -1;
	if (!header_is(head, "Upgrade", "websocket", true) || !header_is(head, "Sec-WebSocket-Accept", accept, false))
		return error_set(err, EPROTO, "the server's answer opens no WebSocket");
	if (!header_is(head, "Sec-WebSocket-Protocol", protocol, false))
		return error_set(err, EPROTO, "the server does not speak %s", protocol);
	return (long)length;
}

int websocket_parse(const void *data, size_t n, struct websocket_frame *frame, struct error *err)
{
	const uint8_t *p = data;
	size_t extended;
	uint64_t length;

	if (n < 2)
		return 0;
	/* No extension was asked for, and a server never masks. */
	if (p[0] & 0x70 || p[1] & 0x80)
		return error_set(err, EPROTO, "a frame that begins with %02x %02x", p[0], p[1]);
	*frame = (struct websocket_frame){ .opcode = p[0] & 15, .final = p[0] & 0x80 };
	if ((frame->opcode > WEBSOCKET_BINARY && frame->opcode < WEBSOCKET_CLOSE) || frame->opcode > WEBSOCKET_PONG)
		return error_set(err, EPROTO, "a frame of kind %d", frame->opcode);
	length = p[1];
	if (frame->opcode >= WEBSOCKET_CLOSE && (!frame->final || length > WEBSOCKET_CONTROL_MAX))
		return error_set(err, EPROTO, "a control frame that is too long or comes in pieces");
	extended = length == 126 ? 2 : length == 127 ? 8 : 0;
	if (n < 2 + extended)
		return 0;
	if (extended)
		length = 0;
	for (size_t i = 0; i < extended; i++)
		length = length << 8 | p[2 + i];
	if (length >> 63)
		return error_set(err, EPROTO, "a frame of more than 2^63 bytes");
	frame->header = 2 + extended;
	frame->length = length;
	return 1;
}

/* Copies with the mask over it; 8 bytes at a time, since code may be megabytes. */
static void copy_masked(char *to, const char *from, size_t n, const uint8_t mask[4])
{
	uint64_t wide, word;
	size_t i = 0;

	memcpy(&wide, mask, 4);
	memcpy((char *)&wide + 4, mask, 4);
	for (; n - i >= sizeof word; i += sizeof word) {
		memcpy(&word, from + i, sizeof word);
		word ^= wide;
		memcpy(to + i, &word, sizeof word);
	}
	for (; i < n; i++)
		to[i] = (char)(from[i] ^ mask[i & 3]);
}

int websocket_append(struct buffer *out, enum websocket_opcode opcode, const void *data, size_t n,
		     struct error *err)
{
	uint8_t header[14] = { (uint8_t)(0x80 | opcode) };
	size_t extended = n > 65535 ? 8 : n > WEBSOCKET_CONTROL_MAX ? 2 : 0, length = 2 + extended;

	header[1] = (uint8_t)(0x80 | (extended == 8 ? 127 : extended ? 126 : n));
	for (size_t i = 0; i < extended; i++)
		header[2 + i] = (uint8_t)(n >> 8 * (extended - 1 - i));
	if (random_bytes(header + length, 4, err) < 0)
		return -1;
	if (buffer_reserve(out, length + 4 + n) < 0 || buffer_append(out, header, length + 4) < 0)
		return error_errno(err, "a message of %zu bytes", n);
	copy_masked(out->data + out->length, data, n, header + length);
	out->length += n;
	out->data[out->length] = '\0';
	return 0;
}
