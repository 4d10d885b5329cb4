/* `interpfs backend NAME STATE`: asks a backend what it is and what exists there, once, and records the
 * answers in STATE/backends/NAME/, where the mount shows them. The mount starts it when somebody looks and
 * the last answers are old: no thread of the mount ever waits for an engine.
 *
 *      state       ready or unavailable
 *      error       why, and what mends it
 *      info.json   versions, GPUs, limits
 *      running     what exists there, ours or left over */
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/sandbox/backend.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "commands.h"

#define LIFE_S 20 /* whatever an engine does */
#define TEXT_MAX (64u << 20)

/* What is the same keeps its time. */
static int put(int folder, const char *name, const char *text, size_t n, struct error *err)
{
	cleanup_buffer struct buffer old = BUFFER(TEXT_MAX);
	struct error ignored;

	if (!file_read(folder, name, &old, &ignored) && old.length == n && (!n || !memcmp(old.data, text, n)))
		return 0;
	return file_swap(folder, name, text, n, 0600, err);
}

static int put_line(int folder, const char *name, const char *line, struct error *err)
{
	cleanup_free char *text = NULL;

	if (asprintf(&text, *line ? "%s\n" : "%s", line) < 0) {
		text = NULL;
		return error_memory(err);
	}
	return put(folder, name, text, strlen(text), err);
}

static int put_info(int folder, const cJSON *info, struct error *err)
{
	cleanup_free char *text = cJSON_Print(info);

	return text ? put_line(folder, "info.json", text, err) : error_memory(err);
}

static int put_running(int folder, const struct sandbox_backend *backend, struct state *state, struct error *err)
{
	cleanup_things struct things things = { .count = 0 };
	cleanup_buffer struct buffer text = BUFFER(TEXT_MAX);
	struct error ignored;

	if (backend->list(state, &things, &ignored))
		return 0; /* the last one is as good */
	if (things_render(&things, backend, false, &text) < 0)
		return error_memory(err);
	return put(folder, "running", text.data, text.length, err);
}

static int record(const struct sandbox_backend *backend, struct state *state, int folder, struct error *err)
{
	cJSON *info = cJSON_CreateObject();
	struct error why = { .code = 0, .text = "" };
	bool ready = info && !backend->probe(state, info, &why);
	int result = put_info(folder, info, err) || put_line(folder, "error", ready ? "" : why.text, err) ||
				     (ready && put_running(folder, backend, state, err))
			     ? -1
			     : put_line(folder, "state", ready ? "ready" : "unavailable", err);

	cJSON_Delete(info);
	return result;
}

int command_backend(int argc, char **argv)
{
	struct state state = { .fd = -1, .lock = -1 };
	const struct sandbox_backend *backend;
	cleanup_close int folder = -1;
	struct error err;
	char path[64];
	int result = -1;

	if (argc != 3) {
		fputs("usage: interpfs backend NAME STATE\n", stderr);
		return 64;
	}
	(void)alarm(LIFE_S);
	backend = sandbox_backend_find(argv[1], &err);
	if (backend && !things_open_state(&state, argv[2], &err)) {
		(void)snprintf(path, sizeof path, "backends/%s", backend->name);
		if (!file_make_folders(state.fd, path, 0700, &err) && (folder = file_open_folder(state.fd, path, &err)) >= 0)
			result = record(backend, &state, folder, &err);
	}
	if (result)
		fprintf(stderr, "interpfs backend: %s\n", err.text);
	state_close(&state);
	return result ? 1 : 0;
}
