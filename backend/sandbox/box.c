/* A container's folder (box.h): making it, and putting files into it while it does not run. */
#include "backend/sandbox/box_own.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/inside.h"

int box_init(struct box *box, const char *state, const char *path, const char *id, struct error *err)
{
	*box = (struct box){ .folder = -1, .ctl = -1, .pidfd = -1 };
	box->path = strdup(path);
	box->id = strdup(id);
	if (!box->path || !box->id || asprintf(&box->runtimes, "%s/runtime", state) < 0) {
		box->runtimes = NULL;
		box_free(box);
		return error_memory(err);
	}
	return 0;
}

void box_close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

void box_free(struct box *box)
{
	free(box->path);
	free(box->id);
	free(box->runtimes);
	box->path = box->id = box->runtimes = NULL;
	box_close_fd(&box->folder);
	box_close_fd(&box->ctl);
	box_close_fd(&box->pidfd);
}

static int make_links(int root, struct error *err)
{
	static const char *const names[] = { "bin", "sbin", "lib", "lib32", "lib64", "libx32" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char host[16], target[256];
		ssize_t n;

		(void)snprintf(host, sizeof host, "/%s", names[i]);
		n = readlink(host, target, sizeof target - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		if (symlinkat(target, root, names[i]) && errno != EEXIST)
			return error_errno(err, "cannot make the sandbox's /%s", names[i]);
	}
	return 0;
}

/* One folder below `top`, which the sandbox has had in its hands if it ran before: a link that it
 * put in the way leads where it leads inside, never to the host's folder of that name. What it put
 * there in the folder's place is its own affair, and whoever needs the folder will say so. */
static int make_folder(int top, const char *path, mode_t mode, struct error *err)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	cleanup_free char *above = strndup(path, (size_t)(name - path));
	cleanup_close int parent = -1;

	if (!above)
		return error_memory(err);
	parent = inside_open(top, *above ? above : "/", O_PATH | O_DIRECTORY, 0, INSIDE_LINKS);
	if (parent < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return 0;
	if (parent < 0)
		return error_errno(err, "cannot make the sandbox's %s", path);
	if (!mkdirat(parent, name, mode) ? fchmodat(parent, name, mode, 0) : errno != EEXIST)
		return error_errno(err, "cannot make the sandbox's %s", path);
	return 0;
}

/* The folders before path's last part. */
static int make_parents(int folder, const char *path, struct error *err)
{
	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		cleanup_free char *way = strndup(path, (size_t)(slash - path));

		if (!way)
			return error_memory(err);
		if (slash[-1] != '/' && make_folder(folder, way, 0755, err))
			return -1;
	}
	return 0;
}

struct furniture {
	const char *path;
	mode_t mode;
};

static int furnish(int top, const struct furniture *folders, struct error *err)
{
	for (; folders->path; folders++)
		if (make_folder(top, folders->path, folders->mode, err))
			return -1;
	return 0;
}

int box_make(struct box *box, struct error *err)
{
	static const struct furniture own[] = {
		{ "ctl", 0700 }, { "bundle", 0700 }, { "up", 0700 }, { "work", 0700 }, { "mask", 0700 },
		{ "root", 0755 }, { NULL, 0 },
	};
	static const struct furniture inside[] = {
		{ "proc", 0755 }, { "sys", 0755 }, { "dev", 0755 }, { "run", 0755 }, { "tmp", 01777 }, { "root", 0700 },
		{ "home", 0755 }, { "var", 0755 }, { "var/lib", 0755 }, { "var/tmp", 01777 }, { "var/cache", 0755 },
		{ "var/log", 0755 }, { "srv", 0755 }, { "mnt", 0755 }, { "opt", 0755 }, { "etc", 0755 }, { "usr", 0755 },
		{ "workspace", 0755 }, { NULL, 0 },
	};
	cleanup_close int root = -1;

	if (file_make_folders(AT_FDCWD, box->path, 0700, err))
		return -1;
	box_close_fd(&box->folder);
	box_close_fd(&box->ctl);
	box->folder = file_open_folder(AT_FDCWD, box->path, err);
	if (box->folder < 0 || furnish(box->folder, own, err))
		return -1;
	box->ctl = file_open_folder(box->folder, "ctl", err);
	root = box->ctl < 0 ? -1 : file_open_folder(box->folder, "root", err);
	return root < 0 || furnish(root, inside, err) ? -1 : make_links(root, err);
}

