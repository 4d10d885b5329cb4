/* A container that is there, and a config that has changed since it was made. Limits are moved; for
 * what else has changed a new container is made of all its files:
 *
 *      commit ── rename to NAME.old ── make NAME of what was committed ── remove NAME.old
 *
 * NAME.old is gone before NAME is started: where it is still there, a runner was killed in the middle,
 * and NAME holds nothing. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/failpoint.h"

static int rename_container(const struct sandbox *s, const char *from, const char *to, struct error *err)
{
	cleanup_free char *path = NULL;

	if (asprintf(&path, "/containers/%s%s/rename?name=%s%s", s->id, from, s->id, to) < 0)
		return error_memory(err);
	return docker_call(s, "POST", path, NULL, NULL, err);
}

static int remove_old(struct sandbox *s, struct error *err)
{
	cleanup_free char *name = NULL;

	return asprintf(&name, "%s.old", s->id) < 0 ? error_memory(err) : docker_delete(s, name, err);
}

int docker_recover(struct sandbox *s, struct error *err)
{
	cleanup_free char *path = docker_path(s->id, ".old/json");
	struct error why;

	if (!path)
		return error_memory(err);
	if (docker_call(s, "GET", path, NULL, NULL, &why)) {
		*err = why;
		return why.code == ENOENT ? 0 : -1;
	}
	return docker_delete(s, s->id, err) || rename_container(s, ".old", "", err) ? -1 : 0;
}

/* ---- limits ---- */

static bool differs(const cJSON *host, const char *field, double wanted)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(host, field);

	return wanted > 0 && !(cJSON_IsNumber(value) && value->valuedouble == wanted);
}

/* Podman of Debian 12 cannot: 1, and the container has to be made anew. */
static int move_limits(struct sandbox *s, const struct docker_found *found, struct error *err)
{
	const cJSON *host = docker_member(found->json, "HostConfig", NULL);
	double memory = sandbox_number(s, "memory", 0), cpu = sandbox_number(s, "cpu", 0) * 1e9;
	bool good = true;
	cleanup_free char *path = docker_path(s->id, "/update");
	struct error why;
	cJSON *body;

	if (!differs(host, "Memory", memory) && !differs(host, "NanoCpus", cpu))
		return 0;
	body = cJSON_CreateObject();
	if (memory > 0)
		good = cJSON_AddNumberToObject(body, "Memory", memory) && cJSON_AddNumberToObject(body, "MemorySwap", memory);
	if (cpu > 0)
		good = good && cJSON_AddNumberToObject(body, "NanoCpus", cpu);
	if (!good || !path) {
		cJSON_Delete(body);
		return error_memory(err);
	}
	if (!docker_call(s, "POST", path, body, NULL, &why))
		return 0;
	*err = why;
	return why.code == ENOENT ? 1 : -1;
}

/* ---- a new container of the same files ---- */

static int make_anew(struct sandbox *s, cJSON *body, bool layers, struct error *err)
{
	static const char text[] = "its config has changed: its container is made anew, with its files\n";
	const char *serial = strrchr(s->id, '-');
	cleanup_free char *image = NULL;
	struct error ignored;
	char tag[64];

	s->host->log(s->host->context, text, sizeof text - 1);
	if (!cJSON_AddStringToObject(cJSON_GetObjectItemCaseSensitive(body, "Labels"), DOCKER_FILES, "kept")) {
		cJSON_Delete(body);
		return error_memory(err);
	}
	(void)snprintf(tag, sizeof tag, "sandbox%s", serial ? serial : "");
	if (docker_commit(s, s->id, tag, "sandbox", &image, err) || (layers && docker_layers_above(s, &image, err)) || rename_container(s, "", ".old", err)) {
		cJSON_Delete(body);
		return -1;
	}
	failpoint("docker-renamed");
	if (docker_create(s, body, image, err)) {
		(void)rename_container(s, ".old", "", &ignored);
		return -1;
	}
	failpoint("docker-remade");
	return remove_old(s, err);
}

int docker_change(struct sandbox *s, const struct docker_found *found, struct error *err)
{
	const char *image = docker_label(found, DOCKER_IMAGE);
	char config[MAKING_HASH_SIZE], layers[MAKING_HASH_SIZE];
	cJSON *body;
	bool other;
	int result;

	if (strcmp(image, docker_image_name(s)) != 0)
		return error_set(err, EBUSY, "its files stand on the image %s, and it stays there: make another sandbox for %s",
				 image, docker_image_name(s));
	if (docker_layers_hash(s, layers, err))
		return -1;
	other = strcmp(layers, docker_label(found, DOCKER_LAYERS)) != 0;
	body = docker_body(s, config, err);
	if (!body)
		return -1;
	result = other || strcmp(config, found->config) ? 1 : move_limits(s, found, err);
	if (result > 0)
		return make_anew(s, body, other, err);
	cJSON_Delete(body);
	return result;
}

/* By its name: an image that Podman commits has no labels. The ones below it, whose name it took, go
 * with it. */
int docker_remove_images(const struct sandbox *s, struct error *err)
{
	const char *serial = strrchr(s->id, '-');
	cleanup_free char *path = NULL;

	if (asprintf(&path, "/images/interpfs-%s:sandbox%s?force=1", s->state->id, serial ? serial : "") < 0)
		return error_memory(err);
	return docker_call(s, "DELETE", path, NULL, NULL, err) && err->code != ENOENT ? -1 : 0;
}
