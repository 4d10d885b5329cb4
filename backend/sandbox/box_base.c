/* A box above a system of its own (rootfs.h): what lies directly in that system's / becomes a link or an
 * overlay's folder of the box. The box may have run: nothing here follows a link of it. */
#include "backend/sandbox/box_own.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

/* What the box stands on, open: the system's /, and `up` of an image above it (-1: none). */
struct below {
	int base, up;
};

static bool is_folder(int dir, const char *name)
{
	struct stat st;

	return !fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode);
}

static bool is_link(int dir, const char *name, char target[PATH_MAX])
{
	ssize_t n = readlinkat(dir, name, target, PATH_MAX - 1);

	target[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* bin -> usr/bin, as the system has it, in place of the host's. */
static int put_link(int root, const char *name, const char *target, struct error *err)
{
	char now[PATH_MAX];

	if (is_link(root, name, now) && !strcmp(now, target))
		return 0;
	if (*now)
		(void)unlinkat(root, name, 0);
	else if (is_folder(root, name) && unlinkat(root, name, AT_REMOVEDIR))
		return 0; /* what the sandbox has put there stays */
	return symlinkat(target, root, name) && errno != EEXIST ? error_errno(err, "the sandbox's /%s", name) : 0;
}

/* A new folder has the owner and the mode of the one below that it hides: of the image above the system, or of
 * the system itself. */
static int dress(int dir, const char *path, const struct below *below, const char *upper, const char *name, struct error *err)
{
	struct stat st;

	if ((below->up < 0 || fstatat(below->up, upper, &st, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(st.st_mode)) &&
	    (fstatat(below->base, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(st.st_mode)))
		return 0;
	return fchownat(dir, path, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) || fchmodat(dir, path, st.st_mode & 07777, 0)
		       ? error_errno(err, "the sandbox's /%s", name) : 0;
}

static int put_folder(struct box *box, int root, const struct below *below, const char *name, struct error *err)
{
	char now[PATH_MAX], upper[BOX_UPPER_SIZE], path[BOX_UPPER_SIZE + 4];

	if (!box_upper(name, upper))
		return 0; /* usr etc opt are overlays in any case */
	if (is_link(root, name, now))
		(void)unlinkat(root, name, 0);
	(void)snprintf(path, sizeof path, "up/%s", upper);
	if (file_make_folder(root, name, 0755, err))
		return -1;
	if (is_folder(box->folder, path))
		return 0;
	return file_make_folder(box->folder, path, 0700, err) || dress(box->folder, path, below, upper, name, err) ? -1 : 0;
}

/* One that box_make() has made, until it becomes an upper folder. */
static int put_own(const struct box *box, int root, const struct below *below, const char *name, struct error *err)
{
	return box_has_upper(box, name) || !is_folder(root, name) ? 0 : dress(root, name, below, name, name, err);
}

static int take_over(struct box *box, const struct below *below, int root, const char *name, struct error *err)
{
	static const char *const kernels[] = { "proc", "sys", "dev", "run", "tmp", "usr", "etc", "opt", ".", "..", NULL };
	char target[PATH_MAX];
	bool own = false;

	for (const char *const *k = kernels; *k; k++)
		if (!strcmp(*k, name))
			return 0;
	for (const char *const *o = box_own_folders; *o; o++)
		own = own || !strcmp(*o, name);
	if (is_folder(below->base, name))
		return own ? put_own(box, root, below, name, err) : put_folder(box, root, below, name, err);
	return !own && is_link(below->base, name, target) ? put_link(root, name, target, err) : 0;
}

/* Links of the host's that box_make() has made and the system has nothing of. */
static void drop_links(int base, int root)
{
	static const char *const names[] = { "bin", "sbin", "lib", "lib32", "lib64", "libx32" };
	char target[PATH_MAX];
	struct stat st;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (fstatat(base, names[i], &st, AT_SYMLINK_NOFOLLOW) && is_link(root, names[i], target))
			(void)unlinkat(root, names[i], 0);
}

int box_stand_on(struct box *box, const char *base, const char *up, struct error *err)
{
	cleanup_close int root = file_open_folder(box->folder, "root", err);
	cleanup_dir DIR *dir = NULL, *image = NULL;
	struct below below = { .up = -1 };
	const struct dirent *entry;

	if (root < 0)
		return -1;
	dir = file_list(AT_FDCWD, base, 0);
	image = up ? file_list(AT_FDCWD, up, 0) : NULL;
	if (!dir || (up && !image))
		return error_errno(err, "%s", dir ? up : base);
	below.base = dirfd(dir);
	below.up = image ? dirfd(image) : -1;
	drop_links(below.base, root);
	while ((entry = readdir(dir)))
		if (take_over(box, &below, root, entry->d_name, err))
			return -1;
	while (image && (entry = readdir(image)))
		if (!strncmp(entry->d_name, TOP, sizeof TOP - 1) && put_folder(box, root, &below, entry->d_name + sizeof TOP - 1, err))
			return -1;
	return box_make_uppers(box, false, err);
}
