/* The store: a volume of the engine's that every container of this state directory has at
 * /opt/interpfs, read-only, so that nothing inside can put another program in the guest's place, and no
 * start has to copy one.
 *
 *      guest/HASH.d/guest   the program
 *      guest/HASH           a link to it, unpacked behind it: who finds the link finds all of it
 *
 * It is filled through a container that has it writable and is never started. That it was filled is
 * remembered in STATE/docker/store-* with the engine's address; when that proves wrong (somebody removed the volume) it is filled again. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/sandbox/tar.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/program.h"

#define GUEST_MAX (64u << 20)

cJSON *docker_store_mount(const struct sandbox *s, bool writable)
{
	cJSON *mount = cJSON_CreateObject();
	char name[64];

	(void)snprintf(name, sizeof name, "interpfs-%s", s->state->id);
	if (mount && cJSON_AddStringToObject(mount, "Type", "volume") && cJSON_AddStringToObject(mount, "Source", name) &&
	    cJSON_AddStringToObject(mount, "Target", DOCKER_STORE) && cJSON_AddBoolToObject(mount, "ReadOnly", !writable))
		return mount;
	cJSON_Delete(mount);
	return NULL;
}

static int make_volume(const struct sandbox *s, struct error *err)
{
	cJSON *body = cJSON_CreateObject(), *labels = docker_labels(s, "store");
	char name[64];

	(void)snprintf(name, sizeof name, "interpfs-%s", s->state->id);
	if (!body || !cJSON_AddItemToObject(body, "Labels", labels) || !cJSON_AddStringToObject(body, "Name", name)) {
		cJSON_Delete(body);
		return error_memory(err);
	}
	return docker_call(s, "POST", "/volumes/create", body, NULL, err);
}

/* A container that is only there for what is unpacked into it. */
static int make_filler(const struct sandbox *s, const char *name, struct error *err)
{
	cJSON *body = cJSON_CreateObject(), *host = cJSON_AddObjectToObject(body, "HostConfig");
	cJSON *mounts = cJSON_AddArrayToObject(host, "Mounts"), *command = cJSON_AddArrayToObject(body, "Entrypoint");
	cleanup_free char *path = NULL;

	if (!cJSON_AddItemToArray(mounts, docker_store_mount(s, true)) ||
	    !cJSON_AddItemToArray(command, cJSON_CreateString("/never/started")) ||
	    !cJSON_AddStringToObject(host, "NetworkMode", "none") ||
	    !cJSON_AddStringToObject(body, "Image", docker_own(s)->base) ||
	    !cJSON_AddItemToObject(body, "Labels", docker_labels(s, "store")) ||
	    asprintf(&path, "/containers/create?name=%s", name) < 0) {
		cJSON_Delete(body);
		return error_memory(err);
	}
	return docker_call(s, "POST", path, body, NULL, err);
}

static int unpack(const struct sandbox *s, const char *name, struct tar *tar, struct error *err)
{
	cleanup_free char *path = NULL;
	struct engine_request request = { .method = "PUT", .read = tar_read, .context = tar };

	if (asprintf(&path, "/containers/%s/archive?path=" DOCKER_STORE, name) < 0)
		return error_memory(err);
	request.path = path;
	return engine_call(docker_own(s)->engine, &request, NULL, err);
}

static int fill(struct sandbox *s, const char *guest, const char *hash, struct error *err)
{
	cleanup_tar struct tar *tar = tar_new(err);
	char filler[96], file[96], link[64], target[64];
	struct error ignored;
	int result;

	(void)snprintf(filler, sizeof filler, "interpfs-%s-store", s->state->id);
	(void)snprintf(file, sizeof file, "guest/%s.d/guest", hash);
	(void)snprintf(link, sizeof link, "guest/%s", hash);
	(void)snprintf(target, sizeof target, "%s.d/guest", hash);
	if (!tar || tar_add_file(tar, guest, file, 0755, err) || tar_add_link(tar, target, link, err))
		return -1;
	/* One that died in the middle may have left its own. */
	if (docker_delete(s, filler, err) || make_volume(s, err) || make_filler(s, filler, err))
		return -1;
	result = unpack(s, filler, tar, err);
	if (docker_delete(s, filler, result ? &ignored : err))
		result = -1;
	return result;
}

int docker_fill_store(struct sandbox *s, bool again, struct error *err)
{
	cleanup_free char *guest = program_guest(), *path = NULL;
	cleanup_buffer struct buffer program = BUFFER(GUEST_MAX);
	cleanup_close int folder = -1, held = -1;
	struct docker *d = docker_own(s);
	const char *address = engine_address(d->engine);
	char hash[MAKING_HASH_SIZE], where[MAKING_HASH_SIZE], marker[96];

	if (!guest || asprintf(&path, "%s/docker", s->state->path) < 0)
		return error_memory(err);
	if (file_read(AT_FDCWD, guest, &program, err) || file_make_folder(AT_FDCWD, path, 0700, err))
		return -1;
	making_hash(program.data, program.length, hash);
	making_hash(address, strlen(address), where);
	free(d->guest);
	if (asprintf(&d->guest, DOCKER_STORE "/guest/%s", hash) < 0) {
		d->guest = NULL;
		return error_memory(err);
	}
	(void)snprintf(marker, sizeof marker, "store-%.16s-%.16s", where, hash);
	folder = file_open_folder(AT_FDCWD, path, err);
	if (folder < 0)
		return -1;
	if (again)
		(void)unlinkat(folder, marker, 0);
	if (!faccessat(folder, marker, F_OK, 0))
		return 0;
	held = docker_lock(s, "store", err);
	if (held < 0)
		return -1;
	if (!faccessat(folder, marker, F_OK, 0))
		return 0;
	return fill(s, guest, hash, err) ? -1 : file_replace(folder, marker, address, strlen(address), 0600, false, err);
}
