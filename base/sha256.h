/* SHA-256 (FIPS 180-4), for names and chains. Our own: the first digest of libcrypto costs a new
 * process 0.7 ms of setting up its providers, which is a fiftieth of a sandbox's start. */
#ifndef INTERPFS_BASE_SHA256_H
#define INTERPFS_BASE_SHA256_H

#include <stddef.h>

#define SHA256_HEX_SIZE 65

/* The digest of n bytes as lower-case hexadecimal digits: its first size - 1, at most all of them,
 * and a NUL. */
void sha256_hex(const void *data, size_t n, char *out, size_t size);

#endif
