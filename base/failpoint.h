/* Failpoints: named steps at which a test can end the process as kill -9 would.
 *
 * In test builds (-DINTERPFS_FAILPOINTS) the variable INTERPFS_FAILPOINT=NAME:FLAGFILE kills the
 * process at the first failpoint("NAME") at which FLAGFILE can be created (O_EXCL): once, however
 * many processes inherit the variable. In other builds it is nothing. */
#ifndef INTERPFS_BASE_FAILPOINT_H
#define INTERPFS_BASE_FAILPOINT_H

#ifdef INTERPFS_FAILPOINTS
void failpoint(const char *name);
#else
#define failpoint(name) ((void)0)
#endif

#endif
