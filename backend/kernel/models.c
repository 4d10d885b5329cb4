/* The models of a notebook's sandbox: loaded into its kernel before the first cell, in a hidden one, unless the
 * workspace's config says preload_models: false; model_info.md says of them what a prompt should. */
#include "backend/kernel/story.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "backend/sandbox/loading.h"
#include "base/cleanup.h"
#include "base/file.h"

#define SPEC_MAX (4u << 20)
#define NOT_LOADED "not loaded: " /* so share/load.py says what is missing */

/* spec.json of an object, owned; NULL when nothing of it is in force. */
static cJSON *read_spec(struct story *s, enum object_kind kind, uint64_t serial)
{
	cleanup_buffer struct buffer text = BUFFER(SPEC_MAX);
	struct error ignored;
	cleanup_close int folder = object_open(runner_state(s->runner), kind, serial, &ignored);

	if (folder < 0 || file_read(folder, "spec.json", &text, &ignored) < 0 || !text.data)
		return NULL;
	return cJSON_ParseWithLength(text.data, text.length);
}

static const cJSON *field(const cJSON *spec, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(spec, "fields"), name);
}

static bool are_wanted(struct story *s)
{
	const cJSON *workspace = cJSON_GetObjectItemCaseSensitive(runner_references(s->runner), "workspace");
	const cJSON *serial = cJSON_GetObjectItemCaseSensitive(workspace, "serial");
	cJSON *spec = cJSON_IsNumber(serial) ? read_spec(s, OBJECT_WORKSPACE, (uint64_t)serial->valuedouble) : NULL;
	bool wanted = !cJSON_IsFalse(field(spec, "preload_models"));

	cJSON_Delete(spec);
	return wanted;
}

static int load(struct story *s, const cJSON *models, struct error *err)
{
	cleanup_buffer struct buffer code = BUFFER(2 * LOADING_MAX);

	if (loading_kernel_code(models, &code, err) < 0)
		return -1;
	runner_log(s->runner, "loading the models");
	if (requests_run_hidden(s, code.data, code.length, true, err) == 0)
		return 0;
	if (err->code != EPROTO)
		return -1;
	/* "line 3: OSError: …": that line is ours, and nobody's to look up. */
	if (!strncmp(err->text, "line ", 5) && strstr(err->text, ": ")) {
		struct error why = *err;

		(void)error_set(err, EPROTO, "%s", strstr(why.text, ": ") + 2);
	}
	return error_wrap(err, "loading the models");
}

static int load_and_tell(struct story *s, const cJSON *models, struct error *err)
{
	cleanup_buffer struct buffer info = BUFFER(LOADING_MAX);
	struct error why = { .code = 0 };
	const char *reason = NULL;

	if (cJSON_GetArraySize(models) && !are_wanted(s)) {
		reason = "preload_models is false";
	} else if (cJSON_GetArraySize(models) && load(s, models, &why) < 0) {
		reason = why.code == EPROTO ? strstr(why.text, NOT_LOADED) : NULL;
		if (!reason) {
			*err = why;
			return -1;
		}
		reason += strlen(NOT_LOADED);
		runner_log(s->runner, "the models are not loaded: %s", reason);
	}
	return loading_info(models, reason, &info, err) < 0 ? -1 : runner_set_text(s->runner, "model_info.md", info.data, err);
}

int models_in_kernel(struct story *s, struct error *err)
{
	cJSON *spec = read_spec(s, OBJECT_SANDBOX, s->sandbox);
	int result = load_and_tell(s, field(spec, "models"), err);

	cJSON_Delete(spec);
	return result;
}
