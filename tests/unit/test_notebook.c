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
#include "base/cellstatus.h"
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

static void is_status(unsigned int number, const char *state, const char *count, bool timed)
{
	struct cellstatus status;
	char path[64];

	snprintf(path, sizeof path, "cells/%u/status", number);
	ck_assert_int_eq(cellstatus_read(folder, path, &status, &err), 0);
	ck_assert_str_eq(status.word[CELLSTATUS_STATE], state);
	ck_assert_str_eq(status.word[CELLSTATUS_COUNT], count);
	ck_assert_int_eq(*status.word[CELLSTATUS_DURATION] != '\0', timed);
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
	ck_assert_int_eq(notebook_add_code(&nb, code, strlen(code), false, cell, &err), 0);
	ck_assert_int_eq(cell_begin(cell, &err), 0);
}

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

/* ---- the next cell ---- */

static ino_t inode(const char *path)
{
	struct stat st;

	ck_assert_msg(fstatat(folder, path, &st, AT_SYMLINK_NOFOLLOW) == 0, "%s", path);
	return st.st_ino;
}

static bool there(const char *path)
{
	return faccessat(folder, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void put(const char *path, const char *text)
{
	ck_assert_msg(file_replace(folder, path, text, strlen(text), 0600, false, &err) == 0, "%s", err.text);
}

static unsigned int cells_seen(void)
{
	struct notebook again;
	unsigned int n;

	ck_assert_int_eq(notebook_open(&again, folder, 7, changed, NULL, &err), 0);
	n = again.cells;
	notebook_close(&again);
	return n;
}

START_TEST(made_ahead)
{
	struct cell cell;
	unsigned int steps = 0, number;
	ino_t fragment, output;

	while (notebook_prepare(&nb))
		steps++;
	ck_assert_uint_eq(steps, NEXT_FILES);
	ck_assert(!notebook_prepare(&nb));
	ck_assert_uint_eq(cells_seen(), 0); /* it is no cell */
	fragment = inode("cells/.next/fragment");
	output = inode("cells/.next/output");
	ck_assert_int_eq(notebook_add_code(&nb, "1", 1, true, &cell, &err), 0);
	ck_assert_uint_eq(cell.number, 1);
	ck_assert_uint_eq(inode("cells/1/fragment"), fragment);
	ck_assert_uint_eq(inode("cells/1/output"), output);
	ck_assert(!there("cells/.next"));
	is_status(1, "busy", "", false);
	take(&cell, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"x\"}");
	same_file("cells/1/output", "x");
	cell_close(&cell);

	/* What a runner that was killed left there, filled in or not, is nobody's. */
	notebook_close(&nb);
	ck_assert_int_eq(file_make_folders(folder, "cells/.next", 0700, &err), 0);
	put("cells/.next/source", "lost and longer");
	put("cells/.next/status", "busy - -\n");
	put("cells/.next/fragment", "{\"cell_type\":\"code\",\"id\":\"n7-c2\",\"source\":[\n");
	ck_assert_int_eq(notebook_open(&nb, folder, 7, changed, NULL, &err), 0);
	ck_assert_uint_eq(nb.cells, 1);
	ck_assert_int_eq(notebook_add_markdown(&nb, "# T", 3, &number, &err), 0);
	ck_assert_uint_eq(number, 2);
	same_file("cells/2/source", "# T");
	is_status(2, "ok", "", false);
	cJSON_Delete(cell_now(2));
	ck_assert_uint_eq(cells_seen(), 2);
}
END_TEST

/* What cannot be made ahead is made when it is needed, and then it is said why not. */
START_TEST(not_made_ahead)
{
	struct cell cell;

	put("cells/.next", "in the way");
	ck_assert(!notebook_prepare(&nb));
	ck_assert_int_eq(notebook_add_code(&nb, "1", 1, true, &cell, &err), -1);
	ck_assert_int_eq(err.code, ENOTDIR);
	cell_close(&cell);
	ck_assert_int_eq(unlinkat(folder, "cells/.next", 0), 0);
	ck_assert_int_eq(notebook_add_code(&nb, "1", 1, true, &cell, &err), 0);
	ck_assert_uint_eq(cell.number, 1);
	cell_close(&cell);
}
END_TEST

static int head_count(unsigned int number)
{
	cJSON *json = cell_now(number), *count = cJSON_GetObjectItem(json, "execution_count");
	int n = cJSON_IsNumber(count) ? count->valueint : cJSON_IsNull(count) ? -1 : -2;

	cJSON_Delete(json);
	return n;
}

START_TEST(counts)
{
	struct cell cell;

	ck_assert_int_eq(notebook_add_code(&nb, "1", 1, true, &cell, &err), 0);
	ck_assert_int_eq(head_count(1), -1); /* nothing is known yet */
	take(&cell, WIRE_EXECUTE_INPUT, "{\"execution_count\":4}");
	is_status(1, "busy", "4", false);
	ck_assert_int_eq(head_count(1), 4);
	ck_assert_int_eq(cell_finish(&cell, "ok", &err), 0);
	cell_close(&cell);

	/* The next is expected, and it comes: nothing is written again. */
	ck_assert_int_eq(notebook_add_code(&nb, "1", 1, true, &cell, &err), 0);
	ck_assert_int_eq(head_count(2), 5);
	is_status(2, "busy", "", false);
	ino_t before = inode("cells/2/fragment");
	take(&cell, WIRE_EXECUTE_INPUT, "{\"execution_count\":5}");
	ck_assert_uint_eq(inode("cells/2/fragment"), before);
	ck_assert_int_eq(cell_finish(&cell, "ok", &err), 0);
	is_status(2, "ok", "5", false);
	cell_close(&cell);

	/* Somebody else used the kernel. Only the reply says so. */
	ck_assert_int_eq(notebook_add_code(&nb, "1", 1, true, &cell, &err), 0);
	ck_assert_int_eq(head_count(3), 6);
	take(&cell, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"x\"}");
	take(&cell, WIRE_EXECUTE_REPLY, "{\"execution_count\":9,\"status\":\"ok\"}");
	ck_assert_int_eq(head_count(3), 9);
	ck_assert_int_eq(outputs_now(3), 1);
	cell_close(&cell);

	/* It never ran. */
	ck_assert_int_eq(notebook_add_code(&nb, "1", 1, true, &cell, &err), 0);
	ck_assert_int_eq(head_count(4), 10);
	ck_assert_int_eq(cell_fail(&cell, "Interrupted", "no", &err), 0);
	ck_assert_int_eq(cell_finish(&cell, "interrupted", &err), 0);
	ck_assert_int_eq(head_count(4), -1);
	is_status(4, "interrupted", "", false);
	cell_close(&cell);

	/* One that waits cannot know. */
	ck_assert_int_eq(notebook_add_code(&nb, "1", 1, false, &cell, &err), 0);
	ck_assert_int_eq(head_count(5), -1);
	is_status(5, "queued", "", false);
	cell_close(&cell);

	/* After a runner that was killed: what the kernel had said is known, what was expected is not. */
	ck_assert_int_eq(notebook_add_code(&nb, "1", 1, true, &cell, &err), 0);
	cell_close(&cell);
	ck_assert_int_eq(cell_open(&nb, 6, &cell, &err), 0);
	ck_assert_int_eq(cell.count, -1);
	ck_assert_int_eq(cell.shown, 10);
	take(&cell, WIRE_EXECUTE_INPUT, "{\"execution_count\":10}");
	cell_close(&cell);
	ck_assert_int_eq(cell_open(&nb, 6, &cell, &err), 0);
	ck_assert_int_eq(cell.count, 10);
	cell_close(&cell);
}
END_TEST

START_TEST(status_lines)
{
	struct cellstatus status;
	char line[CELLSTATUS_LINE];
	static const struct {
		const char *text, *state, *count, *duration;
	} cases[] = {
		{ "", "", "", "" },
		{ "busy - -", "", "", "" },                       /* torn */
		{ "busy - -\nok 3", "busy", "", "" },             /* the last one is */
		{ "queued - -\nbusy 3 -\nok 3 0.004\n", "ok", "3", "0.004" },
		{ "\n", "", "", "" },
		{ "ok\n", "ok", "", "" },
		{ "ok 1 2 3 4\n", "ok", "1", "2" },
		{ "a-word-that-is-longer-than-any-of-ours 1 2\n", "", "1", "2" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		cellstatus_parse(cases[i].text, strlen(cases[i].text), &status);
		ck_assert_str_eq(status.word[CELLSTATUS_STATE], cases[i].state);
		ck_assert_str_eq(status.word[CELLSTATUS_COUNT], cases[i].count);
		ck_assert_str_eq(status.word[CELLSTATUS_DURATION], cases[i].duration);
	}
	ck_assert_uint_eq(cellstatus_format(line, "ok", 12, 0.0042), 12);
	ck_assert_str_eq(line, "ok 12 0.004\n");
	ck_assert_uint_lt(cellstatus_format(line, "a state that is far too long", 9223372036854775807, 1e300), CELLSTATUS_LINE);
	ck_assert_int_eq(cellstatus_read(folder, "nothing", &status, &err), 0);
	ck_assert_str_eq(status.word[CELLSTATUS_STATE], "");
}
END_TEST

/* A runner dies at each step of giving a cell another source. */
START_TEST(mending)
{
	struct cell cell;
	unsigned int number;
	bool code;

	begin("old", &cell);
	take(&cell, WIRE_DISPLAY_DATA, "{\"data\":{\"text/html\":\"<b>\"},\"metadata\":{}}");
	ck_assert_int_eq(cell_finish(&cell, "ok", &err), 0);
	cell_close(&cell);
	ck_assert(there("cells/1/outputs/0.html"));
	put("cells/1/status", "ok 1 0.1\nqueued - -\n");
	put("cells/1/source", "new");
	ck_assert_int_eq(notebook_mend(&nb, 1, &code, &err), 0);
	ck_assert(code);
	ck_assert_int_eq(outputs_now(1), 0);
	ck_assert(!there("cells/1/outputs/0.html"));
	same_file("cells/1/output", "");
	cJSON *json = cell_now(1);
	ck_assert_str_eq(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "source"), 0)->valuestring, "new");
	cJSON_Delete(json);

	ck_assert_int_eq(notebook_add_markdown(&nb, "# old", 5, &number, &err), 0);
	put("cells/2/status", "ok - -\nqueued - -\n");
	put("cells/2/source", "# new");
	ck_assert_int_eq(notebook_mend(&nb, 2, &code, &err), 0);
	ck_assert(!code);
	is_status(2, "ok", "", false);
	json = cell_now(2);
	ck_assert_str_eq(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "source"), 0)->valuestring, "# new");
	cJSON_Delete(json);
}
END_TEST