const char *const box_own_folders[] = { "var", "root", "home", "srv", "mnt", "workspace", NULL };

static bool is_listed(const char *const *list, const char *name)
{
	for (; *list; list++)
		if (!strcmp(*list, name))
			return true;
	return false;
}

bool box_upper(const char *name, char upper[BOX_UPPER_SIZE])
{
	static const char *const others[] = { "usr", "etc", "opt", "proc", "sys", "dev", "run", ".", "..", NULL };
	bool own = is_listed(box_own_folders, name);

	return (own || !is_listed(others, name)) &&
	       snprintf(upper, BOX_UPPER_SIZE, "%s%s", own ? "" : TOP, name) < BOX_UPPER_SIZE;
}

bool box_has_upper(const struct box *box, const char *name)
{
	struct stat st;
	char upper[BOX_UPPER_SIZE], path[BOX_UPPER_SIZE + 4];

	if (!box_upper(name, upper))
		return false;
	(void)snprintf(path, sizeof path, "up/%s", upper);
	return !fstatat(box->folder, path, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode);
}

/* Calls visit for what is in one of the box's folders. */
static int each_in(const struct box *box, const char *folder, int (*visit)(void *context, int fd, const char *name, struct error *err),
		   void *context, struct error *err)
{
	cleanup_dir DIR *dir = file_list(box->folder, folder, 0);
	const struct dirent *entry;
	int result = 0;

	if (!dir)
		return error_errno(err, "%s", folder);
	while (!result && (errno = 0, entry = readdir(dir)))
		result = visit(context, dirfd(dir), entry->d_name, err);
	return result || !errno ? result : error_errno(err, "%s", folder);
}

struct tops {
	int (*visit)(void *context, const char *name, struct error *err);
	void *context;
};

static int visit_top(void *context, int fd, const char *name, struct error *err)
{
	const struct tops *tops = context;

	(void)fd;
	return strncmp(name, TOP, sizeof TOP - 1) ? 0 : tops->visit(tops->context, name + sizeof TOP - 1, err);
}

int box_each_top(const struct box *box, int (*visit)(void *context, const char *name, struct error *err),
		 void *context, struct error *err)
{
	struct tops tops = { visit, context };

	return each_in(box, "up", visit_top, &tops, err);
}

/* Where the overlay is mounted. Killed before, it is made at the next start: see box_make(). */
static int make_point(void *context, const char *name, struct error *err)
{
	const struct box *box = context;
	cleanup_close int root = file_open_folder(box->folder, "root", err);

	if (root < 0)
		return -1;
	return mkdirat(root, name, 0755) && errno != EEXIST ? error_errno(err, "the sandbox's /%s", name) : 0;
}

/* A link that the sandbox has put in a folder's place stays what it is: an overlay above it would write
 * where it leads on the host. */
