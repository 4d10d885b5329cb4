#include "backend/sandbox/interface_texts.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"

#define FUNCTIONS_MAX 1000
#define PARAMETERS_MAX 255  /* each is compared with each */
#define WORD_MAX INTERFACE_WORD
#define ANNOTATION_MAX 1000u
#define TEXT_MAX (4u << 20)
#define DEEP 50

enum parameter_kind { POSITIONAL_ONLY, POSITIONAL, VAR_POSITIONAL, KEYWORD_ONLY, VAR_KEYWORD, PARAMETER_KINDS };

static const char *const kind_words[PARAMETER_KINDS] = {
	"positional_only", "positional_or_keyword", "var_positional", "keyword_only", "var_keyword",
};

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* ---- whether it is what it should be ---- */

static bool is_word(const char *name)
{
	size_t n = name ? strlen(name) : 0;

	return n && n <= WORD_MAX && !isdigit((unsigned char)*name) &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

/* Words of Python's that cannot be names: a library with one would be no Python. */
static bool is_keyword(const char *name)
{
	static const char words[] = " False None True and as assert async await break class continue def del elif else except "
				    "finally for from global if import in is lambda nonlocal not or pass raise return try "
				    "while with yield ";
	char word[WORD_MAX + 3];

	(void)snprintf(word, sizeof word, " %s ", name);
	return strstr(words, word) != NULL;
}

/* What share/library.py calls so, and a parameter of that name would hide. */
static bool is_ours(const char *name)
{
	return !strcmp(name, "_call") || !strcmp(name, "_call_async") || !strcmp(name, "_DEFAULT");
}

static bool is_annotation(const char *text)
{
	size_t n = text ? strlen(text) : 0;
	int depth = 0;
	char quote = '\0';

	if (!n || n > ANNOTATION_MAX)
		return false;
	for (const char *p = text; *p; p++) {
		if (quote) { /* of a Literal; a brace could be one of an f-string */
			if (*p == '\\' || *p == '{' || *p < ' ' || *p > '~')
				return false;
			quote = *p == quote ? '\0' : quote;
			continue;
		}
		depth += *p == '[' ? 1 : *p == ']' ? -1 : 0;
		if (depth < 0 || depth > DEEP || (!depth && strchr(",'\"", *p)) ||
		    (!isalnum((unsigned char)*p) && !strchr("_.,[]| -'\"", *p)))
			return false;
		quote = *p == '\'' || *p == '"' ? *p : '\0';
	}
	return !depth && !quote;
}

static int kind_of(const cJSON *parameter)
{
	const char *word = json_string(parameter, "kind");

	for (int i = 0; i < PARAMETER_KINDS && word; i++)
		if (!strcmp(word, kind_words[i]))
			return i;
	return -1;
}

static bool is_function(const cJSON *function)
{
	const cJSON *parameters = member(function, "parameters"), *one, *other;
	const char *name = json_string(function, "name");
	int last = 0;

	if (!is_word(name) || *name == '_' || is_keyword(name) || !cJSON_IsObject(member(function, "schema")) || !cJSON_IsArray(parameters) ||
	    cJSON_GetArraySize(parameters) > PARAMETERS_MAX)
		return false;
	cJSON_ArrayForEach(one, parameters) {
		const char *word = json_string(one, "name");
		int kind = kind_of(one);

		if (!is_word(word) || is_keyword(word) || is_ours(word) || kind < last ||
		    (kind == last && (kind == VAR_POSITIONAL || kind == VAR_KEYWORD)))
			return false;
		for (other = parameters->child; other != one; other = other->next)
			if (!strcmp(json_string(other, "name"), word))
				return false;
		last = kind;
	}
	return true;
}

static int check(const cJSON *functions, struct error *err)
{
	const cJSON *function;
	int n = 0;

	cJSON_ArrayForEach(function, functions)
		if (!is_function(function) || ++n > FUNCTIONS_MAX)
			return error_set(err, EPROTO, "its process told of a function that is none");
	return cJSON_IsArray(functions) ? 0 : error_set(err, EPROTO, "its process told of no functions");
}

/* ---- Python ---- */

/* A string as Python's source has it. A docstring keeps its lines. */
static int put_string(struct buffer *out, const char *text, bool doc)
{
	const char *quotes = doc ? "\"\"\"" : "\"";
	int failed = buffer_text(out, quotes);

	for (const unsigned char *p = (const unsigned char *)text; *p && !failed; p++) {
		if (*p == '\\' || *p == '"')
			failed = buffer_format(out, "\\%c", *p);
		else if (*p == '\n' && doc)
			failed = buffer_text(out, p[1] && p[1] != '\n' ? "\n    " : "\n");
		else if (*p < ' ' || *p == 127)
			failed = buffer_format(out, "\\x%02x", *p);
		else
			failed = buffer_append(out, p, 1);
	}
	return failed || buffer_text(out, quotes) ? -1 : 0;
}

static int put_literal(struct buffer *out, const cJSON *value, int depth);

static int put_members(struct buffer *out, const cJSON *value, int depth)
{
	const cJSON *one;
	int failed = buffer_text(out, cJSON_IsObject(value) ? "{" : "[");

	cJSON_ArrayForEach(one, value) {
		failed = failed || (one != value->child && buffer_text(out, ", "));
		if (cJSON_IsObject(value))
			failed = failed || put_string(out, one->string, false) || buffer_text(out, ": ");
		failed = failed || put_literal(out, one, depth + 1);
	}
	return failed || buffer_text(out, cJSON_IsObject(value) ? "}" : "]") ? -1 : 0;
}

static int put_literal(struct buffer *out, const cJSON *value, int depth)
{
	if (cJSON_IsString(value))
		return put_string(out, value->valuestring, false);
	if (cJSON_IsBool(value))
		return buffer_text(out, cJSON_IsTrue(value) ? "True" : "False");
	if (cJSON_IsNumber(value) && isfinite(value->valuedouble)) {
		cleanup_free char *number = cJSON_PrintUnformatted(value);

		return number ? buffer_text(out, number) : -1;
	}
	if ((cJSON_IsObject(value) || cJSON_IsArray(value)) && depth < DEEP)
		return put_members(out, value, depth);
	return buffer_text(out, "None");
}

static int put_parameter(struct buffer *out, const cJSON *p, int kind)
{
	const char *annotation = json_string(p, "annotation"), *literal;
	bool annotated = is_annotation(annotation), optional = cJSON_IsTrue(member(p, "optional"));

	if (buffer_format(out, "%s%s", kind == VAR_POSITIONAL ? "*" : kind == VAR_KEYWORD ? "**" : "", json_string(p, "name")) ||
	    (annotated && buffer_format(out, ": %s", annotation)))
		return -1;
	if (!optional || kind == VAR_POSITIONAL || kind == VAR_KEYWORD)
		return 0;
	if (buffer_text(out, annotated ? " = " : "="))
		return -1;
	literal = json_string(p, "literal"); /* of a number that is no integer, though it is 1.0 */
	if (literal && *literal && strspn(literal, "0123456789.e+-") == strlen(literal) && cJSON_IsNumber(member(p, "default")))
		return buffer_text(out, literal);
	return member(p, "default") ? put_literal(out, member(p, "default"), 0) : buffer_text(out, "_DEFAULT");
}

/* "(a: int, *, b=1) -> dict" */
static int put_signature(struct buffer *out, const cJSON *function)
{
	const cJSON *p, *parameters = member(function, "parameters");
	const char *returns = json_string(function, "returns");
	bool starred = false, optional = false;
	int failed = buffer_text(out, "(");

	cJSON_ArrayForEach(p, parameters) {
		int kind = kind_of(p);

		failed = failed || (p != parameters->child && buffer_text(out, ", "));
		if (kind == KEYWORD_ONLY && !starred)
			failed = failed || buffer_text(out, "*, ");
		starred = starred || kind >= VAR_POSITIONAL;
		failed = failed || put_parameter(out, p, kind);
		/* One that must be given cannot follow one that need not: such a text is no Python. */
		if (kind <= POSITIONAL) {
			if (optional && !cJSON_IsTrue(member(p, "optional")))
				return -1;
			optional = cJSON_IsTrue(member(p, "optional"));
		}
		if (kind == POSITIONAL_ONLY && (!p->next || kind_of(p->next) != POSITIONAL_ONLY))
			failed = failed || buffer_text(out, ", /");
	}
	failed = failed || buffer_text(out, ")");
	if (is_annotation(returns))
		failed = failed || buffer_format(out, " -> %s", returns);
	return failed ? -1 : 0;
}

static int put_function(struct buffer *out, const cJSON *function)
{
	const cJSON *p, *parameters = member(function, "parameters");
	const char *name = json_string(function, "name"), *doc = json_string(function, "description"), *others = NULL;
	bool async = cJSON_IsTrue(member(function, "async")), first = true;
	int failed = buffer_format(out, "\n\n%sdef %s", async ? "async " : "", name) || put_signature(out, function) ||
		     buffer_text(out, ":\n") ||
		     (doc && *doc && (buffer_text(out, "    ") || put_string(out, doc, true) || buffer_text(out, "\n"))) ||
		     buffer_format(out, "    return %s(\"%s\", {", async ? "await _call_async" : "_call", name);

	cJSON_ArrayForEach(p, parameters) {
		const char *word = json_string(p, "name");

		if (kind_of(p) == VAR_KEYWORD) {
			others = word;
			continue;
		}
		failed = failed || buffer_format(out, "%s\"%s\": %s", first ? "" : ", ", word, word);
		first = false;
	}
	return failed || buffer_format(out, others ? "}, %s)\n" : "})\n", others) ? -1 : 0;
}

static int put_library(struct buffer *out, const char *name, const char *id, const char *library, const cJSON *described)
{
	const char *doc = json_string(described, "doc");
	const cJSON *function;
	int failed = put_string(out, doc && *doc ? doc : name, true) || buffer_text(out, "\n") || buffer_text(out, library) ||
		     /* Which it is; not where, and nothing that would let anybody in. */
		     buffer_format(out, "\n\n_INTERFACE = \"%s\"\n", id);

	cJSON_ArrayForEach(function, member(described, "functions"))
		failed = failed || put_function(out, function);
	return failed ? -1 : 0;
}

/* ---- words ---- */

/* An interface can be called what a module cannot. */
void interface_module(const char *name, char out[INTERFACE_MODULE])
{
	size_t n = 0;

	if (isdigit((unsigned char)*name))
		out[n++] = '_';
	for (const char *p = name; *p && n < WORD_MAX; p++)
		out[n++] = isalnum((unsigned char)*p) ? *p : '_';
	out[n] = '\0';
	if (is_keyword(out))
		(void)snprintf(out + n, INTERFACE_MODULE - n, "_");
}

static int put_words(struct buffer *out, const char *module, const cJSON *described)
{
	const char *doc = json_string(described, "doc");
	const cJSON *function;
	int failed;

	failed = buffer_format(out, "# %s\n\n", module) || (doc && *doc && buffer_format(out, "%s\n\n", doc)) ||
		 buffer_format(out, "The functions of the module `%s` run elsewhere; import it and call them. What one raises "
			       "is raised here.\n", module);
	cJSON_ArrayForEach(function, member(described, "functions")) {
		const char *text = json_string(function, "description");

		failed = failed || buffer_format(out, "\n## `%s%s", cJSON_IsTrue(member(function, "async")) ? "async " : "",
						 json_string(function, "name")) ||
			 put_signature(out, function) || buffer_text(out, "`\n") ||
			 (text && *text && buffer_format(out, "\n%s\n", text));
	}
	return failed ? -1 : 0;
}

/* One line, for the head of a skill. */
static void first_line(const char *text, char out[256])
{
	size_t n = 0;

	for (; text && *text && *text != '\n' && n < 250; text++)
		out[n++] = *text == '"' || *text == '\\' || (unsigned char)*text < ' ' ? ' ' : *text;
	/* not through a character */
	while (n && text && ((unsigned char)*text & 0xc0) == 0x80 && ((unsigned char)out[n - 1] & 0x80))
		text = (unsigned char)out[--n] >= 0xc0 ? "" : text;
	out[n] = '\0';
}

static int put_skill(struct buffer *out, const char *module, const cJSON *described)
{
	char line[256];
	const char *doc = json_string(described, "doc");

	first_line(doc && *doc ? doc : "Functions that run elsewhere", line);
	return buffer_format(out, "---\nname: %s\ndescription: \"%s\"\n---\n\n", module, line) ||
	       put_words(out, module, described) ? -1 : 0;
}

static int put_schema(struct buffer *out, const cJSON *functions)
{
	cJSON *whole = cJSON_CreateObject();
	const cJSON *function;
	char *text = NULL;
	bool good = whole != NULL;

	cJSON_ArrayForEach(function, functions) {
		cJSON *one = cJSON_CreateObject(), *schema = cJSON_Duplicate(member(function, "schema"), true);
		const char *doc = json_string(function, "description");

		good = good && one && schema && cJSON_AddItemToObject(whole, json_string(function, "name"), one) &&
		       cJSON_AddStringToObject(one, "description", doc ? doc : "");
		for (cJSON *child; good && (child = schema->child);) {
			(void)cJSON_DetachItemViaPointer(schema, child);
			good = strcmp(child->string, "description") ? cJSON_AddItemToObject(one, child->string, child) :
								      (cJSON_Delete(child), true);
		}
		cJSON_Delete(schema);
	}
	text = good ? cJSON_Print(whole) : NULL;
	cJSON_Delete(whole);
	good = text && !buffer_text(out, text) && !buffer_text(out, "\n");
	free(text);
	return good ? 0 : -1;
}

void interface_texts_free(struct interface_texts *t)
{
	buffer_free(&t->library);
	buffer_free(&t->prompt);
	buffer_free(&t->skill);
	buffer_free(&t->schema);
	buffer_free(&t->doc);
}

int interface_texts_make(struct interface_texts *t, const char *name, const char *id, const char *library,
			 const cJSON *described, struct error *err)
{
	const cJSON *functions = member(described, "functions");
	const char *doc = json_string(described, "doc");
	char module[INTERFACE_MODULE];

	*t = (struct interface_texts){ BUFFER(TEXT_MAX), BUFFER(TEXT_MAX), BUFFER(TEXT_MAX), BUFFER(TEXT_MAX), BUFFER(TEXT_MAX) };
	interface_module(name, module);
	if (check(functions, err) < 0)
		return -1;
	if (put_library(&t->library, module, id, library, described) || put_words(&t->prompt, module, described) ||
	    put_skill(&t->skill, module, described) || put_schema(&t->schema, functions) || buffer_text(&t->doc, doc ? doc : ""))
		return error_set(err, EPROTO, "its process told of functions that are too long, or no Python");
	return 0;
}
