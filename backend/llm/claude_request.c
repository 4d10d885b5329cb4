/* {"model",… options …,"tools":[…],"system":[…],"messages":[…]}: in the order in which the API hashes
 * for its cache, and the same bytes each time, so that each request extends the one before. The
 * assistant's content goes back as it came. */
#include "backend/llm/claude_request.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define CACHE_MARKER ",\"cache_control\":{\"type\":\"ephemeral\"}"
#define IMAGE_MAX (8u << 20)

int claude_check_options(const cJSON *options, struct error *err)
{
	static const char *const ours[] = { "messages", "tools", "system", "stream", "model" };

	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		if (cJSON_GetObjectItemCaseSensitive(options, ours[i]))
			return error_set(err, EINVAL, "options may not hold %s", ours[i]);
	return 0;
}

static int full(struct error *err)
{
	return errno == EFBIG ? error_set(err, EFBIG, "the conversation is too long for one request")
			      : error_memory(err);
}

static int put(struct buffer *body, const char *text, struct error *err)
{
	return buffer_text(body, text) < 0 ? full(err) : 0;
}

static int put_json(struct buffer *body, const cJSON *json, struct error *err)
{
	cleanup_free char *text = cJSON_PrintUnformatted(json);

	return text ? put(body, text, err) : error_memory(err);
}

/* What is in front of tools: `{"model":…` without its closing brace. */
static int put_head(const struct dialogue *d, const struct models *models, const cJSON *options,
		    struct buffer *body, struct error *err)
{
	cJSON *head = cJSON_CreateObject();
	const char *thinking = models_word(models, d->model, "thinking");
	const cJSON *option;
	int rc;

	if (!head)
		return error_memory(err);
	cJSON_AddStringToObject(head, "model", d->model);
	cJSON_AddNumberToObject(head, "max_tokens", models_number(models, d->model, "max_tokens", 32000));
	if (thinking && !strcmp(thinking, "adaptive")) {
		cJSON *t = cJSON_AddObjectToObject(head, "thinking");

		cJSON_AddStringToObject(t, "type", "adaptive");
		cJSON_AddStringToObject(t, "display", "summarized");
	}
	cJSON_AddTrueToObject(head, "stream");
	cJSON_ArrayForEach(option, options) {
		if (!strcmp(option->string, "betas"))
			continue; /* a header */
		cJSON_DeleteItemFromObjectCaseSensitive(head, option->string);
		if (!cJSON_IsNull(option))
			cJSON_AddItemToObject(head, option->string, cJSON_Duplicate(option, true));
	}
	rc = put_json(body, head, err);
	cJSON_Delete(head);
	if (!rc)
		body->length--;
	return rc;
}

static int put_tools(const struct dialogue *d, bool marked, struct buffer *body, struct error *err)
{
	const cJSON *tool;
	bool first = true;

	if (put(body, ",\"tools\":[", err) < 0)
		return -1;
	cJSON_ArrayForEach(tool, d->tools) {
		cJSON *out = cJSON_CreateObject();
		const cJSON *schema = cJSON_GetObjectItemCaseSensitive(tool, "inputSchema");
		const char *text = json_string(tool, "description");
		int rc;

		if (!out)
			return error_memory(err);
		cJSON_AddStringToObject(out, "name",
			json_string(tool, "name"));
		if (text && *text)
			cJSON_AddStringToObject(out, "description", text);
		cJSON_AddItemToObject(out, "input_schema", schema ? cJSON_Duplicate(schema, true)
								  : cJSON_CreateObject());
		rc = first ? 0 : put(body, ",", err);
		rc = rc < 0 ? rc : put_json(body, out, err);
		cJSON_Delete(out);
		if (rc < 0)
			return -1;
		first = false;
		if (marked && !tool->next) { /* without a system prompt the tools end the frozen part */
			body->length--;
			if (put(body, CACHE_MARKER "}", err) < 0)
				return -1;
		}
	}
	return put(body, "]", err);
}

static int put_system(const struct dialogue *d, struct buffer *body, struct error *err)
{
	cJSON *text = cJSON_CreateString(d->system);
	int rc = text ? put(body, ",\"system\":[{\"type\":\"text\",\"text\":", err) : error_memory(err);

	rc = rc < 0 ? rc : put_json(body, text, err);
	cJSON_Delete(text);
	return rc < 0 ? rc : put(body, CACHE_MARKER "}]", err);
}