/* What an old run of a cell still prints while it runs again goes through the one that is open. */
START_TEST(one_writer)
{
	struct cell cell, other;
	struct cell *found;

	begin("one", &cell);
	take(&cell, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"a\"}");
	found = cell_find(&nb, 1, &err);
	ck_assert_ptr_eq(found, &cell);
	take(found, WIRE_DISPLAY_DATA, "{\"data\":{\"text/plain\":\"late\"},\"metadata\":{}}");
	take(&cell, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"b\"}");
	ck_assert_int_eq(outputs_now(1), 3);
	cell_close(&cell);

	begin("two", &other);
	found = cell_find(&nb, 1, &err); /* opened once, for all that comes late */
	ck_assert_ptr_nonnull(found);
	ck_assert_ptr_eq(cell_find(&nb, 1, &err), found);
	take(found, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"c\"}");
	ck_assert_int_eq(outputs_now(1), 3);
	ck_assert_ptr_null(cell_find(&nb, 3, &err));
	ck_assert_int_eq(err.code, ENOENT);
	bool code;
	ck_assert_int_eq(notebook_set_source(&nb, 1, "three", 5, &code, &err), 0);
	found = cell_find(&nb, 1, &err);
	take(found, WIRE_STREAM, "{\"name\":\"stdout\",\"text\":\"new\"}");
	ck_assert_int_eq(outputs_now(1), 1);
	same_file("cells/1/output", "new");
	cell_close(&other);
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
	ck_assert(notebook_displays_due(&nb) > notebook_now());
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
	tcase_add_test(tests, made_ahead);
	tcase_add_test(tests, not_made_ahead);
	tcase_add_test(tests, counts);
	tcase_add_test(tests, status_lines);
	tcase_add_test(tests, mending);
	tcase_add_test(tests, one_writer);
	tcase_add_test(tests, updates_are_bounded);
	tcase_add_test(tests, many_outputs);
	tcase_add_test(tests, too_much);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
