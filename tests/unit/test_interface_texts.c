/* What is told of an interface's functions becomes texts, of which the library is run in other
 * sandboxes: nothing of it may get past its literals. And who may call: the first frame of a caller. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/callers.h"
#include "backend/sandbox/interface_texts.h"
#include "base/buffer.h"
#include "base/cleanup.h"

static struct interface_texts texts;

static int make(const char *described, struct error *err)
{
	cJSON *json = cJSON_Parse(described);
	int result = interface_texts_make(&texts, "petri", "0123456789abcdef.7.3", "import json\n", json, err);

	ck_assert_ptr_nonnull(json);
	cJSON_Delete(json);
	return result;
}

static void has(const struct buffer *text, const char *part)
{
	ck_assert_msg(text->data && strstr(text->data, part), "no '%s' in: %s", part, text->data ? text->data : "");
}

#define FUNCTION(name, parameters, rest) \
	"{\"doc\":\"\",\"functions\":[{\"name\":" name ",\"schema\":{},\"parameters\":[" parameters "]" rest "}]}"

START_TEST(signatures)
{
	struct error err;

	ck_assert_int_eq(make("{\"doc\":\"One.\\nTwo.\",\"functions\":[{\"name\":\"f\",\"description\":\"Says \\\"it\\\".\\n\\nMore\","
			      "\"returns\":\"dict[str, int]\",\"schema\":{\"type\":\"object\",\"description\":\"x\"},\"parameters\":["
			      "{\"name\":\"a\",\"kind\":\"positional_only\"},"
			      "{\"name\":\"b\",\"kind\":\"positional_or_keyword\",\"annotation\":\"Literal['x', \\\"y\\\", -1]\","
			      "\"optional\":true,\"default\":\"q\\\"\\\\\\n\"},"
			      "{\"name\":\"args\",\"kind\":\"var_positional\",\"annotation\":\"int\"},"
			      "{\"name\":\"c\",\"kind\":\"keyword_only\",\"annotation\":\"float\",\"optional\":true,\"default\":1,\"literal\":\"1.0\"},"
			      "{\"name\":\"kw\",\"kind\":\"var_keyword\"}]}]}", &err), 0);
	has(&texts.library, "\"\"\"One.\n    Two.\"\"\"\nimport json\n\n\n_INTERFACE = \"0123456789abcdef.7.3\"\n");
	has(&texts.library, "\n\ndef f(a, /, b: Literal['x', \"y\", -1] = \"q\\\"\\\\\\x0a\", *args: int, c: float = 1.0, **kw) -> dict[str, int]:\n"
			    "    \"\"\"Says \\\"it\\\".\n\n    More\"\"\"\n"
			    "    return _call(\"f\", {\"a\": a, \"b\": b, \"args\": args, \"c\": c}, kw)\n");
	has(&texts.prompt, "## `f(a, /, b: Literal['x', \"y\", -1]");
	has(&texts.skill, "---\nname: petri\ndescription: \"One.\"\n---\n");
	has(&texts.schema, "\"f\":");
	ck_assert_str_eq(texts.doc.data, "One.\nTwo.");
	interface_texts_free(&texts);

	ck_assert_int_eq(make(FUNCTION("\"g\"", "{\"name\":\"x\",\"kind\":\"keyword_only\",\"optional\":true,\"annotation\":\"Thing\"}",
				       ",\"async\":true"), &err), 0);
	has(&texts.library, "async def g(*, x: Thing = _DEFAULT):\n    return await _call_async(\"g\", {\"x\": x})\n");
	interface_texts_free(&texts);
}
END_TEST

/* An annotation that could be more than one is left out; what follows stays as it is. */
START_TEST(annotations)
{
	static const char *const wrong[] = {
		"int = __import__('os').system('x')", "int, b", "int)", "int\\n", "print()", "a]", "[", "'x'", "L['x", "L['{x}']", "L['\\\\']",
		"x:y", "lambda: 1", "a;b", "\\u00e4", "",
	};
	struct error err;

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		char *described = NULL;

		ck_assert_int_gt(asprintf(&described, FUNCTION("\"f\"", "{\"name\":\"a\",\"kind\":\"positional_or_keyword\",\"annotation\":\"%s\"}",
								"%s"), wrong[i], ""), 0);
		ck_assert_msg(make(described, &err) == 0, "%s: %s", wrong[i], err.text);
		has(&texts.library, "\n\ndef f(a):\n    return _call(\"f\", {\"a\": a})\n");
		interface_texts_free(&texts);
		free(described);
	}
}
END_TEST

