/* The kernel's tables of mounts (proc_pid_mountinfo(5)). */
#ifndef INTERPFS_BASE_MOUNTS_H
#define INTERPFS_BASE_MOUNTS_H

/* "my\040lab" becomes "my lab", in place: blanks, newlines and backslashes stand there as three octal digits. */
void mounts_unescape(char *text);

#endif
