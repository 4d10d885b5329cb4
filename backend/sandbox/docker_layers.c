/* system_packages, setup and python_packages as images above the config's, each named by the hash of what it
 * was made of ("interpfs-STATE:layer-HASH") and made once, however many ask. Python packages go into the
 * image's own Python: so what the image has already is not installed a second time, and what an agent
 * installs later goes to the same place. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/image.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"

#define TEXT_MAX (2u << 20)
#define PACKAGES_MAX 1024

static const char find_pip[] =
	"command -v python3 >/dev/null || { echo 'error: the image has no python3' >&2; exit 1; }\n"
	"python3 -m pip --version >/dev/null 2>&1 || python3 -m ensurepip --default-pip >/dev/null 2>&1 ||\n"
	"{ echo 'error: the image has no pip: add python3-pip to system_packages, or use an image that has it' >&2; exit 1; }\n";

/* ---- names ---- */

static int append_list(struct buffer *out, const char *name, const cJSON *list, struct error *err)
{
	cleanup_free char *text = cJSON_PrintUnformatted(list);

	return cJSON_GetArraySize(list) && (!text || buffer_format(out, "%s %s\n", name, text)) ? error_memory(err) : 0;
}

int docker_layers_hash(const struct sandbox *s, char out[MAKING_HASH_SIZE], struct error *err)
{
	static const char *const fields[] = { "system_packages", "setup", "python_packages" };
	cleanup_buffer struct buffer text = BUFFER(TEXT_MAX);

	out[0] = '\0';
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		if (append_list(&text, fields[i], sandbox_field(s, fields[i]), err))
			return -1;
	if (text.length)
		making_hash(text.data, text.length, out);
	return 0;
}

/* ---- what is done in one ---- */

static int run_script(struct commands *c, const char *script, const cJSON *words, const char *what, struct error *err)
{
	const char *argv[PACKAGES_MAX + 8] = { "/bin/sh", "-ec", script, "sh" };
	const cJSON *item;
	size_t n = 4;

	if (cJSON_GetArraySize(words) > PACKAGES_MAX)
		return error_set(err, E2BIG, "%s: there are more than %d", what, PACKAGES_MAX);
	cJSON_ArrayForEach(item, words)
		argv[n++] = item->valuestring;
	argv[n] = NULL;
	return commands_must(c, argv, what, err);
}

static int fill_system(struct sandbox *s, struct commands *c, struct error *err)
{
	const cJSON *packages = sandbox_field(s, "system_packages");

	if (cJSON_GetArraySize(packages) && run_script(c, image_install_script, packages, "system_packages", err))
		return -1;
	return image_set_up(c, sandbox_field(s, "setup"), err);
}

int docker_find_pip(struct commands *c, struct error *err)
{
	return run_script(c, find_pip, NULL, NULL, err);
}

static int fill_python(struct sandbox *s, struct commands *c, struct error *err)
{
	static const char install[] = "exec python3 -m pip install -- \"$@\"";

	return run_script(c, find_pip, NULL, "python_packages", err) ||
	       run_script(c, install, sandbox_field(s, "python_packages"), NULL, err) ? -1 : 0;
}

static const struct layer {
	const char *kind;
	const char *fields[2];
	int (*fill)(struct sandbox *s, struct commands *c, struct error *err);
} layers[] = {
	{ "system 1", { "system_packages", "setup" }, fill_system },
	{ "python 1", { "python_packages", NULL }, fill_python },
};

#define LAYERS (sizeof layers / sizeof *layers)

static bool is_wanted(const struct sandbox *s, const struct layer *layer)
{
	for (size_t i = 0; i < 2 && layer->fields[i]; i++)
		if (cJSON_GetArraySize(sandbox_field(s, layer->fields[i])))
			return true;
	return false;
}

static int name_layer(const struct sandbox *s, const struct layer *layer, const char *below, char hash[MAKING_HASH_SIZE],
		      struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(TEXT_MAX);

	if (buffer_format(&text, "%s\n%s\n", layer->kind, below))
		return error_memory(err);
	for (size_t i = 0; i < 2 && layer->fields[i]; i++)
		if (append_list(&text, layer->fields[i], sandbox_field(s, layer->fields[i]), err))
			return -1;
	making_hash(text.data, text.length, hash);
	return 0;
}

/* ---- one layer ---- */

static int make_layer(struct sandbox *s, const struct layer *layer, const char *hash, const char *tag, char **image,
		      struct error *err)
{
	struct docker_build b;
	char *made = NULL;
	int result = docker_build_open(&b, s, hash, *image, false, NULL, err);

	failpoint("docker-building");
	if (!result)
		result = layer->fill(s, &b.commands, err);
	if (!result)
		result = docker_build_commit(&b, tag, &made, err);
	docker_build_close(&b);
	if (result)
		return -1;
	free(*image);
	*image = made;
	return 0;
}

/* *image becomes the layer above it. */
static int find_layer(struct sandbox *s, const struct layer *layer, char **image, struct error *err)
{
	char hash[MAKING_HASH_SIZE], tag[64], name[128];
	cleanup_close int lock = -1;
	struct error why;

	if (name_layer(s, layer, *image, hash, err))
		return -1;
	(void)snprintf(tag, sizeof tag, "layer-%.24s", hash);
	(void)snprintf(name, sizeof name, "interpfs-%s:%s", s->state->id, tag);
	for (int turn = 0; turn < 2; turn++) {
		char *found = docker_image_id(s, name, &why);

		if (found) {
			free(*image);
			*image = found;
			return 0;
		}
		if (why.code != ENOENT) {
			*err = why;
			return -1;
		}
		if (turn)
			break;
		if (s->host->building(s->host->context, err) || (lock = docker_lock(s, hash, err)) < 0)
			return -1;
	}
	return make_layer(s, layer, hash, tag, image, err);
}

int docker_layers(struct sandbox *s, struct error *err)
{
	struct docker *d = docker_own(s);

	free(d->image);
	d->image = strdup(d->base);
	if (!d->image)
		return error_memory(err);
	for (size_t i = 0; i < LAYERS; i++)
		if (is_wanted(s, &layers[i]) && find_layer(s, &layers[i], &d->image, err))
			return -1;
	return 0;
}

int docker_layers_above(struct sandbox *s, char **image, struct error *err)
{
	const char *serial = strrchr(s->id, '-');
	char tag[64];

	(void)snprintf(tag, sizeof tag, "sandbox%s", serial ? serial : "");
	if (s->host->building(s->host->context, err))
		return -1;
	for (size_t i = 0; i < LAYERS; i++)
		if (is_wanted(s, &layers[i]) && make_layer(s, &layers[i], tag, tag, image, err))
			return -1;
	return 0;
}
