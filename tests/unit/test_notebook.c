/* The notebook's cells on disk: adding them (their files are made ahead), their counts and states, another
 * source, and what a runner left that died in between. */
#include "tests/unit/notebook_setup.h"

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

int main(void)
{
	Suite *s = suite_create("notebook");
	TCase *t = tcase_create("notebook");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, markdown);
	tcase_add_test(t, made_ahead);
	tcase_add_test(t, not_made_ahead);
	tcase_add_test(t, counts);
	tcase_add_test(t, status_lines);
	tcase_add_test(t, mending);
	tcase_add_test(t, one_writer);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
