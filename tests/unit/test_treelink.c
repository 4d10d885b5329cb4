/* Links of a sandbox, as they are shown. A folder of hostile links is mirrored with the targets that
 * would be shown; then the mirror is walked as any program would walk it. No walk may leave it, and
 * each must end at the file that the sandbox's own kernel would find. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "fs/treejob.h"

static const struct {
	const char *path, *target; /* target NULL: a folder; "=": a file that holds its own path */
} made[] = {
	{ "a", NULL }, { "a/b", NULL }, { "a/b/c", NULL }, { "etc", NULL }, { "usr", NULL }, { "usr/bin", NULL },
	{ "etc/passwd", "=" }, { "a/file", "=" }, { "a/b/c/deep", "=" }, { "usr/bin/sh", "=" }, { "top", "=" },
	{ "bin", "usr/bin" }, { "a/b/absolute", "/etc/passwd" }, { "a/b/root", "/" }, { "root", "/" },
	{ "a/up", ".." }, { "a/far", "../../../../../.." }, { "a/b/far", "../../../../etc/passwd" },
	{ "far", "../../../etc/passwd" }, { "a/dots", "./.././../etc/./passwd" },
	{ "a/b/c/turn", "/a/../etc/passwd" }, { "turn", "a/b/../../etc/passwd" },
	/* `..` behind a link to the root leaves it, unless it is walked */
	{ "escape", "root/../../etc/passwd" }, { "a/b/escape", "root/../../../../etc/passwd" },
	{ "a/b/escape2", "root/.." }, { "a/escape3", "up/../../../.." }, { "a/through", "b/root/../etc/passwd" },
	{ "a/chain", "far/a/b/far" }, { "a/b/c/chain", "../../../a/chain" },
	{ "a/none", "../../missing/x" }, { "a/nonedots", "missing/../../../../etc/passwd" },
	{ "loop1", "loop2" }, { "loop2", "loop1" }, { "a/looped", "../loop1/../etc/passwd" },
	{ "a/proc", "/proc/self/root/etc/passwd" }, { "slashes", "//etc///passwd" }, { "a/trail", "/etc/" },
	{ "a/b/c/here", "." }, { "a/b/c/heredots", "./../." },
};

#define COUNT (sizeof made / sizeof *made)

static int folder_at(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static void make_file(int root, const char *path)
{
	int fd = openat(root, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq((int)write(fd, path, strlen(path)), (int)strlen(path));
	ck_assert_int_eq(close(fd), 0);
}

static int resolve(int root, const char *path, uint64_t how_resolve)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = how_resolve };

	long fd;

	do
		fd = syscall(SYS_openat2, root, path, &how, sizeof how);
	while (fd < 0 && errno == EAGAIN); /* something was renamed somewhere */
	return (int)fd;
}

/* What a file is: its path, as it holds it; a folder: "/" and whether it is the root. */
static void identity(int root, int fd, char out[PATH_MAX])
{
	struct stat st, top;
	char magic[64];
	int file;
	ssize_t n;

	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(fstat(root, &top), 0);
	if (S_ISDIR(st.st_mode)) {
		static const char *const folders[] = { "a/b/c", "a/b", "a", "etc", "usr/bin", "usr" };

		(void)snprintf(out, PATH_MAX, "%s", st.st_ino == top.st_ino ? "/" : "?");
		for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
			if (!fstatat(root, folders[i], &top, 0) && top.st_ino == st.st_ino)
				(void)snprintf(out, PATH_MAX, "%s", folders[i]);
		return;
	}
	(void)snprintf(magic, sizeof magic, "/proc/self/fd/%d", fd);
	file = open(magic, O_RDONLY | O_CLOEXEC);
	n = file < 0 ? -1 : read(file, out, PATH_MAX - 1);
	ck_assert_int_ge((int)n, 0);
	out[n] = '\0';
	(void)close(file);
}

