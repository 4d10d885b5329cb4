/* Provider claude: the Messages API over HTTP, at ANTHROPIC_BASE_URL or the vendor's address. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "backend/llm/claude_request.h"
#include "backend/llm/claude_stream.h"
#include "backend/llm/http.h"
#include "backend/llm/provider.h"
#include "backend/llm/sse.h"
#include "backend/runner.h"
#include "base/cleanup.h"

#define VENDOR "https://api.anthropic.com"
#define EVENT_MAX (8u << 20)
#define FIRST_BYTE_SECONDS 180 /* until the answer begins */
#define SILENCE_SECONDS 120    /* between two bytes of it: the API pings far more often */
#define SECRETS_SECONDS 5      /* until the mount has handed them over */

struct claude {
	const struct models *models;
	const cJSON *options;
	struct http *http;
	char *url;
	char *headers[6]; /* NULL ends */
	struct sse sse;
	struct claude_stream stream;
	bool asking; /* neither the answer nor the trouble has been taken yet */
};

static const char *const secrets[] = { "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", NULL };

static bool clean(const char *value)
{
	for (; *value; value++)
		if ((unsigned char)*value < ' ')
			return false;
	return true;
}

static int make_headers(struct claude *c, const char *key, const char *token, struct error *err)
{
	const cJSON *beta, *betas = cJSON_GetObjectItemCaseSensitive(c->options, "betas");
	cleanup_buffer struct buffer line = BUFFER(8192);
	size_t n = 0;

	if ((key && !clean(key)) || (token && !clean(token)))
		return error_set(err, EINVAL, "%s holds a control character", key ? secrets[0] : secrets[1]);
	c->headers[n++] = strdup("content-type: application/json");
	c->headers[n++] = strdup("anthropic-version: 2023-06-01");
	c->headers[n++] = strdup("expect:"); /* a body of a megabyte needs no 100-continue */
	if (key || token) {
		if (buffer_format(&line, key ? "x-api-key: %s" : "authorization: Bearer %s", key ? key : token) < 0)
			return error_set(err, E2BIG, "%s is too long", key ? secrets[0] : secrets[1]);
		c->headers[n++] = strdup(line.data);
	}
	buffer_clear(&line);
	cJSON_ArrayForEach(beta, betas)
		if (!cJSON_IsString(beta) || !clean(beta->valuestring) ||
		    buffer_format(&line, "%s%s", line.length ? "," : "anthropic-beta: ", beta->valuestring) < 0)
			return error_set(err, EINVAL, "options: betas must be a list of names");
	if (line.length)
		c->headers[n++] = strdup(line.data);
	for (size_t i = 0; i < n; i++)
		if (!c->headers[i])
			return error_memory(err);
	return 0;
}

static void claude_close(void *self)
{
	struct claude *c = self;

	if (!c)
		return;
	http_close(c->http);
	sse_free(&c->sse);
	claude_stream_free(&c->stream);
	for (size_t i = 0; c->headers[i]; i++) {
		explicit_bzero(c->headers[i], strlen(c->headers[i]));
		free(c->headers[i]);
	}
	free(c->url);
	free(c);
}

static int make(struct claude *c, struct runner *runner, struct error *err)
{
	const char *key, *token, *base, *silence = getenv("INTERPFS_STALL_SECONDS");
	int first = FIRST_BYTE_SECONDS * 1000, then = SILENCE_SECONDS * 1000;
	char *end;

	if (runner_hear(runner, SECRETS_SECONDS * 1000, err) < 0)
		return -1;
	key = runner_secret(runner, "ANTHROPIC_API_KEY");
	token = runner_secret(runner, "ANTHROPIC_AUTH_TOKEN");
	base = runner_secret(runner, "ANTHROPIC_BASE_URL");
	if (key && !*key)
		key = NULL;
	if (token && !*token)
		token = NULL;
	if (!base || !*base)
		base = VENDOR;
	/* A server of one's own may want no key, the vendor's does. */
	if (!key && !token && !strcmp(base, VENDOR))
		return error_set(err, ENOKEY, "ANTHROPIC_API_KEY is not set: mount again with it in the environment "
					      "or in env_file");
	if (silence) {
		double seconds = strtod(silence, &end);

		if (end == silence || *end || !(seconds > 0 && seconds < 86400))
			return error_set(err, EINVAL, "INTERPFS_STALL_SECONDS is no number of seconds");
		first = then = (int)(seconds * 1000);
	}
	if (make_headers(c, key, token, err) < 0)
		return -1;
	if (asprintf(&c->url, "%.*s/v1/messages", (int)(strlen(base) - (base[strlen(base) - 1] == '/')), base) < 0) {
		c->url = NULL;
		return error_memory(err);
	}
	return http_open(&c->http, runner, first, then, err);
}

static int claude_open(struct runner *runner, const cJSON *fields, const struct models *models, void **self,
		       struct error *err)
{
	struct claude *c = calloc(1, sizeof *c);

