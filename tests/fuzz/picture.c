/* What says of bytes whether they are a picture, and the base64 in which they come. A copy of exactly
 * the bytes is read, so that a step past them is seen. */
#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buffer out = BUFFER(1 << 20);
	struct picture picture;
	struct error err;
	uint8_t *bytes = malloc(size ? size : 1);
	char *text = malloc(size / 3 * 4 + 8);
	const char *type;

	if (!bytes || !text)
		abort();
	memcpy(bytes, data, size);
	type = picture_type(bytes, size);
	if (type && picture_check(type, bytes, size, &picture, &err) == 0) {
		if (!picture.width || !picture.height || picture.width > 8000 || picture.height > 8000)
			abort();
#ifdef PLANTED
		if (picture.width == 77)
			__builtin_trap();
#endif
	}
	/* What was encoded comes back; the bytes themselves as a text are base64 or refused. */
	(void)EVP_EncodeBlock((unsigned char *)text, bytes, (int)size);
	if (size && (picture_decode(text, &out, &err) < 0 || out.length != size || memcmp(out.data, bytes, size) != 0))
		abort();
	buffer_clear(&out);
	memcpy(text, bytes, size);
	text[size] = '\0';
	if (picture_decode(text, &out, &err) == 0 && out.length > size)
		abort();
	buffer_free(&out);
	free(bytes);
	free(text);
	return 0;
}
