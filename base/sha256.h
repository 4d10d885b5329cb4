/* SHA-256, for names and chains. */
#ifndef INTERPFS_BASE_SHA256_H
#define INTERPFS_BASE_SHA256_H

#include <stddef.h>

#define SHA256_HEX_SIZE 65

/* The digest of n bytes as lower-case hexadecimal digits: its first size - 1, at most all of them,
 * and a NUL. */
void sha256_hex(const void *data, size_t n, char *out, size_t size);

#endif
