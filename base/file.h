/* Files done right once: whole reads with a limit, replacement that survives a power cut,
 * appends that leave no half record behind. Every path is relative to a directory descriptor
 * (AT_FDCWD works). All return 0, or -1 with err set, unless said otherwise. */
#ifndef INTERPFS_BASE_FILE_H
#define INTERPFS_BASE_FILE_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"

/* Appends the whole file to `out`, at most out->limit bytes (EFBIG past it). */
int file_read(int dir, const char *path, struct buffer *out, struct error *err);

/* Replaces path with data by a temporary name and rename(2), mode for a new file.
 * durable: fsync of the file and of its folder before returning (0.4 ms on a disk).
 * A reader sees the old bytes or the new, never a mixture. */
int file_replace(int dir, const char *path, const void *data, size_t n, mode_t mode, bool durable,
		 struct error *err);

/* The same for what changes many times a second and need not survive a power cut: a reader sees
 * the old bytes or the new, and no disk is waited for (0.04 ms). */
int file_swap(int dir, const char *path, const void *data, size_t n, mode_t mode, struct error *err);

/* Writes all of it, however often the kernel takes less. */
int file_write_all(int fd, const void *data, size_t n, struct error *err);

/* mkdir, and 0 too when the folder is there already. */
int file_make_folder(int dir, const char *path, mode_t mode, struct error *err);

/* The same for each folder on the way. */
int file_make_folders(int dir, const char *path, mode_t mode, struct error *err);

/* Removes path and all below it, never following a link nor leaving the file system; folders of
 * mode 000 (overlayfs leaves one) are opened up first. 0 too when there is nothing. */
int file_remove_tree(int dir, const char *path, struct error *err);

/* fsync of a folder given by descriptor and path ("." for itself). */
int file_sync_folder(int dir, const char *path, struct error *err);

/* What is in a folder, for readdir(3). flags: O_NOFOLLOW, or 0. The caller's; NULL with errno. */
DIR *file_list(int dir, const char *path, int flags);

/* Calls visit for each folder directly in one, which is open, until it fails. None where there is no such folder. */
int file_each_folder(int dir, const char *path, int (*visit)(void *context, int folder, const char *name, struct error *err),
		     void *context, struct error *err);

/* Opens a folder O_DIRECTORY|O_CLOEXEC. Returns a descriptor that the caller closes, or -1. */
int file_open_folder(int dir, const char *path, struct error *err);

#endif