static struct tree_node *node_at(struct tree_node *top, int root, const char *path)
{
	struct tree_node *node = top;
	char part[PATH_MAX];

	for (size_t n = 0; path[n]; n += path[n] == '/') {
		struct stat st;
		size_t begin = n;

		n += strcspn(path + n, "/");
		(void)snprintf(part, sizeof part, "%.*s", (int)n, path);
		ck_assert_int_eq(fstatat(root, part, &st, AT_SYMLINK_NOFOLLOW), 0);
		node = node_child(node, part + begin, &st);
		ck_assert_ptr_nonnull(node);
	}
	return node;
}

START_TEST(stay_inside)
{
	char base[] = "/tmp/interpfs-treelink.XXXXXX", shown[PATH_MAX];
	const struct tree like = { .row = 1, .sandbox = true };
	struct error err;
	struct stat st;

	ck_assert_ptr_nonnull(mkdtemp(base));
	int at = folder_at(AT_FDCWD, base);
	ck_assert_int_eq(mkdirat(at, "inside", 0755) | mkdirat(at, "mirror", 0755) | mkdirat(at, "etc", 0755), 0);
	make_file(at, "etc/passwd"); /* the host's: whoever reaches it has left */
	int inside = folder_at(at, "inside"), mirror = folder_at(at, "mirror");

	for (size_t i = 0; i < COUNT; i++)
		if (!made[i].target)
			ck_assert_int_eq(mkdirat(inside, made[i].path, 0755) | mkdirat(mirror, made[i].path, 0755), 0);
		else if (!strcmp(made[i].target, "="))
			make_file(inside, made[i].path), make_file(mirror, made[i].path);
		else
			ck_assert_int_eq(symlinkat(made[i].target, inside, made[i].path), 0);
	ck_assert_int_eq(fstat(inside, &st), 0);
	struct tree_node *top = tree_enter(&like, fcntl(inside, F_DUPFD_CLOEXEC, 3), &st);
	ck_assert_ptr_nonnull(top);
	for (size_t i = 0; i < COUNT; i++)
		if (made[i].target && strcmp(made[i].target, "=") != 0) {
			int code = tree_link_shown(inside, node_at(top, inside, made[i].path), made[i].target, shown, sizeof shown);

			if (code == -ELOOP)
				continue;
			ck_assert_msg(code == 0, "%s -> %s: %s", made[i].path, made[i].target, strerror(-code));
			ck_assert_msg(shown[0] != '/', "%s is shown as %s", made[i].path, shown);
			ck_assert_int_eq(symlinkat(shown, mirror, made[i].path), 0);
		}
	for (size_t i = 0; i < COUNT; i++) {
		char want[PATH_MAX], got[PATH_MAX];
		int expected = resolve(inside, made[i].path, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
		int found = resolve(mirror, made[i].path, RESOLVE_BENEATH);

		ck_assert_msg(found >= 0 || errno != EXDEV, "%s leaves the root", made[i].path);
		if (expected < 0)
			continue;
		ck_assert_msg(found >= 0, "%s -> %s: %s", made[i].path, made[i].target, strerror(errno));
		identity(inside, expected, want);
		identity(mirror, found, got);
		ck_assert_msg(!strcmp(want, got), "%s -> %s: '%s', should be '%s'", made[i].path, made[i].target, got, want);
		(void)close(expected);
		(void)close(found);
	}
	tree_leave(1, 0);
	ck_assert_int_eq(node_open(top, O_PATH), -ENOTCONN);
	(void)close(inside);
	(void)close(mirror);
	(void)close(at);
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, base, &err), 0);
}
END_TEST

