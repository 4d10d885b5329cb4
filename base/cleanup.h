/* Cleanup by scope: a variable marked so is released when it goes out of scope.
 * Set it where it is declared; hand ownership out with steal_pointer() or steal_fd(). */
#ifndef INTERPFS_BASE_CLEANUP_H
#define INTERPFS_BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_(void *p) { free(*(void **)p); }
static inline void cleanup_close_(int *fd) { if (*fd >= 0) (void)close(*fd); }
static inline void cleanup_dir_(DIR **d) { if (*d) (void)closedir(*d); }
static inline void cleanup_file_(FILE **f) { if (*f) (void)fclose(*f); }

#define cleanup_free  __attribute__((cleanup(cleanup_free_)))
#define cleanup_close __attribute__((cleanup(cleanup_close_)))
#define cleanup_dir   __attribute__((cleanup(cleanup_dir_)))
#define cleanup_file  __attribute__((cleanup(cleanup_file_)))

static inline int steal_fd(int *fd) { int f = *fd; *fd = -1; return f; }
static inline void *steal_pointer_(void *p) { void *v = *(void **)p; *(void **)p = NULL; return v; }
#define steal_pointer(p) ((__typeof__(*(p)))steal_pointer_(p))

#endif
