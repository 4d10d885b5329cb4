#include "backend/llm/retry.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/curl.h"
#include "base/json.h"
#include "mcp/text.h"

bool retry_error_type(const char *type)
{
	static const char *const passing[] = {
		"overloaded_error", "api_error", "rate_limit_error", "timeout_error", "conflict_error",
	};

	for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
		if (!strcmp(type, passing[i]))
			return true;
	return false;
}

static bool number(const char *text, double *value)
{
	char *end;

	*value = strtod(text, &end);
	return end != text && *end == '\0' && isfinite(*value) && *value >= 0;
}

static double asked_delay(const struct retry_headers *h, double now)
{
	double value;
	struct error ignored;
	time_t date;

	if (number(h->retry_after_ms, &value))
		return value / 1000;
	if (number(h->retry_after, &value))
		return value;
	if (h->retry_after[0] && !curl_load(&ignored) && (date = curl_getdate(h->retry_after, NULL)) >= 0)
		return (double)date > now ? (double)date - now : 0;
	return -1;
}

void retry_judge(long status, const struct retry_headers *h, const char *body, size_t n, double now,
		 struct trouble *t)
{
	cJSON *json = n ? cJSON_ParseWithLength(body, n) : NULL;
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(json, "error");
	const char *type = json_string(error, "type");
	const char *message = json_string(error, "message");
	const char *code = json_string(cJSON_GetObjectItemCaseSensitive(error, "details"), "error_code");
	const char *id = json_string(json, "request_id");

	if (!message)
		message = cJSON_GetStringValue(error); /* other servers: {"error":"text"} */
	*t = (struct trouble){ .status = (int)status, .delay = asked_delay(h, now) };
	t->retry = status == 408 || status == 409 || status == 429 || status >= 500 ||
		   (status < 300 && type && retry_error_type(type));
	if (!strcasecmp(h->should_retry, "true"))
		t->retry = true;
	else if (!strcasecmp(h->should_retry, "false"))
		t->retry = false;
	if (status == 429 && t->delay < 0 && code && !strcmp(code, "enforced_spend_limit_reached"))
		t->retry = false;
	snprintf(t->request_id, sizeof t->request_id, "%s", h->request_id[0] || !id ? h->request_id : id);
	if (type || message)
		trouble_say(t, "%ld %s%s%s", status, type ? type : "error", message ? ": " : "", message ? message : "");
	else if (!n)
		trouble_say(t, "%ld without a body", status);
	else if (status < 300)
		trouble_say(t, "%ld with %s in place of a stream of events: %.*s", status,
			    h->content_type[0] ? h->content_type : "something", (int)text_cut(body, n, 200), body);
	else
		trouble_say(t, "%ld: %.*s", status, (int)text_cut(body, n, 200), body);
	cJSON_Delete(json);
}

void trouble_say(struct trouble *t, const char *format, ...)
{
	char text[4 * sizeof t->reason];
	va_list args;
	size_t n;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	n = strlen(text);
	text_make_utf8(text, n);
	n = text_cut(text, n, sizeof t->reason - 1);
	for (size_t i = 0; i < n; i++)
		t->reason[i] = (unsigned char)text[i] < ' ' ? ' ' : text[i];
	t->reason[n] = '\0';
}

double retry_delay(const struct trouble *t, int attempt, double random)
{
	double delay;

	if (t->delay >= 0)
		return t->delay;
	delay = attempt < 5 ? 0.5 * (double)(1 << (attempt - 1)) : 8;
	return delay * (1 - 0.25 * random);
}
