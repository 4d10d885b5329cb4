#include "backend/sandbox/repos.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/sandbox/calls_own.h"
#include "backend/sandbox/numbers.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/program.h"
#include "base/repository.h"
#include "base/sha256.h"
#include "base/talk.h"

#define FOLDER "repos"
#define BEGUN FOLDER "/begun"
#define SCRIPT_MAX 16384u
#define SAID_MAX 4096u
#define COMMIT_MAX 64u
#define LOG_MAX (64u << 20) /* of one command: it may print for ever */

enum repo_state { REPO_WAITING, REPO_CLONING, REPO_INSTALLING, REPO_READY, REPO_FAILED };

static const char *const words[] = { "waiting", "cloning", "installing", "ready", "failed" };

struct repo {
	struct repos *all;
	unsigned number;                   /* from 1 */
	struct repository repository;
	const char *revision, *install;    /* borrowed from the list; NULL without */
	enum repo_state state;
	bool cloned;                       /* waiting: for its install */
	struct guest_operation *operation;
	struct buffer commit, said;        /* its standard output; the last of what it said */
	size_t logged;
	char failure[ERROR_TEXT_SIZE];
};

struct repos {
	struct calls *calls;
	cJSON *list;                       /* a copy: the config may change while it runs */
	bool begun;
	size_t count;
	struct repo repos[];
};

static void next_install(struct repos *all);

/* ---- what the tree shows ---- */

static void tell(const struct repo *r, const char *what, const char *text)
{
	cleanup_buffer struct buffer line = BUFFER(REPOSITORY_URL_SIZE + ERROR_TEXT_SIZE);
	struct runner *runner = r->all->calls->runner;
	char path[64];
	struct error err;

	(void)snprintf(path, sizeof path, FOLDER "/%u/%s", r->number, what);
	if (buffer_format(&line, "%s%s", text, *text ? "\n" : "") < 0)
		return;
	if (runner_set_text(runner, path, line.data, &err) < 0)
		runner_log(runner, "%s: %s", path, err.text);
}

/* Ends a command that waits for it, if that is over. */
static void answer(const struct repo *r, struct call *call)
{
	if (r->state == REPO_READY)
		call_end(call, 0, 0, "");
	else if (r->state == REPO_FAILED)
		call_end(call, EIO, 0, r->failure);
}

static void set_state(struct repo *r, enum repo_state state)
{
	r->state = state;
	tell(r, "state", words[state]);
	for (struct call *c = r->all->calls->list, *next; c; c = next) {
		next = c->next;
		if (c->waits == r)
			answer(r, c);
	}
}

static void append(struct repo *r, const void *data, size_t n)
{
	char path[64];
	struct error ignored;

	(void)snprintf(path, sizeof path, FOLDER "/%u/log", r->number);
	(void)runner_append(r->all->calls->runner, path, data, n, &ignored);
}

static void append_line(struct repo *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void append_line(struct repo *r, const char *format, ...)
{
	cleanup_free char *line = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&line, format, args) < 0)
		line = NULL;
	va_end(args);
	if (line)
		append(r, line, strlen(line));
}

/* What was said last is as hostile as the sandbox: one line of it, in printable characters. */
static void fail(struct repo *r, const char *why, const char *last)
{
	struct runner *runner = r->all->calls->runner;
	cleanup_buffer struct buffer text = BUFFER(2 * ERROR_TEXT_SIZE);

	(void)buffer_format(&text, "%s%s%.900s", why, *why && *last ? ": " : "", last);
	runner_scrub(runner, &text);
	for (size_t i = 0; i < text.length; i++)
		if ((unsigned char)text.data[i] < ' ' || text.data[i] == 127)
			text.data[i] = '?';
	(void)snprintf(r->failure, sizeof r->failure, "%s", text.length ? text.data : "out of memory");
	tell(r, "error", r->failure);
	runner_log(runner, "repository %s: failed: %s", r->repository.name, r->failure);
	set_state(r, REPO_FAILED);
}

static void succeed(struct repo *r)
{
	runner_log(r->all->calls->runner, "repository %s: ready", r->repository.name);
	set_state(r, REPO_READY);
}

