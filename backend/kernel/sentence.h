/* A failed cell in one sentence. */
#ifndef INTERPFS_BACKEND_KERNEL_SENTENCE_H
#define INTERPFS_BACKEND_KERNEL_SENTENCE_H

#include <stddef.h>

/* "line 3: ZeroDivisionError: division by zero" from the text output of a cell that failed; the line is
 * the cell's own, left out where the traceback names none. */
void sentence_of_failure(const char *output, char *text, size_t size);

#endif
