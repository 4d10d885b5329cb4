/* The MCP client against tests/unit/mcp_server.py, run from the top of the source tree. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "mcp/client.h"

struct seen {
	int done, failed, progress;
	struct error failure;
	char *text; /* of the first content */
	bool is_error;
};

static void on_done(void *context, const cJSON *result, const struct error *failure)
{
	struct seen *seen = context;
	const cJSON *first;

	seen->done++;
	if (!result) {
		seen->failed++;
		seen->failure = *failure;
		return;
	}
	seen->is_error = cJSON_IsTrue(cJSON_GetObjectItem(result, "isError"));
	first = cJSON_GetArrayItem(cJSON_GetObjectItem(result, "content"), 0);
	if (first) {
		free(seen->text);
		seen->text = strdup(cJSON_GetObjectItem(first, "text")->valuestring);
	}
}

static void on_progress(void *context, double done, double total, const char *text)
{
	struct seen *seen = context;

	ck_assert_int_eq((int)done, seen->progress);
	ck_assert_int_eq((int)total, 2);
	ck_assert_int_eq(strncmp(text, "step ", 5), 0);
	seen->progress++;
}

static const struct client_callbacks callbacks = { .done = on_done };
static const struct client_callbacks with_progress = { .done = on_done, .progress = on_progress };

static int step(struct client *c, struct error *err)
{
	struct pollfd p = { .fd = client_fd(c), .events = POLLIN };

	ck_assert_int_eq(poll(&p, 1, 50000), 1);
	return client_step(c, err);
}

static struct client *start(const char *habit)
{
	const char *argv[] = { "python3", "tests/unit/mcp_server.py", habit, NULL };
	const struct client_server server = { .name = "test", .argv = argv };
	struct client *c = NULL;
	struct error err;

	ck_assert_msg(client_start(&c, &server, &err) == 0, "%s", err.text);
	return c;
}

static struct client *ready(const char *habit)
{
	struct client *c = start(habit);
	struct error err;

	while (!client_ready(c))
		ck_assert_msg(step(c, &err) == 0, "%s", err.text);
	return c;
}

static void call(struct client *c, const char *tool, const cJSON *arguments, struct seen *seen)
{
	struct error err;
	int before = seen->done;

	ck_assert_uint_ne(client_call(c, tool, arguments, &callbacks, seen, &err), 0);
	while (seen->done == before)
		ck_assert_msg(step(c, &err) == 0, "%s", err.text);
}

/* One that has ended may wait for a while until its new parent takes note of that. */
static bool is_running(pid_t pid)
{
	char path[64], state = 'Z';
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 'Z';
	fclose(file);
	return state != 'Z' && state != 'X';
}

START_TEST(calls)
{
	struct client *c = ready(NULL);
	cJSON *arguments = cJSON_Parse("{\"code\":\"1\\n2\"}");
	struct seen seen = { 0 };

	ck_assert_str_eq(client_instructions(c), "be kind");
	ck_assert_int_eq(cJSON_GetArraySize(client_tools(c)), 7);
	ck_assert_str_eq(cJSON_GetObjectItem(cJSON_GetArrayItem(client_tools(c), 0), "name")->valuestring, "asks");
	ck_assert_ptr_nonnull(client_tool(c, "echo"));
	ck_assert_ptr_null(client_tool(c, "ech"));
	call(c, "echo", arguments, &seen);
	ck_assert_str_eq(seen.text, "{\"code\": \"1\\n2\"}");
	call(c, "echo", NULL, &seen);
	ck_assert_str_eq(seen.text, "{}");
	call(c, "asks", NULL, &seen);
	ck_assert_ptr_nonnull(strstr(seen.text, "{\"jsonrpc\": \"2.0\", \"id\": \"s1\", \"result\": {}}"));
	ck_assert_ptr_nonnull(strstr(seen.text, "-32601"));
	ck_assert_int_eq(seen.failed, 0);
	call(c, "no_such", NULL, &seen);
	ck_assert_int_eq(seen.failed, 1);
	ck_assert_int_eq(seen.failure.code, EINVAL);
	ck_assert_str_eq(seen.failure.text, "Unknown tool: no_such");
	call(c, "nothing", NULL, &seen);
	ck_assert_int_eq(seen.failure.code, EPROTO);
	cJSON_Delete(arguments);
	free(seen.text);
	client_close(c, 5000);
}
END_TEST

START_TEST(large)
{
	/* Both directions past what a pipe holds, several at once. */
	struct client *c = ready(NULL);
	char *big cleanup_free = malloc(3000001);
	cJSON *arguments = cJSON_CreateObject();
	struct seen seen[4] = { 0 };
	struct error err;

	memset(big, 'x', 3000000);
	big[3000000] = '\0';
	cJSON_AddStringToObject(arguments, "code", big);
	for (int i = 0; i < 4; i++)
		ck_assert_uint_ne(client_call(c, "echo", arguments, &callbacks, &seen[i], &err), 0);
	for (int i = 0; i < 4; i++) {
		while (!seen[i].done)
			ck_assert_int_eq(step(c, &err), 0);
		ck_assert_uint_eq(strlen(seen[i].text), 3000000 + strlen("{\"code\": \"\"}"));
		free(seen[i].text);
	}
	cJSON_Delete(arguments);
	client_close(c, 5000);
}
END_TEST

START_TEST(pages)
{
	struct client *c = ready("pages");

	ck_assert_int_eq(cJSON_GetArraySize(client_tools(c)), 7);
	client_close(c, 5000);
}
END_TEST

START_TEST(eras)
{
	struct client *c = ready("modern");
	struct seen seen = { 0 };

	ck_assert_str_eq(client_instructions(c), "be modern");
	call(c, "echo", NULL, &seen);
	ck_assert_str_eq(seen.text, "{}");
	client_close(c, 5000);
	c = ready("old");
	call(c, "echo", NULL, &seen);
	client_close(c, 5000);
	free(seen.text);
}
END_TEST

