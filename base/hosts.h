/* Hosts that a sandbox may reach, as a config writes them:
 *
 *      pypi.org            that name, by HTTP and HTTPS (ports 80 and 443)
 *      *.huggingface.co    every name below it
 *      db.lab:5432         that port, whatever is spoken on it
 *      10.0.0.7            an address; [fe80::1] and [fe80::1]:22 for IPv6 */
#ifndef INTERPFS_BASE_HOSTS_H
#define INTERPFS_BASE_HOSTS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/error.h"

#define HOST_SIZE 256 /* a name of DNS has at most 253 characters */

/* Whether it is a pattern; -1 EINVAL with a sentence. */
int hosts_check(const char *pattern, struct error *err);

/* "NAME", "NAME:PORT", "ADDRESS", "[ADDRESS6]:PORT": host without brackets and in small letters.
 * *port is left as it is when there is none. -1: it is none of these. */
int hosts_split(const char *text, char host[HOST_SIZE], int *port);

/* Whether a pattern admits a host (as hosts_split makes it) on a port. */
bool hosts_match(const char *pattern, const char *host, int port);
/* The same, only because the pattern names that port itself: then not only HTTP may be spoken. */
bool hosts_match_port(const char *pattern, const char *host, int port);

bool hosts_is_address(const char *host); /* a literal IPv4 or IPv6 address */

/* Whether an address is this machine's own or its neighbour's by link: loopback, link-local (where
 * clouds keep their metadata), unspecified, multicast. A name must never lead there. */
bool hosts_is_near(const struct sockaddr *address);

#endif
