/* interpfs: one program, a table of subcommands, a file each. */
#include <libgen.h>
#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "commands.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv); /* returns the process's exit status */
	const char *help;                  /* NULL: not for people */
} commands[] = {
	{ "mount", command_mount, "mount the tree: mount [-f] [-d] [-o OPTIONS] DIR" },
	{ "doctor", command_doctor, "check what this machine has; with --reap, remove what a crash left behind" },
	{ "ps", command_ps, "list what exists on every engine: ps [-o state=DIR]" },
	{ "runner", command_runner, NULL },
	{ "backend", command_backend, NULL },
	{ "proxy", command_proxy, NULL },
	{ "exec", command_exec, "run a command in a sandbox: exec PATH [-t SECONDS] [-i] -- COMMAND" },
	{ "mcp", command_mcp, "serve a notebook's, a sandbox's or an interface's tools to an MCP client: mcp PATH" },
	{ NULL, NULL, NULL },
};

static void usage(FILE *out)
{
	fputs("usage: interpfs COMMAND [ARGUMENTS]\n\n", out);
	for (const struct command *c = commands; c->name; c++)
		if (c->help)
			fprintf(out, "  %-8s %s\n", c->name, c->help);
	fputs("\n`interpfs help COMMAND` says more of one; `interpfs help tree` lists every file of a mount,\n"
	      "`interpfs help fields` every field of a config. --version prints the version.\n", out);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	const char *self = argc ? strrchr(argv[0], '/') : NULL;

	/* mount(8) calls its helper by that name. */
	self = self ? self + 1 : argc ? argv[0] : "";
	if (!strcmp(self, "mount.interpfs") || !strcmp(self, "mount.fuse.interpfs"))
		return command_mount(argc, argv);
	for (const struct command *c = commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c->run(argc - 1, argv + 1);
	if (!strcmp(name, "help") && argc > 2) {
		for (const struct command *c = commands; c->name; c++)
			if (c->help && !strcmp(c->name, argv[2]))
				return c->run(2, (char *[]){ argv[2], (char[]){ "--help" }, NULL });
		return command_help(argc - 1, argv + 1);
	}
	if (!strcmp(name, "--version")) {
		puts("interpfs " INTERPFS_VERSION);
		return fflush(stdout) ? 1 : 0;
	}
	if (!strcmp(name, "--help") || !strcmp(name, "help")) {
		usage(stdout);
		return 0;
	}
	if (*name)
		fprintf(stderr, "interpfs: there is no command '%s'\n", name);
	usage(stderr);
	return 64;
}
