/* JSON-RPC 2.0 over lines: see jsonrpc.h. cJSON does the JSON; what it lets through and should
 * not (bytes that are no UTF-8, escaped NULs, trailing text) is caught here. */
#include "mcp/jsonrpc.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mcp/text.h"

int jsonrpc_feed(struct jsonrpc_reader *reader, const void *data, size_t n, struct error *err)
{
	if (reader->start) {
		buffer_consume(&reader->in, reader->start);
		reader->scanned -= reader->start;
		reader->start = 0;
	}
	if (buffer_append(&reader->in, data, n) < 0)
		return error_errno(err, "a line of JSON-RPC");
	return 0;
}

int jsonrpc_line(struct jsonrpc_reader *reader, char **line, size_t *n, struct error *err)
{
	for (;;) {
		char *begin = reader->in.data ? reader->in.data + reader->start : NULL;
		size_t unseen = reader->in.length - reader->scanned;
		char *end = unseen ? memchr(reader->in.data + reader->scanned, '\n', unseen) : NULL;
		size_t length;
		bool skipped;

		if (!end) {
			reader->scanned = reader->in.length;
			if (reader->in.length - reader->start <= JSONRPC_LINE_MAX && !reader->skipping)
				return 0;
			reader->start = reader->in.length;
			if (reader->skipping)
				return 0;
			reader->skipping = true;
			return error_set(err, EMSGSIZE, "a line is longer than %u bytes", JSONRPC_LINE_MAX);
		}
		length = (size_t)(end - begin);
		reader->start = reader->scanned = (size_t)(end - reader->in.data) + 1;
		skipped = reader->skipping;
		reader->skipping = false;
		if (skipped)
			continue;
		if (length > JSONRPC_LINE_MAX)
			return error_set(err, EMSGSIZE, "a line is longer than %u bytes", JSONRPC_LINE_MAX);
		if (length && begin[length - 1] == '\r')
			length--;
		begin[length] = '\0';
		if (!length)
			continue;
		*line = begin;
		*n = length;
		return 1;
	}
}

void jsonrpc_reader_free(struct jsonrpc_reader *reader)
{
	buffer_free(&reader->in);
	reader->start = reader->scanned = 0;
}

static bool acceptable_id(const cJSON *id)
{
	if (cJSON_IsString(id))
		return true;
	return cJSON_IsNumber(id) && fabs(id->valuedouble) <= 9007199254740991.0 &&
	       floor(id->valuedouble) == id->valuedouble;
}

static int invalid(int *reply, struct error *err, const char *why)
{
	*reply = JSONRPC_INVALID_REQUEST;
	return error_set(err, EPROTO, "%s", why);
}

static int parse_error_object(const cJSON *error, struct jsonrpc_message *m)
{
	const cJSON *code = cJSON_GetObjectItemCaseSensitive(error, "code");
	const cJSON *text = cJSON_GetObjectItemCaseSensitive(error, "message");

	if (!cJSON_IsNumber(code) || !cJSON_IsString(text))
		return -1;
	m->code = code->valueint;
	m->text = text->valuestring;
	m->data = cJSON_GetObjectItemCaseSensitive(error, "data");
	return 0;
}

int jsonrpc_parse(char *line, size_t n, struct jsonrpc_message *m, int *reply, struct error *err)
{
	const cJSON *version, *id, *method, *params, *result, *error;
	const char *end = NULL;

	memset(m, 0, sizeof *m);
	*reply = JSONRPC_PARSE_ERROR;
	if (memchr(line, '\0', n) || !text_is_utf8(line, n))
		return error_set(err, EPROTO, "the line is not UTF-8");
	m->nul = text_escaped_nul(line, n) != NULL;
	text_replace_escaped_nuls(line, n);
	m->document = cJSON_ParseWithLengthOpts(line, n, &end, false);
	if (!m->document)
		return error_set(err, EPROTO, "the line is not JSON");
	while (end < line + n && (*end == ' ' || *end == '\t' || *end == '\r'))
		end++;
	if (end != line + n)
		return error_set(err, EPROTO, "there is more than one JSON value on the line");
	if (cJSON_IsArray(m->document))
		return invalid(reply, err, "batches are not part of MCP");
	if (!cJSON_IsObject(m->document))
		return invalid(reply, err, "a message is a JSON object");

	version = cJSON_GetObjectItemCaseSensitive(m->document, "jsonrpc");
	id = cJSON_GetObjectItemCaseSensitive(m->document, "id");
	method = cJSON_GetObjectItemCaseSensitive(m->document, "method");
	params = cJSON_GetObjectItemCaseSensitive(m->document, "params");
	result = cJSON_GetObjectItemCaseSensitive(m->document, "result");
	error = cJSON_GetObjectItemCaseSensitive(m->document, "error");
	if (cJSON_IsNull(params))
		params = NULL; /* null is what some peers write for nothing */
	if (result && cJSON_IsNull(error))
		error = NULL;
	if (id && acceptable_id(id))
		m->id = id;
	if (!cJSON_IsString(version) || strcmp(version->valuestring, "2.0") != 0)
		return invalid(reply, err, "\"jsonrpc\" must be \"2.0\"");
	if (id && !m->id && !(error && cJSON_IsNull(id)))
		return invalid(reply, err, "\"id\" must be a string or a whole number");
	if (!!method + !!result + !!error != 1)
		return invalid(reply, err, "a message has one of \"method\", \"result\" and \"error\"");
	if (method) {
		if (!cJSON_IsString(method))
			return invalid(reply, err, "\"method\" must be a string");
		if (params && !cJSON_IsObject(params))
			return invalid(reply, err, "\"params\" must be an object");
		m->kind = id ? JSONRPC_REQUEST : JSONRPC_NOTIFICATION;
		m->method = method->valuestring;
		m->params = params;
		return 0;
	}
	if (result && !id)
		return invalid(reply, err, "a result has an \"id\"");
	m->kind = result ? JSONRPC_RESULT : JSONRPC_ERROR;
	m->result = result;
	if (error && parse_error_object(error, m) < 0)
		return invalid(reply, err, "\"error\" needs a number \"code\" and a string \"message\"");
	return 0;
}

