/* The pictures of a conversation: kept by hash for requests and as files for people. A request with
 * too many or too large ones is refused, and so would be every one after it: what goes past the
 * limits stays a file, and the model is told. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/llm/session.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/picture.h"
#include "base/sha256.h"

/* What every model takes in one request; the bytes leave room for the rest of the 32 MB. */
#define COUNT_MAX 100
#define TOGETHER_MAX (20u << 20) /* bytes of base64 */
#define FEW 20                   /* more than so many may have no more than … */
#define SIDE_MAX 2000            /* … pixels on a side */

static size_t in_base64(size_t n)
{
	return (n + 2) / 3 * 4;
}

static void count(struct pictures *p, double width, double height, size_t bytes)
{
	p->count++;
	p->bytes += bytes;
	p->large |= width > SIDE_MAX || height > SIDE_MAX;
}

/* Counts one more of n bytes, unless it is one too many: -1 with why. */
static int add(struct pictures *p, const struct picture *one, size_t n, struct error *why)
{
	bool large = one->width > SIDE_MAX || one->height > SIDE_MAX;

	if (p->count >= COUNT_MAX)
		return error_set(why, E2BIG, "there are %d pictures already", COUNT_MAX);
	if (p->bytes + in_base64(n) > TOGETHER_MAX)
		return error_set(why, E2BIG, "all pictures together would be too large");
	if (p->count >= FEW && (large || p->large))
		return error_set(why, E2BIG, "there are %d pictures already, and %s has more than %d pixels on a side", FEW,
				 large ? "this one" : "one of them", SIDE_MAX);
	count(p, one->width, one->height, in_base64(n));
	return 0;
}

/* A user's picture. -1 with why. One at an address counts, its size is not known. */
static int add_source(struct pictures *p, const cJSON *block, struct error *why)
{
	const cJSON *source = cJSON_GetObjectItemCaseSensitive(block, "source");
	cleanup_buffer struct buffer bytes = BUFFER(PICTURE_BASE64_MAX);
	struct picture one = { .width = 1, .height = 1 };

	if (!strcmp(json_word(source, "type"), "base64") &&
	    (picture_decode(json_word(source, "data"), &bytes, why) < 0 ||
	     picture_check(json_word(source, "media_type"), bytes.data, bytes.length, &one, why) < 0))
		return -1;
	return add(p, &one, bytes.length, why);
}

static double number(const cJSON *object, const char *name)
{
	const cJSON *n = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(n) && n->valuedouble > 0 ? n->valuedouble : 0;
}

void session_count_pictures(struct session *s, const cJSON *content)
{
	const cJSON *block;
	struct error ignored;

	cJSON_ArrayForEach(block, content) {
		if (strcmp(json_word(block, "type"), "image") != 0)
			continue;
		if (cJSON_GetObjectItemCaseSensitive(block, "source"))
			(void)add_source(&s->pictures, block, &ignored);
		else
			count(&s->pictures, number(block, "width"), number(block, "height"), in_base64((size_t)number(block, "bytes")));
	}
}

static cJSON *text_block(const char *format, const char *what)
{
	cJSON *block = cJSON_CreateObject();
	char text[ERROR_TEXT_SIZE + 200];

	snprintf(text, sizeof text, format, what);
	cJSON_AddStringToObject(block, "type", "text");
	cJSON_AddStringToObject(block, "text", text);
	return block;
}

cJSON *session_fit_pictures(struct session *s, const cJSON *content)
{
	struct pictures tally = s->pictures;
	cJSON *fit = cJSON_CreateArray();
	const cJSON *block;
	struct error why;

	cJSON_ArrayForEach(block, content) {
		bool picture = !strcmp(json_word(block, "type"), "image");

		cJSON_AddItemToArray(fit, picture && add_source(&tally, block, &why) < 0 ?
				     text_block("[A picture that cannot be sent: %s.]", why.text) : cJSON_Duplicate(block, true));
	}
	return fit;
}

/* Under blobs/ by hash, for requests. */
static int keep_blob(struct session *s, const struct buffer *bytes, char hex[65], struct error *err)
{
	char path[80];

	sha256_hex(bytes->data, bytes->length, hex, SHA256_HEX_SIZE);
	if (file_make_folder(runner_folder(s->runner), "blobs", 0700, err) < 0)
		return -1;
	snprintf(path, sizeof path, "blobs/%s", hex);
	return faccessat(runner_folder(s->runner), path, F_OK, 0) == 0 ? 0 :
	       file_replace(runner_folder(s->runner), path, bytes->data, bytes->length, 0600, true, err);
}

static int not_shown(cJSON *content, const struct error *why, struct error *err)
{
	return cJSON_AddItemToArray(content, text_block("[a picture that cannot be shown: %s]", why->text)) ?
	       0 : error_memory(err);
}

int session_keep_picture(struct session *s, struct pictures *tally, const char *name, const cJSON *image, cJSON *content,
			 struct error *err)
{
	const char *mime = json_word(image, "mimeType");
	cleanup_buffer struct buffer bytes = BUFFER(PICTURE_BASE64_MAX);
	struct picture picture;
	struct error why;
	char hex[65], path[128];
	cJSON *block;

	if (picture_decode(json_word(image, "data"), &bytes, &why) < 0 ||
	    picture_check(mime, bytes.data, bytes.length, &picture, &why) < 0)
		return not_shown(content, &why, err);
	snprintf(path, sizeof path, "outputs/%s.%s", name, picture.extension);
	/* The agent, too, puts files into outputs/: one in the way is no reason to stop. */
	if (file_make_folder(runner_folder(s->runner), "outputs", 0700, &why) < 0 ||
	    runner_set_value(s->runner, path, bytes.data, bytes.length, 0600, &why) < 0)
		runner_log(s->runner, "%s: %s", path, why.text);
	if (add(tally, &picture, bytes.length, &why) < 0)
		return not_shown(content, &why, err);
	if (keep_blob(s, &bytes, hex, err) < 0)
		return -1;
	block = cJSON_CreateObject();
	cJSON_AddStringToObject(block, "type", "image");
	cJSON_AddStringToObject(block, "mime", mime);
	cJSON_AddStringToObject(block, "sha256", hex);
	cJSON_AddStringToObject(block, "file", path);
	cJSON_AddNumberToObject(block, "bytes", (double)bytes.length);
	cJSON_AddNumberToObject(block, "width", picture.width);
	cJSON_AddNumberToObject(block, "height", picture.height);
	return cJSON_AddItemToArray(content, block) ? 0 : error_memory(err);
}
