#include "backend/proxy/request.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/hosts.h"

#define CHUNK_LINE_MAX 4096u

struct piece {
	const char *text;
	size_t length;
};

struct header {
	struct piece name, value;
};

static bool is(struct piece piece, const char *text)
{
	return piece.length == strlen(text) && !strncasecmp(piece.text, text, piece.length);
}

/* ---- heads ---- */

static bool is_token(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)text[i]) && !memchr("!#$%&'*+-.^_`|~", text[i], 15))
			return false;
	return n > 0;
}

/* The next line of [at, end), without its CRLF; NULL at the end or when it is no line. */
static const char *next_line(const char *at, const char *end, struct piece *line)
{
	const char *lf = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;

	if (!lf || lf == at || lf[-1] != '\r')
		return NULL;
	*line = (struct piece){ at, (size_t)(lf - at) - 1 };
	/* A control character inside is read differently by different programs. */
	for (size_t i = 0; i < line->length; i++)
		if (((unsigned char)at[i] < ' ' && at[i] != '\t') || at[i] == 127)
			return NULL;
	return lf + 1;
}

long request_head(const char *data, size_t n, struct request_line *line, struct error *err)
{
	const char *end = memmem(data, n, "\r\n\r\n", 4), *first, *second;
	struct piece whole;

	if (!end) {
		if (n > REQUEST_HEAD_MAX)
			return error_set(err, EFBIG, "the head of the request is longer than %u bytes", REQUEST_HEAD_MAX);
		/* Garbage is not waited for to end. */
		if (n && !isalpha((unsigned char)*data))
			return error_set(err, EPROTO, "that is no HTTP request");
		return 0;
	}
	if (!next_line(data, end + 2, &whole))
		return error_set(err, EPROTO, "that is no HTTP request");
	first = memchr(whole.text, ' ', whole.length);
	second = first ? memchr(first + 1, ' ', whole.length - (size_t)(first + 1 - whole.text)) : NULL;
	if (!second || memchr(second + 1, ' ', whole.length - (size_t)(second + 1 - whole.text)))
		return error_set(err, EPROTO, "that is no HTTP request");
	*line = (struct request_line){ whole.text, first + 1, second + 1, (size_t)(first - whole.text),
				       (size_t)(second - first) - 1,
				       whole.length - (size_t)(second + 1 - whole.text) };
	if (!is_token(line->method, line->method_length) || !line->target_length ||
	    line->version_length != 8 || (memcmp(line->version, "HTTP/1.1", 8) && memcmp(line->version, "HTTP/1.0", 8)))
		return error_set(err, EPROTO, "that is no request of HTTP/1.1");
	return end + 4 - data;
}

