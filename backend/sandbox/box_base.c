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

static int put_folder(struct box *box, int root, const char *name, struct error *err)
{
	char now[PATH_MAX], upper[BOX_UPPER_SIZE], path[BOX_UPPER_SIZE + 4];

	if (!box_upper(name, upper))
		return 0; /* usr etc opt are overlays in any case */
	if (is_link(root, name, now))
		(void)unlinkat(root, name, 0);
	(void)snprintf(path, sizeof path, "up/%s", upper);
	if (file_make_folder(root, name, 0755, err))
		return -1;
	return file_make_folder(box->folder, path, 0755, err);
}

static int take_over(struct box *box, int base, int root, const char *name, struct error *err)
{
	static const char *const kernels[] = { "proc", "sys", "dev", "run", "tmp", "usr", "etc", "opt", ".", "..", NULL };
	char target[PATH_MAX];
	bool own = false;

	for (const char *const *k = kernels; *k; k++)
		if (!strcmp(*k, name))
			return 0;
	for (const char *const *o = box_own_folders; *o; o++)
		own = own || !strcmp(*o, name);
	if (is_folder(base, name))
		return own ? 0 : put_folder(box, root, name, err);
	return !own && is_link(base, name, target) ? put_link(root, name, target, err) : 0;
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

int box_stand_on(struct box *box, const char *base, struct error *err)
{
	cleanup_close int root = file_open_folder(box->folder, "root", err);
	int fd = root < 0 ? -1 : file_open_folder(AT_FDCWD, base, err);
	cleanup_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return fd < 0 ? -1 : error_errno(err, "%s", base);
	}
	drop_links(fd, root);
	while ((entry = readdir(dir)))
		if (take_over(box, fd, root, entry->d_name, err))
			return -1;
	return box_make_uppers(box, false, err);
}

int box_stand_on_tops(struct box *box, const char *up, struct error *err)
{
	cleanup_close int root = file_open_folder(box->folder, "root", err);
	int fd = root < 0 ? -1 : file_open_folder(AT_FDCWD, up, err);
	cleanup_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return fd < 0 ? -1 : error_errno(err, "%s", up);
	}
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, TOP, sizeof TOP - 1) && put_folder(box, root, entry->d_name + sizeof TOP - 1, err))
			return -1;
	return 0;
}
