/* The snapshot's runner: takes it of its sandbox, counts its size, and ends; or removes what of it lies
 * outside of its folder.
 *
 *      draft → making → ready       the mount gives it its name then (fs/snapshots.c)
 *                 └───→ failed      `failure` and `code` say why; the mount removes it
 *
 *      spec.json   the sandbox's config that is in force, and a reference to the sandbox
 *      backend     on which it is
 *      from        what it came from: "sandboxes/lab", then the lines of the snapshot that one came from
 *      size        bytes; comes after ready
 *
 * Killed while it makes one, the next runner goes on, or begins again. */
#include "backend/runner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/runners.h"
#include "backend/sandbox/backend.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"

#define BACKEND "backend"
#define FROM_MAX 65536

struct taking {
	struct runner *runner;
	struct sandbox sandbox;
	struct sandbox_snapshot snapshot;
	const struct sandbox_backend *backend;
	char *folder_path, id[64];
	int folder;
};

static bool overtaken(struct runner *r)
{
	return runner_want(r)->what == WANT_REMOVED;
}

static int pump(void *context, int timeout_ms, struct error *err)
{
	struct taking *t = context;
	struct runner_event event = { .kind = RUNNER_TIMEOUT };

	if (!overtaken(t->runner) && runner_next(t->runner, timeout_ms, &event, err))
		return -1;
	if (event.kind == RUNNER_SIGNAL)
		return error_set(err, ECANCELED, "it was told to end"); /* the next runner goes on */
	if (event.kind == RUNNER_COMMAND || event.kind == RUNNER_CALL)
		conversation_end(event.conversation, EINVAL, 0, "a snapshot takes no commands");
	return overtaken(t->runner) ? error_set(err, ECANCELED, "it is not wanted any more") : 0;
}

/* "NAME kept": the sandbox was ready there once. */
static int read_backend(int folder, char name[32], bool *kept, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(64);
	size_t n;

	*kept = false;
	name[0] = '\0';
	if (file_read(folder, BACKEND, &text, err))
		return err->code == ENOENT ? 0 : -1;
	n = text.length ? strcspn(text.data, " \n") : 0;
	(void)snprintf(name, 32, "%.*s", (int)n, text.length ? text.data : "");
	*kept = text.length && !strcmp(text.data + n, " kept\n");
	return 0;
}

static void close_taking(struct taking *t)
{
	if (t->backend)
		t->backend->close(&t->sandbox);
	t->backend = NULL;
	free(t->folder_path);
	t->folder_path = NULL;
	if (t->folder >= 0)
		(void)close(t->folder);
	t->folder = -1;
}

static int open_backend(struct taking *t, const char *name, struct error *err)
{
	const struct sandbox_backend *backend = sandbox_backend_find(name, err);

	if (!backend)
		return -1;
	if (!backend->snapshot)
		return error_set(err, ENOTSUP, "the backend %s has no snapshots", name);
	if (backend->open(&t->sandbox, err))
		return -1;
	t->backend = backend;
	return 0;
}

static void name_sandbox(struct taking *t, const char *name, uint64_t serial)
{
	struct state *state = runner_state(t->runner);

	(void)snprintf(t->id, sizeof t->id, "interpfs-%s-%" PRIu64, state->id, serial);
	t->sandbox = (struct sandbox){
		.state = state, .folder = t->folder, .folder_path = t->folder_path, .name = name, .serial = serial,
		.id = t->id, .fields = runner_fields(t->runner), .references = runner_references(t->runner),
	};
}

/* The sandbox of which it is to be taken. */
static int open_sandbox(struct taking *t, struct error *err)
{
	const cJSON *sandbox = cJSON_GetObjectItemCaseSensitive(runner_references(t->runner), "sandbox");
	const cJSON *number = cJSON_GetObjectItemCaseSensitive(sandbox, "serial");
	const char *name = json_string(sandbox, "name");
	struct state *state = runner_state(t->runner);
	uint64_t serial = cJSON_IsNumber(number) ? (uint64_t)number->valuedouble : 0;
	char backend[32];
	bool kept;

	if (!serial)
		return error_set(err, EBADMSG, "spec.json: damaged");
	if (asprintf(&t->folder_path, "%s/%s/%" PRIu64, state->path, object_folder[OBJECT_SANDBOX], serial) < 0) {
		t->folder_path = NULL;
		return error_memory(err);
	}
	t->folder = object_open(state, OBJECT_SANDBOX, serial, err);
	if (t->folder < 0 || read_backend(t->folder, backend, &kept, err))
		return -1;
	while (!kept) {
		struct status status;

		/* One that is starting for the first time is waited for. */
		if (status_read(t->folder, &status, err))
			return -1;
		if (status_resting(OBJECT_SANDBOX, status.state))
			return error_set(err, EINVAL, "the sandbox has no files yet: it has never been ready");
		if (pump(t, 20, err) || read_backend(t->folder, backend, &kept, err))
			return -1;
	}
	name_sandbox(t, name ? name : "sandbox", serial);
	return open_backend(t, backend, err);
}

