/* See picture.h. Only what says the type, the size and whether the end is there is read. */
#include "base/picture.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

#define SIDE_MAX 8000 /* pixels */

int picture_decode(const char *base64, struct buffer *out, struct error *err)
{
	size_t n = strlen(base64), padding = n && base64[n - 1] == '=' ? 1 + (n > 1 && base64[n - 2] == '=') : 0;
	int length;

	if (n > PICTURE_BASE64_MAX)
		return error_set(err, EFBIG, "it is larger than %u bytes", PICTURE_BYTES_MAX);
	/* EVP_DecodeBlock passes over white space at both ends and takes "=" anywhere. */
	if (!n || n % 4 || strspn(base64, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") != n - padding)
		return error_set(err, EINVAL, "it is not base64");
	if (buffer_reserve(out, n / 4 * 3) < 0)
		return error_memory(err);
	length = EVP_DecodeBlock((unsigned char *)out->data, (const unsigned char *)base64, (int)n);
	if (length < 0)
		return error_set(err, EINVAL, "it is not base64");
	out->length = (size_t)length - padding;
	out->data[out->length] = '\0';
	return 0;
}

static unsigned big(const unsigned char *p, size_t n)
{
	unsigned v = 0;

	while (n--)
		v = v << 8 | *p++;
	return v;
}

static unsigned little(const unsigned char *p, size_t n)
{
	unsigned v = 0;

	while (n)
		v = v << 8 | p[--n];
	return v;
}

/* Each reads the sizes; false when the bytes are no whole picture of its type. */
static bool read_png(const unsigned char *p, size_t n, struct picture *picture)
{
	if (n < 33 || memcmp(p + 12, "IHDR", 4) != 0)
		return false;
	picture->width = big(p + 16, 4);
	picture->height = big(p + 20, 4);
	for (size_t at = 8; at + 12 <= n;) {
		size_t length = big(p + at, 4);

		if (length > n - at - 12)
			return false;
		if (!memcmp(p + at + 4, "IEND", 4))
			return true;
		at += length + 12;
	}
	return false;
}

static bool read_jpeg(const unsigned char *p, size_t n, struct picture *picture)
{
	size_t at = 2;

	while (at + 9 <= n && p[at] == 0xff) {
		unsigned char marker = p[at + 1];

		if (marker == 0xff) { /* filling */
			at++;
			continue;
		}
		if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) {
			picture->height = big(p + at + 5, 2);
			picture->width = big(p + at + 7, 2);
		}
		if (marker == 0xda) /* the picture itself, to the end marker */
			return picture->width && memmem(p + at, n - at, "\xff\xd9", 2);
		at += 2 + big(p + at + 2, 2);
	}
	return false;
}

static bool read_gif(const unsigned char *p, size_t n, struct picture *picture)
{
	if (n < 14)
		return false;
	picture->width = little(p + 6, 2);
	picture->height = little(p + 8, 2);
	return memrchr(p + 13, ';', n - 13) != NULL;
}

static bool read_webp(const unsigned char *p, size_t n, struct picture *picture)
{
	if (n < 30 || memcmp(p + 8, "WEBP", 4) != 0 || little(p + 4, 4) > n - 8)
		return false;
	if (!memcmp(p + 12, "VP8X", 4)) {
		picture->width = little(p + 24, 3) + 1;
		picture->height = little(p + 27, 3) + 1;
	} else if (!memcmp(p + 12, "VP8L", 4)) {
		picture->width = (little(p + 21, 4) & 0x3fff) + 1;
		picture->height = (little(p + 21, 4) >> 14 & 0x3fff) + 1;
	} else if (!memcmp(p + 12, "VP8 ", 4)) {
		picture->width = little(p + 26, 2) & 0x3fff;
		picture->height = little(p + 28, 2) & 0x3fff;
	} else {
		return false;
	}
	return true;
}

static const struct {
	const char *mime, *extension, *begin;
	bool (*read)(const unsigned char *p, size_t n, struct picture *picture);
} kinds[] = {
	{ "image/png", "png", "\x89PNG\r\n\x1a\n", read_png },
	{ "image/jpeg", "jpg", "\xff\xd8\xff", read_jpeg },
	{ "image/gif", "gif", "GIF8", read_gif },
	{ "image/webp", "webp", "RIFF", read_webp },
};

static bool begins(size_t kind, const void *bytes, size_t n)
{
	size_t length = strlen(kinds[kind].begin);

	return n >= length && !memcmp(bytes, kinds[kind].begin, length);
}

const char *picture_type(const void *bytes, size_t n)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (begins(i, bytes, n))
			return kinds[i].mime;
	return NULL;
}

int picture_check(const char *mime, const void *bytes, size_t n, struct picture *picture, struct error *err)
{
	const char *is = picture_type(bytes, n);

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (strcmp(kinds[i].mime, mime) != 0)
			continue;
		*picture = (struct picture){ .extension = kinds[i].extension };
		if (n > PICTURE_BYTES_MAX)
			return error_set(err, EFBIG, "it is larger than %u bytes", PICTURE_BYTES_MAX);
		if (!is || strcmp(is, mime) != 0)
			return error_set(err, EINVAL, "it is %s, not %s", is ? is : "no picture", mime);
		if (!kinds[i].read(bytes, n, picture) || !picture->width || !picture->height)
			return error_set(err, EINVAL, "it is broken or not whole");
		if (picture->width > SIDE_MAX || picture->height > SIDE_MAX)
			return error_set(err, EFBIG, "it has %u x %u pixels, more than %d on a side", picture->width,
					 picture->height, SIDE_MAX);
		return 0;
	}
	return error_set(err, EINVAL, "its type is %.40s; image/png, image/jpeg, image/gif and image/webp can be shown",
			 *mime ? mime : "unknown");
}
