/* What is UTF-8 and what is not: no overlong forms, no surrogates, nothing past U+10FFFF. */
#ifndef INTERPFS_BASE_UTF8_H
#define INTERPFS_BASE_UTF8_H

#include <stddef.h>

/* The length of the character at text (1 … 4), 0 when there is none or it is torn. */
size_t utf8_length(const char *text, size_t n);

#endif