/* Its own folder, where the sandbox may be gone. false: nothing was begun. */
static bool open_own(struct taking *t, struct error *err)
{
	char backend[32];
	bool kept;

	t->folder = fcntl(runner_folder(t->runner), F_DUPFD_CLOEXEC, 3);
	name_sandbox(t, "snapshot", runner_serial(t->runner));
	return t->folder >= 0 && !read_backend(t->folder, backend, &kept, err) && *backend && !open_backend(t, backend, err);
}

static struct taking new_taking(struct runner *r)
{
	return (struct taking){ .runner = r, .folder = -1,
				.snapshot = { .folder = runner_folder(r), .serial = runner_serial(r), .pump = pump } };
}

/* ---- taking it ---- */

static int write_from(struct taking *t, struct error *err)
{
	const cJSON *parent = cJSON_GetObjectItemCaseSensitive(runner_references(t->runner), "snapshot");
	const cJSON *serial = cJSON_GetObjectItemCaseSensitive(parent, "serial");
	const char *name = json_string(parent, "name");
	cleanup_buffer struct buffer text = BUFFER(FROM_MAX);
	struct error ignored;

	if (buffer_format(&text, "%s/%s\n", object_folder[OBJECT_SANDBOX], t->sandbox.name))
		return error_memory(err);
	if (cJSON_IsNumber(serial) && name) {
		cleanup_close int folder = object_open(t->sandbox.state, OBJECT_SNAPSHOT, (uint64_t)serial->valuedouble, &ignored);

		if (buffer_format(&text, "%s/%s\n", object_folder[OBJECT_SNAPSHOT], name))
			return error_memory(err);
		/* One that is gone by now has told nobody where it came from. */
		if (folder >= 0)
			(void)file_read(folder, "from", &text, &ignored);
	}
	return runner_set_value(t->runner, "from", text.data, text.length, 0600, err);
}

/* For how long the sandbox stood still. */
static int write_info(struct taking *t, struct error *err)
{
	char text[64];

	if (t->snapshot.pause < 0)
		return 0;
	(void)snprintf(text, sizeof text, "{\"pause\": %.4f}\n", t->snapshot.pause);
	return runner_set_text(t->runner, "info.json", text, err);
}

static int take(struct runner *r, struct error *err)
{
	struct taking t = new_taking(r);
	cleanup_free char *line = NULL;
	int result;

	t.snapshot.context = &t;
	failpoint("snapshot-begun");
	result = open_sandbox(&t, err);
	if (!result && asprintf(&line, "%s\n", t.backend->name) < 0) {
		line = NULL;
		result = error_memory(err);
	}
	if (!result)
		result = file_replace(runner_folder(r), BACKEND, line, strlen(line), 0600, false, err) || write_from(&t, err) ||
			 t.backend->snapshot(&t.sandbox, &t.snapshot, err) || write_info(&t, err) ? -1 : 0;
	close_taking(&t);
	failpoint("snapshot-taken");
	return result;
}

/* What is outside of its folder goes. */
static int release(struct runner *r, struct error *err)
{
	struct taking t = new_taking(r);
	int result = 0;

	if (open_own(&t, err))
		result = t.backend->drop(&t.sandbox, &t.snapshot, err);
	close_taking(&t);
	return result;
}

static void count(struct runner *r)
{
	struct taking t = new_taking(r);
	struct error err;
	char text[32];

	if (open_own(&t, &err) && !t.backend->measure(&t.sandbox, &t.snapshot, &err)) {
		(void)snprintf(text, sizeof text, "%" PRIu64 "\n", t.snapshot.size);
		(void)runner_set_text(r, "size", text, &err);
	}
	close_taking(&t);
}

static bool is_counted(struct runner *r)
{
	return !faccessat(runner_folder(r), "size", F_OK, AT_SYMLINK_NOFOLLOW);
}

static int fail(struct runner *r, const struct error *why, struct error *err)
{
	char code[16];
	struct error second;

	/* The room is given back before anybody is told that there was none. */
	if (release(r, &second))
		runner_log(r, "%s", second.text);
	(void)snprintf(code, sizeof code, "%d\n", why->code ? why->code : EIO);
	runner_log(r, "failed: %s", why->text);
	return runner_set_text(r, "code", code, err) || runner_set_failure(r, why->text, err) ||
	       runner_set_state(r, "failed", err) ? -1 : 0;
}

static int make(struct runner *r, struct error *err)
{
	struct error why;

	if (runner_show_state(r, "making", err))
		return -1;
	if (take(r, &why))
		return why.code == ECANCELED ? 0 : fail(r, &why, err);
	if (runner_sync(r, BACKEND, err) || runner_sync(r, "from", err) || runner_set_state(r, "ready", err))
		return -1;
	failpoint("snapshot-ready");
	count(r);
	return 0;
}

int snapshot_story(struct runner *r, struct error *err)
{
	mode_t before = umask(022); /* what is outside of its folder has the modes of a sandbox's files */
	int result = 0;

	if (overtaken(r))
		result = release(r, err);
	else if (!status_resting(OBJECT_SNAPSHOT, runner_status(r)->state) ||
		 runner_want(r)->generation > runner_status(r)->generation)
		result = make(r, err);
	else if (!is_counted(r))
		count(r); /* the runner before was killed at it */
	if (!result && overtaken(r))
		result = release(r, err);
	(void)umask(before);
	return result;
}
