#include "backend/llm/usage.h"

#include <string.h>

#include "base/json.h"

static const char *const kinds[] = {
	"input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens",
	"output_tokens", "thinking_tokens",
};

static int add(cJSON *object, const char *name, double more)
{
	cJSON *n = cJSON_GetObjectItemCaseSensitive(object, name);

	if (!n)
		return cJSON_AddNumberToObject(object, name, more) ? 0 : -1;
	cJSON_SetNumberValue(n, n->valuedouble + more);
	return 0;
}

int usage_add(struct usage *u, const char *model, const cJSON *one, double cost, bool answered)
{
	cJSON *m;

	if (answered)
		u->turns++;
	if (!u->models && !(u->models = cJSON_CreateObject()))
		return -1;
	m = cJSON_GetObjectItemCaseSensitive(u->models, model);
	if (!m && !(m = cJSON_AddObjectToObject(u->models, model)))
		return -1;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (add(m, kinds[i], json_number(one, kinds[i], 0)) < 0)
			return -1;
	if (add(m, "turns", answered) < 0)
		return -1;
	if (cost >= 0) {
		u->cost += cost;
		return add(m, "cost", cost);
	}
	u->unpriced = true;
	if (!cJSON_GetObjectItemCaseSensitive(m, "cost") && !cJSON_AddNullToObject(m, "cost"))
		return -1;
	return 0;
}

cJSON *usage_render(const struct usage *u)
{
	cJSON *out = cJSON_CreateObject(), *models;
	const cJSON *m;

	if (!out)
		return NULL;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		double sum = 0;

		cJSON_ArrayForEach(m, u->models)
			sum += json_number(m, kinds[i], 0);
		cJSON_AddNumberToObject(out, kinds[i], sum);
	}
	if (u->unpriced || !u->models)
		cJSON_AddNullToObject(out, "cost");
	else
		cJSON_AddNumberToObject(out, "cost", u->cost);
	cJSON_AddBoolToObject(out, "priced", !u->unpriced && u->models);
	cJSON_AddNumberToObject(out, "turns", u->turns);
	cJSON_AddNumberToObject(out, "seconds", (double)(long long)(u->seconds * 1000) / 1000);
	models = u->models ? cJSON_Duplicate(u->models, true) : cJSON_CreateObject();
	if (!models || !cJSON_AddItemToObject(out, "models", models)) {
		cJSON_Delete(models);
		cJSON_Delete(out);
		return NULL;
	}
	return out;
}

void usage_free(struct usage *u)
{
	cJSON_Delete(u->models);
	memset(u, 0, sizeof *u);
}
