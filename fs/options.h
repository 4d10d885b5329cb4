/* What `interpfs mount` and mount(8)'s helper were asked for. */
#ifndef INTERPFS_FS_OPTIONS_H
#define INTERPFS_FS_OPTIONS_H

#include <stdbool.h>

#include "base/error.h"

struct mount_options {
	char *source;      /* fsname, as df shows it; owned like the rest */
	char *directory;   /* absolute */
	char *state;       /* NULL: the default */
	char *env_file;    /* NULL: none */
	char *runtime;     /* NULL: whichever starts */
	bool foreground, debug, read_only;
	bool fake;         /* mount -f: do everything but mount */
};

/* argv[0] is "mount" for the subcommand (DIR), else the helper's name (SOURCE DIR -o …). */
int options_parse(struct mount_options *options, int argc, char **argv, struct error *err);
void options_free(struct mount_options *options);

#endif
