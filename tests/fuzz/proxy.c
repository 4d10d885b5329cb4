/* What a sandbox says to its proxy: the heads and bodies of requests, a TLS hello, names of hosts.
 * The first byte says how the rest is cut into pieces; however it is cut, the server gets the same,
 * and what it gets is read again as the very same request. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backend/proxy/hello.h"
#include "backend/proxy/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOST "pypi.org"

/* -1: refused. */
static int take(const uint8_t *data, size_t size, size_t piece, bool secrets, struct buffer *out)
{
	static char host[] = HOST, name[] = "S", placeholder[] = "PLACE", value[] = "value", *hosts[] = { host, NULL };
	static const struct proxy_secret secret = { name, placeholder, value, hosts };
	struct request r;
	struct error err;
	int result = 0;

	request_open(&r, HOST, 443, &secret, secrets ? 1 : 0);
	for (size_t at = 0; at < size && !result; at += piece)
		result = request_take(&r, (const char *)data + at, size - at < piece ? size - at : piece, out, &err);
#ifdef PLANTED
	if (r.state == REQUEST_TRAILER)
		__builtin_trap();
#endif
	request_close(&r);
	return result;
}

static void requests(const uint8_t *data, size_t size, size_t piece)
{
	struct buffer whole = BUFFER(1 << 20), cut = BUFFER(1 << 20), again = BUFFER(1 << 20);
	int first = take(data, size, size ? size : 1, true, &whole);

	if (take(data, size, piece, true, &cut) != first || (!first && (cut.length != whole.length ||
	    (cut.length && memcmp(cut.data, whole.data, cut.length)))))
		abort();
	if (!first && whole.length && (take((uint8_t *)whole.data, whole.length, whole.length, false, &again) < 0 ||
				       again.length != whole.length || memcmp(again.data, whole.data, whole.length)))
		abort();
	buffer_free(&whole);
	buffer_free(&cut);
	buffer_free(&again);
}

static void hello(const uint8_t *data, size_t size)
{
	char name[HOST_SIZE], early[HOST_SIZE];
	enum hello all = hello_read(data, size, name);

	for (size_t n = 0; n < size && n < 600; n += 1 + n / 16) {
		enum hello some = hello_read(data, n, early);

		if (some != HELLO_MORE && some != all)
			abort();
	}
	if (all == HELLO_NAMED && strlen(name) >= HOST_SIZE)
		abort();
}

static void host(const uint8_t *data, size_t size)
{
	char text[512], name[HOST_SIZE], again[HOST_SIZE];
	size_t n = size < sizeof text - 1 ? size : sizeof text - 1;
	int port = 80, same = 80;
	struct error err;

	memcpy(text, data, n);
	text[n] = '\0';
	if (hosts_split(text, name, &port) < 0)
		return;
	if (strchr(name, ':') ? !hosts_is_address(name) : hosts_split(name, again, &same) < 0 || strcmp(name, again) != 0)
		abort();
	if (!hosts_check(text, &err) && !hosts_match(text, name, port))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	requests(data + 1, size - 1, (size_t)data[0] + 1);
	hello(data + 1, size - 1);
	host(data + 1, size - 1);
	return 0;
}