void jsonrpc_message_free(struct jsonrpc_message *m)
{
	cJSON_Delete(m->document);
	memset(m, 0, sizeof *m);
}

/* Prints and frees a message; object is NULL when there was no memory for it. */
static int put(struct buffer *out, cJSON *object, struct error *err)
{
	char *text = object ? cJSON_PrintUnformatted(object) : NULL;
	size_t before = out->length;
	int status = 0;

	cJSON_Delete(object);
	if (!text)
		return error_memory(err);
	if (buffer_text(out, text) < 0 || buffer_append(out, "\n", 1) < 0) {
		status = error_errno(err, "a message of JSON-RPC");
		out->length = before;
	}
	cJSON_free(text);
	return status;
}

/* Takes `value` over. false: out of memory, value is gone. */
static bool add(cJSON *object, const char *name, cJSON *value)
{
	if (value && cJSON_AddItemToObject(object, name, value))
		return true;
	cJSON_Delete(value);
	return false;
}

static cJSON *message_object(void)
{
	cJSON *object = cJSON_CreateObject();

	if (object && !cJSON_AddStringToObject(object, "jsonrpc", "2.0")) {
		cJSON_Delete(object);
		return NULL;
	}
	return object;
}

static int put_call(struct buffer *out, const double *id, const char *method, cJSON *params, struct error *err)
{
	cJSON *object = message_object();
	bool ok = object && (!id || cJSON_AddNumberToObject(object, "id", *id)) &&
		  cJSON_AddStringToObject(object, "method", method);

	if (!ok) {
		cJSON_Delete(params);
	} else if (params) {
		ok = add(object, "params", params);
	}
	if (!ok) {
		cJSON_Delete(object);
		object = NULL;
	}
	return put(out, object, err);
}

int jsonrpc_put_request(struct buffer *out, double id, const char *method, cJSON *params, struct error *err)
{
	return put_call(out, &id, method, params, err);
}

int jsonrpc_put_notification(struct buffer *out, const char *method, cJSON *params, struct error *err)
{
	return put_call(out, NULL, method, params, err);
}

static cJSON *answer_object(const cJSON *id)
{
	cJSON *object = message_object();

	if (object && !add(object, "id", id ? cJSON_Duplicate(id, true) : cJSON_CreateNull())) {
		cJSON_Delete(object);
		return NULL;
	}
	return object;
}

int jsonrpc_put_result(struct buffer *out, const cJSON *id, cJSON *result, struct error *err)
{
	cJSON *object = answer_object(id);

	if (!object) {
		cJSON_Delete(result);
	} else if (!add(object, "result", result)) {
		cJSON_Delete(object);
		object = NULL;
	}
	return put(out, object, err);
}

int jsonrpc_put_error(struct buffer *out, const cJSON *id, int code, const char *text, cJSON *data,
		      struct error *err)
{
	cJSON *object = answer_object(id);
	cJSON *error = object ? cJSON_AddObjectToObject(object, "error") : NULL;
	bool ok = error && cJSON_AddNumberToObject(error, "code", code) &&
		  cJSON_AddStringToObject(error, "message", text);

	if (!ok) {
		cJSON_Delete(data);
	} else if (data) {
		ok = add(error, "data", data);
	}
	if (!ok) {
		cJSON_Delete(object);
		object = NULL;
	}
	return put(out, object, err);
}
