/* A document against its table of fields: names, types, ranges, and defaults where it is silent.
 *
 * The same walk serves a text that is still being written and the finished one. A node that may
 * still grow (fs/yaml.h, `open`) is refused only for what no continuation can mend: a plain
 * scalar can only gain words, an empty one can become anything, a block scalar is left alone. */
#include "fs/judge.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/utf8.h"
#include "fs/yaml.h"

static void cleanup_yaml_(struct document *yaml) { document_free(yaml); }
#define cleanup_yaml __attribute__((cleanup(cleanup_yaml_)))

static int unknown(const struct field *fields, const char *prefix, const struct document_node *key, struct error *err)
{
	const char *names[64];
	char out[JUDGE_SHOWN];
	size_t n = 0;
	const char *near;

	for (const struct field *f = fields; f->name && n < 64; f++)
		names[n++] = f->name;
	near = judge_nearest(key->text, names, n);
	if (near)
		return error_set(err, EINVAL, "line %zu: unknown field '%s%s'; did you mean '%s'?", key->line,
				 prefix, judge_shown(key->text, out), near);
	struct buffer list = BUFFER(ERROR_TEXT_SIZE);

	for (const struct field *f = fields; f->name; f++)
		if (!f->later && buffer_format(&list, "%s%s", list.length ? ", " : "", f->name) < 0)
			break;
	error_set(err, EINVAL, "line %zu: unknown field '%s%s'; known are %s", key->line, prefix,
		  judge_shown(key->text, out), list.data ? list.data : "none");
	buffer_free(&list);
	return -1;
}

static void put_choices(char *out, size_t size, const char *choices)
{
	size_t n = 0;

	for (const char *c = choices; *c && n + 3 < size; c++) {
		if (*c == '|') {
			out[n++] = ',';
			out[n++] = ' ';
		} else {
			out[n++] = *c;
		}
	}
	out[n] = '\0';
}

/* What a refusal calls the text, list or mapping that it did not expect. */
static void put_got(char *got, size_t size, const struct document_node *node)
{
	char out[JUDGE_SHOWN];

	if (node->kind == DOCUMENT_SCALAR)
		(void)snprintf(got, size, "%s'%s'", node->plain ? "" : "the text ", judge_shown(node->text, out));
	else
		(void)snprintf(got, size, "a %s", node->kind == DOCUMENT_LIST ? "list" : "mapping");
}

/* "line 2: each value of env must be a text, not a mapping": the field's own type is right, one part's is not */
static int wrong_part(const char *part, const char *name, const struct document_node *node, struct error *err)
{
	char got[JUDGE_SHOWN + 16];

	put_got(got, sizeof got, node);
	return error_set(err, EINVAL, "line %zu: each %s of %s must be a text, not %s", node->line, part, name, got);
}

/* "line 2: timeout must be a whole number, not 'soon'" */
static int wrong_type(const struct field *f, const char *name, const struct document_node *node, struct error *err)
{
	static const char *const nouns[] = {
		[FIELD_STRING] = "a text", [FIELD_SOURCE] = "a name or a path", [FIELD_INTEGER] = "a whole number", [FIELD_NUMBER] = "a number",
		[FIELD_BOOLEAN] = "true or false", [FIELD_SIZE] = "a size such as 16G",
		[FIELD_STRINGS] = "a list such as [a, b]", [FIELD_PAIRS] = "a list of pairs such as [[~/here, /there]]",
		[FIELD_MAP] = "a mapping such as {NAME: value}", [FIELD_OBJECT] = "a mapping such as {name: value}",
		[FIELD_OBJECTS] = "a list of mappings such as [{name: value}]", [FIELD_ANY] = "a value",
	};
	char choices[256], got[JUDGE_SHOWN + 16];

	put_got(got, sizeof got, node);
	if (!f->choices)
		return error_set(err, EINVAL, "line %zu: %s must be %s, not %s", node->line, name, nouns[f->type], got);
	put_choices(choices, sizeof choices, f->choices);
	return error_set(err, EINVAL, "line %zu: %s must be one of %s%s, not %s", node->line, name, choices,
			 f->type == FIELD_CHOICE ? "" : ", or a list such as [a, b]", got);
}

static bool is_null(const struct document_node *node)
{
	return node->kind == DOCUMENT_SCALAR && node->plain
	       && (!*node->text || !strcmp(node->text, "~") || !strcasecmp(node->text, "null"));
}

