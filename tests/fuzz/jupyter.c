/* A kernel's messages: the frame, the routing by headers, and what is copied out of content. */
#include <stdlib.h>
#include <string.h>

#include "backend/kernel/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(int condition)
{
	if (!condition)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	cleanup_buffer struct buffer copy = BUFFER(1 << 20), text = BUFFER(1 << 20), again = BUFFER(1 << 20);
	struct wire_message message;
	struct json key, value, quoted;
	struct error err;
	size_t at = 0;

	if (wire_parse(data, n, &message, &err) < 0)
		return 0;
	while (json_next(message.content, &at, &key, &value))
		require(json_valid(value) && (!key.data || json_valid(key)));
	if (json_copy(&copy, message.content) == 0) {
		/* What goes into a notebook is one line of JSON. */
		require(json_valid((struct json){ copy.data, copy.length }));
		require(!memchr(copy.data, '\n', copy.length));
	}
	value = json_get(message.content, "text");
	if (json_text(&text, value) == 0) {
		buffer_clear(&copy);
		require(json_quote(&copy, text.data, text.length) == 0);
		quoted = (struct json){ copy.data, copy.length };
		require(json_text(&again, quoted) == 0 && again.length == text.length);
		require(!text.length || !memcmp(again.data, text.data, text.length));
#ifdef PLANTED
		if (message.type == WIRE_STREAM && text.length > 2 && text.data[0] == 'a' && text.data[1] != 'b')
			__builtin_trap();
#endif
	}
	return 0;
}
