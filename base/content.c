#include "base/content.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json.h"
#include "base/picture.h"

cJSON *content_parse(const char *text, size_t n)
{
	size_t at = n ? strspn(text, " \t\r\n") : 0;
	cJSON *blocks = n && text[at] == '[' ? cJSON_ParseWithLength(text, n) : NULL;

	if (cJSON_IsArray(blocks) && cJSON_IsObject(blocks->child))
		return blocks;
	cJSON_Delete(blocks);
	return NULL;
}

static bool blank(const char *text)
{
	return !text[strspn(text, " \t\r\n\f\v")];
}

static int check_base64(const cJSON *source, bool picture, struct error *err)
{
	cleanup_buffer struct buffer bytes = BUFFER(PICTURE_BASE64_MAX);
	const char *mime = json_word(source, "media_type");
	struct picture ignored;

	if (picture_decode(json_word(source, "data"), &bytes, err) < 0)
		return -1;
	if (picture)
		return picture_check(mime, bytes.data, bytes.length, &ignored, err);
	if (strcmp(mime, "application/pdf") != 0)
		return error_set(err, EINVAL, "its type is %.40s, not application/pdf", *mime ? mime : "unknown");
	return bytes.length >= 5 && !memcmp(bytes.data, "%PDF-", 5) ? 0 : error_set(err, EINVAL, "it is no PDF");
}

static int check_source(const cJSON *source, bool picture, struct error *err)
{
	const char *type = json_word(source, "type");

	if (!strcmp(type, "base64"))
		return check_base64(source, picture, err);
	if ((!strcmp(type, "url") && !blank(json_word(source, "url"))) || (!strcmp(type, "file") && !blank(json_word(source, "file_id"))))
		return 0;
	if (!picture && !strcmp(type, "text") && !blank(json_word(source, "data")))
		return 0;
	return error_set(err, EINVAL, "its source is none that is known");
}

static int check_block(const cJSON *block, struct error *err)
{
	const char *type = json_word(block, "type");

	if (cJSON_GetObjectItemCaseSensitive(block, "cache_control"))
		return error_set(err, EINVAL, "cache_control is set by interpfs itself");
	if (!strcmp(type, "text"))
		return blank(json_word(block, "text")) ? error_set(err, EINVAL, "a text without anything in it") : 0;
	if (!strcmp(type, "image") || !strcmp(type, "document"))
		return check_source(cJSON_GetObjectItemCaseSensitive(block, "source"), *type == 'i', err) < 0 ?
		       error_wrap(err, "%s", type) : 0;
	return error_set(err, EINVAL, "a message has blocks of type text, image and document, not %.40s",
			 *type ? type : "without a type");
}

int content_check(const cJSON *content, struct error *err)
{
	const cJSON *block;
	int number = 0;

	cJSON_ArrayForEach(block, content) {
		number++;
		if (check_block(block, err) < 0)
			return error_wrap(err, "block %d", number);
	}
	return number ? 0 : error_set(err, EINVAL, "a message without blocks");
}
