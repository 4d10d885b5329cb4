/* A notebook in a folder of its own, and a look at its cells as a reader takes them: what the tests of
 * cells and of outputs share. Included once by each. */
#ifndef INTERPFS_TESTS_NOTEBOOK_SETUP_H
#define INTERPFS_TESTS_NOTEBOOK_SETUP_H

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
#include "base/cellstatus.h"
#include "base/file.h"
#include "base/fragment.h"

static char folder_path[] = "/tmp/interpfs-test-notebook.XXXXXX";
static int folder;
static struct notebook nb;
static struct error err;
static unsigned int told;

static inline void changed(void *context, const char *path)
{
	(void)context;
	(void)path;
	told++;
}

static inline void set_up(void)
{
	memcpy(folder_path + sizeof folder_path - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(folder_path));
	folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(folder, 0);
	ck_assert_int_eq(notebook_open(&nb, folder, 7, changed, NULL, &err), 0);
}

static inline void tear_down(void)
{
	notebook_close(&nb);
	close(folder);
	ck_assert_int_eq(file_remove_tree(AT_FDCWD, folder_path, &err), 0);
}

static inline char *contents(const char *path)
{
	struct buffer b = BUFFER(64 << 20);

	ck_assert_msg(file_read(folder, path, &b, &err) == 0, "%s: %s", path, err.text);
	return b.data ? b.data : strdup("");
}

static inline void same_file(const char *path, const char *expected)
{
	char *got = contents(path);

	ck_assert_str_eq(got, expected);
	free(got);
}

static inline void is_status(unsigned int number, const char *state, const char *count, bool timed)
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
static inline cJSON *cell_now(unsigned int number)
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

static inline int outputs_now(unsigned int number)
{
	cJSON *json = cell_now(number);
	int n = cJSON_GetArraySize(cJSON_GetObjectItem(json, "outputs"));

	cJSON_Delete(json);
	return n;
}

static inline void take(struct cell *cell, enum wire_type type, const char *content)
{
	struct wire_message m = { .type = type, .content = { content, strlen(content) } };

	ck_assert_msg(cell_take(cell, &m, &err) == 0, "%s", err.text);
	if (cell->number)
		cJSON_Delete(cell_now(cell->number)); /* valid after every message */
}

static inline void begin(const char *code, struct cell *cell)
{
	ck_assert_int_eq(notebook_add_code(&nb, code, strlen(code), false, cell, &err), 0);
	ck_assert_int_eq(cell_begin(cell, &err), 0);
}

#endif
