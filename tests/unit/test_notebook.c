/* The notebook on disk: after every message the fragment is a cell, outputs cost their own
 * bytes whatever stands before them, and what a crash tore is mended. */
#include <check.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/kernel/notebook.h"
#include "backend/kernel/sentence.h"
#include "base/file.h"
#include "base/fragment.h"

static char folder_path[] = "/tmp/interpfs-test-notebook.XXXXXX";
static int folder;
static struct notebook nb;
static struct error err;
static unsigned int told;

static void changed(void *context, const char *path)
{
	(void)context;
	(void)path;
	told++;
}

static void set_up(void)
{
	memcpy(folder_path + sizeof folder_path - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(folder_path));
	folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(folder, 0);
	ck_assert_int_eq(notebook_open(&nb, folder, 7, changed, NULL, &err), 0);
}

static void tear_down(void)
{
	notebook_close(&nb);
	close(folder);
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, folder_path, &err), 0);
}

static char *contents(const char *path)
{
	struct buffer b = BUFFER(64 << 20);

	ck_assert_msg(file_read(folder, path, &b, &err) == 0, "%s: %s", path, err.text);
	return b.data ? b.data : strdup("");
}

static void same_file(const char *path, const char *expected)
{
	char *got = contents(path);

	ck_assert_str_eq(got, expected);
	free(got);
}

/* The cell as a reader puts it together now; the caller deletes it. */
static cJSON *cell_now(unsigned int number)
{
	struct buffer b = BUFFER(64 << 20);
	char path[64];
	size_t whole;
	cJSON *json;

	snprintf(path, sizeof path, "cells/%u/fragment", number);
	ck_assert_int_eq(file_read(folder, path, &b, &err), 0);
	whole = fragment_whole(b.data, b.length);
	ck_assert_uint_eq(whole, b.length);
	ck_assert_int_eq(buffer_append(&b, fragment_closing(b.data, whole), FRAGMENT_CLOSING_SIZE), 0);
	json = cJSON_ParseWithOpts(b.data, NULL, true);
	ck_assert_msg(json != NULL, "no JSON: %s", b.data);
	buffer_free(&b);
	return json;
}

static int outputs_now(unsigned int number)
{
	cJSON *json = cell_now(number);
	int n = cJSON_GetArraySize(cJSON_GetObjectItem(json, "outputs"));

	cJSON_Delete(json);
	return n;
}

static void take(struct cell *cell, enum wire_type type, const char *content)
{
	struct wire_message m = { .type = type, .content = { content, strlen(content) } };

	ck_assert_msg(cell_take(cell, &m, &err) == 0, "%s", err.text);
	if (cell->number)
		cJSON_Delete(cell_now(cell->number)); /* valid after every message */
}

static void begin(const char *code, struct cell *cell)
{
	unsigned int number;

	ck_assert_int_eq(notebook_add_code(&nb, code, strlen(code), false, &number, &err), 0);
	ck_assert_int_eq(cell_open(&nb, number, cell, &err), 0);
	ck_assert_int_eq(cell_begin(cell, &err), 0);
}

START_TEST(outputs)
{
	struct buffer b = BUFFER(4096);
	struct cell cell;
	struct stat file, link;

	begin("a = 1\nprint(a)\n", &cell);
	same_file("cells/1/state", "busy\n");
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
	same_file("cells/1/count", "3\n");
	same_file("cells/1/state", "error\n");
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
	ck_assert_int_eq(notebook_update_display(&nb, &cell, &update, &err), 0);
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
	ck_assert_int_eq(notebook_update_display(&nb, &next, &update, &err), 0);
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
	same_file("cells/1/state", "queued\n");
	ck_assert_int_eq(notebook_set_source(&nb, 2, "y", 1, &code, &err), -1);
	ck_assert_int_eq(err.code, ENOENT);
}
END_TEST

START_TEST(markdown)
{
	unsigned int number;
	cJSON *json;
	bool code;

	ck_assert_int_eq(notebook_add_markdown(&nb, "# T\n\nx\n", 7, &number, &err), 0);
	ck_assert_int_eq(notebook_add_markdown(&nb, "", 0, &number, &err), 0);
	ck_assert_int_eq(notebook_set_source(&nb, 1, "# U", 3, &code, &err), 0);
	ck_assert(!code);
	for (unsigned int i = 1; i <= 2; i++) {
		json = cell_now(i);
		ck_assert_str_eq(cJSON_GetObjectItem(json, "cell_type")->valuestring, "markdown");
		ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "source")), i == 1);
		cJSON_Delete(json);
	}
	struct notebook again;
	ck_assert_int_eq(notebook_open(&again, folder, 7, changed, NULL, &err), 0);
	ck_assert_uint_eq(again.cells, 2);
	notebook_close(&again);
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

START_TEST(sentences)
{
	static const struct {
		const char *output, *sentence;
	} cases[] = {
		{ "---\nZeroDivisionError      Traceback (most recent call last)\nCell In[1], line 4\n      1 import os\n----> 4 1/0\n\n"
		  "ZeroDivisionError: division by zero\n[error ZeroDivisionError]\n", "line 4: ZeroDivisionError: division by zero" },
		{ "  Cell In[1], line 1\n    x = (\n         ^\nSyntaxError: incomplete input\n\n[error SyntaxError]\n",
		  "line 1: SyntaxError: incomplete input" },
		{ "printed\nthe kernel died\n[error DeadKernelError]\n", "the kernel died" },
		{ "Cell In[1]\n], line 7\nlast", "last" },
		{ "", "it failed" },
		{ "\n \n", "it failed" },
	};
	char text[64];

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		sentence_of_failure(cases[i].output, text, sizeof text);
		ck_assert_str_eq(text, cases[i].sentence);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("notebook");
	TCase *tests = tcase_create("notebook");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, outputs);
	tcase_add_test(tests, clearing_and_updating);
	tcase_add_test(tests, late_and_torn);
	tcase_add_test(tests, markdown);
	tcase_add_test(tests, cost);
	tcase_add_test(tests, sentences);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