static int make_upper(struct box *box, const char *name, struct error *err)
{
	char upper[BOX_UPPER_SIZE], path[BOX_UPPER_SIZE + 4], plain[BOX_UPPER_SIZE + 8];
	struct stat st;

	if (box_has_upper(box, name))
		return 0;
	if (!box_upper(name, upper))
		return error_set(err, ENAMETOOLONG, "the name of the sandbox's folder /%.32s… is too long", name);
	(void)snprintf(path, sizeof path, "up/%s", upper);
	(void)snprintf(plain, sizeof plain, "root/%s", name);
	if (fstatat(box->folder, plain, &st, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(st.st_mode))
		return 0;
	if (renameat(box->folder, plain, box->folder, path))
		return error_errno(err, "cannot put an image below the sandbox's /%s", name);
	return make_point(box, name, err);
}

static int make_one(void *context, int root, const char *name, struct error *err)
{
	char upper[BOX_UPPER_SIZE];
	struct stat st;

	if (fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(st.st_mode) ||
	    (!box_upper(name, upper) && strlen(name) < sizeof upper - sizeof TOP))
		return 0;
	return make_upper(context, name, err);
}

int box_make_uppers(struct box *box, bool all, struct error *err)
{
	if (all && each_in(box, "root", make_one, box, err))
		return -1;
	for (const char *const *name = box_own_folders; *name; name++)
		if (make_upper(box, *name, err))
			return -1;
	return box_each_top(box, make_point, box, err);
}

/* "/var/x": in the upper folder, where /var has one; else in the plain /. */
static int own_folder(struct box *box, const char **inside, struct error *err)
{
	const char *first = *inside + strspn(*inside, "/");
	size_t n = strcspn(first, "/");
	char name[BOX_UPPER_SIZE], upper[BOX_UPPER_SIZE], path[BOX_UPPER_SIZE + 4];

	if (n >= sizeof name || !first[n])
		return file_open_folder(box->folder, "root", err);
	(void)snprintf(name, sizeof name, "%.*s", (int)n, first);
	if (!box_upper(name, upper) || !box_has_upper(box, name))
		return file_open_folder(box->folder, "root", err);
	*inside = first + n;
	(void)snprintf(path, sizeof path, "up/%s", upper);
	return file_open_folder(box->folder, path, err);
}

/* Where a path inside lies on the host: its first part decides. */
static int private_folder(struct box *box, const char **inside, struct error *err)
{
	static const char *const overlays[] = { "/usr", "/etc", "/opt" };
	static const char *const links[] = { "/bin/", "/sbin/", "/lib/", "/lib64/" }; /* into /usr */
	static const char *const kernel[] = { "/proc", "/sys", "/dev", "/run" };
	const char *p = *inside;
	bool usr = false;

	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		usr = usr || !strncmp(p, links[i], strlen(links[i]));
	for (size_t i = 0; i < sizeof overlays / sizeof *overlays; i++) {
		size_t n = usr ? 0 : strlen(overlays[i]);
		char folder[16];

		if (!usr && (strncmp(p, overlays[i], n) || p[n] != '/'))
			continue;
		(void)snprintf(folder, sizeof folder, "up%s", overlays[i]);
		if (file_make_folder(box->folder, folder, 0755, err))
			return -1;
		*inside = p + n;
		return file_open_folder(box->folder, folder, err);
	}
	for (size_t i = 0; i < sizeof kernel / sizeof *kernel; i++) {
		size_t n = strlen(kernel[i]);

		if (!strncmp(p, kernel[i], n) && (p[n] == '/' || !p[n]))
			return error_set(err, EROFS, "%s is the kernel's inside a sandbox: nothing can be put there", p);
	}
	return own_folder(box, inside, err);
}

int box_open(struct box *box, const char *inside, int flags, mode_t mode, struct error *err)
{
	cleanup_close int folder = private_folder(box, &inside, err);
	int fd;

	if (folder < 0)
		return -1;
	if ((flags & O_CREAT) && make_parents(folder, inside, err))
		return -1;
	fd = inside_open(folder, inside, flags, mode, INSIDE_LINKS);
	return fd < 0 ? error_errno(err, "cannot open %s", inside) : fd;
}

int box_folder(struct box *box, const char *inside, struct error *err)
{
	cleanup_close int folder = private_folder(box, &inside, err);

	return folder < 0 || make_parents(folder, inside, err) ? -1 : make_folder(folder, inside, 0755, err);
}

int box_put(struct box *box, const char *inside, const void *data, size_t n, mode_t mode, struct error *err)
{
	const char *slash = strrchr(inside, '/');
	cleanup_free char *parent = slash ? strndup(inside, (size_t)(slash - inside) + 1) : NULL;
	cleanup_close int folder = -1;
	cleanup_free char *below = NULL;

	if (!parent)
		return error_memory(err);
	/* "/etc/hosts" → the folder up/etc; deeper ones are made on the way. */
	if (asprintf(&below, "%s.", parent) < 0)
		return error_memory(err);
	folder = box_open(box, below, O_PATH | O_DIRECTORY, 0, err);
	return folder < 0 ? -1 : file_replace(folder, slash + 1, data, n, mode, false, err);
}

int box_remove(struct box *box, struct error *err)
{
	box_close_fd(&box->folder);
	box_close_fd(&box->ctl);
	return file_remove_tree(AT_FDCWD, box->path, err);
}