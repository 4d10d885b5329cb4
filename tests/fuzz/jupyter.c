/* What comes from Jupyter: a kernel's messages (the frame, the routing by headers, and what is copied out
 * of content), and the server's answers, which begin with "HTTP". */
#include <stdlib.h>
#include <string.h>

#include "backend/kernel/rest.h"
#include "backend/kernel/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(int condition)
{
	if (!condition)
		abort();
}

/* Whatever is decided of a part of an answer holds for the whole. */
static void answer(const char *data, size_t n)
{
	struct rest_answer early, whole;
	struct error err;
	int result = rest_parse(data, n, true, &whole, &err), before;

	require(result != 0);
	for (size_t k = 0; k < n; k++) {
		before = rest_parse(data, k, false, &early, &err);
		require(!before || before == result);
		require(before <= 0 || (early.status == whole.status && early.body.data == whole.body.data &&
					early.body.length == whole.body.length));
	}
	require(result < 0 || (whole.body.data >= data && whole.body.length <= n - (size_t)(whole.body.data - data)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	cleanup_buffer struct buffer copy = BUFFER(1 << 20), text = BUFFER(1 << 20), again = BUFFER(1 << 20);
	struct wire_message message;
	struct json key, value, quoted;
	struct error err;
	size_t at = 0;

	if (n >= 4 && !memcmp(data, "HTTP", 4))
		answer((const char *)data, n);
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