static int take_header(struct piece line, struct header *header, struct error *err)
{
	const char *colon = memchr(line.text, ':', line.length), *begin, *end = line.text + line.length;

	if (!colon || !is_token(line.text, (size_t)(colon - line.text)))
		return error_set(err, EPROTO, "a line of the request's head is no header");
	for (begin = colon + 1; begin < end && (*begin == ' ' || *begin == '\t'); begin++)
		;
	while (end > begin && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*header = (struct header){ { line.text, (size_t)(colon - line.text) }, { begin, (size_t)(end - begin) } };
	return 0;
}

/* ---- secrets ---- */

static bool is_for(const struct proxy_secret *secret, const char *host, int port)
{
	for (char *const *pattern = secret->hosts; *pattern; pattern++)
		if (hosts_match(*pattern, host, port))
			return true;
	return false;
}

/* Text with each placeholder replaced. */
static int put_replaced(const struct request *r, const char *text, size_t n, struct buffer *out)
{
	for (size_t i = 0; i < n;) {
		const struct proxy_secret *found = NULL;

		for (size_t k = 0; k < r->secret_count && !found; k++) {
			size_t length = strlen(r->secrets[k].placeholder);

			if (length <= n - i && !memcmp(text + i, r->secrets[k].placeholder, length) &&
			    is_for(&r->secrets[k], r->host, r->port))
				found = &r->secrets[k];
		}
		if (found ? buffer_text(out, found->value) < 0 : buffer_append(out, text + i, 1) < 0)
			return -1;
		i += found ? strlen(found->placeholder) : 1;
	}
	return 0;
}

/* "Basic BASE64": git and pip put a token there. */
static int put_basic(const struct request *r, struct piece value, struct buffer *out)
{
	cleanup_buffer struct buffer plain = BUFFER(REQUEST_HEAD_MAX), replaced = BUFFER(REQUEST_HEAD_MAX);
	size_t n = value.length - 6, padding = 0;
	cleanup_free char *coded = NULL;
	int length;

	while (padding < 2 && padding < n && value.text[6 + n - 1 - padding] == '=')
		padding++;
	if (n % 4 || buffer_reserve(&plain, n) < 0)
		return buffer_append(out, value.text, value.length);
	length = EVP_DecodeBlock((unsigned char *)plain.data, (const unsigned char *)value.text + 6, (int)n);
	if (length < (int)padding)
		return buffer_append(out, value.text, value.length);
	if (put_replaced(r, plain.data, (size_t)length - padding, &replaced) < 0)
		return -1;
	coded = malloc(4 * ((replaced.length + 2) / 3) + 1);
	if (!coded)
		return -1;
	(void)EVP_EncodeBlock((unsigned char *)coded, (const unsigned char *)(replaced.data ? replaced.data : ""),
			      (int)replaced.length);
	return buffer_text(out, "Basic ") < 0 || buffer_text(out, coded) < 0 ? -1 : 0;
}

static int put_value(const struct request *r, const struct header *h, struct buffer *out)
{
	if (is(h->name, "authorization") && h->value.length > 6 && !strncasecmp(h->value.text, "Basic ", 6))
		return put_basic(r, h->value, out);
	return put_replaced(r, h->value.text, h->value.length, out);
}

/* ---- a request's length ---- */

struct framing {
	bool has_length, chunked, upgrade;
	uint64_t length;
};

static int take_framing(const struct header *h, struct framing *f, struct error *err)
{
	if (is(h->name, "content-length")) {
		uint64_t length = 0;

		for (size_t i = 0; i < h->value.length; i++) {
			if (!isdigit((unsigned char)h->value.text[i]) || length > UINT64_MAX / 16)
				return error_set(err, EPROTO, "Content-Length is no number");
			length = 10 * length + (uint64_t)(h->value.text[i] - '0');
		}
		if (f->has_length || !h->value.length)
			return error_set(err, EPROTO, "the request has no single Content-Length");
		f->has_length = true;
		f->length = length;
	} else if (is(h->name, "transfer-encoding")) {
		if (f->chunked || !is(h->value, "chunked"))
			return error_set(err, EPROTO, "the request has a Transfer-Encoding other than chunked");
		f->chunked = true;
	} else if (is(h->name, "upgrade")) {
		f->upgrade = true;
	}
	return f->has_length && f->chunked ?
		       error_set(err, EPROTO, "the request has a Content-Length and chunks") : 0;
}

/* What concerns the way to the proxy alone. A plain request has the connection for itself. */
static bool is_for_proxy(const struct request *r, const struct header *h)
{
	return is(h->name, "proxy-connection") || is(h->name, "proxy-authorization") || is(h->name, "keep-alive") ||
	       (r->once && (is(h->name, "connection") || is(h->name, "upgrade")));
}

/* The first line; a proxy's "http://host/path" becomes "/path". Another form would name a host of its own. */
static int put_line(const struct request *r, const struct request_line *line, struct buffer *out, struct error *err)
{
	const char *target = line->target, *end = target + line->target_length, *path;

	if (r->once && line->target_length > 7 && !strncasecmp(target, "http://", 7)) {
		path = memchr(target + 7, '/', (size_t)(end - target) - 7);
		target = path ? path : end;
	} else if (*target != '/' && (*target != '*' || line->target_length > 1)) {
		return error_set(err, EPROTO, "the request's target is no path");
	}
	if (buffer_append(out, line->method, line->method_length) < 0 || buffer_text(out, " ") < 0 ||
	    (target == end ? buffer_text(out, "/") : put_replaced(r, target, (size_t)(end - target), out)) < 0 ||
	    buffer_text(out, " ") < 0 || buffer_append(out, line->version, line->version_length) < 0 ||
	    buffer_text(out, "\r\n") < 0)
		return error_memory(err);
	return 0;
}

static int put_header(const struct request *r, const struct header *h, struct buffer *out)
{
	return buffer_append(out, h->name.text, h->name.length) < 0 || buffer_text(out, ": ") < 0 ||
	       put_value(r, h, out) < 0 || buffer_text(out, "\r\n") < 0 ? -1 : 0;
}

/* Where the request says that it goes must be where the connection goes. */
static int check_host(const struct request *r, const struct header *h, struct error *err)
{
	char host[HOST_SIZE], text[HOST_SIZE + 16];
	int port = r->port;

	if (h->value.length < sizeof text) {
		memcpy(text, h->value.text, h->value.length);
		text[h->value.length] = '\0';
		if (!hosts_split(text, host, &port) && !strcmp(host, r->host) && port == r->port)
			return 0;
	}
	return error_set(err, EPROTO, "the request's Host is not the host of the connection");
}

static int put_head(struct request *r, const char *data, size_t n, const struct request_line *line,
		    struct buffer *out, struct error *err)
{
	const char *at = data + (line->version + line->version_length - data) + 2, *end = data + n - 2;
	struct framing framing = { .has_length = false };
	size_t lines = 0, hosts = 0;

	if (put_line(r, line, out, err) < 0)
		return -1;
	while (at < end) {
		struct header header = { .name = { NULL, 0 } };
		struct piece text;

		at = next_line(at, end, &text);
		if (!at || ++lines > REQUEST_LINES_MAX)
			return error_set(err, EPROTO, "the request's head is damaged or has more than %d lines",
					 REQUEST_LINES_MAX);
		if (take_header(text, &header, err) < 0 || take_framing(&header, &framing, err) < 0)
			return -1;
		if (is(header.name, "host") && (hosts++ || check_host(r, &header, err) < 0))
			return error_set(err, EPROTO, "the request's Host is not the host of the connection");
		if (is_for_proxy(r, &header))
			continue;
		if (put_header(r, &header, out) < 0)
			return error_memory(err);
	}
	if ((r->once && buffer_text(out, "Connection: close\r\n") < 0) || buffer_text(out, "\r\n") < 0)
		return error_memory(err);
	r->left = framing.length;
	r->state = framing.upgrade && !r->once ? REQUEST_RAW : framing.chunked ? REQUEST_CHUNK_SIZE : r->left ? REQUEST_BODY : REQUEST_HEAD;
	r->done = r->state == REQUEST_HEAD;
	return 0;
}

/* ---- the bytes ---- */

void request_open(struct request *r, const char *host, int port, const struct proxy_secret *secrets, size_t count)
{
	*r = (struct request){ .gathered = BUFFER(REQUEST_HEAD_MAX + 4), .host = host, .port = port,
			       .secrets = secrets, .secret_count = count };
}

void request_close(struct request *r)
{
	if (r->gathered.data)
		explicit_bzero(r->gathered.data, r->gathered.length);
	buffer_free(&r->gathered);
}

/* Gathers up to and with the next LF; the rest is not taken. 1: the line is whole. */
static int gather_line(struct request *r, const char *data, size_t n, size_t *taken, size_t most, struct error *err)
{
	const char *lf = memchr(data, '\n', n);

	*taken = lf ? (size_t)(lf - data) + 1 : n;
	if (r->gathered.length + *taken > most)
		return error_set(err, EFBIG, "a line of the request is too long");
	if (buffer_append(&r->gathered, data, *taken) < 0)
		return error_memory(err);
	return lf != NULL;
}

static int take_head(struct request *r, const char *data, size_t n, size_t *taken, struct buffer *out, struct error *err)
{
	int whole = gather_line(r, data, n, taken, REQUEST_HEAD_MAX, err);
	struct request_line line;
	long length;

	/* Garbage is not waited for to end. */
	if (whole >= 0 && !isalpha((unsigned char)*r->gathered.data) && *r->gathered.data != '\r')
		return error_set(err, EPROTO, "that is no HTTP request");
	if (whole <= 0)
		return whole;
	if (r->gathered.length == 2 && !memcmp(r->gathered.data, "\r\n", 2)) {
		buffer_clear(&r->gathered); /* RFC 9112 2.2: an empty line before a request is skipped */
		return 0;
	}
	/* Looked at whole: its end is an empty line. */
	if (r->gathered.length < 4 || memcmp(r->gathered.data + r->gathered.length - 4, "\r\n\r\n", 4))
		return *r->gathered.data == '\r' ? error_set(err, EPROTO, "that is no HTTP request") : 0;
	length = request_head(r->gathered.data, r->gathered.length, &line, err);
	if (length < 0 || put_head(r, r->gathered.data, r->gathered.length, &line, out, err) < 0)
		return -1;
	buffer_clear(&r->gathered);
	return 0;
}

/* "SIZE[;extension]\r\n", at last size 0. Extensions are dropped, as trailers are. */
static int take_chunk_size(struct request *r, const char *data, size_t n, size_t *taken, struct buffer *out,
			   struct error *err)
{
	int whole = gather_line(r, data, n, taken, CHUNK_LINE_MAX, err);
	const char *text = r->gathered.data;
	size_t digits;

	if (whole <= 0)
		return whole;
	digits = strspn(text, "0123456789abcdefABCDEF");
	if (!digits || digits > 15 || r->gathered.length < digits + 2 || text[r->gathered.length - 2] != '\r' ||
	    (text[digits] != '\r' && text[digits] != ';'))
		return error_set(err, EPROTO, "a chunk of the request has no size");
	r->left = strtoull(text, NULL, 16);
	if (buffer_format(out, "%" PRIx64 "\r\n", r->left) < 0)
		return error_memory(err);
	buffer_clear(&r->gathered);
	r->state = r->left ? REQUEST_CHUNK : REQUEST_TRAILER;
	if (r->left)
		r->left += 2; /* the CRLF behind it */
	return 0;
}

/* Lines behind the last chunk, to an empty one. */
static int take_trailer(struct request *r, const char *data, size_t n, size_t *taken, struct buffer *out,
			struct error *err)
{
	int whole = gather_line(r, data, n, taken, CHUNK_LINE_MAX, err);

	if (whole <= 0)
		return whole;
	if (r->gathered.length == 2) {
		if (buffer_text(out, "\r\n") < 0)
			return error_memory(err);
		r->state = REQUEST_HEAD;
		r->done = true;
	}
	buffer_clear(&r->gathered);
	return 0;
}

static int take_body(struct request *r, const char *data, size_t n, size_t *taken, struct buffer *out, struct error *err)
{
	bool chunk = r->state == REQUEST_CHUNK;

	*taken = r->state == REQUEST_RAW || n < r->left ? n : (size_t)r->left;
	if (chunk && r->left <= 2) {
		if (*data != (r->left == 2 ? '\r' : '\n'))
			return error_set(err, EPROTO, "a chunk of the request is longer than it says");
		*taken = 1;
	} else if (chunk && *taken > r->left - 2) {
		*taken = (size_t)r->left - 2;
	}
	if (buffer_append(out, data, *taken) < 0)
		return error_memory(err);
	if (r->state == REQUEST_RAW)
		return 0;
	r->left -= *taken;
	if (!r->left) {
		r->state = chunk ? REQUEST_CHUNK_SIZE : REQUEST_HEAD;
		r->done = !chunk;
	}
	return 0;
}

int request_take(struct request *r, const char *data, size_t n, struct buffer *out, struct error *err)
{
	static int (*const takes[])(struct request *, const char *, size_t, size_t *, struct buffer *, struct error *) = {
		[REQUEST_HEAD] = take_head, [REQUEST_BODY] = take_body, [REQUEST_CHUNK_SIZE] = take_chunk_size,
		[REQUEST_CHUNK] = take_body, [REQUEST_TRAILER] = take_trailer, [REQUEST_RAW] = take_body,
	};

	while (n && !(r->once && r->done)) {
		size_t taken = 0;

		if (takes[r->state](r, data, n, &taken, out, err) < 0)
			return -1;
		data += taken;
		n -= taken;
	}
	return 0;
}
