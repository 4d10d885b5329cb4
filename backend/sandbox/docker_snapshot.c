/* Snapshots of the backend `docker`: the engine's commit, which holds a container that runs still meanwhile, an
 * image named "interpfs-STATE:snapshot-SERIAL". A sandbox from it is a container of that image. It is removed
 * with the snapshot, or, where a container still stands on it, with the last such sandbox. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"

#define AGAIN_MS 20
#define ADDRESS_MAX 4096

static void name_image(const struct sandbox *s, uint64_t serial, char name[96])
{
	(void)snprintf(name, 96, "interpfs-%s:snapshot-%" PRIu64, s->state->id, serial);
}

/* Until the sandbox is ready or rests: what starts may have its container made anew. */
static int await_settled(struct sandbox *s, const struct sandbox_snapshot *snapshot, struct error *err)
{
	struct status status;

	for (;;) {
		if (status_read(s->folder, &status, err))
			return -1;
		if (status_settled(OBJECT_SANDBOX, status.state))
			return 0;
		if (snapshot->pump(snapshot->context, AGAIN_MS, err))
			return -1;
	}
}

/* Where the image is: for the removal, when the sandbox may be gone. */
static int record_engine(const struct sandbox *s, const struct sandbox_snapshot *snapshot, struct error *err)
{
	cleanup_free char *line = NULL;

	if (asprintf(&line, "%s\n", engine_address(docker_own(s)->engine)) < 0) {
		line = NULL;
		return error_memory(err);
	}
	return file_replace(snapshot->folder, DOCKER_RECORD, line, strlen(line), 0600, true, err);
}

static int commit(struct sandbox *s, const struct sandbox_snapshot *snapshot, struct error *err)
{
	cleanup_found struct docker_found found = { .state = DOCKER_ABSENT };
	cleanup_free char *image = NULL;
	const char *container;
	char tag[64];

	if (docker_inspect(s, true, &found, err))
		return -1;
	/* By its id: a name may become another container's. */
	container = cJSON_GetStringValue(docker_member(found.json, "Id", NULL));
	if (found.state == DOCKER_ABSENT || found.state == DOCKER_NEW || !container)
		return error_set(err, ENOENT, "its container is gone, and its files with it");
	(void)snprintf(tag, sizeof tag, "snapshot-%" PRIu64, snapshot->serial);
	return docker_commit(s, container, tag, "snapshot", &image, err);
}

int docker_snapshot(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err)
{
	snapshot->pause = -1; /* the engine does not tell */
	if (docker_is_adopted(s))
		return docker_adopted_lacks("snapshots", err);
	if (docker_find_engine(s, err) || engine_ask(docker_own(s)->engine, err) || record_engine(s, snapshot, err))
		return error_wrap(err, "docker");
	failpoint("snapshot-below");
	if (await_settled(s, snapshot, err))
		return -1;
	if (commit(s, snapshot, err))
		return error_wrap(err, "docker");
	failpoint("snapshot-copied");
	return 0;
}

static double image_size(const struct sandbox *s, const char *name)
{
	cleanup_answer struct engine_answer answer = { 0, NULL };
	cleanup_free char *escaped = engine_escape(name), *path = NULL;
	struct error ignored;

	if (!escaped || asprintf(&path, "/images/%s/json", escaped) < 0 || docker_call(s, "GET", path, NULL, &answer, &ignored))
		return 0;
	return json_number(answer.json, "Size", 0);
}

/* With all that is below it: what others share is told with each. */
int docker_measure(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err)
{
	char name[96];

	name_image(s, snapshot->serial, name);
	if (docker_find_engine(s, err))
		return error_wrap(err, "docker");
	snapshot->size = (uint64_t)image_size(s, name);
	return 0;
}

/* What a container stands on stays: the engine refuses. */
static int remove_image(struct sandbox *s, uint64_t serial, struct error *err)
{
	cleanup_free char *path = NULL;
	char name[96];

	name_image(s, serial, name);
	if (asprintf(&path, "/images/%s", name) < 0)
		return error_memory(err);
	if (!docker_call(s, "DELETE", path, NULL, NULL, err) || err->code == ENOENT || err->code == EEXIST)
		return 0;
	return strstr(err->text, "in use") || strstr(err->text, "being used") || strstr(err->text, "dependent") ? 0 : -1;
}

int docker_drop(struct sandbox *s, struct sandbox_snapshot *snapshot, struct error *err)
{
	struct stat st;

	if (fstatat(snapshot->folder, DOCKER_RECORD, &st, AT_SYMLINK_NOFOLLOW))
		return 0; /* nothing was begun there */
	return docker_find_engine(s, err) || remove_image(s, snapshot->serial, err) ? error_wrap(err, "docker") : 0;
}

/* After its container has gone. One that is removed just now may have asked the engine before, which refused: what
 * counts is that it was not wanted any more, and not whether its folder is there still. */
int docker_leave_snapshot(struct sandbox *s, struct error *err)
{
	uint64_t serial = sandbox_snapshot_serial(s);
	cleanup_close int folder = -1;
	struct want want = { 0, WANT_NOTHING };
	struct error unread;

	if (!serial)
		return 0;
	folder = object_open(s->state, OBJECT_SNAPSHOT, serial, &unread);
	if (folder < 0 ? unread.code != ENOENT : want_read(folder, &want, &unread) < 0)
		return 0;
	return want.what == WANT_REMOVED || want.what == WANT_NOTHING ? remove_image(s, serial, err) : 0;
}

int docker_find_snapshot(struct sandbox *s, struct error *err)
{
	struct docker *d = docker_own(s);
	struct error why;
	char name[96];

	name_image(s, sandbox_snapshot_serial(s), name);
	free(d->base);
	free(d->image);
	d->image = NULL;
	d->base = docker_image_id(s, name, &why);
	if (!d->base)
		return error_set(err, why.code, "from_snapshot: %s", why.code == ENOENT ? "the engine does not have it any more" : why.text);
	d->image = strdup(d->base);
	return d->image ? 0 : error_memory(err);
}
