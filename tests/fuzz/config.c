/* Fuzzes the judge. What is refused early must be refused at the end: a refusal is only given for
 * what no continuation can mend, so a prefix of a right text is never refused. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/judge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct field *const tables[] = { sandbox_fields, notebook_fields, session_fields, workspace_fields };
	const struct field *fields;
	const char *text;
	struct error err, early;
	cJSON *spec = NULL;
	size_t n;
	int verdict;

	if (!size)
		return 0;
	fields = tables[data[0] % 4];
	text = (const char *)data + 1;
	n = size - 1;
	verdict = judge(fields, text, n, true, &spec, &err);
	for (size_t i = 0; i <= n; i++)
		if ((i == n || text[i] == '\n') && judge(fields, text, i == n ? n : i + 1, false, NULL, &early) < 0 && verdict == 0) {
			fprintf(stderr, "refused early, then taken: %s\n", early.text);
			abort();
		}
#ifdef PLANTED
	if (verdict == 0 && spec && fields == session_fields && cJSON_GetObjectItem(cJSON_GetObjectItem(spec, "limits"), "turns"))
		__builtin_trap();
#endif
	cJSON_Delete(spec);
	return 0;
}
