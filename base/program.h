/* Where the parts of the installed or built program are. All paths are absolute and owned by the
 * caller; NULL without memory. */
#ifndef INTERPFS_BASE_PROGRAM_H
#define INTERPFS_BASE_PROGRAM_H

#include <stdbool.h>

/* The running program itself (from /proc/self/exe). */
char *program_path(void);

/* Whether another one has taken its place since it was started: an upgrade, a new build. */
bool program_was_replaced(void);

/* The guest: beside the program in a build folder, PREFIX/libexec/interpfs when installed. */
char *program_guest(void);

/* A data file: SOURCE/share/NAME for build/interpfs and build/VARIANT/interpfs,
 * PREFIX/share/interpfs/NAME when installed. */
char *program_share(const char *name);

/* The first executable of that name on PATH (a fixed path when PATH is unset). */
char *program_find(const char *name);

/* For a process that knows secrets: no core file is left of it, and no other process of its user may
 * look into its memory or its environment. Programs that it starts leave no core files either. */
void program_keep_private(void);

/* For a process that will wait: lets go of the pages of code and constants that it has read, those of its
 * libraries above all. They stay in the page cache, and those that it needs again are mapped again
 * when they are; what a library read once, when it was loaded, is not held in memory for it any more. */
void program_let_go_of_code(void);

#endif
