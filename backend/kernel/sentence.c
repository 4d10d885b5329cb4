/* IPython's traceback begins with the place in the cell ("Cell In[1], line 3") and ends with what it
 * was; behind it stands our own mark, "[error NAME]". */
#include "backend/kernel/sentence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The last line that says something, and its length. */
static const char *last_words(const char *output, size_t *length)
{
	const char *found = "it failed";

	*length = strlen(found);
	for (const char *line = output, *end; *line; line = *end ? end + 1 : end) {
		end = strchrnul(line, '\n');
		if (strspn(line, " \t") >= (size_t)(end - line) || !strncmp(line, "[error ", 7))
			continue;
		found = line;
		*length = (size_t)(end - line);
	}
	return found;
}

void sentence_of_failure(const char *output, char *text, size_t size)
{
	const char *cell = strstr(output, "Cell In["), *place = cell ? strstr(cell, "], line ") : NULL;
	unsigned long line = place && place < strchrnul(cell, '\n') ? strtoul(place + 8, NULL, 10) : 0;
	size_t length;
	const char *words = last_words(output, &length);

	if (line)
		(void)snprintf(text, size, "line %lu: %.*s", line, (int)(length < 1000 ? length : 1000), words);
	else
		(void)snprintf(text, size, "%.*s", (int)(length < 1000 ? length : 1000), words);
}