	if (!c)
		return error_memory(err);
	c->models = models;
	c->options = cJSON_GetObjectItemCaseSensitive(fields, "options");
	if (claude_check_options(c->options, err) < 0 || make(c, runner, err) < 0) {
		claude_close(c);
		return -1;
	}
	*self = c;
	return 0;
}

static int claude_body(void *self, const struct dialogue *dialogue, struct buffer *body, struct error *err)
{
	struct claude *c = self;

	return claude_request(dialogue, c->models, c->options, body, err);
}

static int claude_send(void *self, const struct buffer *body, struct error *err)
{
	struct claude *c = self;

	sse_free(&c->sse);
	sse_init(&c->sse, EVENT_MAX);
	claude_stream_free(&c->stream);
	c->asking = true;
	return http_post(c->http, c->url, (const char *const *)c->headers, body->data, body->length, err);
}

static void claude_ready(void *self, int fd, short revents)
{
	http_ready(((struct claude *)self)->http, fd, revents);
}

static int claude_timeout(void *self)
{
	struct claude *c = self;

	return c->asking ? http_timeout(c->http) : -1;
}

static int trouble(struct claude *c, struct piece *piece)
{
	piece->kind = PIECE_TROUBLE;
	piece->trouble.status = (int)http_status(c->http);
	if (!piece->trouble.request_id[0])
		snprintf(piece->trouble.request_id, sizeof piece->trouble.request_id, "%s",
			 http_headers(c->http)->request_id);
	if (!piece->usage)
		piece->usage = claude_stream_usage(&c->stream);
	c->asking = false;
	http_abandon(c->http);
	return 1;
}

static int over(struct claude *c, struct piece *piece, bool stalled, const char *before, const char *reason)
{
	*piece = (struct piece){ .trouble = { .retry = !http_hopeless(c->http), .stalled = stalled, .delay = -1 } };
	trouble_say(&piece->trouble, "%s%s", before, reason);
	return trouble(c, piece);
}

/* An answer that is no stream: an error, or the wrong server. */
static int take_plain(struct claude *c, enum http_state state, struct piece *piece)
{
	const struct retry_headers *headers = http_headers(c->http);
	struct buffer *bytes = http_bytes(c->http);
	long status = http_status(c->http);

	if (state == HTTP_RUNNING)
		return 0;
	if (state == HTTP_STALLED)
		return over(c, piece, true, "", http_reason(c->http));
	if (state == HTTP_BROKEN && status < 400)
		return over(c, piece, false, "", http_reason(c->http));
	*piece = (struct piece){ .kind = PIECE_TROUBLE };
	retry_judge(status, headers, bytes->data ? bytes->data : "", bytes->length, (double)time(NULL),
		    &piece->trouble);
	if (status >= 200 && status < 300 && !bytes->length) {
		piece->trouble.retry = true;
		trouble_say(&piece->trouble, "the server answered nothing");
	}
	return trouble(c, piece);
}

static int claude_take(void *self, struct piece *piece, struct error *err)
{
	struct claude *c = self;
	enum http_state state;
	struct error why;
	struct sse_event event;
	struct buffer *bytes;
	long status;
	int got;

	(void)err; /* what goes wrong here is the server's or the network's trouble */
	if (!c->asking)
		return 0;
	state = http_step(c->http);
	bytes = http_bytes(c->http);
	status = http_status(c->http);
	if (status != 200 || strncasecmp(http_headers(c->http)->content_type, "text/event-stream", 17))
		return take_plain(c, state, piece);
	if (bytes->length) {
		if (sse_put(&c->sse, bytes->data, bytes->length, &why) < 0)
			return over(c, piece, false, "", why.text);
		buffer_clear(bytes);
	}
	while ((got = sse_take(&c->sse, state == HTTP_ENDED, &event, &why)) > 0) {
		enum piece_kind kind = claude_stream_event(&c->stream, event.data, event.length, piece);

		if (kind == PIECE_TROUBLE)
			return trouble(c, piece);
		if (kind == PIECE_ANSWER) {
			snprintf(piece->answer.request_id, sizeof piece->answer.request_id, "%s",
				 http_headers(c->http)->request_id);
			c->asking = false; /* the connection stays, for the next request */
		}
		if (kind != PIECE_NONE)
			return 1;
	}
	if (got < 0)
		return over(c, piece, false, "", why.text);
	if (state == HTTP_RUNNING)
		return 0;
	if (state == HTTP_STALLED)
		return over(c, piece, true, "", http_reason(c->http));
	if (state == HTTP_BROKEN)
		return over(c, piece, false, "the stream was cut: ", http_reason(c->http));
	return over(c, piece, false, "", c->stream.started ? "the stream was cut before its end"
							  : "the server answered nothing");
}

static cJSON *claude_abandon(void *self)
{
	struct claude *c = self;

	c->asking = false;
	http_abandon(c->http);
	return claude_stream_usage(&c->stream);
}

const struct provider claude_provider = {
	.name = "claude",
	.open = claude_open,
	.close = claude_close,
	.request = claude_body,
	.send = claude_send,
	.ready = claude_ready,
	.timeout = claude_timeout,
	.take = claude_take,
	.abandon = claude_abandon,
	.paid = true,
};
