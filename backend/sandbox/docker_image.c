/* An image: the one that the config names, fetched when the engine does not have it. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"

#define DEFAULT_PYTHON "3.12"
#define PULL_SILENT_MS 600000
#define LAYERS_MAX 128
#define TELL_MS 1000

struct layer {
	char id[16];
	double done, whole;
};

/* The layers of an image that is being fetched, told in a line now and then. */
struct progress {
	const struct sandbox *sandbox;
	const char *image;
	struct layer layers[LAYERS_MAX];
	size_t count;
	long long told;
	char last[160];
};

static void tell(struct progress *p)
{
	double done = 0, whole = 0;
	char line[160];
	int n;

	for (size_t i = 0; i < p->count; i++) {
		done += p->layers[i].done;
		whole += p->layers[i].whole;
	}
	p->told = clock_ms();
	n = snprintf(line, sizeof line, "fetching %.80s: %.1f of %.1f MB\n", p->image, done / 1e6, whole / 1e6);
	if (n <= 0 || n >= (int)sizeof line || !strcmp(line, p->last))
		return;
	memcpy(p->last, line, sizeof line);
	p->sandbox->host->log(p->sandbox->host->context, line, (size_t)n);
}

static struct layer *find_layer(struct progress *p, const char *id)
{
	for (size_t i = 0; i < p->count; i++)
		if (!strncmp(p->layers[i].id, id, sizeof p->layers[i].id - 1))
			return &p->layers[i];
	if (p->count == LAYERS_MAX)
		return NULL;
	(void)snprintf(p->layers[p->count].id, sizeof p->layers[p->count].id, "%s", id);
	return &p->layers[p->count++];
}

/* {"id": "4abcf2066143", "status": "Downloading", "progressDetail": {"current": 1, "total": 2}} */
static int on_progress(void *context, const cJSON *line, struct error *err)
{
	struct progress *p = context;
	const cJSON *detail = cJSON_GetObjectItemCaseSensitive(line, "progressDetail");
	const cJSON *current = cJSON_GetObjectItemCaseSensitive(detail, "current");
	const cJSON *total = cJSON_GetObjectItemCaseSensitive(detail, "total");
	const char *id = json_string(line, "id");
	const char *status = json_string(line, "status");
	struct layer *layer = id && status ? find_layer(p, id) : NULL;

	(void)err;
	if (layer && !strcmp(status, "Downloading") && cJSON_IsNumber(current) && cJSON_IsNumber(total)) {
		layer->done = current->valuedouble;
		layer->whole = total->valuedouble;
	} else if (layer && (!strcmp(status, "Download complete") || !strcmp(status, "Pull complete"))) {
		layer->done = layer->whole;
	}
	if (clock_ms() - p->told >= TELL_MS)
		tell(p);
	return 0;
}

/* "python" is "python:latest": without a tag the engine would fetch them all. */
static int pull(struct sandbox *s, const char *image, struct error *err)
{
	struct progress progress = { .sandbox = s, .image = image, .told = clock_ms() };
	struct engine_request request = { .method = "POST", .line = on_progress, .context = &progress,
					  .timeout_ms = PULL_SILENT_MS };
	cleanup_free char *escaped = engine_escape(image), *path = NULL;
	const char *slash = strrchr(image, '/'), *last = slash ? slash + 1 : image;

	if (!escaped || asprintf(&path, "/images/create?fromImage=%s%s", escaped, strpbrk(last, ":@") ? "" : ":latest") < 0)
		return error_memory(err);
	request.path = path;
	if (s->host->building(s->host->context, err) || engine_call(docker_own(s)->engine, &request, NULL, err))
		return -1;
	if (progress.count)
		tell(&progress);
	return 0;
}

char *docker_image_id(const struct sandbox *s, const char *name, struct error *err)
{
	cleanup_answer struct engine_answer answer = { 0, NULL };
	cleanup_free char *escaped = engine_escape(name), *path = NULL;
	char *id;

	if (!escaped || asprintf(&path, "/images/%s/json", escaped) < 0) {
		(void)error_memory(err);
		return NULL;
	}
	if (docker_call(s, "GET", path, NULL, &answer, err))
		return NULL;
	id = docker_id(answer.json);
	if (!id)
		(void)error_set(err, EPROTO, "the engine does not tell the id of image %s", name);
	return id;
}

const char *docker_image_name(const struct sandbox *s)
{
	const char *image = sandbox_text(s, "image"), *version = sandbox_text(s, "python_version");
	struct docker *d = docker_own(s);

	if (image)
		return image;
	(void)snprintf(d->image_name, sizeof d->image_name, "python:%.16s-slim", version ? version : DEFAULT_PYTHON);
	return d->image_name;
}

int docker_find_image(struct sandbox *s, struct error *err)
{
	const char *image = docker_image_name(s);
	struct docker *d = docker_own(s);
	struct error why;

	free(d->base);
	d->base = docker_image_id(s, image, &why);
	if (d->base)
		return 0;
	*err = why;
	if (why.code == ENOENT && !pull(s, image, err))
		d->base = docker_image_id(s, image, err);
	return d->base ? 0 : error_wrap(err, "image %s", image);
}

int docker_use_base(struct sandbox *s, const struct docker_found *found, struct error *err)
{
	const char *base = docker_label(found, DOCKER_BASE);
	const char *image = cJSON_GetStringValue(docker_member(found->json, "Image", NULL));
	struct docker *d = docker_own(s);
	struct error why;

	free(d->base);
	d->base = *base ? docker_image_id(s, base, &why) : NULL;
	if (d->base)
		return 0;
	if (*base && why.code != ENOENT) {
		*err = why;
		return -1;
	}
	d->base = strdup(image ? image : "");
	return d->base ? 0 : error_memory(err);
}
