/* Fuzzes what a hostile sandbox tells of an interface's functions: no word of it may become code in the
 * library, whatever it is. And the first frame of a caller: what is taken is in its own limits. */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/callers.h"
#include "backend/sandbox/interface_texts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIBRARY "\n#library\n"

/* The end of a literal that begins at p; the text's end where it has none. */
static const char *skip_string(const char *p)
{
	int quotes = strncmp(p, "\"\"\"", 3) ? 1 : 3;
	char quote = *p;

	for (p += quotes; *p; p++) {
		if (*p == '\\' && p[1])
			p++;
		else if (*p == '\n' && quotes == 1)
			break; /* it did not end in its line */
		else if (!strncmp(p, quotes == 3 ? "\"\"\"" : &quote, (size_t)quotes))
			return p + quotes;
	}
	fprintf(stderr, "a literal without its end\n");
	abort();
}

/* Outside of literals nothing is called but what the library itself calls, and no line begins otherwise. */
static void check(const char *text)
{
	static const char *const lines[] = { "def ", "async def ", "    return _call(", "    return await _call_async(", "    \"\"\"", "_INTERFACE = \"" };
	bool begins = true;

	for (const char *p = text; *p;) {
		if (begins && *p != '\n') {
			size_t i = 0;

			while (i < sizeof lines / sizeof *lines && strncmp(p, lines[i], strlen(lines[i])) != 0)
				i++;
			if (i == sizeof lines / sizeof *lines) {
				fprintf(stderr, "a line of its own: %.60s\n", p);
				abort();
			}
		}
		begins = *p == '\n';
		if (*p == '"' || *p == '\'') {
			p = skip_string(p);
			continue;
		}
		if (*p == '(') {
			const char *name = p;

			while (name > text && (isalnum((unsigned char)name[-1]) || name[-1] == '_'))
				name--;
			if (strncmp(name - (name - text >= 4 ? 4 : 0), "def ", 4) && strncmp(name, "_call(", 6) && strncmp(name, "_call_async(", 12)) {
				fprintf(stderr, "a call: %.60s\n", name);
				abort();
			}
		}
		if ((unsigned char)*p > '~' || (*p < ' ' && *p != '\n') || strchr(";@`\\", *p)) {
			fprintf(stderr, "outside of a literal: %.60s\n", p);
			abort();
		}
		p++;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cJSON *described = cJSON_ParseWithLength((const char *)data, size);
	struct caller_request request;
	struct interface_texts texts;
	struct error err;

	if (callers_parse(data, size, &request) == 0 && (!request.serial || !request.number || request.number > 4095 || !*request.name))
		abort();
	if (!described)
		return 0;
	if (interface_texts_make(&texts, "fuzzed", "0123456789abcdef.7.3", LIBRARY, described, &err) == 0) {
		/* behind the module's docstring and the library's own text */
		const char *own = skip_string(texts.library.data);

		if (strncmp(own, "\n" LIBRARY, strlen("\n" LIBRARY)) != 0)
			abort();
		check(own + strlen("\n" LIBRARY));
#ifdef PLANTED
		if (strstr(texts.library.data, "=1.5e"))
			__builtin_trap();
#endif
	}
	interface_texts_free(&texts);
	cJSON_Delete(described);
	return 0;
}
