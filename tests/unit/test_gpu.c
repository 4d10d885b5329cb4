/* What a CDI specification says, which GPU a name means, and YAML that others wrote. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/gpu.c"

static const char spec[] =
	"kind: nvidia.com/gpu\n"
	"devices:\n"
	"- name: \"0\"\n"
	"  containerEdits:\n"
	"    deviceNodes: [{path: /dev/nvidia0}]\n"
	"- name: all\n"
	"containerEdits:\n"
	"  env: [A=b]\n"
	"  deviceNodes: [{path: /dev/nvidiactl}]\n";

START_TEST(specification)
{
	struct gpus gpus = { .count = 0 };
	struct error err;

	ck_assert_msg(gpus_add_cdi(&gpus, spec, sizeof spec - 1, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(gpus.count, 1);
	ck_assert_str_eq(gpus.list[0].id, "nvidia.com-gpu=0");
	ck_assert_str_eq(gpus.list[0].model, "0");
	ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(gpus.list[0].edits, "deviceNodes")), 2);
	ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(gpus.list[0].edits, "env")), 1);
	gpus_free(&gpus);
}
END_TEST

START_TEST(damaged_specifications)
{
	static const char *const wrong[] = { "", "- a", "kind: x", "kind: [", "a: *b", "{\"kind\": 7}", "\xff\xfe" };
	struct gpus gpus = { .count = 0 };
	struct error err;

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		ck_assert_msg(gpus_add_cdi(&gpus, wrong[i], strlen(wrong[i]), &err) == -1, "%s", wrong[i]);
	/* Odd, but nothing in it is used. */
	ck_assert_int_eq(gpus_add_cdi(&gpus, "kind: a/b\ndevices: 7\ncontainerEdits: no\n", 40, &err), 0);
	ck_assert_uint_eq(gpus.count, 0);
}
END_TEST

START_TEST(nested)
{
	char text[2000];
	struct error err;

	memset(text, '[', sizeof text);
	ck_assert_ptr_null(yaml_json(text, sizeof text, &err));
	ck_assert_int_eq(err.code, EINVAL);
}
END_TEST

START_TEST(values)
{
	struct error err;
	cJSON *all = yaml_json("a: 1\nb: '1'\nc: true\nd: ~\ne: [x, -2.5]\n", 38, &err);

	ck_assert_ptr_nonnull(all);
	ck_assert(cJSON_IsNumber(cJSON_GetObjectItem(all, "a")) && cJSON_IsString(cJSON_GetObjectItem(all, "b")));
	ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(all, "c")) && cJSON_IsNull(cJSON_GetObjectItem(all, "d")));
	ck_assert_double_eq(cJSON_GetArrayItem(cJSON_GetObjectItem(all, "e"), 1)->valuedouble, -2.5);
	cJSON_Delete(all);
}
END_TEST

START_TEST(driver)
{
	static const char text[] = "Model: \t\t NVIDIA A100-SXM4-80GB\nIRQ:   \t\t 12\nGPU UUID: \t GPU-1\nDevice Minor: \t 3\n";
	struct gpus gpus = { .count = 0 };
	struct error err;

	ck_assert_int_eq(add_nvidia(&gpus, text, &err), 0);
	ck_assert_str_eq(gpus.list[0].id, "nvidia3");
	ck_assert_str_eq(gpus.list[0].model, "NVIDIA A100-SXM4-80GB");
	ck_assert_int_eq(add_nvidia(&gpus, "Model: x\n", &err), -1);
	gpus_free(&gpus);
}
END_TEST

START_TEST(meant)
{
	static const struct { const char *model, *wanted; bool meant; } rows[] = {
		{ "NVIDIA A100-SXM4-80GB", "A100", true }, { "NVIDIA A100-SXM4-80GB", "a100-sxm4-80gb", true },
		{ "NVIDIA A100-SXM4-80GB", "A10", false }, { "NVIDIA RTX A1000", "A100", false },
		{ "NVIDIA H100 80GB HBM3", "H100", true }, { "NVIDIA H100 80GB HBM3", "any", true },
		{ "NVIDIA H100 80GB HBM3", "100", false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct gpu gpu = { .edits = NULL };

		(void)snprintf(gpu.model, sizeof gpu.model, "%s", rows[i].model);
		ck_assert_msg(is_meant(&gpu, rows[i].wanted) == rows[i].meant, "%s in %s", rows[i].wanted, rows[i].model);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("gpu");
	TCase *t = tcase_create("gpu");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_test(t, specification);
	tcase_add_test(t, damaged_specifications);
	tcase_add_test(t, nested);
	tcase_add_test(t, values);
	tcase_add_test(t, driver);
	tcase_add_test(t, meant);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
