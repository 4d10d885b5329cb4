/* libcrypto's functions of this digest alone. They are deprecated for EVP, whose first digest sets up
 * the library's providers: 0.8 ms of a process that needs nothing else of them, as the runner of a
 * sandbox, whose start takes 40. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/sha256.h"

#include <openssl/sha.h>
#include <stdio.h>

void sha256_hex(const void *data, size_t n, char *out, size_t size)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	char all[SHA256_HEX_SIZE];
	SHA256_CTX context;

	(void)SHA256_Init(&context); /* none of the three can fail */
	(void)SHA256_Update(&context, data, n);
	(void)SHA256_Final(digest, &context);
	for (size_t i = 0; i < sizeof digest; i++)
		(void)snprintf(all + 2 * i, 3, "%02x", digest[i]);
	(void)snprintf(out, size, "%s", all);
}
