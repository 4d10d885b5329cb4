/* messages.jsonl: a chain that shows what was altered and loses no more than a torn line; recordings. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/llm/journal.h"
#include "backend/llm/json.h"
#include "backend/llm/recording.h"

static char folder_path[64];
static int folder;

static void setup(void)
{
	snprintf(folder_path, sizeof folder_path, "/tmp/test_journal.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder_path));
	folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(folder, 0);
}

static void teardown(void)
{
	unlinkat(folder, "m", 0);
	close(folder);
	rmdir(folder_path);
}

static void append(struct journal *j, const char *type, const char *members)
{
	struct buffer line = BUFFER(1 << 20);
	struct error err;
	int fd = openat(folder, "m", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	ck_assert_int_eq(journal_line(j, type, members, &line, &err), 0);
	ck_assert_int_eq(write(fd, line.data, line.length), (ssize_t)line.length);
	journal_advance(j, &line);
	close(fd);
	buffer_free(&line);
}

static int count(void *context, const char *type, const cJSON *event, const char *line, size_t n, struct error *err)
{
	(void)event;
	(void)err;
	ck_assert_uint_eq(strlen(type) > 0, 1);
	ck_assert_int_eq(line[n], '\n');
	++*(int *)context;
	return 0;
}

/* sh and sha256sum agree with us about the chain. */
static int verified_by_sha256sum(void)
{
	static const char script[] =
		"h=$(printf %064d 0); while IFS= read -r l; do case $l in *'\"prev\":\"'$h'\"'*) ;; *) exit 1;; esac; "
		"h=$(printf %s \"$l\" | sha256sum | cut -c1-64); done < \"$1/m\"";
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", script, "sh", folder_path, (char *)NULL);
		_exit(127);
	}
	return pid < 0 || waitpid(pid, &status, 0) < 0 ? -1 : status;
}

START_TEST(chain)
{
	struct journal j, again;
	struct error err;
	bool torn;
	int lines = 0, fd;
	struct stat st;

	journal_init(&j);
	append(&j, "system", "\"text\":\"\\u00e4 \\\\ $HOME\"");
	append(&j, "user", "\"content\":[1]");
	append(&j, "end", "");
	ck_assert_int_eq(verified_by_sha256sum(), 0);
	ck_assert_int_eq(journal_load(&again, folder, "m", count, &lines, &torn, &err), 0);
	ck_assert_int_eq(lines, 3);
	ck_assert(!torn);
	ck_assert_str_eq(again.head, j.head);
	ck_assert_uint_eq(again.seq, 3);

	/* a torn line is cut, and the chain goes on */
	ck_assert_int_eq(fstatat(folder, "m", &st, 0), 0);
	fd = openat(folder, "m", O_WRONLY | O_APPEND | O_CLOEXEC);
	ck_assert_int_eq(write(fd, "{\"seq\":4,\"pr", 12), 12);
	close(fd);
	lines = 0;
	ck_assert_int_eq(journal_load(&again, folder, "m", count, &lines, &torn, &err), 0);
	ck_assert(torn);
	ck_assert_int_eq(lines, 3);
	ck_assert_int_eq(faccessat(folder, "m", F_OK, 0), 0);
	append(&again, "user", "\"content\":[]");
	ck_assert_int_eq(verified_by_sha256sum(), 0);
}
END_TEST

START_TEST(altered)
{
	struct journal j, again;
	struct error err;
	bool torn;
	int lines = 0, fd;

	journal_init(&j);
	append(&j, "user", "\"content\":\"a\"");
	append(&j, "user", "\"content\":\"b\"");
	append(&j, "end", "");
	fd = openat(folder, "m", O_RDWR | O_CLOEXEC);
	for (off_t at = 0;; at++) {
		char c[3];

		ck_assert_int_eq(pread(fd, c, 3, at), 3);
		if (!memcmp(c, "\"a\"", 3)) {
			ck_assert_int_eq(pwrite(fd, "\"A\"", 3, at), 3);
			break;
		}
	}
	close(fd);
	ck_assert_int_ne(verified_by_sha256sum(), 0);
	ck_assert_int_eq(journal_load(&again, folder, "m", count, &lines, &torn, &err), -1);
	ck_assert_int_eq(err.code, EBADMSG);
	ck_assert_str_eq(err.text, "m: line 2 does not continue the chain");
}
END_TEST

START_TEST(members)
{
	static const char text[] = "{\"a\":\"content\",\"b\":{\"content\":1},\"c\" : [\"\\\"content\\\":2\"], \"content\" : [1.0, {\"x\":\"]}\"} ] ,\"z\":7}";
	size_t n;
	const char *at = json_member(text, sizeof text - 1, "content", &n);

	ck_assert_ptr_nonnull(at);
	ck_assert_uint_eq(n, strlen("[1.0, {\"x\":\"]}\"} ]"));
	ck_assert_mem_eq(at, "[1.0, {\"x\":\"]}\"} ]", n);
	at = json_member(text, sizeof text - 1, "z", &n);
	ck_assert_mem_eq(at, "7", n);
	ck_assert_uint_eq(n, 1);
	at = json_member(text, sizeof text - 1, "a", &n);
	ck_assert_mem_eq(at, "\"content\"", n);
	ck_assert_ptr_null(json_member(text, sizeof text - 1, "x", &n));
}
END_TEST

START_TEST(recordings)
{
	static const char text[] = "{\"type\":\"user\",\"content\":\"hi\"}\n\n"
		"{\"type\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"run\",\"input\":{\"x\": 1.50}}]}\n"
		"{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"b\"}]}";
	struct recording r = { 0 };
	struct answer a;
	struct error err;

	ck_assert_int_eq(recording_parse(&r, "r", text, sizeof text - 1, &err), 0);
	ck_assert_uint_eq(r.count, 2);
	ck_assert_int_eq(recording_answer(r.turns[0], &a, &err), 0);
	ck_assert_int_eq(a.stop, STOP_CALLS);
	ck_assert_str_eq(a.text, "a");
	ck_assert_str_eq(a.calls[0].name, "run");
	ck_assert_ptr_nonnull(strstr(a.content, "{\"x\":1.50}"));
	answer_free(&a);
	ck_assert_int_eq(recording_answer(r.turns[1], &a, &err), 0);
	ck_assert_int_eq(a.stop, STOP_DONE);
	answer_free(&a);
	recording_free(&r);

	ck_assert_int_eq(recording_parse(&r, "r", "{}\nnonsense\n", 12, &err), -1);
	ck_assert_str_eq(err.text, "r: line 2 is no event of a session");
	recording_free(&r);
	ck_assert_int_eq(recording_parse(&r, "r", "{}\n", 3, &err), -1);
	ck_assert_str_eq(err.text, "r holds no turn of an assistant");
	recording_free(&r);
	ck_assert_int_eq(recording_parse(&r, "r", "{\"role\":\"assistant\",\"content\":\"x\"}\n", 35, &err), -1);
	recording_free(&r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("journal");
	TCase *t = tcase_create("journal");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 240);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, chain);
	tcase_add_test(t, altered);
	tcase_add_test(t, members);
	tcase_add_test(t, recordings);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
