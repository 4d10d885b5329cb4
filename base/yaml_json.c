#include "base/yaml_json.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#define DEPTH_MAX 64

static bool is_any_of(const char *text, const char *const *words)
{
	for (; *words; words++)
		if (!strcasecmp(text, *words))
			return true;
	return false;
}

static cJSON *scalar(const yaml_event_t *event)
{
	static const char *const nothing[] = { "", "~", "null", NULL }, *const truth[] = { "true", NULL };
	static const char *const falsehood[] = { "false", NULL };
	const char *text = (const char *)event->data.scalar.value;
	char *end;
	double number;

	if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return cJSON_CreateString(text);
	if (is_any_of(text, nothing))
		return cJSON_CreateNull();
	if (is_any_of(text, truth) || is_any_of(text, falsehood))
		return cJSON_CreateBool(is_any_of(text, truth));
	number = strtod(text, &end);
	if (!*end && !text[strspn(text, "+-.0123456789eE")])
		return cJSON_CreateNumber(number);
	return cJSON_CreateString(text);
}

static int next(yaml_parser_t *parser, yaml_event_t *event, struct error *err)
{
	if (yaml_parser_parse(parser, event))
		return 0;
	return error_set(err, EINVAL, "line %zu: %s", parser->problem_mark.line + 1,
			 parser->problem ? parser->problem : "no YAML");
}

static cJSON *value(yaml_parser_t *parser, yaml_event_t *event, int depth, struct error *err);

/* Everything up to the event that ends the collection. */
static cJSON *collection(yaml_parser_t *parser, bool list, int depth, struct error *err)
{
	yaml_event_type_t last = list ? YAML_SEQUENCE_END_EVENT : YAML_MAPPING_END_EVENT;
	cJSON *all = list ? cJSON_CreateArray() : cJSON_CreateObject();
	yaml_event_t event;

	if (!all)
		(void)error_memory(err);
	while (all) {
		char *key = NULL;
		cJSON *item;
		bool added;

		if (next(parser, &event, err) < 0)
			break;
		if (event.type == last) {
			yaml_event_delete(&event);
			return all;
		}
		if (!list) {
			if (event.type != YAML_SCALAR_EVENT) {
				(void)error_set(err, EINVAL, "line %zu: a key is a text", event.start_mark.line + 1);
				yaml_event_delete(&event);
				break;
			}
			key = strdup((const char *)event.data.scalar.value);
			yaml_event_delete(&event);
			if (!key || next(parser, &event, err) < 0) {
				if (!key)
					(void)error_memory(err);
				free(key);
				break;
			}
		}
		item = value(parser, &event, depth, err);
		yaml_event_delete(&event);
		added = item && (list ? cJSON_AddItemToArray(all, item) : cJSON_AddItemToObject(all, key, item));
		free(key);
		if (!item)
			break;
		if (!added) {
			cJSON_Delete(item);
			(void)error_memory(err);
			break;
		}
	}
	cJSON_Delete(all);
	return NULL;
}

static cJSON *value(yaml_parser_t *parser, yaml_event_t *event, int depth, struct error *err)
{
	cJSON *one;

	if (depth == DEPTH_MAX || (event->type != YAML_SCALAR_EVENT && event->type != YAML_SEQUENCE_START_EVENT &&
				   event->type != YAML_MAPPING_START_EVENT)) {
		(void)error_set(err, EINVAL, "line %zu: %s", event->start_mark.line + 1,
				depth == DEPTH_MAX ? "nested too deep" : "aliases are not read");
		return NULL;
	}
	if (event->type != YAML_SCALAR_EVENT)
		return collection(parser, event->type == YAML_SEQUENCE_START_EVENT, depth + 1, err);
	one = scalar(event);
	if (!one)
		(void)error_memory(err);
	return one;
}

cJSON *yaml_json(const char *text, size_t n, struct error *err)
{
	yaml_parser_t parser;
	yaml_event_t event;
	cJSON *all = NULL;

	if (!yaml_parser_initialize(&parser)) {
		(void)error_memory(err);
		return NULL;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
	for (bool more = true; more && next(&parser, &event, err) == 0; yaml_event_delete(&event)) {
		more = event.type == YAML_STREAM_START_EVENT || event.type == YAML_DOCUMENT_START_EVENT;
		if (event.type == YAML_STREAM_END_EVENT)
			(void)error_set(err, EINVAL, "line 1: it is empty");
		else if (!more)
			all = value(&parser, &event, 0, err);
	}
	yaml_parser_delete(&parser);
	return all;
}