/* ---- a command inside ---- */

static void output(void *context, int channel, const void *data, size_t n)
{
	struct repo *r = context;
	size_t room = LOG_MAX - r->logged, kept = n < room ? n : room;

	guest_consumed(r->operation, n);
	if (channel == TALK_STDOUT) {
		(void)buffer_append(&r->commit, data, n);
		return;
	}
	if (kept)
		append(r, data, kept);
	r->logged += kept;
	if (kept < n && kept)
		append_line(r, "\n[what follows is left out]\n");
	(void)buffer_append_last(&r->said, data, n);
}

static void take_commit(struct repo *r)
{
	size_t n = r->commit.length ? strspn(r->commit.data, "0123456789abcdef") : 0;

	if (n < 40 || n > COMMIT_MAX)
		return; /* an empty repository has none */
	r->commit.data[n] = '\0';
	tell(r, "revision", r->commit.data);
}

/* The last line; progress is told in lines that end with a carriage return. */
static const char *last_words(struct repo *r)
{
	for (size_t i = 0; i < r->said.length; i++)
		if (r->said.data[i] == '\r' || !r->said.data[i])
			r->said.data[i] = '\n';
	return buffer_last_line(&r->said);
}

static void ended(void *context, int code, int status, const char *text)
{
	struct repo *r = context;
	bool installs = r->state == REPO_INSTALLING;
	char why[64] = "";

	r->operation = NULL;
	if (installs && status > 128)
		(void)snprintf(why, sizeof why, "install was killed by signal %d", status - 128);
	else if (installs)
		(void)snprintf(why, sizeof why, "install ended with status %d", status);
	else if (status > 128)
		(void)snprintf(why, sizeof why, "git was killed by signal %d", status - 128);
	if (code) {
		fail(r, "the sandbox's shell could not be started", text);
	} else if (status) {
		fail(r, why, last_words(r));
	} else if (installs) {
		succeed(r);
	} else {
		take_commit(r);
		r->cloned = true;
		if (r->install)
			set_state(r, REPO_WAITING);
		else
			succeed(r);
	}
	next_install(r->all);
}

static const struct guest_callbacks callbacks = { output, NULL, ended };

/* What was done is known by what was asked for. */
static int hash_of(const char *one, const char *other, char key[SHA256_HEX_SIZE])
{
	cleanup_free char *text = NULL;

	if (asprintf(&text, "%s\n%s", one, other) < 0) {
		text = NULL;
		return -1;
	}
	sha256_hex(text, strlen(text), key, SHA256_HEX_SIZE);
	return 0;
}

static int run(struct repo *r, const char *action, const char *what, const char *revision, struct error *err)
{
	cleanup_free char *path = program_share("repo.sh");
	cleanup_buffer struct buffer script = BUFFER(SCRIPT_MAX);
	char key[SHA256_HEX_SIZE];
	const char *argv[] = { "/bin/sh", "-c", NULL, "sh", action, r->repository.name, key, what, revision, NULL };
	struct guest_command command = { .argv = argv };
	char **environment;

	if (!path || hash_of(what, revision ? revision : "", key) < 0)
		return error_memory(err);
	if (file_read(AT_FDCWD, path, &script, err) < 0)
		return -1;
	environment = calls_environment(r->all->calls, NULL);
	if (!environment)
		return error_memory(err);
	argv[2] = script.data;
	command.env = (const char *const *)environment;
	buffer_clear(&r->commit);
	buffer_clear(&r->said);
	r->logged = 0;
	r->operation = guest_exec(r->all->calls->guest, &command, &callbacks, r, err);
	calls_free_environment(environment);
	return r->operation ? 0 : -1;
}

static void clone(struct repo *r)
{
	struct error err;

	set_state(r, REPO_CLONING);
	append_line(r, "cloning %s%s%s\n", r->repository.url, r->revision ? " at " : "", r->revision ? r->revision : "");
	if (run(r, "clone", r->repository.url, r->revision, &err) < 0)
		fail(r, "", err.text);
}

