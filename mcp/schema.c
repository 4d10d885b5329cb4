/* Checks a tool's arguments against its JSON Schema: see schema.h. */
#include "mcp/schema.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

static const char *type_of(const cJSON *value)
{
	return cJSON_IsString(value) ? "a string" : cJSON_IsNumber(value) ? "a number" :
	       cJSON_IsBool(value) ? "a boolean" : cJSON_IsArray(value) ? "an array" :
	       cJSON_IsObject(value) ? "an object" : "null";
}

static bool has_type(const cJSON *value, const char *type)
{
	if (!strcmp(type, "string"))
		return cJSON_IsString(value);
	if (!strcmp(type, "number"))
		return cJSON_IsNumber(value);
	if (!strcmp(type, "integer"))
		return cJSON_IsNumber(value) && floor(value->valuedouble) == value->valuedouble;
	if (!strcmp(type, "boolean"))
		return cJSON_IsBool(value);
	if (!strcmp(type, "array"))
		return cJSON_IsArray(value);
	return cJSON_IsObject(value);
}

static int check_number(const char *name, const cJSON *schema, const cJSON *value, struct error *err)
{
	const cJSON *minimum = member(schema, "minimum"), *maximum = member(schema, "maximum");

	if (minimum && value->valuedouble < minimum->valuedouble)
		return error_set(err, EINVAL, "argument '%s' must be at least %g, not %g", name,
				 minimum->valuedouble, value->valuedouble);
	if (maximum && value->valuedouble > maximum->valuedouble)
		return error_set(err, EINVAL, "argument '%s' must be at most %g, not %g", name,
				 maximum->valuedouble, value->valuedouble);
	return 0;
}

static int check_choice(const char *name, const cJSON *choices, const cJSON *value, struct error *err)
{
	struct buffer known cleanup_buffer = BUFFER(ERROR_TEXT_SIZE / 2);
	const cJSON *choice;

	cJSON_ArrayForEach(choice, choices) {
		if (cJSON_Compare(choice, value, true))
			return 0;
		if (cJSON_IsString(choice))
			(void)buffer_format(&known, "%s'%s'", known.length ? ", " : "", choice->valuestring);
	}
	return error_set(err, EINVAL, "argument '%s' must be one of %s", name, known.data ? known.data : "none");
}

static int check_value(const char *name, const cJSON *schema, const cJSON *value, struct error *err)
{
	const cJSON *type = member(schema, "type"), *choices = member(schema, "enum"), *item;
	const cJSON *least = member(schema, "minLength"), *items = member(schema, "items");

	if (cJSON_IsString(type) && !has_type(value, type->valuestring)) {
		const char *article = strchr("aio", *type->valuestring) ? "an" : "a";

		return error_set(err, EINVAL, "argument '%s' must be %s %s, not %s", name, article,
				 type->valuestring, type_of(value));
	}
	if (choices && check_choice(name, choices, value, err) < 0)
		return -1;
	if (cJSON_IsNumber(value))
		return check_number(name, schema, value, err);
	if (cJSON_IsString(value) && least && (double)strlen(value->valuestring) < least->valuedouble)
		return error_set(err, EINVAL, "argument '%s' is empty", name);
	if (cJSON_IsArray(value) && items)
		cJSON_ArrayForEach(item, value)
			if (check_value(name, items, item, err) < 0)
				return -1;
	return 0;
}

int schema_check(const cJSON *schema, const cJSON *arguments, struct error *err)
{
	const cJSON *properties = member(schema, "properties"), *others = member(schema, "additionalProperties"), *name, *argument;

	if (!cJSON_IsObject(arguments))
		return error_set(err, EINVAL, "the arguments must be an object, not %s", type_of(arguments));
	cJSON_ArrayForEach(name, member(schema, "required")) {
		argument = member(arguments, name->valuestring);
		if (!argument || cJSON_IsNull(argument))
			return error_set(err, EINVAL, "argument '%s' is missing", name->valuestring);
	}
	cJSON_ArrayForEach(argument, arguments) {
		const cJSON *property = member(properties, argument->string);

		if (!property && (cJSON_IsTrue(others) || cJSON_IsObject(others)))
			property = others; /* the function takes any */
		if (!property) {
			struct buffer known cleanup_buffer = BUFFER(ERROR_TEXT_SIZE / 2);

			cJSON_ArrayForEach(name, properties)
				(void)buffer_format(&known, "%s'%s'", known.length ? ", " : "", name->string);
			return error_set(err, EINVAL, "there is no argument '%.100s'; the tool takes %s",
					 argument->string, known.data ? known.data : "none");
		}
		if (!cJSON_IsNull(argument) && check_value(argument->string, property, argument, err) < 0)
			return -1;
	}
	return 0;
}
