/* What a kernel says of a cell, on disk: after every message the fragment is a cell, outputs cost their own
 * bytes alone, and what is too much is left out. */
#include "base/clock.h"
#include "tests/unit/notebook_setup.h"

START_TEST(outputs)
{
	struct buffer b = BUFFER(4096);
	struct cell cell;
	struct stat file, link;

	begin("a = 1\nprint(a)\n", &cell);
	is_status(1, "busy", "", false);
	take(&cell, WIRE_EXECUTE_INPUT, "{\"execution_count\":3,\"code\":\"\"}");
	take(&cell, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"a\\n\"}");
	take(&cell, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"b\"}");
	take(&cell, WIRE_STREAM, "{\"name\":\"stderr\",\"text\":\"c\\u0000\\n\"}");
	take(&cell, WIRE_DISPLAY_DATA,
	     "{\"data\":{\"image/png\":\"aGFs\\nbG8=\",\"text/plain\":\"<Figure>\",\"text/html\":[\"<b>\",\"</b>\"],"
	     "\"text/odd\":7},\"metadata\":{},\"transient\":{\"display_id\":\"d\"}}");
	take(&cell, WIRE_EXECUTE_RESULT,
	     "{\"execution_count\":3,\"data\":{\"text/plain\":\"1\",\"application/json\":{\"n\":12345678901234567890}},"
	     "\"metadata\":{}}");
	take(&cell, WIRE_ERROR, "{\"ename\":\"ValueError\",\"evalue\":\"no\",\"traceback\":[\"\\u001b[0;31mno\\u001b[0m\"]}");
	ck_assert_int_eq(cell_finish(&cell, "error", &err), 0);
	ck_assert_int_eq(cell_outputs(&cell, &b, &err), 0);
	cell_close(&cell);

	cJSON *json = cell_now(1), *list = cJSON_GetObjectItem(json, "outputs"), *again = cJSON_Parse(b.data);
	ck_assert(cJSON_Compare(list, again, true));
	ck_assert_int_eq(cJSON_GetArraySize(list), 5);
	ck_assert_str_eq(cJSON_GetObjectItem(json, "id")->valuestring, "n7-c1");
	ck_assert_int_eq(cJSON_GetObjectItem(json, "execution_count")->valueint, 3);
	ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "source")), 2);
	ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 0), "text")), 2);
	ck_assert_ptr_null(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 2), "transient"));
	ck_assert_ptr_null(cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 2), "data"), "text/odd"));
	cJSON_Delete(again);
	cJSON_Delete(json);

	int fd = openat(folder, "cells/1/output", O_RDONLY);
	char text[200] = "";
	static const char expected[] = "a\nbc\0\n<Figure>\n[images/cell-1-2.png]\n1\nno\n[error ValueError]\n";
	ck_assert_int_eq(read(fd, text, sizeof text), (ssize_t)sizeof expected - 1);
	ck_assert_mem_eq(text, expected, sizeof expected);
	close(fd);
	same_file("cells/1/outputs/2.png", "hallo");
	same_file("cells/1/outputs/2.html", "<b></b>");
	same_file("cells/1/outputs/3.json", "{\"n\":12345678901234567890}\n");
	is_status(1, "error", "3", true);
	same_file("cells/1/source", "a = 1\nprint(a)\n");
	ck_assert_int_eq(fstatat(folder, "cells/1/outputs/2.png", &file, 0), 0);
	ck_assert_int_eq(fstatat(folder, "images/cell-1-2.png", &link, 0), 0);
	ck_assert_uint_eq(file.st_ino, link.st_ino);
	buffer_free(&b);
}
END_TEST

START_TEST(clearing_and_updating)
{
	struct cell cell, next;
	struct wire_message update = { .type = WIRE_UPDATE_DISPLAY_DATA, .content = JSON(
		"{\"data\":{\"text/plain\":\"100%\"},\"metadata\":{},\"transient\":{\"display_id\":\"bar\"}}") };

	begin("bar", &cell);
	take(&cell, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"x\"}");
	take(&cell, WIRE_DISPLAY_DATA,
	     "{\"data\":{\"text/plain\":\"0%\"},\"metadata\":{},\"transient\":{\"display_id\":\"bar\"}}");
	take(&cell, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"y\"}");
	ck_assert_int_eq(notebook_update_display(&nb, &update, &err), 0);
	take(&cell, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"z\"}");
	cJSON *json = cell_now(1), *list = cJSON_GetObjectItem(json, "outputs");
	ck_assert_int_eq(cJSON_GetArraySize(list), 3);
	ck_assert_str_eq(cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 1), "data"),
					     "text/plain")->valuestring, "100%");
	ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 2), "text")), 2);
	cJSON_Delete(json);
	cell_close(&cell);

	/* From another cell, while that one has a stream open. */
	begin("next", &next);
	take(&next, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"x\"}");
	ck_assert_int_eq(notebook_update_display(&nb, &update, &err), 0);
	ck_assert_int_eq(outputs_now(1), 3);
	take(&next, WIRE_CLEAR_OUTPUT, "{\"wait\":true}");
	ck_assert_int_eq(outputs_now(2), 1);
	take(&next, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"only\"}");
	ck_assert_int_eq(outputs_now(2), 1);
	same_file("cells/2/output", "only");
	take(&next, WIRE_CLEAR_OUTPUT, "{\"wait\":false}");
	ck_assert_int_eq(outputs_now(2), 0);
	same_file("cells/2/output", "");
	cell_close(&next);
}
END_TEST

