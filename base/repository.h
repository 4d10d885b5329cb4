/* A repository of git as a config names it, and what it is called inside:
 *
 *      org/repo                            at GitHub
 *      https://host[:port]/path            also http:, git:, ssh:
 *      user@host:path                      as ssh has it
 *
 * It is cloned from inside a sandbox, where a folder of this machine is not to be seen: paths and file: are
 * refused, and whatever else git would take for a program to run (ext::, --upload-pack). */
#ifndef INTERPFS_BASE_REPOSITORY_H
#define INTERPFS_BASE_REPOSITORY_H

#include <stdbool.h>

#include "base/hosts.h"

#define REPOSITORY_URL_SIZE 1024
#define REPOSITORY_NAME_SIZE 101

struct repository {
	char url[REPOSITORY_URL_SIZE];   /* for git */
	char name[REPOSITORY_NAME_SIZE]; /* the last part of its path, without .git: its folder in /workspace */
	char host[HOST_SIZE];
	int port;
	bool web;                        /* by HTTP: a proxy takes it */
};

/* NULL, or what is wrong with it, to be said behind its text: "is no repository; …". */
const char *repository_read(struct repository *r, const char *text);

#endif