START_TEST(refused)
{
	static const struct { const char *habit, *sentence; } rows[] = {
		{ "unknown", "MCP server test: it speaks MCP 1999-01-01, which is not known here" },
		{ "endless", "MCP server test: its list of tools has no end" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct client *c = start(rows[i].habit);
		struct error err;

		while (step(c, &err) == 0)
			ck_assert(!client_ready(c));
		ck_assert_str_eq(err.text, rows[i].sentence);
		ck_assert_int_eq(client_step(c, &err), -1);
		client_close(c, 5000);
	}
}
END_TEST

START_TEST(progress)
{
	struct client *c = ready(NULL);
	struct seen seen = { 0 };
	struct error err;

	ck_assert_uint_ne(client_call(c, "progress", NULL, &with_progress, &seen, &err), 0);
	while (!seen.done)
		ck_assert_int_eq(step(c, &err), 0);
	ck_assert_int_eq(seen.progress, 3);
	client_close(c, 5000);
}
END_TEST

START_TEST(cancelled)
{
	struct client *c = ready(NULL);
	struct seen later = { 0 }, seen = { 0 };
	struct error err;
	uint64_t id = client_call(c, "later", NULL, &callbacks, &later, &err);

	client_cancel(c, id, "enough");
	client_cancel(c, id, "twice does nothing");
	call(c, "was_cancelled", NULL, &seen);
	ck_assert_str_eq(seen.text, "1");
	ck_assert_int_eq(later.done, 0);
	free(seen.text);
	client_close(c, 5000);
}
END_TEST

START_TEST(death)
{
	struct client *c = ready("dies");
	struct seen seen[2] = { 0 };
	struct error err;

	for (int i = 0; i < 2; i++)
		ck_assert_uint_ne(client_call(c, "echo", NULL, &callbacks, &seen[i], &err), 0);
	while (step(c, &err) == 0)
		;
	ck_assert_str_eq(err.text, "MCP server test: it has ended: out of cheese");
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(seen[i].failed, 1);
		ck_assert_int_eq(seen[i].failure.code, ECONNRESET);
	}
	ck_assert_uint_eq(client_call(c, "echo", NULL, &callbacks, &seen[0], &err), 0);
	ck_assert_int_eq(err.code, ECONNRESET);
	client_close(c, 5000);
}
END_TEST

START_TEST(killed)
{
	struct client *c = ready(NULL);
	struct error err;

	ck_assert_int_eq(kill(client_pid(c), SIGKILL), 0);
	while (step(c, &err) == 0)
		;
	ck_assert_int_eq(err.code, ECONNRESET);
	client_close(c, 5000);
}
END_TEST

START_TEST(chatty)
{
	struct client *c = ready("chatty");

	ck_assert_str_eq(client_stderr(c), "hello, I am a server\nlogging to stdout\n");
	client_close(c, 5000);
}
END_TEST

START_TEST(deaf)
{
	struct client *c = ready("deaf");
	pid_t pid = client_pid(c);

	client_close(c, 50);
	ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), -1); /* reaped */
	c = start("silent");
	pid = client_pid(c);
	client_close(c, 5000);
	ck_assert_int_eq(kill(pid, 0), -1);
}
END_TEST

/* Whom a server leaves behind goes with it, also when it ends by itself. */
START_TEST(forgotten_child)
{
	struct client *c = ready("parent");
	struct seen seen = { 0 };
	pid_t child;

	call(c, "environment", NULL, &seen);
	child = (pid_t)strtol(seen.text, NULL, 10);
	free(seen.text);
	ck_assert_int_gt(child, 1);
	ck_assert_int_eq(kill(child, 0), 0);
	client_close(c, 5000);
	while (is_running(child))
		(void)poll(NULL, 0, 5);
}
END_TEST

START_TEST(no_such_program)
{
	const char *argv[] = { "/nowhere/server", NULL };
	const struct client_server server = { .name = "lost", .argv = argv };
	struct client *c = NULL;
	struct error err;

	ck_assert_int_eq(client_start(&c, &server, &err), -1);
	ck_assert_int_eq(err.code, ENOENT);
	ck_assert_str_eq(err.text, "MCP server lost: /nowhere/server: No such file or directory");
}
END_TEST

START_TEST(environment)
{
	const char *argv[] = { "/usr/bin/env", "python3", "tests/unit/mcp_server.py", NULL };
	const char *env[] = { "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", NULL };
	const struct client_server server = { .name = "env", .argv = argv, .env = env };
	struct client *c = NULL;
	struct seen seen = { 0 };
	struct error err;

	ck_assert_int_eq(client_start(&c, &server, &err), 0);
	while (!client_ready(c))
		ck_assert_int_eq(step(c, &err), 0);
	call(c, "environment", NULL, &seen);
	ck_assert_str_eq(seen.text, "LC_ALL,PATH");
	free(seen.text);
	client_close(c, 5000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("client");
	TCase *t = tcase_create("client");
	SRunner *runner = srunner_create(s);
	int failed;

	signal(SIGPIPE, SIG_IGN);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, calls);
	tcase_add_test(t, large);
	tcase_add_test(t, pages);
	tcase_add_test(t, eras);
	tcase_add_test(t, refused);
	tcase_add_test(t, progress);
	tcase_add_test(t, cancelled);
	tcase_add_test(t, death);
	tcase_add_test(t, killed);
	tcase_add_test(t, chatty);
	tcase_add_test(t, deaf);
	tcase_add_test(t, forgotten_child);
	tcase_add_test(t, no_such_program);
	tcase_add_test(t, environment);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