START_TEST(late_and_torn)
{
	struct cell cell;
	bool code;
	int fd;

	begin("x", &cell);
	take(&cell, WIRE_STREAM, "{\"name\":\"stderr\",\"text\":\"one\"}");
	cell_close(&cell);
	fd = openat(folder, "cells/1/fragment", O_WRONLY | O_APPEND);
	ck_assert_int_eq(write(fd, ",\"torn", 6), 6);
	close(fd);
	ck_assert_int_eq(cell_open(&nb, 1, &cell, &err), 0);
	ck_assert_uint_eq(cell.outputs, 1);
	ck_assert_str_eq(cell.stream, "stderr");
	take(&cell, WIRE_STREAM, "{\"name\":\"stderr\",\"text\":\"two\"}");
	ck_assert_int_eq(outputs_now(1), 1);
	ck_assert_int_eq(cell_fail(&cell, "DeadKernelError", "the kernel died", &err), 0);
	ck_assert_int_eq(cell_finish(&cell, "died", &err), 0);
	cell_close(&cell);
	same_file("cells/1/output", "onetwo\nthe kernel died\n[error DeadKernelError]\n");

	ck_assert_int_eq(notebook_set_source(&nb, 1, "y", 1, &code, &err), 0);
	ck_assert(code);
	ck_assert_int_eq(outputs_now(1), 0);
	is_status(1, "queued", "", false);
	ck_assert_int_eq(notebook_set_source(&nb, 2, "y", 1, &code, &err), -1);
	ck_assert_int_eq(err.code, ENOENT);
}
END_TEST

/* What the process has written so far, in bytes handed to write(2). */
static unsigned long long written(void)
{
	struct buffer b = BUFFER(4096);
	unsigned long long n;

	ck_assert_int_eq(file_read(AT_FDCWD, "/proc/self/io", &b, &err), 0);
	n = strtoull(strstr(b.data, "wchar: ") + 7, NULL, 10);
	buffer_free(&b);
	return n;
}

START_TEST(cost)
{
	static const char line[] = "{\"name\":\"stdout\",\"text\":\"0123456789\\n\"}";
	struct wire_message m = { .type = WIRE_STREAM, .content = { line, sizeof line - 1 } };
	unsigned long long first = 0, before, spent = 0;
	struct cell cell;

	for (int i = 1; i <= 1000; i++) {
		begin("x", &cell);
		for (int k = 0; k < 3; k++) {
			before = written();
			ck_assert_int_eq(cell_take(&cell, &m, &err), 0);
			spent = written() - before;
		}
		cell_close(&cell);
		if (i == 1)
			first = spent;
	}
	ck_assert_uint_gt(first, 0);
	ck_assert_uint_eq(first, spent);
}
END_TEST

static const char *display_text(unsigned int number, int output, cJSON **json)
{
	*json = cell_now(number);
	return cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(*json, "outputs"), output),
						       "data"), "text/plain")->valuestring;
}

