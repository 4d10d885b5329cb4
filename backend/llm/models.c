#include "backend/llm/models.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/program.h"

static int load(struct models *models, const char *path, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(8u << 20);

	if (file_read(AT_FDCWD, path, &text, err) < 0)
		return -1;
	models->json = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	if (!models->json)
		return error_set(err, EINVAL, "%s is not JSON", path);
	return 0;
}

int models_open(struct models *models, const char *path, struct error *err)
{
	cleanup_free char *file = NULL;

	models->json = NULL;
	if (path)
		return load(models, path, err);
	file = program_share("prices.json");
	return file ? load(models, file, err) : error_memory(err);
}

void models_close(struct models *models)
{
	cJSON_Delete(models->json);
	models->json = NULL;
}

const char *models_default(const struct models *models, const char *provider)
{
	return json_string(cJSON_GetObjectItemCaseSensitive(models->json, "default"), provider);
}

static const cJSON *find(const struct models *models, const char *model)
{
	const cJSON *all = cJSON_GetObjectItemCaseSensitive(models->json, "models");
	const cJSON *found = cJSON_GetObjectItemCaseSensitive(all, model);
	char plain[128];
	size_t n = strlen(model);

	/* claude-haiku-4-5-20251001 */
	if (found || n < 10 || n >= sizeof plain || model[n - 9] != '-' ||
	    strspn(model + n - 8, "0123456789") != 8)
		return found;
	memcpy(plain, model, n - 9);
	plain[n - 9] = '\0';
	return cJSON_GetObjectItemCaseSensitive(all, plain);
}

const char *models_word(const struct models *models, const char *model, const char *name)
{
	return json_string(find(models, model), name);
}

double models_number(const struct models *models, const char *model, const char *name, double fallback)
{
	return json_number(find(models, model), name, fallback);
}

bool models_priced(const struct models *models, const char *model)
{
	const cJSON *m = find(models, model);

	return cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(m, "in")) &&
	       cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(m, "out"));
}

static double tokens(const cJSON *usage, const char *name)
{
	return json_number(usage, name, 0);
}

bool models_cost(const struct models *models, const char *model, const cJSON *usage, double *dollars)
{
	const cJSON *m = find(models, model), *tier, *above;
	double fresh = tokens(usage, "input_tokens"), read = tokens(usage, "cache_read_tokens");
	double written = tokens(usage, "cache_write_tokens"), hour = tokens(usage, "cache_write_1h_tokens");
	double in, out, cached;

	if (!models_priced(models, model))
		return false;
	/* Past a threshold the whole request is charged at the higher tier. */
	tier = m;
	cJSON_ArrayForEach(above, cJSON_GetObjectItemCaseSensitive(m, "above"))
		if (fresh + read + written > tokens(above, "prompt"))
			tier = above;
	in = tokens(tier, "in");
	out = tokens(tier, "out");
	cached = json_number(tier, "cache_read", 0.1 * in);
	if (hour > written)
		hour = written;
	*dollars = (fresh * in + (written - hour) * 1.25 * in + hour * 2 * in + read * cached +
		    tokens(usage, "output_tokens") * out) / 1e6;
	return true;
}
