#include "backend/sandbox/loading.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/program.h"

#define NAME_MAX_ 160

static bool is_set(const cJSON *model, const char *name)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(model, name));
}

void loading_tokenizer(const char *var, char *out, size_t size)
{
	(void)snprintf(out, size, strcmp(var, "model") ? "%s_tokenizer" : "tokenizer", var);
}

static int read_script(struct buffer *script, struct error *err)
{
	cleanup_free char *path = program_share("load.py");

	return path ? file_read(AT_FDCWD, path, script, err) : error_memory(err);
}

/* {"var","tokenizer","path","base","as_peft"}; NULL without memory. */
static cJSON *describe(const cJSON *model)
{
	cJSON *one = cJSON_CreateObject();
	const char *var = json_word(model, "var_name");
	char tokenizer[NAME_MAX_], path[NAME_MAX_], base[NAME_MAX_];
	bool good;

	loading_tokenizer(var, tokenizer, sizeof tokenizer);
	(void)snprintf(path, sizeof path, "/models/%s", var);
	(void)snprintf(base, sizeof base, "/models/%s_base", var);
	good = cJSON_AddStringToObject(one, "var", var) && cJSON_AddStringToObject(one, "tokenizer", tokenizer) &&
	       cJSON_AddStringToObject(one, "path", path) &&
	       (is_set(model, "is_peft") ? cJSON_AddStringToObject(one, "base", base) : cJSON_AddNullToObject(one, "base")) &&
	       cJSON_AddNumberToObject(one, "as_peft", is_set(model, "load_as_peft"));
	if (good)
		return one;
	cJSON_Delete(one);
	return NULL;
}

/* A text of JSON as a literal of Python, in which JSON's own words would be none. */
static int put_literal(struct buffer *out, const char *text)
{
	cJSON *string = cJSON_CreateString(text);
	cleanup_free char *literal = string ? cJSON_PrintUnformatted(string) : NULL;

	cJSON_Delete(string);
	return literal ? buffer_text(out, literal) : -1;
}

int loading_kernel_code(const cJSON *models, struct buffer *out, struct error *err)
{
	cleanup_buffer struct buffer script = BUFFER(LOADING_MAX);
	cleanup_free char *list = NULL;
	cJSON *all = cJSON_CreateArray();
	const cJSON *model;
	bool good = all != NULL;

	if (read_script(&script, err)) {
		cJSON_Delete(all);
		return -1;
	}
	cJSON_ArrayForEach(model, models) {
		cJSON *one = good ? describe(model) : NULL;

		good = one && cJSON_AddItemToArray(all, one);
	}
	list = good ? cJSON_PrintUnformatted(all) : NULL;
	cJSON_Delete(all);
	if (!list || buffer_text(out, "_interpfs_models = {'__name__': 'load'}\nexec(") || put_literal(out, script.data) ||
	    buffer_text(out, ", _interpfs_models)\nget_ipython().user_ns.update(_interpfs_models['load_all'](__import__('json').loads(") ||
	    put_literal(out, list) || buffer_text(out, ")))\ndel _interpfs_models\n"))
		return error_memory(err);
	return 0;
}

int loading_program(const cJSON *model, struct buffer *out, struct error *err)
{
	const char *var = json_word(model, "var_name");
	char tokenizer[NAME_MAX_];

	loading_tokenizer(var, tokenizer, sizeof tokenizer);
	if (read_script(out, err))
		return -1;
	if (buffer_format(out, "\n\n%s, %s = load(\"/models/%s\"", var, tokenizer, var) ||
	    (is_set(model, "is_peft") && buffer_format(out, ", base=\"/models/%s_base\"", var)) ||
	    (is_set(model, "load_as_peft") && buffer_text(out, ", as_peft=True")) || buffer_text(out, ")\n"))
		return error_memory(err);
	return 0;
}

static int put_model(const cJSON *model, bool loaded, struct buffer *out)
{
	const char *var = json_word(model, "var_name");
	bool hidden = is_set(model, "hidden"), peft = is_set(model, "is_peft");
	char tokenizer[NAME_MAX_];

	loading_tokenizer(var, tokenizer, sizeof tokenizer);
	if (buffer_format(out, "- `%s`: %s", var, hidden ? "a model whose name is not told" : json_word(model, "name")) ||
	    (peft && !hidden && buffer_format(out, ", an adapter (PEFT) on %s", json_word(model, "base_model"))) ||
	    (is_set(model, "load_as_peft") && buffer_text(out, ", a PeftModel, on which adapters can be put with load_adapter()")) ||
	    (loaded && buffer_format(out, "; its tokenizer is `%s`", tokenizer)) ||
	    buffer_format(out, "; its files are in `/models/%s`", var) ||
	    (peft && buffer_format(out, ", those of its base model in `/models/%s_base`", var)))
		return -1;
	return buffer_text(out, ".\n");
}

int loading_info(const cJSON *models, const char *why, struct buffer *out, struct error *err)
{
	const cJSON *model;

	if (!cJSON_GetArraySize(models))
		return buffer_text(out, "No models are configured in this notebook's sandbox.\n") ? error_memory(err) : 0;
	if (buffer_text(out, "# Models\n\n") ||
	    (why ? buffer_format(out, "These models are here; they are not loaded (%s).\n\n", why)
		 : buffer_text(out, "These models are loaded in the kernel already. Use the variables, and do not load the models again: "
				    "they would need their memory twice.\n\n")))
		return error_memory(err);
	cJSON_ArrayForEach(model, models)
		if (put_model(model, !why, out))
			return error_memory(err);
	return 0;
}
