/* Options: ours, the kernel's that pass through, and those that mount(8) and fstab put in for
 * themselves, which are dropped. Anything else is refused by name. */
#include "fs/options.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static const char *const dropped[] = {
	"rw", "auto", "noauto", "nofail", "_netdev", "user", "users", "nouser", "owner", "group", "defaults",
	"exec", "noexec", "suid", "nosuid", "dev", "nodev", "atime", "noatime", "diratime", "nodiratime",
	"relatime", "norelatime", "strictatime", "lazytime", "async", "sync", "dirsync", NULL
};

static bool is_dropped(const char *option)
{
	for (const char *const *d = dropped; *d; d++)
		if (!strcmp(*d, option))
			return true;
	return !strncmp(option, "x-", 2) || !strncmp(option, "X-", 2) || !strncmp(option, "user=", 5) ||
	       !strncmp(option, "comment=", 8) || !strncmp(option, "subtype=", 8);
}

static int take(char **where, const char *value, struct error *err)
{
	char *copy = strdup(value);

	if (!copy)
		return error_memory(err);
	free(*where);
	*where = copy;
	return 0;
}

/* A path that must still mean the same after the daemon has left its folder. */
static int take_path(char **where, const char *value, struct error *err)
{
	cleanup_free char *here = NULL;
	char path[PATH_MAX];
	size_t n;

	if (!*value)
		return error_set(err, EINVAL, "a path is missing: state=DIR, env_file=FILE, or the folder to mount on");
	if (value[0] == '/')
		return take(where, value, err);
	here = getcwd(NULL, 0);
	if (!here)
		return error_errno(err, "the present folder");
	n = strlen(here);
	if (n + strlen(value) + 2 > sizeof path)
		return error_set(err, ENAMETOOLONG, "%s: the path is too long", value);
	memcpy(path, here, n);
	path[n] = '/';
	memcpy(path + n + 1, value, strlen(value) + 1);
	return take(where, path, err);
}

static int take_option(struct mount_options *o, const char *option, struct error *err)
{
	if (!*option || is_dropped(option))
		return 0;
	if (!strncmp(option, "state=", 6))
		return take_path(&o->state, option + 6, err);
	if (!strncmp(option, "env_file=", 9))
		return take_path(&o->env_file, option + 9, err);
	if (!strncmp(option, "runtime=", 8))
		return take(&o->runtime, option + 8, err);
	if (!strncmp(option, "fsname=", 7))
		return take(&o->source, option + 7, err);
	if (!strcmp(option, "ro")) {
		o->read_only = true;
		return 0;
	}
	if (!strcmp(option, "debug")) {
		o->debug = true;
		return 0;
	}
	if (!strcmp(option, "allow_other") || !strcmp(option, "allow_root"))
		return error_set(err, EINVAL, "%s: only the user who mounts can enter; mount it for each user", option);
	if (!strcmp(option, "remount"))
		return error_set(err, EINVAL, "remount: umount it and mount it again; what runs goes on meanwhile");
	return error_set(err, EINVAL, "unknown option '%s'; known: state=DIR, env_file=FILE, runtime=NAME, ro", option);
}

/* Cuts off the first of a list, as libfuse's own options are cut: a backslash stands before a comma or a
 * backslash that belongs to a value. */
static char *next_option(char **list)
{
	char *option = *list, *to = option;

	for (char *from = option;; from++) {
		if (*from == ',' || !*from) {
			*list = *from ? from + 1 : NULL;
			*to = '\0';
			return option;
		}
		from += *from == '\\' && (from[1] == ',' || from[1] == '\\');
		*to++ = *from;
	}
}

static int take_options(struct mount_options *o, const char *list, struct error *err)
{
	cleanup_free char *copy = strdup(list);
	char *at = copy;

	if (!copy)
		return error_memory(err);
	while (at) {
		char *option = next_option(&at);

		if (take_option(o, option, err) < 0)
			return -1;
	}
	return 0;
}

int options_parse(struct mount_options *o, int argc, char **argv, struct error *err)
{
	bool helper = strcmp(argv[0], "mount") != 0, only_names = false;
	const char *names[2] = { NULL, NULL };
	int count = 0, expected = helper ? 2 : 1;

	memset(o, 0, sizeof *o);
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (only_names || a[0] != '-') {
			if (count == expected)
				return error_set(err, EINVAL, "'%s' is one name too many", a);
			names[count++] = a;
		} else if (!strcmp(a, "--")) {
			only_names = true;
		} else if (!strcmp(a, "-f")) {
			*(helper ? &o->fake : &o->foreground) = true;
		} else if (!strcmp(a, "-d") && !helper) {
			o->debug = o->foreground = true;
		} else if (helper && (!strcmp(a, "-n") || !strcmp(a, "-v") || !strcmp(a, "-s"))) {
			/* no mtab, verbose, sloppy: nothing to do */
		} else if (!strncmp(a, "-o", 2)) {
			const char *list = a[2] ? a + 2 : ++i < argc ? argv[i] : NULL;

			if (!list)
				return error_set(err, EINVAL, "-o needs options");
			if (take_options(o, list, err) < 0)
				return -1;
		} else {
			return error_set(err, EINVAL, "unknown option '%s'", a);
		}
	}
	if (count < expected)
		return error_set(err, EINVAL, "%s", helper ? "usage: mount.interpfs SOURCE DIR [-o OPTIONS]" :
				 "usage: interpfs mount [-f] [-d] [-o OPTIONS] DIR (--help says more)");
	if (helper && !o->source && take(&o->source, names[0], err) < 0)
		return -1;
	if (!o->source && take(&o->source, "interpfs", err) < 0)
		return -1;
	return take_path(&o->directory, names[expected - 1], err);
}

void options_free(struct mount_options *o)
{
	free(o->source);
	free(o->directory);
	free(o->state);
	free(o->env_file);
	free(o->runtime);
	memset(o, 0, sizeof *o);
}