static void install(struct repo *r)
{
	struct error err;

	set_state(r, REPO_INSTALLING);
	append_line(r, "installing: %s\n", r->install);
	if (run(r, "install", r->install, NULL, &err) < 0)
		fail(r, "", err.text);
}

/* The first that is not done has its turn, if it only waits for that, and no later one is at it: a retry. */
static void next_install(struct repos *all)
{
	for (size_t i = 0; i < all->count; i++)
		if (all->repos[i].state == REPO_INSTALLING)
			return;
	for (size_t i = 0; i < all->count; i++) {
		struct repo *r = &all->repos[i];

		if (r->state == REPO_WAITING && r->cloned)
			install(r);
		if (r->state != REPO_READY && r->state != REPO_FAILED)
			return;
	}
}

/* ---- what is asked ---- */

static int wait_for(struct repo *r, struct call *call, const char *text, struct error *err)
{
	if (call_wait(call, r, "it is not ready yet", text, err) < 0)
		return -1;
	answer(r, call);
	return 0;
}

static int retry(struct repo *r, struct call *call, const char *text, struct error *err)
{
	(void)text;
	if (r->state == REPO_FAILED && r->all->begun) {
		tell(r, "error", "");
		clone(r);
	}
	return wait_for(r, call, "", err);
}

int repos_begin_command(struct repos *all, struct call *call, struct error *err)
{
	static const struct {
		const char *name;
		int (*run)(struct repo *r, struct call *call, const char *text, struct error *err);
	} commands[] = { { "wait", wait_for }, { "retry", retry } };
	char *text;
	unsigned long number = strtoul(call->name + strcspn(call->name, " "), &text, 10);
	size_t word;

	if (!all || !number || number > all->count)
		return error_set(err, ENOENT, "there is no such repository");
	text += strspn(text, " \t");
	word = strcspn(text, " \t");
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (strlen(commands[i].name) == word && !strncmp(text, commands[i].name, word))
			return commands[i].run(&all->repos[number - 1], call, text + word + strspn(text + word, " \t"), err);
	return error_set(err, EINVAL, "unknown command '%.64s'", text);
}

/* ---- which there are ---- */

/* Whether they are of this list, and of this start. */
static void read_begun(struct runner *runner, const char *hash, bool *same, bool *now)
{
	cleanup_buffer struct buffer text = BUFFER(256);
	struct error ignored;
	unsigned long long generation;
	char *rest;

	*same = *now = false;
	if (file_read(runner_folder(runner), BEGUN, &text, &ignored) < 0 || !text.length)
		return;
	generation = strtoull(text.data, &rest, 10);
	*same = *rest == ' ' && !strncmp(rest + 1, hash, SHA256_HEX_SIZE - 1);
	*now = *same && generation == runner_want(runner)->generation;
}

static int keep_begun(struct runner *runner, const char *hash, struct error *err)
{
	char text[128];

	(void)snprintf(text, sizeof text, "%llu %s\n", (unsigned long long)runner_want(runner)->generation, hash);
	return runner_set_text(runner, BEGUN, text, err);
}

/* A line of its folder, "" where there is none. */
static void read_line(const struct repo *r, const char *name, char out[ERROR_TEXT_SIZE])
{
	cleanup_buffer struct buffer text = BUFFER(2 * ERROR_TEXT_SIZE);
	char path[64];
	struct error ignored;

	(void)snprintf(path, sizeof path, FOLDER "/%u/%s", r->number, name);
	if (file_read(runner_folder(r->all->calls->runner), path, &text, &ignored) < 0)
		buffer_clear(&text);
	(void)snprintf(out, ERROR_TEXT_SIZE, "%s", buffer_last_line(&text));
}

/* How the runner before this one left it. */
static enum repo_state read_state(struct repo *r)
{
	char text[ERROR_TEXT_SIZE];

	read_line(r, "state", text);
	read_line(r, "error", r->failure);
	for (enum repo_state s = REPO_READY; s <= REPO_FAILED; s++)
		if (!strcmp(text, words[s]))
			return s;
	return REPO_WAITING;
}