START_TEST(refused)
{
	static const char *const wrong[] = {
		"{}", "{\"functions\":{}}", "{\"functions\":[1]}", "{\"functions\":[{\"name\":\"f\"}]}",
		FUNCTION("\"f()\"", "", ""), FUNCTION("\"\"", "", ""), FUNCTION("\"1f\"", "", ""), FUNCTION("\"import\"", "", ""),
		FUNCTION("\"_call\"", "", ""), FUNCTION("\"../f\"", "", ""), FUNCTION("1", "", ""), FUNCTION("\"f\\n\"", "", ""),
		FUNCTION("\"f\"", "{\"name\":\"a=1\",\"kind\":\"keyword_only\"}", ""),
		FUNCTION("\"f\"", "{\"name\":\"a\",\"kind\":\"else\"}", ""), FUNCTION("\"f\"", "{\"name\":\"class\",\"kind\":\"keyword_only\"}", ""),
		FUNCTION("\"f\"", "{\"name\":\"_call\",\"kind\":\"keyword_only\"}", ""),
		FUNCTION("\"f\"", "{\"name\":\"a\",\"kind\":\"keyword_only\"},{\"name\":\"a\",\"kind\":\"keyword_only\"}", ""),
		FUNCTION("\"f\"", "{\"name\":\"a\",\"kind\":\"keyword_only\"},{\"name\":\"b\",\"kind\":\"positional_only\"}", ""),
		FUNCTION("\"f\"", "{\"name\":\"a\",\"kind\":\"var_keyword\"},{\"name\":\"b\",\"kind\":\"var_keyword\"}", ""),
		FUNCTION("\"f\"", "{\"name\":\"a\",\"kind\":\"positional_or_keyword\",\"optional\":true},"
				  "{\"name\":\"b\",\"kind\":\"positional_or_keyword\"}", ""),
	};
	struct error err;

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		ck_assert_msg(make(wrong[i], &err) == -1, "taken: %s", wrong[i]);
		ck_assert_int_eq(err.code, EPROTO);
		interface_texts_free(&texts);
	}
}
END_TEST

/* As many as Python had; more would be compared with each other for minutes. */
START_TEST(too_many_parameters)
{
	struct error err;

	for (int count = 255; count < 257; count++) {
		cleanup_buffer struct buffer text = BUFFER(1 << 20);

		ck_assert_int_eq(buffer_text(&text, "{\"functions\":[{\"name\":\"f\",\"schema\":{},\"parameters\":["), 0);
		for (int i = 0; i < count; i++)
			ck_assert_int_eq(buffer_format(&text, "%s{\"name\":\"a%d\",\"kind\":\"keyword_only\"}", i ? "," : "", i), 0);
		ck_assert_int_eq(buffer_text(&text, "]}]}"), 0);
		ck_assert_int_eq(make(text.data, &err), count > 255 ? -1 : 0);
		interface_texts_free(&texts);
	}
	ck_assert_int_eq(err.code, EPROTO);
}
END_TEST

START_TEST(modules)
{
	static const char *const names[][2] = {
		{ "petri", "petri" }, { "petri-tools", "petri_tools" }, { "3d", "_3d" }, { "class", "class_" }, { "a b/..", "a_b___" },
	};
	char module[INTERFACE_MODULE];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		interface_module(names[i][0], module);
		ck_assert_str_eq(module, names[i][1]);
	}
}
END_TEST

START_TEST(callers)
{
	static const char *const wrong[] = {
		"", "function", "function ", "function 0123456789abcdef.7.3", "function 0123456789abcdef.7.3 ", "run 0123456789abcdef.7.3 f",
		"function 0123456789abcdef.7 f", "function .7.3 f", "function 0123456789abcdef.0.3 f", "function 0123456789abcdef.7.0 f",
		"function 0123456789abcdef.7.4096 f", "function 0123456789abcdef.7.3 f x", "function 0123456789abcdef.7.3 f/..",
		"function 0123456789abcdef.-7.3 f", "function 0123456789abcdef.7.3.1 f", "function 0123456789ABCDEF.7.3 f",
		"function 0123456789abcdef.99999999999999999999.3 f", "function ../../x.7.3 f", "function  0123456789abcdef.7.3 f",
		"function 0123456789abcdef0123456789abcdef.7.3 f",
	};
	struct caller_request request;

	ck_assert_int_eq(callers_parse("function 0123456789abcdef.7.3 say_it", 37 - 1, &request), 0);
	ck_assert_str_eq(request.interface, "0123456789abcdef.7.3");
	ck_assert_str_eq(request.state, "0123456789abcdef");
	ck_assert_int_eq((int)request.serial, 7);
	ck_assert_uint_eq(request.number, 3);
	ck_assert_str_eq(request.name, "say_it");
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		ck_assert_msg(callers_parse(wrong[i], strlen(wrong[i]), &request) == -1, "taken: %s", wrong[i]);
	ck_assert_int_eq(callers_parse("function 0123456789abcdef.7.3 f\0", 32, &request), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("interface_texts");
	TCase *all = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_set_timeout(all, 240);
	tcase_add_test(all, signatures);
	tcase_add_test(all, annotations);
	tcase_add_test(all, refused);
	tcase_add_test(all, too_many_parameters);
	tcase_add_test(all, modules);
	tcase_add_test(all, callers);
	suite_add_tcase(suite, all);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
