/* Pictures as models take them. One that they do not take would stay in the conversation and have
 * every later request refused: what is wrong with one is found out before it gets there. */
#ifndef INTERPFS_BASE_PICTURE_H
#define INTERPFS_BASE_PICTURE_H

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

#define PICTURE_BASE64_MAX (5u << 20) /* bytes of its base64 */
#define PICTURE_BYTES_MAX (PICTURE_BASE64_MAX / 4 * 3)

struct picture {
	const char *extension; /* png, jpg, gif, webp */
	unsigned width, height;
};

/* The type of a picture by its first bytes ("image/png"), NULL when it is none. */
const char *picture_type(const void *bytes, size_t n);

/* Decodes base64 (without white space) into out. -1 with a sentence when it is none or too long. */
int picture_decode(const char *base64, struct buffer *out, struct error *err);

/* Whether the bytes are a whole picture of that type (image/png, jpeg, gif, webp) and not too large. */
int picture_check(const char *mime, const void *bytes, size_t n, struct picture *picture, struct error *err);

#endif
