#include "base/hosts.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static bool is_name(const char *host)
{
	const char *label = host;

	if (!*host || strlen(host) > 253)
		return false;
	for (const char *c = host;; c++) {
		if (*c == '.' || !*c) {
			if (c == label || c - label > 63 || *label == '-' || c[-1] == '-')
				return false;
			if (!*c)
				return true;
			label = c + 1;
		} else if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_') {
			return false;
		}
	}
}

bool hosts_is_address(const char *host)
{
	struct in6_addr address;

	return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

static int take_port(const char *text, int *port)
{
	size_t digits = strspn(text, "0123456789");

	if (!digits || digits > 5 || text[digits] || strtol(text, NULL, 10) > UINT16_MAX || strtol(text, NULL, 10) < 1)
		return -1;
	*port = (int)strtol(text, NULL, 10);
	return 0;
}

int hosts_split(const char *text, char host[HOST_SIZE], int *port)
{
	const char *begin = text + (*text == '['), *end = *text == '[' ? strchr(text, ']') : strchr(text, ':');
	const char *rest, *last;
	size_t n;

	if (*text == '[' && !end)
		return -1;
	if (!end)
		end = text + strlen(text);
	n = (size_t)(end - begin);
	rest = end + (*text == '[');
	if (n >= HOST_SIZE || (*rest && (*rest != ':' || take_port(rest + 1, port) < 0)))
		return -1;
	for (size_t i = 0; i < n; i++)
		host[i] = (char)tolower((unsigned char)begin[i]);
	host[n] = '\0';
	if (*text == '[')
		return strchr(host, ':') && hosts_is_address(host) ? 0 : -1;
	if (n > 1 && host[n - 1] == '.')
		host[n - 1] = '\0'; /* the same name, absolute */
	/* A last label of digits makes an address or nothing: each program reads "127.1" in its own way. */
	last = strrchr(host, '.') ? strrchr(host, '.') + 1 : host;
	if (*last && (!last[strspn(last, "0123456789")] || !strncmp(last, "0x", 2)))
		return hosts_is_address(host) ? 0 : -1;
	return is_name(host) ? 0 : -1;
}

int hosts_check(const char *pattern, struct error *err)
{
	char host[HOST_SIZE];
	int port;

	if (!hosts_split(pattern + (strncmp(pattern, "*.", 2) ? 0 : 2), host, &port) &&
	    (strncmp(pattern, "*.", 2) || !hosts_is_address(host)))
		return 0;
	return error_set(err, EINVAL, "'%.64s' is no host; write pypi.org, *.huggingface.co, db.lab:5432 or an address",
			 pattern);
}

static bool match(const char *pattern, const char *host, int port, bool own_port)
{
	char wanted[HOST_SIZE];
	bool below = !strncmp(pattern, "*.", 2);
	size_t n, m;
	int only = 0;

	if (hosts_split(pattern + (below ? 2 : 0), wanted, &only) < 0)
		return false;
	if (only ? port != only : own_port || (port != 80 && port != 443))
		return false;
	n = strlen(wanted);
	m = strlen(host);
	if (!below)
		return !strcmp(wanted, host);
	return m > n + 1 && host[m - n - 1] == '.' && !strcmp(host + m - n, wanted);
}

bool hosts_match(const char *pattern, const char *host, int port)
{
	return match(pattern, host, port, false);
}

bool hosts_match_port(const char *pattern, const char *host, int port)
{
	return match(pattern, host, port, true);
}

static bool near4(uint32_t a)
{
	return a >> 24 == 127 || a >> 24 == 0 || a >> 16 == 0xA9FE || a >> 28 >= 0xE;
}

bool hosts_is_near(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return near4(ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
	if (address->sa_family == AF_INET6) {
		const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
		uint32_t last;

		memcpy(&last, &a->s6_addr[12], sizeof last);
		if (IN6_IS_ADDR_V4MAPPED(a) || IN6_IS_ADDR_V4COMPAT(a))
			return near4(ntohl(last));
		return IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_UNSPECIFIED(a) || IN6_IS_ADDR_LINKLOCAL(a) ||
		       IN6_IS_ADDR_MULTICAST(a);
	}
	return true;
}