static int add(struct repos *all, const cJSON *entry, int folder, bool now, struct error *err)
{
	struct repo *r = &all->repos[all->count];
	const char *url = json_word(entry, "url"), *wrong;
	char path[sizeof "/workspace/" + REPOSITORY_NAME_SIZE];

	*r = (struct repo){ .all = all, .number = (unsigned)all->count + 1, .revision = json_string(entry, "revision"),
			    .install = json_string(entry, "install"), .commit = BUFFER(COMMIT_MAX + 1), .said = BUFFER(SAID_MAX) };
	wrong = repository_read(&r->repository, url);
	if (wrong)
		return error_set(err, EINVAL, "'%s' %s", url, wrong);
	if (numbers_give(folder, r->repository.name, r->number, err) < 0)
		return -1;
	all->count++;
	r->state = read_state(r);
	if (r->state == REPO_READY || (now && r->state == REPO_FAILED))
		return 0;
	(void)snprintf(path, sizeof path, "/workspace/%s", r->repository.name);
	tell(r, "url", r->repository.url);
	tell(r, "path", path);
	tell(r, "error", "");
	set_state(r, REPO_WAITING);
	return 0;
}

static int fill(struct repos *all, struct error *err)
{
	struct runner *runner = all->calls->runner;
	cleanup_free char *text = cJSON_PrintUnformatted(all->list);
	cleanup_close int folder = -1;
	char hash[SHA256_HEX_SIZE];
	const cJSON *entry;
	bool same, now;

	if (!text)
		return error_memory(err);
	sha256_hex(text, strlen(text), hash, sizeof hash);
	read_begun(runner, hash, &same, &now);
	if (!same && file_remove_tree(runner_folder(runner), FOLDER, err) < 0)
		return -1;
	if (file_make_folder(runner_folder(runner), FOLDER, 0755, err) < 0)
		return -1;
	folder = file_open_folder(runner_folder(runner), FOLDER, err);
	if (folder < 0)
		return -1;
	cJSON_ArrayForEach(entry, all->list)
		if (add(all, entry, folder, now, err) < 0)
			return -1;
	runner_changed(runner, FOLDER);
	return keep_begun(runner, hash, err);
}

static void remove_all(struct runner *runner)
{
	struct error err;

	if (faccessat(runner_folder(runner), FOLDER, F_OK, AT_SYMLINK_NOFOLLOW))
		return;
	if (file_remove_tree(runner_folder(runner), FOLDER, &err) < 0)
		runner_log(runner, "%s", err.text);
	runner_changed(runner, FOLDER);
}

struct repos *repos_open(struct calls *calls)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(runner_fields(calls->runner), "repos");
	size_t n = (size_t)cJSON_GetArraySize(list);
	struct repos *all = n ? calloc(1, sizeof *all + n * sizeof all->repos[0]) : NULL;
	struct error err;

	if (!n) {
		remove_all(calls->runner);
		return NULL;
	}
	if (all) {
		all->calls = calls;
		all->list = cJSON_Duplicate(list, true);
	}
	if (!all || !all->list)
		(void)error_memory(&err);
	else if (!fill(all, &err))
		return all;
	runner_log(calls->runner, "repos: %s", err.text);
	repos_close(all);
	return NULL;
}

void repos_begin(struct repos *all)
{
	if (!all || all->begun)
		return;
	all->begun = true;
	for (size_t i = 0; i < all->count; i++)
		if (all->repos[i].state == REPO_WAITING)
			clone(&all->repos[i]);
	next_install(all);
}

void repos_close(struct repos *all)
{
	for (size_t i = 0; all && i < all->count; i++) {
		struct repo *r = &all->repos[i];

		if (r->operation) {
			guest_forget(r->operation);
			append_line(r, "\n[interrupted]\n");
		}
		if (r->state == REPO_CLONING || r->state == REPO_INSTALLING)
			set_state(r, REPO_WAITING);
		buffer_free(&r->commit);
		buffer_free(&r->said);
	}
	if (all)
		cJSON_Delete(all->list);
	free(all);
}
