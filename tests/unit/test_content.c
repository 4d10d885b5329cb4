/* What a user's message may hold; what is a picture and what is not. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/content.h"
#include "base/picture.h"

#define PNG_HEAD "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x05\0\0\0\x07\x08\0\0\0\0crc!"
#define PNG_TAIL "\0\0\0\x02IDATxycrc!\0\0\0\0IENDcrc!"
#define JPEG_HEAD "\xff\xd8\xff\xe0\0\4ab\xff\xff\xc2\0\x0b\x08\0\7\0\5\1\1\x11\0"
#define GIF "GIF89a\5\0\7\0\0\0\0,data;"
#define WEBP(kind, rest) "RIFF\x16\0\0\0WEBP" kind rest
#define BYTES(text) text, sizeof text - 1

static const struct {
	const char *mime, *bytes;
	size_t n;
	const char *why; /* NULL: it is one of 5 x 7 pixels */
} pictures[] = {
	{ "image/png", BYTES(PNG_HEAD PNG_TAIL), NULL },
	{ "image/png", BYTES(PNG_HEAD), "it is broken or not whole" },
	{ "image/png", BYTES(PNG_HEAD "\0\0\0\x03IDATxycrc!"), "it is broken or not whole" },
	{ "image/png", BYTES(PNG_HEAD "\xff\xff\xff\xffIDATxycrc!"), "it is broken or not whole" },
	{ "image/png", BYTES("\x89PNG\r\n\x1a\n"), "it is broken or not whole" },
	{ "image/png", BYTES(GIF), "it is image/gif, not image/png" },
	{ "image/png", BYTES(""), "it is no picture, not image/png" },
	{ "image/png", BYTES("\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x1f\x41\0\0\0\x07\x08\0\0\0\0crc!" PNG_TAIL),
	  "it has 8001 x 7 pixels, more than 8000 on a side" },
	{ "image/png", BYTES("\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\0\0\0\0\x07\x08\0\0\0\0crc!" PNG_TAIL), "it is broken or not whole" },
	{ "image/jpeg", BYTES(JPEG_HEAD "\xff\xda\0\2data\xff\xd9"), NULL },
	{ "image/jpeg", BYTES(JPEG_HEAD "\xff\xda\0\2data"), "it is broken or not whole" },
	{ "image/jpeg", BYTES(JPEG_HEAD), "it is broken or not whole" },
	{ "image/jpeg", BYTES("\xff\xd8\xff\xe0\xff\xff"), "it is broken or not whole" },
	{ "image/gif", BYTES(GIF), NULL },
	{ "image/gif", BYTES("GIF89a\5\0\7\0\0\0\0,data"), "it is broken or not whole" },
	{ "image/webp", BYTES(WEBP("VP8X", "\x0a\0\0\0\0\0\0\0\4\0\0\6\0\0")), NULL },
	{ "image/webp", BYTES(WEBP("VP8 ", "\x0a\0\0\0abc\x9d\1\x2a\5\0\7\0")), NULL },
	{ "image/webp", BYTES(WEBP("VP8L", "\x0a\0\0\0\x2f\4\x80\1\0abcde")), NULL },
	{ "image/webp", BYTES(WEBP("VP9 ", "\x0a\0\0\0abcdefghij")), "it is broken or not whole" },
	{ "image/webp", BYTES("RIFF\x17\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\4\0\0\6\0\0"), "it is broken or not whole" },
	{ "image/tiff", BYTES("II"), "its type is image/tiff; image/png, image/jpeg, image/gif and image/webp can be shown" },
	{ "", BYTES("II"), "its type is unknown; image/png, image/jpeg, image/gif and image/webp can be shown" },
};

START_TEST(what_is_a_picture)
{
	struct picture picture;
	struct error err;
	/* A copy of exactly its bytes, so that a read past them is seen. */
	char *bytes = malloc(pictures[_i].n ? pictures[_i].n : 1);
	int rc;

	ck_assert_ptr_nonnull(bytes);
	memcpy(bytes, pictures[_i].bytes, pictures[_i].n);
	rc = picture_check(pictures[_i].mime, bytes, pictures[_i].n, &picture, &err);
	free(bytes);
	ck_assert_msg((rc == 0) == (pictures[_i].why == NULL), "%s", rc ? err.text : "it was taken");
	if (rc) {
		ck_assert_str_eq(err.text, pictures[_i].why);
	} else {
		ck_assert_uint_eq(picture.width, 5);
		ck_assert_uint_eq(picture.height, 7);
	}
}
END_TEST