/* A folder that the sandbox replaces by a link is never walked through. */
START_TEST(no_link_on_the_way)
{
	char base[] = "/tmp/interpfs-treelink.XXXXXX";
	const struct tree like = { .row = 2, .sandbox = true };
	struct error err;
	struct stat st;

	ck_assert_ptr_nonnull(mkdtemp(base));
	int at = folder_at(AT_FDCWD, base);
	ck_assert_int_eq(mkdirat(at, "outside", 0755) | mkdirat(at, "root", 0755) | mkdirat(at, "root/a", 0755), 0);
	make_file(at, "outside/x");
	make_file(at, "root/a/x");
	int root = folder_at(at, "root");
	ck_assert_int_eq(fstat(root, &st), 0);
	struct tree_node *top = tree_enter(&like, fcntl(root, F_DUPFD_CLOEXEC, 3), &st);
	struct tree_node *x = node_at(top, root, "a/x");
	int fd = node_open(x, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	(void)close(fd);
	fd = node_open_at_once(x, O_RDONLY);
	ck_assert(fd >= 0 || fd == -EAGAIN);
	if (fd >= 0)
		(void)close(fd);
	ck_assert_int_eq(renameat(root, "a", root, "old"), 0);
	ck_assert_int_eq(symlinkat("../outside", root, "a"), 0);
	ck_assert_int_lt(node_open(x, O_RDONLY), 0);
	ck_assert_int_lt(node_open_at_once(x, O_RDONLY), 0);
	ck_assert_int_eq(unlinkat(root, "a", 0) | mkdirat(root, "a", 0755), 0);
	make_file(root, "a/x"); /* another file of that name */
	ck_assert_int_eq(node_open(x, O_RDONLY), -ESTALE);
	ck_assert_int_lt(node_open_at_once(x, O_RDONLY), 0);
	/* another mount below it */
	st.st_dev++;
	ck_assert(!node_is_quick(node_child(top, "mounted", &st)));
	/* /proc and /sys of a sandbox are marked, nothing else is */
	ck_assert_int_eq(mkdirat(root, "proc", 0755) | mkdirat(root, "a/proc", 0755), 0);
	ck_assert(node_at(top, root, "proc")->empty);
	ck_assert(!node_at(top, root, "a/proc")->empty);
	(void)close(root);
	(void)close(at);
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, base, &err), 0);
}
END_TEST

/* The table: forgotten nodes go, renamed ones keep their number. */
START_TEST(numbers)
{
	char base[] = "/tmp/interpfs-treelink.XXXXXX";
	const struct tree like = { .row = 3 };
	struct error err;
	struct stat st;

	ck_assert_ptr_nonnull(mkdtemp(base));
	int root = folder_at(AT_FDCWD, base);
	ck_assert_int_eq(fstat(root, &st), 0);
	struct tree_node *top = tree_enter(&like, fcntl(root, F_DUPFD_CLOEXEC, 3), &st);
	make_file(root, "one");
	struct tree_node *one = node_at(top, root, "one");
	uint64_t number = one->number;
	ck_assert_int_eq(renameat(root, "one", root, "two"), 0);
	node_renamed(top, "one", top, "two", false);
	ck_assert_uint_eq(node_at(top, root, "two")->number, number);
	node_forget(number, 2);
	ck_assert_ptr_null(node_pin(number));
	for (int i = 0; i < 2000; i++) {
		char name[16];

		(void)snprintf(name, sizeof name, "n%d", i);
		make_file(root, name);
		(void)node_at(top, root, name);
	}
	uint64_t last = node_at(top, root, "n1999")->number;
	node_removed(top, "n1999");
	struct tree_node *gone = node_pin(last);
	ck_assert_ptr_nonnull(gone);
	ck_assert_int_eq(node_open(gone, O_RDONLY), -ESTALE);
	node_unpin(gone);
	for (uint64_t n = number; n <= last; n++)
		node_forget(n, 9);
	ck_assert_ptr_null(node_pin(last));
	node_forget(top->number, 1);
	ck_assert(!tree_has_root(3, 0));
	(void)close(root);
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, base, &err), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("treelink");
	TCase *t = tcase_create("treelink");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_test(t, stay_inside);
	tcase_add_test(t, no_link_on_the_way);
	tcase_add_test(t, numbers);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
