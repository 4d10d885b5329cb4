/* The name in a TLS ClientHello (RFC 8446 4.1.2, RFC 6066 3). */
#ifndef INTERPFS_BACKEND_PROXY_HELLO_H
#define INTERPFS_BACKEND_PROXY_HELLO_H

#include <stddef.h>
#include <stdint.h>

#include "base/hosts.h"

#define HELLO_MAX 16389u /* the longest record that TLS allows: a hello in pieces is not read */

enum hello { HELLO_MORE, HELLO_NONE, HELLO_NAMED, HELLO_OTHER };

/* What the first bytes of a connection are: MORE have to come; NONE: a hello without a name; NAMED:
 * one, with its name in small letters; OTHER: no hello, or a damaged one. */
enum hello hello_read(const uint8_t *data, size_t n, char name[HOST_SIZE]);

#endif
