/* The interpreter that a sandbox uses: one of the host's, seen at the same path inside.
 *
 * Without a version asked for: /usr/bin/python3, else the first python3 on PATH. With one ("3.12"
 * or "3.12.1"): the first that has it of /usr/bin, /usr/local/bin, PATH, pyenv's and uv's
 * versions. An interpreter outside /usr and /opt comes with its prefix, bound read-only at the
 * same path (moved elsewhere it would load another's libraries); one whose prefix is somebody's
 * home is refused. */
#ifndef INTERPFS_BACKEND_SANDBOX_PYTHON_H
#define INTERPFS_BACKEND_SANDBOX_PYTHON_H

#include "base/error.h"

struct python {
	char *exe;          /* the interpreter itself, links resolved */
	char *version;      /* 3.11.2 */
	char *soabi;        /* cpython-311-x86_64-linux-gnu */
	char *prefix;       /* bound when not NULL */
	char *exec_prefix;  /* the same; NULL when it is prefix */
	long long mtime_ns; /* of exe */
	char *system;       /* the hash of the system that it is in; NULL: the host's */
};

/* What an interpreter is asked: it answers with a line of JSON. */
extern const char python_question[];

/* version may be NULL. What interpreters said is kept in the file `cache` (absolute; NULL: nowhere)
 * while their files do not change. ENOENT: there is none, with what would help; it is then zeroed. */
int python_find(const char *version, const char *cache, struct python *python, struct error *err);
void python_free(struct python *python);

/* Whether `have` (3.11.2) is what was asked for (3, 3.11, 3.11.2). */
int python_version_fits(const char *have, const char *asked);

#endif