static bool read_boolean(const char *text, bool *value)
{
	static const char *const words[] = { "false", "true", "no", "yes", "off", "on" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (!strcasecmp(text, words[i])) {
			*value = i & 1;
			return true;
		}
	return false;
}

/* Decimal only: no nan, inf, hexadecimal, or anything behind. */
static bool read_number(const char *text, bool whole, double *value)
{
	char *end;

	if (!*text || text[strspn(text, whole ? "+-0123456789" : "+-0123456789.eE")])
		return false;
	*value = strtod(text, &end);
	return !*end && end != text && *value >= -1e300 && *value <= 1e300;
}

/* 16G, 1.5GiB, 512mb, 32K, 1000: powers of 1024. */
static bool read_size(const char *text, double *value)
{
	static const char units[] = "KMGTP";
	char *end;
	const char *unit;

	if (*text < '0' || *text > '9')
		return false;
	*value = strtod(text, &end);
	if (text[strspn(text, "0123456789.")] != *end || *value > 1e15)
		return false;
	if (!*end)
		return true;
	unit = strchr(units, *end >= 'a' ? *end - 32 : *end);
	if (!unit)
		return !strcasecmp(end, "B");
	for (const char *u = units; u <= unit; u++)
		*value *= 1024;
	end++;
	return !*end || !strcasecmp(end, "B") || !strcasecmp(end, "iB");
}

bool judge_is_choice(const char *choices, const char *text)
{
	size_t n = strlen(text);

	for (const char *c = choices; *c;) {
		size_t length = strcspn(c, "|");

		if (length == n && !strncmp(c, text, n))
			return true;
		c += length + (c[length] == '|');
	}
	return false;
}

/* A bound as it would be written: 16M, 64T, 31536000. */
static void put_bound(char out[32], const struct field *f, double bound)
{
	static const char units[] = "KMGT";
	size_t unit = 0;

	for (; f->type == FIELD_SIZE && unit < sizeof units - 1 && bound >= 1024 && fmod(bound, 1024) == 0; unit++)
		bound /= 1024;
	(void)snprintf(out, 32, "%.15g%.1s", bound, unit ? units + unit - 1 : "");
}

static int out_of_range(const struct field *f, const char *name, const struct document_node *node, double value,
			struct error *err)
{
	char out[JUDGE_SHOWN], least[32], most[32];

	if ((f->minimum == 0 && f->maximum == 0) || (value >= f->minimum && value <= f->maximum))
		return 0;
	put_bound(least, f, f->minimum);
	put_bound(most, f, f->maximum);
	return error_set(err, EINVAL, "line %zu: %s must be between %s and %s, not %s", node->line, name, least, most,
			 judge_shown(node->text, out));
}

static int checked(const struct field *f, const struct document_node *node, const cJSON *value, struct error *err)
{
	if (!f->check || (node->open && (node->kind != DOCUMENT_SCALAR || !node->plain)) || f->check(value, err) == 0)
		return 0;
	return error_wrap(err, "line %zu", node->line);
}

/* One item or member, in a list or mapping of its own. Takes nothing. */
static int checked_part(const struct field *f, const char *key, const struct document_node *node, cJSON *value,
			struct error *err)
{
	cleanup_json cJSON *part = key ? cJSON_CreateObject() : cJSON_CreateArray();
	bool fits = key ? cJSON_AddItemReferenceToObject(part, key, value) : cJSON_AddItemReferenceToArray(part, value);

	return fits ? checked(f, node, part, err) : error_memory(err);
}

/* Any value by the rules of YAML's core schema. NULL without memory. */
static cJSON *any(const struct document_node *node)
{
	cleanup_json cJSON *value = NULL;
	double number;

	if (node->kind == DOCUMENT_SCALAR) {
		if (is_null(node))
			return cJSON_CreateNull();
		if (node->plain && (!strcasecmp(node->text, "true") || !strcasecmp(node->text, "false")))
			return cJSON_CreateBool(!strcasecmp(node->text, "true"));
		if (node->plain && read_number(node->text, false, &number))
			return cJSON_CreateNumber(number);
		return cJSON_CreateString(node->text);
	}
	value = node->kind == DOCUMENT_LIST ? cJSON_CreateArray() : cJSON_CreateObject();
	for (const struct document_node *child = node->first; value && child; child = child->next) {
		const char *key = NULL;
		cJSON *item;

		if (node->kind == DOCUMENT_MAP) {
			key = child->text;
			child = child->next;
			if (!child)
				break;
		}
		item = any(child);
		if (!item || !(key ? cJSON_AddItemToObject(value, key, item) : cJSON_AddItemToArray(value, item))) {
			cJSON_Delete(item);
			return NULL;
		}
	}
	return steal_pointer(&value);
}

static int take_scalar(const struct field *f, const char *name, const struct document_node *node, cJSON **value,
		       struct error *err)
{
	double number = 0;
	bool truth = false, right = false, growing_block = node->open && !node->plain;

	if (node->kind != DOCUMENT_SCALAR)
		return wrong_type(f, name, node, err);
	if (growing_block)
		return 0;
	switch (f->type) {
	case FIELD_INTEGER:
	case FIELD_NUMBER:
		right = node->plain && read_number(node->text, f->type == FIELD_INTEGER, &number);
		break;
	case FIELD_BOOLEAN:
		right = node->plain && read_boolean(node->text, &truth);
		break;
	case FIELD_SIZE:
		right = read_size(node->text, &number);
		break;
	case FIELD_CHOICE:
	case FIELD_CHOICE_OR_STRINGS:
		right = judge_is_choice(f->choices, node->text);
		break;
	default:
		right = true;
	}
	if (!right)
		return wrong_type(f, name, node, err);
	if (f->type == FIELD_INTEGER || f->type == FIELD_NUMBER || f->type == FIELD_SIZE) {
		if (out_of_range(f, name, node, number, err) < 0)
			return -1;
		*value = cJSON_CreateNumber(number);
	} else if (f->type == FIELD_BOOLEAN) {
		*value = cJSON_CreateBool(truth);
	} else if (f->type == FIELD_SOURCE && (*node->text == '~' || strchr(node->text, '/'))) {
		cleanup_free char *path = judge_path(node->text, err);

		if (!path)
			return error_wrap(err, "line %zu: %s", node->line, name);
		*value = cJSON_CreateString(path);
	} else {
		*value = cJSON_CreateString(node->text);
	}
	return *value ? 0 : error_memory(err);
}

static int wrong_pair(const char *name, const struct document_node *node, struct error *err)
{
	return error_set(err, EINVAL, "line %zu: each entry of %s must be a pair such as [~/here, /there]", node->line, name);
}

/* [from, to]; *item stays NULL while the pair is not complete. */
static int take_pair(const char *name, const struct document_node *node, cJSON **item, struct error *err)
{
	cleanup_free char *from = NULL;

	if (node->kind != DOCUMENT_LIST || node->count > 2 || (node->count < 2 && !node->open))
		return wrong_pair(name, node, err);
	for (const struct document_node *child = node->first; child; child = child->next)
		if (child->kind != DOCUMENT_SCALAR || (is_null(child) && !child->open))
			return wrong_pair(name, node, err);
	if (node->count < 2 || is_null(node->last))
		return 0;
	from = judge_path(node->first->text, err);
	if (!from)
		return error_wrap(err, "line %zu: %s", node->line, name);
	*item = cJSON_CreateArray();
	for (int i = 0; i < 2; i++) {
		cJSON *end = cJSON_CreateString(i ? node->last->text : from);

		if (!cJSON_AddItemToArray(*item, end)) {
			cJSON_Delete(end);
			return error_memory(err);
		}
	}
	return 0;
}

static int judge_map(const struct field *fields, const char *prefix, const struct document_node *node, cJSON **spec,
		     struct error *err);

static int take(const struct field *f, const char *name, const struct document_node *node, cJSON **value,
		struct error *err);
static int fill(const struct field *fields, const char *prefix, cJSON *given, size_t line, cJSON **spec,
		struct error *err);

/* [HF_TOKEN] is [{name: HF_TOKEN}]. */
static int take_short(const struct field *fields, const char *name, const struct document_node *node, cJSON **item,
		      struct error *err)
{
	cleanup_json cJSON *given = cJSON_CreateObject();
	cleanup_json cJSON *value = NULL;

	if (!given)
		return error_memory(err);
	if (take(fields, name, node, &value, err) < 0)
		return -1;
	if (!value)
		return 0;
	if (!cJSON_AddItemToObject(given, fields->name, value))
		return error_memory(err);
	value = NULL;
	return fill(fields, "", given, node->line, item, err);
}

static int take_items(const struct field *f, const char *name, const struct document_node *node, cJSON *list,
		      struct error *err)
{
	for (const struct document_node *child = node->first; child; child = child->next) {
		cleanup_json cJSON *item = NULL;

		if (child->open && is_null(child))
			continue;
		if (f->type == FIELD_PAIRS) {
			if (take_pair(name, child, &item, err) < 0)
				return -1;
		} else if (f->type == FIELD_OBJECTS && child->kind == DOCUMENT_MAP && f->fields) {
			if (judge_map(f->fields, name, child, &item, err) < 0)
				return -1;
		} else if (f->type == FIELD_OBJECTS && child->kind == DOCUMENT_SCALAR && f->fields) {
			if (take_short(f->fields, name, child, &item, err) < 0)
				return -1;
		} else if (f->type == FIELD_OBJECTS) {
			item = any(child);
		} else if (child->kind != DOCUMENT_SCALAR || is_null(child)) {
			return wrong_part("entry", name, child, err);
		} else {
			item = cJSON_CreateString(child->text);
		}
		if (!item)
			continue;
		if (checked_part(f, NULL, child, item, err) < 0)
			return -1;
		if (!cJSON_AddItemToArray(list, item))
			return error_memory(err);
		item = NULL;
	}
	return 0;
}

static int take_members(const struct field *f, const char *name, const struct document_node *node, cJSON *map,
			struct error *err)
{
	for (const struct document_node *key = node->first; key; key = key->next->next) {
		const struct document_node *child = key->next;
		cJSON *value;

		if (child && child->kind != DOCUMENT_SCALAR)
			return wrong_part("value", name, child, err);
		value = cJSON_CreateString(!child || is_null(child) ? "" : child->text);
		if (!cJSON_AddItemToObject(map, key->text, value)) {
			cJSON_Delete(value);
			return error_memory(err);
		}
		if (checked_part(f, key->text, key, value, err) < 0)
			return -1;
		if (!child)
			break;
	}
	return 0;
}

/* Known fields of later versions: refused by name unless they say what is so anyway. */
static int take_later(const struct field *f, const char *name, const struct document_node *node, struct error *err)
{
	cleanup_json cJSON *value = NULL, *fallback = NULL;

	if (node->open && node->kind != DOCUMENT_SCALAR && !node->count)
		return 0;
	if (!node->open || node->kind == DOCUMENT_SCALAR) {
		value = any(node);
		fallback = cJSON_Parse(f->fallback);
		if (!value || !fallback)
			return error_memory(err);
		if (cJSON_Compare(value, fallback, true))
			return 0;
	}
	return error_set(err, ENOTSUP, "line %zu: %s is not supported by this version", node->line, name);
}

/* *value stays NULL where the value is absent (null), or not complete. */
static int take(const struct field *f, const char *name, const struct document_node *node, cJSON **value, struct error *err)
{
	if (is_null(node))
		return 0;
	if (f->later)
		return take_later(f, name, node, err);
	switch (f->type) {
	case FIELD_STRINGS:
	case FIELD_PAIRS:
	case FIELD_OBJECTS:
	case FIELD_CHOICE_OR_STRINGS:
		if (f->type == FIELD_CHOICE_OR_STRINGS && node->kind != DOCUMENT_LIST)
			return take_scalar(f, name, node, value, err);
		if (node->kind != DOCUMENT_LIST)
			return wrong_type(f, name, node, err);
		*value = cJSON_CreateArray();
		return *value ? take_items(f, name, node, *value, err) : error_memory(err);
	case FIELD_MAP:
		if (node->kind != DOCUMENT_MAP)
			return wrong_type(f, name, node, err);
		*value = cJSON_CreateObject();
		return *value ? take_members(f, name, node, *value, err) : error_memory(err);
	case FIELD_OBJECT:
		if (node->kind != DOCUMENT_MAP)
			return wrong_type(f, name, node, err);
		if (f->fields)
			return judge_map(f->fields, name, node, value, err);
		*value = any(node);
		break;
	case FIELD_ANY:
		*value = any(node);
		break;
	default:
		if (take_scalar(f, name, node, value, err) < 0)
			return -1;
		return *value ? checked(f, node, *value, err) : 0;
	}
	return *value ? checked(f, node, *value, err) : error_memory(err);
}

/* The fields that node (NULL: none) gives, in the table's order, with defaults for the others. */
static int fill(const struct field *fields, const char *prefix, cJSON *given, size_t line, cJSON **spec,
		struct error *err)
{
	cleanup_json cJSON *all = cJSON_CreateObject();

	for (const struct field *f = fields; all && f->name; f++) {
		cJSON *value = cJSON_DetachItemFromObjectCaseSensitive(given, f->name);

		if (!value && !f->fallback)
			return error_set(err, EINVAL, "line %zu: %s%s is missing: %s", line, prefix, f->name, f->help);
		if (!value)
			value = cJSON_Parse(f->fallback);
		if (!cJSON_AddItemToObject(all, f->name, value)) {
			cJSON_Delete(value);
			return error_memory(err);
		}
	}
	*spec = steal_pointer(&all);
	return *spec ? 0 : error_memory(err);
}

/* prefix: the name of the field that node is the value of, "" for the document. *spec stays NULL
 * while the mapping is not complete. */
static int judge_map(const struct field *fields, const char *prefix, const struct document_node *node, cJSON **spec,
		     struct error *err)
{
	cleanup_json cJSON *given = cJSON_CreateObject();
	cleanup_free char *dotted = NULL;

	if (!given || asprintf(&dotted, "%s%s", prefix, *prefix ? "." : "") < 0)
		return error_memory(err);
	for (const struct document_node *key = node->first; key; key = key->next->next) {
		const struct field *f = fields;
		cleanup_free char *name = NULL;
		cJSON *value = NULL;
		int verdict;

		while (f->name && strcmp(f->name, key->text))
			f++;
		if (!f->name)
			return unknown(fields, dotted, key, err);
		if (asprintf(&name, "%s%s", dotted, f->name) < 0)
			return error_memory(err);
		if (!key->next)
			break;
		verdict = take(f, name, key->next, &value, err);
		if (value && !cJSON_AddItemToObject(given, f->name, value)) {
			cJSON_Delete(value);
			return error_memory(err);
		}
		if (verdict < 0)
			return -1;
	}
	return node->open ? 0 : fill(fields, dotted, given, node->line, spec, err);
}

int judge_text(const char *text, size_t n, bool final, struct error *err)
{
	size_t line = 1;

	for (size_t i = 0, length; i < n; i += length) {
		length = utf8_length(text + i, n - i);
		if (!text[i])
			return error_set(err, EINVAL, "line %zu: a NUL character; this is no text", line);
		if (!length && !final && n - i < 4)
			return 0; /* a character whose end is still to come, perhaps */
		if (!length)
			return error_set(err, EINVAL, "line %zu: not UTF-8 text", line);
		line += text[i] == '\n';
	}
	return 0;
}

int judge(const struct field *fields, const char *text, size_t n, bool final, cJSON **spec, struct error *err)
{
	cleanup_yaml struct document yaml = { .root = NULL };
	cleanup_json cJSON *made = NULL;
	char out[JUDGE_SHOWN];

	if (spec)
		*spec = NULL;
	if (n > DOCUMENT_MAX)
		return error_set(err, EFBIG, "a document holds at most 1 MiB");
	if (!final && n > JUDGE_EARLY_MAX)
		return 0;
	if (judge_text(text, n, final, err) < 0 || document_parse(&yaml, text, n, final, err) < 0)
		return -1;
	if (yaml.root && !is_null(yaml.root)) {
		if (yaml.root->kind == DOCUMENT_SCALAR)
			return error_set(err, EINVAL, "line %zu: '%s' is no field; a field is written as 'name: value'",
					 yaml.root->line, judge_shown(yaml.root->text, out));
		if (yaml.root->kind == DOCUMENT_LIST)
			return error_set(err, EINVAL, "line %zu: a list is no field; a field is written as 'name: value'",
					 yaml.root->line);
		if (judge_map(fields, "", yaml.root, &made, err) < 0)
			return -1;
	}
	if (yaml.failed) {
		*err = yaml.error;
		return -1;
	}
	if (spec && final)
		*spec = steal_pointer(&made);
	return 0;
}

size_t judge_line(const char *text, size_t n, const struct fault *fault)
{
	cleanup_yaml struct document yaml = { .root = NULL };
	const struct document_node *key, *item;
	struct error err;

	if (!fault->field || document_parse(&yaml, text, n, true, &err) < 0 || !yaml.root || yaml.root->kind != DOCUMENT_MAP)
		return 0;
	for (key = yaml.root->first; key && strcmp(key->text, fault->field) != 0; key = key->next->next)
		if (!key->next)
			return 0;
	if (!key)
		return 0;
	item = key->next && key->next->kind == DOCUMENT_LIST && fault->item >= 0 ? key->next->first : NULL;
	for (int i = 0; item && i < fault->item; i++)
		item = item->next;
	return item ? item->line : key->line;
}

const char *judge_frozen(const struct field *fields, const cJSON *old, const cJSON *new_)
{
	for (const struct field *f = fields; f->name; f++) {
		const cJSON *a = cJSON_GetObjectItemCaseSensitive(old, f->name);
		const cJSON *b = cJSON_GetObjectItemCaseSensitive(new_, f->name);

		if (!f->alive && !(a && b ? cJSON_Compare(a, b, true) : a == b))
			return f->name;
	}
	return NULL;
}
