/* `interpfs ps`: what exists of a state directory's on every engine, a line each, and whose it is. It asks the
 * engines themselves, and works without a mount. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/backend.h"
#include "base/cleanup.h"
#include "commands.h"

#define TEXT_MAX (64u << 20)

static void tell_silent(void *context, const char *backend, const struct error *err)
{
	(void)context;
	fprintf(stderr, "interpfs ps: %s: %s\n", backend, err->text);
}

static void usage(FILE *out)
{
	fputs("usage: interpfs ps [-o state=DIR]\n\n"
	      "Lists what exists of a state directory's on every engine: sandboxes, what is being built, and what\n"
	      "a crash left behind, which is called a stray; interpfs doctor --reap removes strays. Exits with 1\n"
	      "when an engine that was used does not answer.\n", out);
}

static int list(struct state *state, struct error *err)
{
	cleanup_things struct things things = { .count = 0 };
	cleanup_buffer struct buffer text = BUFFER(TEXT_MAX);
	int silent = things_find(state, &things, tell_silent, NULL, err);

	if (silent < 0)
		return -1;
	if (things_render(&things, NULL, true, &text) < 0)
		return error_memory(err);
	(void)fwrite(text.data, 1, text.length, stdout);
	return silent;
}

int command_ps(int argc, char **argv)
{
	cleanup_free char *path = NULL;
	struct state state = { .fd = -1, .lock = -1 };
	struct error err;
	int result;

	if (argc == 2 && !strcmp(argv[1], "--help")) {
		usage(stdout);
		return 0;
	}
	if (things_take_state(argc - 1, argv + 1, &path) != argc - 1) {
		usage(stderr);
		return 64;
	}
	result = !path || things_open_state(&state, path, &err) ? -1 : list(&state, &err);
	if (!path)
		(void)error_set(&err, ENOENT, "there is no home folder; name the state directory with -o state=DIR");
	if (result < 0)
		fprintf(stderr, "interpfs ps: %s\n", err.text);
	state_close(&state);
	return fflush(stdout) || result ? 1 : 0;
}
