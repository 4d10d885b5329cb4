/* Links of a sandbox's files, shown so that they stay inside.
 *
 * Whoever reads a link through the mount resolves it in his own world, so what the sandbox wrote
 * may not be shown as it is: `/etc/passwd` would be the host's. The invariant: a target that is
 * shown is `../` at most as often as the link lies deep, then names, and never `..` behind a
 * name; so a walk, link by link, cannot leave the root, whatever the links on its way are. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/inside.h"
#include "fs/treejob.h"

#define LINKS 40

/* A path of components without links, "a/b/c", and how many there are. */
struct walk {
	char path[PATH_MAX];
	unsigned depth;
	int links;
};

static void go_up(struct walk *walk)
{
	char *slash = strrchr(walk->path, '/');

	if (slash)
		*slash = '\0';
	else
		walk->path[0] = '\0';
	walk->depth -= walk->depth > 0;
}

static int go_down(struct walk *walk, const char *name, size_t n)
{
	size_t at = strlen(walk->path);

	if (at + n + 2 > sizeof walk->path)
		return -ENAMETOOLONG;
	(void)snprintf(walk->path + at, sizeof walk->path - at, "%s%.*s", at ? "/" : "", (int)n, name);
	walk->depth++;
	return 0;
}

/* Reads the link that the walk stands on: its length, 0 when it is none. */
static ssize_t read_link(int root, const char *path, char target[PATH_MAX])
{
	cleanup_close int fd = inside_open(root, path, O_PATH | O_NOFOLLOW, 0, INSIDE_NO_LINKS);
	ssize_t n;

	if (fd < 0)
		return 0;
	n = readlinkat(fd, "", target, PATH_MAX - 1);
	if (n <= 0)
		return 0;
	target[n] = '\0';
	return n;
}

/* Follows a target from where the walk stands, as the sandbox's kernel would; what is not there
 * counts as a folder. Links are followed where something comes behind them. */
static int follow(int root, struct walk *walk, const char *target)
{
	char next[PATH_MAX];

	if (*target == '/') {
		walk->path[0] = '\0';
		walk->depth = 0;
	}
	while (*target) {
		size_t n = strcspn(target, "/");
		const char *rest = target + n + strspn(target + n, "/");
		int code = 0;

		if (n == 2 && !strncmp(target, "..", 2)) {
			go_up(walk);
		} else if (n && !(n == 1 && *target == '.')) {
			code = go_down(walk, target, n);
			if (!code && *rest && read_link(root, walk->path, next) > 0) {
				if (++walk->links > LINKS)
					return -ELOOP;
				go_up(walk);
				code = follow(root, walk, next);
			}
		}
		if (code)
			return code;
		target = rest;
	}
	return 0;
}

/* Whether `..` comes behind a name: then only a walk can tell where it leads. */
static bool turns_back(const char *target)
{
	bool named = false;

	while (*target) {
		size_t n = strcspn(target, "/");

		if (n == 2 && !strncmp(target, "..", 2)) {
			if (named)
				return true;
		} else if (n && !(n == 1 && *target == '.')) {
			named = true;
		}
		target += n + strspn(target + n, "/");
	}
	return false;
}

static int put_up(char *shown, size_t size, unsigned times, const char *rest)
{
	size_t n = 0;

	if (times * 3 + strlen(rest) + 2 > size)
		return -ENAMETOOLONG;
	while (times--) {
		memcpy(shown + n, "../", 3);
		n += 3;
	}
	(void)snprintf(shown + n, size - n, "%s", *rest ? rest : n ? "" : ".");
	if (!*rest && n)
		shown[n - 1] = '\0';
	return 0;
}

int tree_link_shown(int root, struct tree_node *link, const char *target, char *shown, size_t size)
{
	unsigned depth = node_depth(link), ups = 0;
	struct walk walk = { .path = "" };
	int code;

	depth -= depth > 0; /* of the folder that it lies in */
	if (!turns_back(target)) {
		if (*target == '/')
			return put_up(shown, size, depth, target + strspn(target, "/"));
		for (;;) {
			target += strspn(target, "/");
			if (!strncmp(target, "..", 2) && (target[2] == '/' || !target[2])) {
				ups += ups < depth;
				target += 2;
			} else if (*target == '.' && (target[1] == '/' || !target[1])) {
				target++;
			} else {
				return put_up(shown, size, ups, target);
			}
		}
	}
	if (*target != '/') {
		char own[PATH_MAX];

		code = node_path(link, own, sizeof own);
		if (code)
			return code;
		(void)snprintf(walk.path, sizeof walk.path, "%s", own);
		walk.depth = depth + 1;
		go_up(&walk);
	}
	code = follow(root, &walk, target);
	return code ? code : put_up(shown, size, depth, walk.path);
}