static int put_image(const struct dialogue *d, const cJSON *image, struct buffer *body, struct error *err)
{
	const char *hash = json_string(image, "sha256");
	const char *mime = json_string(image, "mime");
	cleanup_buffer struct buffer bytes = BUFFER(IMAGE_MAX);
	char path[128];
	int n;

	if (!hash || strlen(hash) != 64 || strspn(hash, "0123456789abcdef") != 64)
		return error_set(err, EBADMSG, "a picture in the conversation has no hash");
	snprintf(path, sizeof path, "blobs/%s", hash);
	if (file_read(d->folder, path, &bytes, err) < 0)
		return -1;
	if (buffer_format(body, "{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"%s\",\"data\":\"",
			  mime ? mime : "image/png") < 0 ||
	    buffer_reserve(body, bytes.length / 3 * 4 + 8) < 0)
		return full(err);
	n = EVP_EncodeBlock((unsigned char *)body->data + body->length, (unsigned char *)bytes.data,
			    (int)bytes.length);
	body->length += (size_t)n;
	return put(body, "\"}}", err);
}

static bool blank(const char *text)
{
	return !text[strspn(text, " \t\r\n\f\v")];
}

static int put_result(const struct dialogue *d, const cJSON *result, struct buffer *body, struct error *err)
{
	const cJSON *block, *id = cJSON_GetObjectItemCaseSensitive(result, "id");
	bool any = false;

	if (put(body, "{\"type\":\"tool_result\",\"tool_use_id\":", err) < 0 || put_json(body, id, err) < 0)
		return -1;
	cJSON_ArrayForEach(block, cJSON_GetObjectItemCaseSensitive(result, "content")) {
		const cJSON *text = cJSON_GetObjectItemCaseSensitive(block, "text");

		if (cJSON_IsString(text) && blank(text->valuestring))
			continue; /* the API refuses text without anything in it */
		if (put(body, any ? "," : ",\"content\":[", err) < 0)
			return -1;
		any = true;
		if (!cJSON_IsString(text)) {
			if (put_image(d, block, body, err) < 0)
				return -1;
		} else if (put(body, "{\"type\":\"text\",\"text\":", err) < 0 || put_json(body, text, err) < 0 ||
			   put(body, "}", err) < 0) {
			return -1;
		}
	}
	if (any && put(body, "]", err) < 0)
		return -1;
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(result, "is_error")) &&
	    put(body, ",\"is_error\":true", err) < 0)
		return -1;
	return put(body, "}", err);
}

static int put_messages(const struct dialogue *d, struct buffer *body, struct error *err)
{
	size_t last_block = 0; /* where the last block of the user's side ends, at its brace */
	bool open = false, first = true;

	if (put(body, ",\"messages\":[", err) < 0)
		return -1;
	for (size_t i = 0; i < d->count; i++) {
		const struct item *item = &d->items[i];
		cJSON *json, *block;
		int rc = 0;

		if (item->kind == ITEM_ASKED || item->kind == ITEM_ASSISTANT) {
			if (open && put(body, "]}", err) < 0)
				return -1;
			open = false;
		}
		if (item->kind == ITEM_ASKED)
			continue;
		if (!open && put(body, first ? "{" : ",{", err) < 0)
			return -1;
		first = false;
		if (item->kind == ITEM_ASSISTANT) {
			if (put(body, "\"role\":\"assistant\",\"content\":", err) < 0 ||
			    put(body, item->json, err) < 0 || put(body, "}", err) < 0)
				return -1;
			continue;
		}
		if (put(body, open ? "," : "\"role\":\"user\",\"content\":[", err) < 0)
			return -1;
		open = true;
		json = cJSON_Parse(item->json);
		if (!json)
			return error_set(err, EBADMSG, "an item of the conversation is not JSON");
		if (item->kind == ITEM_RESULT)
			rc = put_result(d, json, body, err);
		else
			cJSON_ArrayForEach(block, json) {
				rc = rc || block == json->child ? rc : put(body, ",", err);
				rc = rc ? rc : put_json(body, block, err);
			}
		cJSON_Delete(json);
		if (rc < 0)
			return -1;
		last_block = body->length - 1;
	}
	if (put(body, open ? "]}]" : "]", err) < 0)
		return -1;
	if (!last_block)
		return error_set(err, EINVAL, "there is nothing to answer yet");
	if (buffer_reserve(body, strlen(CACHE_MARKER)) < 0)
		return full(err);
	memmove(body->data + last_block + strlen(CACHE_MARKER), body->data + last_block,
		body->length - last_block + 1);
	memcpy(body->data + last_block, CACHE_MARKER, strlen(CACHE_MARKER));
	body->length += strlen(CACHE_MARKER);
	return 0;
}

int claude_request(const struct dialogue *d, const struct models *models, const cJSON *options,
		   struct buffer *body, struct error *err)
{
	bool tools = cJSON_GetArraySize(d->tools) > 0;

	if (put_head(d, models, options, body, err) < 0 ||
	    (tools && put_tools(d, !*d->system, body, err) < 0) ||
	    (*d->system && put_system(d, body, err) < 0) || put_messages(d, body, err) < 0)
		return -1;
	return put(body, "}", err);
}
