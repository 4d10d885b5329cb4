/* What is known of a notebook's cell beside its text: cells/N/status. The runner appends a line at
 * each change, and the mount shows the last whole one, a word a file:
 *
 *      busy - -
 *      busy 12 -
 *      ok 12 0.004           state, the kernel's execution count, seconds; "-" is not known
 *
 * So a change is one write(2) that nobody sees half of, and no new file. */
#ifndef INTERPFS_BASE_CELLSTATUS_H
#define INTERPFS_BASE_CELLSTATUS_H

#include <stddef.h>

#include "base/error.h"

#define CELLSTATUS_LINE 64u /* more than a line has */

enum cellstatus_word { CELLSTATUS_STATE, CELLSTATUS_COUNT, CELLSTATUS_DURATION, CELLSTATUS_WORDS };

struct cellstatus {
	char word[CELLSTATUS_WORDS][24]; /* "" when it is not known */
};

/* Writes a line with its newline; its length. count, seconds: negative when not known. */
size_t cellstatus_format(char line[CELLSTATUS_LINE], const char *state, long count, double seconds);

/* Reads the last whole line of what ends a status file; all words are "" when there is none. */
void cellstatus_parse(const char *data, size_t n, struct cellstatus *status);

/* The same from the file. A file that is not there has no line. */
int cellstatus_read(int folder, const char *path, struct cellstatus *status, struct error *err);

#endif