/* A progress bar in a cell that has printed megabytes. */
START_TEST(updates_are_bounded)
{
	static char line[1 << 20];
	char content[200];
	struct wire_message m = { .type = WIRE_UPDATE_DISPLAY_DATA };
	unsigned long long before;
	struct cell cell;
	cJSON *json;

	begin("bar", &cell);
	take(&cell, WIRE_DISPLAY_DATA,
	     "{\"data\":{\"text/plain\":\"0%\"},\"metadata\":{},\"transient\":{\"display_id\":\"bar\"}}");
	snprintf(line, sizeof line, "{\"name\":\"stdout\",\"text\":\"%0*d\"}", (int)sizeof line - 100, 0);
	struct wire_message print = { .type = WIRE_STREAM, .content = { line, strlen(line) } };
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(cell_take(&cell, &print, &err), 0);
	before = written();
	for (int i = 1; i <= 1000; i++) {
		snprintf(content, sizeof content, "{\"data\":{\"text/plain\":\"%d\"},\"metadata\":{},"
			 "\"transient\":{\"display_id\":\"bar\"}}", i);
		m.content = (struct json){ content, strlen(content) };
		ck_assert_int_eq(notebook_update_display(&nb, &m, &err), 0);
	}
	/* 20 GB, if each were written. */
	ck_assert_uint_lt(written() - before, 400ull << 20);
	ck_assert_int_eq(notebook_write_displays(&nb, 1, &err), 0);
	ck_assert_str_eq(display_text(1, 0, &json), "1000");
	cJSON_Delete(json);
	ck_assert(notebook_displays_due(&nb) == 0);

	/* Another cell's end does not wait for it, the notebook's does. */
	content[0] = '{';
	ck_assert_int_eq(notebook_update_display(&nb, &m, &err), 0);
	ck_assert(notebook_displays_due(&nb) > clock_seconds());
	ck_assert_int_eq(notebook_write_displays(&nb, 2, &err), 0);
	ck_assert(notebook_displays_due(&nb) > 0);
	cell_close(&cell);
	notebook_close(&nb);
	ck_assert_int_eq(notebook_open(&nb, folder, 7, changed, NULL, &err), 0);
	ck_assert_int_eq(outputs_now(1), 2);
}
END_TEST

/* A document of many outputs has the first and the last. */
START_TEST(many_outputs)
{
	static char line[100000];
	struct wire_message m = { .type = WIRE_STREAM };
	struct buffer b = BUFFER(64 << 20);
	struct cell cell;
	cJSON *json;

	for (int kind = 0; kind < 3; kind++) { /* one stream; outputs in it; a long one at the end */
		begin("many", &cell);
		take(&cell, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"first\"}");
		for (int i = 0; i < 420; i++) {
			snprintf(line, sizeof line, kind == 1 && i % 7 == 0 ? "{\"data\":{\"text/plain\":\"%0*d\"},\"metadata\":{}}"
				 : "{\"name\":\"stdout\",\"text\":\"%0*d\"}", (int)sizeof line - 100, i);
			m.type = line[2] == 'd' ? WIRE_DISPLAY_DATA : WIRE_STREAM;
			m.content = (struct json){ line, strlen(line) };
			ck_assert_int_eq(cell_take(&cell, &m, &err), 0);
		}
		if (kind == 2) {
			char *big = malloc(20 << 20);

			snprintf(big, 20 << 20, "{\"data\":{\"text/plain\":\"%0*d\"},\"metadata\":{}}", (20 << 20) - 100, 0);
			m = (struct wire_message){ .type = WIRE_DISPLAY_DATA, .content = { big, strlen(big) } };
			ck_assert_int_eq(cell_take(&cell, &m, &err), 0);
			free(big);
		} else {
			take(&cell, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"last\"}");
		}
		buffer_clear(&b);
		ck_assert_msg(cell_outputs(&cell, &b, &err) == 0, "%s", err.text);
		ck_assert_uint_lt(b.length, 33 << 20);
		json = cJSON_ParseWithOpts(b.data, NULL, true);
		ck_assert_msg(json != NULL, "kind %d: no JSON: %.200s", kind, b.data);
		ck_assert_ptr_nonnull(strstr(b.data, "\"first\""));
		ck_assert_ptr_nonnull(strstr(b.data, "much is left out here"));
		ck_assert(kind == 2 || strstr(b.data, "\"last\""));
		for (const cJSON *o = json->child; o; o = o->next)
			ck_assert(cJSON_IsString(cJSON_GetObjectItem(o, "output_type")));
		cJSON_Delete(json);
		cell_close(&cell);
	}
	buffer_free(&b);
}
END_TEST

START_TEST(too_much)
{
	struct cell cell;
	struct wire_message m = { .type = WIRE_STREAM, .content = JSON("{\"name\":\"stdout\",\"text\":\"more\"}") };
	size_t length;

	begin("much", &cell);
	take(&cell, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"x\"}");
	length = cell.length;
	cell.length = 512u << 20; /* as if it had printed that */
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(cell_take(&cell, &m, &err), 0);
	cell.length = length;
	ck_assert_int_eq(outputs_now(1), 2);
	char *text = contents("cells/1/output");
	ck_assert_ptr_nonnull(strstr(text, "a cell shows at most 512 MB"));
	ck_assert_ptr_null(strstr(text, "more"));
	free(text);
	cell_close(&cell);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("outputs");
	TCase *t = tcase_create("outputs");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, outputs);
	tcase_add_test(t, clearing_and_updating);
	tcase_add_test(t, late_and_torn);
	tcase_add_test(t, cost);
	tcase_add_test(t, updates_are_bounded);
	tcase_add_test(t, many_outputs);
	tcase_add_test(t, too_much);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
