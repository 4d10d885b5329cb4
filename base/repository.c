#include "base/repository.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static const char no_repository[] = "is no repository; write it as org/repo, https://host/path or git@host:path";

static bool consists_of(const char *text, const char *letters)
{
	return !text[strspn(text, letters)];
}

/* What stands in /workspace already, whatever the sandbox. */
static bool is_taken(const char *name)
{
	static const char *const taken[] = { "libraries", "skills", "files", NULL };

	for (const char *const *t = taken; *t; t++)
		if (!strcmp(*t, name))
			return true;
	return false;
}

static bool goes_up(const char *path)
{
	for (const char *part = path; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL) {
		size_t n = strcspn(part, "/");

		if ((n == 1 && part[0] == '.') || (n == 2 && !strncmp(part, "..", 2)))
			return true;
	}
	return false;
}

/* The last part of a path, without .git. */
static const char *take_name(struct repository *r, const char *path)
{
	size_t n = strlen(path), from;

	if (goes_up(path))
		return "goes through ..";
	while (n && path[n - 1] == '/')
		n--;
	if (n > 4 && !strncmp(path + n - 4, ".git", 4))
		n -= 4;
	for (from = n; from && path[from - 1] != '/'; from--)
		;
	if (n == from || n - from >= REPOSITORY_NAME_SIZE)
		return no_repository;
	(void)snprintf(r->name, sizeof r->name, "%.*s", (int)(n - from), path + from);
	if (*r->name == '.' || *r->name == '-' || !consists_of(r->name, LETTERS "._+-"))
		return "has a name that no folder of /workspace can have";
	if (is_taken(r->name))
		return "would be a folder of /workspace that is the workspace's own";
	return NULL;
}

/* [user@]host[:port] */
static const char *take_host(struct repository *r, const char *text, size_t n, bool users)
{
	char authority[HOST_SIZE + 64];
	const char *host = authority, *at;

	if (!n || n >= sizeof authority)
		return no_repository;
	(void)snprintf(authority, sizeof authority, "%.*s", (int)n, text);
	at = strchr(authority, '@');
	if (at && !users)
		return "holds a name or a password, which never stand in a config; let exec clone it, with one of secrets";
	if (at) {
		size_t length = (size_t)(at - authority);

		if (!length || *authority == '-' || strspn(authority, LETTERS "._-") != length)
			return no_repository;
		host = at + 1;
	}
	return *host == '-' || hosts_split(host, r->host, &r->port) ? no_repository : NULL;
}

static const char *read_url(struct repository *r, const char *text, const char *rest)
{
	static const struct { const char *name; int port; bool web, users; } schemes[] = {
		{ "https", 443, true, false }, { "http", 80, true, false }, { "ssh", 22, false, true }, { "git", 9418, false, false },
	};
	size_t n = (size_t)(rest - text) - strlen("://");
	const char *path = strchr(rest, '/'), *wrong;

	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
		if (strlen(schemes[i].name) != n || strncmp(schemes[i].name, text, n) != 0)
			continue;
		if (!path)
			return no_repository;
		r->port = schemes[i].port;
		r->web = schemes[i].web;
		wrong = take_host(r, rest, (size_t)(path - rest), schemes[i].users);
		return wrong ? wrong : take_name(r, path + 1);
	}
	return "is none that can be cloned; what can begins with https:, http:, ssh: or git:";
}

static const char *read_ssh(struct repository *r, const char *text, const char *path)
{
	const char *wrong = take_host(r, text, (size_t)(path - 1 - text), true);

	r->port = 22;
	if (wrong || !*path || *path == '-')
		return wrong ? wrong : no_repository;
	return take_name(r, path);
}

static const char *read_github(struct repository *r, const char *text)
{
	size_t org = strspn(text, LETTERS "-");

	if (!org || text[org] != '/' || !text[org + 1] || !consists_of(text + org + 1, LETTERS "._-"))
		return no_repository;
	if (snprintf(r->url, sizeof r->url, "https://github.com/%s", text) >= (int)sizeof r->url)
		return no_repository;
	(void)snprintf(r->host, sizeof r->host, "github.com");
	r->port = 443;
	r->web = true;
	return take_name(r, text + org + 1);
}

const char *repository_read(struct repository *r, const char *text)
{
	const char *scheme = strstr(text, "://"), *at = strchr(text, '@'), *colon = strchr(text, ':');

	*r = (struct repository){ .port = 0 };
	if (*text == '/' || *text == '~' || !strncmp(text, "./", 2) || !strncmp(text, "file:", 5))
		return "is a folder of this machine, which a sandbox does not see; local_dirs brings one in";
	if (!strncmp(text, "../", 3))
		return "goes through ..";
	if (!*text || *text == '-' || strlen(text) >= REPOSITORY_URL_SIZE || !consists_of(text, LETTERS "-._~/%+:@=,[]"))
		return no_repository;
	if (!scheme && !colon)
		return read_github(r, text);
	(void)snprintf(r->url, sizeof r->url, "%s", text);
	if (scheme)
		return read_url(r, text, scheme + strlen("://"));
	return at && at < colon ? read_ssh(r, text, colon + 1) : no_repository;
}