static const struct {
	const char *base64, *bytes;
} texts[] = {
	{ "YQ==", "a" }, { "YWI=", "ab" }, { "YWJj", "abc" }, { "", NULL }, { "YQ", NULL }, { "YQ=a", NULL }, { "=YQ=", NULL },
	{ "Y===", NULL }, { "====", NULL }, { " YQ=", NULL }, { "YWJj\nYWJj", NULL }, { "YW!j", NULL }, { "YWJjYQ==YWJj", NULL },
};

START_TEST(base64)
{
	struct buffer out = BUFFER(100);
	struct error err;

	ck_assert_int_eq(picture_decode(texts[_i].base64, &out, &err), texts[_i].bytes ? 0 : -1);
	ck_assert_str_eq(texts[_i].bytes ? out.data : err.text, texts[_i].bytes ? texts[_i].bytes : "it is not base64");
	buffer_free(&out);
}
END_TEST

#define SMALL "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

static const struct {
	const char *json, *why; /* NULL: it is in order; "" it is a text */
} messages[] = {
	{ "[{\"type\":\"text\",\"text\":\"x\"}]", NULL },
	{ " \n[{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"" SMALL "\"}}]", NULL },
	{ "[{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://x/y.png\"}}]", NULL },
	{ "[{\"type\":\"document\",\"source\":{\"type\":\"base64\",\"media_type\":\"application/pdf\",\"data\":\"JVBERi0x\"}}]", NULL },
	{ "[{\"type\":\"document\",\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":\"x\"}}]", NULL },
	{ "[1, 2]", "" }, { "[]", "" }, { "[x", "" }, { "{\"type\":\"text\"}", "" }, { "", "" },
	{ "[{\"type\":\"text\",\"text\":\" \\n\"}]", "block 1: a text without anything in it" },
	{ "[{\"type\":\"text\"}]", "block 1: a text without anything in it" },
	{ "[{\"type\":\"text\",\"text\":\"x\"}, 5]", "block 2: a message has blocks of type text, image and document, not without a type" },
	{ "[{\"type\":\"tool_result\",\"tool_use_id\":\"x\"}]", "block 1: a message has blocks of type text, image and document, not tool_result" },
	{ "[{\"type\":\"text\",\"text\":\"x\",\"cache_control\":{\"type\":\"ephemeral\"}}]", "block 1: cache_control is set by interpfs itself" },
	{ "[{\"type\":\"image\"}]", "block 1: image: its source is none that is known" },
	{ "[{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"x\"}}]", "block 1: image: it is not base64" },
	{ "[{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\"}}]", "block 1: image: it is not base64" },
	{ "[{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/jpeg\",\"data\":\"" SMALL "\"}}]",
	  "block 1: image: it is image/png, not image/jpeg" },
	{ "[{\"type\":\"image\",\"source\":{\"type\":\"text\",\"data\":\"x\"}}]", "block 1: image: its source is none that is known" },
	{ "[{\"type\":\"document\",\"source\":{\"type\":\"base64\",\"media_type\":\"application/pdf\",\"data\":\"AAAA\"}}]",
	  "block 1: document: it is no PDF" },
};

START_TEST(what_is_a_message)
{
	struct error err;
	cJSON *blocks = content_parse(messages[_i].json, strlen(messages[_i].json));
	int rc = blocks ? content_check(blocks, &err) : 0;

	ck_assert((blocks == NULL) == (messages[_i].why && !*messages[_i].why));
	cJSON_Delete(blocks);
	if (messages[_i].why && *messages[_i].why)
		ck_assert_str_eq(rc ? err.text : "it was taken", messages[_i].why);
	else
		ck_assert_msg(rc == 0, "%s", rc ? err.text : "");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("content");
	TCase *t = tcase_create("content");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_loop_test(t, what_is_a_picture, 0, sizeof pictures / sizeof *pictures);
	tcase_add_loop_test(t, base64, 0, sizeof texts / sizeof *texts);
	tcase_add_loop_test(t, what_is_a_message, 0, sizeof messages / sizeof *messages);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
