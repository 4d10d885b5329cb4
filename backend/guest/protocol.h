/* The frames between a runner and the guest, as numbers; docs/guest-protocol.md explains them.
 * Both ends include this file and nothing else of each other. */
#ifndef INTERPFS_BACKEND_GUEST_PROTOCOL_H
#define INTERPFS_BACKEND_GUEST_PROTOCOL_H

#include <stdint.h>

enum guest_frame {
	/* from the runner */
	GUEST_OPEN = 'O',    /* begins an operation on a stream: an operation byte, then fields */
	GUEST_INPUT = 'I',   /* bytes for a command's standard input */
	GUEST_INPUT_END = 'Z',
	GUEST_SIGNAL = 'K',  /* u32: a signal for the command's process group */
	GUEST_WINDOW = 'W',  /* u32: so many more bytes of output may be sent */
	/* from the guest */
	GUEST_STDOUT = 'o',
	GUEST_STDERR = 'e',
	GUEST_PASSED = 'F',  /* a descriptor rides on the frame's first byte */
	GUEST_TAKEN = 'w',   /* u32: so many more bytes of input may be sent */
	GUEST_DIALED = 'c',  /* what was dialed is connected */
	GUEST_OUTPUT_END = 'z', /* what was dialed sends no more */
	GUEST_END = 'E',     /* i32 errno, i32 exit status, sentence: the stream is over */
};

enum guest_operation_kind {
	GUEST_PING = 'p',
	GUEST_EXEC = 'x',      /* fields: ARGUMENT …, VARIABLE …, FOLDER, FLAG_INPUT */
	GUEST_ENVIRONMENT = 'e', /* VARIABLE …: over the environment of all commands from now on */
	GUEST_CONNECT = 'c',   /* ARGUMENT: a path, or tcp:PORT */
	GUEST_LISTEN = 'l',    /* ARGUMENT: a path, or tcp:PORT: what connects there is the runner's */
	GUEST_DIAL = 'D',      /* the same ARGUMENT; its bytes travel in frames instead of a descriptor */
	GUEST_ACCEPT = 'A',    /* the same ARGUMENT: the next that connects there, its bytes in frames */
	GUEST_ROOT = 'r',
	GUEST_PROCESSES = 't',
	GUEST_DEADLINE = 'd',  /* ARGUMENT: decimal seconds from now, 0 for none */
	GUEST_IDLE = 'n',      /* ARGUMENT: decimal seconds without use until it ends, 0 for never */
	GUEST_TOUCH = 'u',     /* somebody outside uses it */
	GUEST_QUIT = 'q',
};

/* A field: tag, u32 length, bytes. */
enum guest_field {
	GUEST_ARGUMENT = 'a', GUEST_VARIABLE = 'v', GUEST_FOLDER = 'c', GUEST_HAS_INPUT = 'i',
	GUEST_BACKGROUND = 'b', /* that it runs is no use of the sandbox */
};

#define GUEST_CREDIT 262144u      /* bytes of output that a stream may send unasked */
#define GUEST_INPUT_CREDIT 65536u /* bytes of input that a stream may be sent unasked */
#define GUEST_STREAMS 1024u       /* at once on one connection; one more is EMFILE */

static inline uint32_t guest_get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void guest_put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

#endif
