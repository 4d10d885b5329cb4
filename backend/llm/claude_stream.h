/* Assembles one streamed answer of the Messages API from its events.
 *
 *      message_start  content_block_start (content_block_delta)* content_block_stop …
 *      message_delta (stop_reason, usage)  message_stop          ping and error anywhere
 *
 * Blocks are kept verbatim, in order, also of types that are not known here (a NUL, which no text here
 * can hold, becomes U+FFFD). What is out of
 * order is a broken stream. Nothing of an answer counts before message_stop. */
#ifndef INTERPFS_BACKEND_LLM_CLAUDE_STREAM_H
#define INTERPFS_BACKEND_LLM_CLAUDE_STREAM_H

#include "backend/llm/provider.h"

struct claude_block;

struct claude_stream { /* zero is a stream of which nothing has come */
	struct claude_block *blocks;
	size_t count, size; /* bytes of all of their texts */
	bool started, ended;
	char model[128], id[128];
	char stop_reason[64];
	char detail[512];
	cJSON *usage;      /* the API's own object, as far as it came */
	struct buffer lent;
};

/* Takes one event's data (followed by a NUL). Sets *piece and returns its kind; PIECE_NONE when there
 * is nothing to tell. After PIECE_ANSWER or PIECE_TROUBLE the stream is over. */
enum piece_kind claude_stream_event(struct claude_stream *stream, const char *data, size_t n,
				    struct piece *piece);

/* The usage so far under interpfs's names (usage.h); owned by the caller, NULL when nothing is known. */
cJSON *claude_stream_usage(const struct claude_stream *stream);

void claude_stream_free(struct claude_stream *stream);

#endif
