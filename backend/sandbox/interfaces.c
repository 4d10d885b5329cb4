/* Which interfaces there are, what lies in their folders, and what is asked of them: see interfaces.h. */
#include "backend/sandbox/interfaces_own.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define FOLDER "interfaces"
#define NAMES FOLDER "/names"
#define NUMBER_MAX 4095u
#define SOURCE_MAX (900u << 10)  /* of all files together: they go in with one command's input */
#define PARALLEL_MAX 1024
#define TIMEOUT 3600.0
#define CODE "interface.py"

static const char *const state_words[] = { "draft", "loading", "ready", "failed" };

const char *interface_path(const struct interface *it, const char *name, char path[INTERFACE_PATH])
{
	(void)snprintf(path, INTERFACE_PATH, FOLDER "/%u/%s", it->number, name);
	return path;
}

void interface_write(const struct interface *it, const char *name, const char *older, const void *data, size_t n)
{
	char path[INTERFACE_PATH], moved[INTERFACE_PATH];
	struct error ignored;

	(void)runner_append_turning(it->all->runner, interface_path(it, name, path), interface_path(it, older, moved), data, n,
				    &ignored);
}

void interface_log(const struct interface *it, const char *format, ...)
{
	cleanup_buffer struct buffer line = BUFFER(8192);
	char stamp[32] = "", text[4096];
	time_t now = time(NULL);
	struct tm tm;
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (gmtime_r(&now, &tm))
		(void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (!buffer_format(&line, "%s %s\n", stamp, text))
		interface_write(it, INTERFACE_LOG, line.data, line.length);
}

/* ---- what lies there ---- */

static int read_source(int folder, const char *path, cJSON *files, const char *name, size_t *total, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(SOURCE_MAX);

	if (file_read(folder, path, &text, err) < 0)
		return err->code == EFBIG ? error_set(err, EFBIG, "%s has more than %u KiB", name, SOURCE_MAX >> 10) : -1;
	*total += text.length;
	if (*total > SOURCE_MAX)
		return error_set(err, EFBIG, "interface.py and what lies beside it have more than %u KiB together",
				 SOURCE_MAX >> 10);
	if (text.length && memchr(text.data, '\0', text.length))
		return error_set(err, EINVAL, "%s has a NUL in it: only text can lie beside interface.py", name);
	return cJSON_AddStringToObject(files, name, text.length ? text.data : "") ? 0 : error_memory(err);
}

/* Calls visit for each file beside interface.py, in any order, until it returns non-zero. */
static int each_module(const struct interface *it, int (*visit)(void *context, int folder, const char *name), void *context)
{
	char path[INTERFACE_PATH];
	cleanup_dir DIR *dir = file_list(runner_folder(it->all->runner), interface_path(it, "code", path), 0);
	struct dirent *entry;
	int result = 0;

	while (dir && !result && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && entry->d_type == DT_REG)
			result = visit(context, dirfd(dir), entry->d_name);
	return result;
}

struct reading {
	cJSON *files;
	size_t total;
	struct error *err;
};

static int read_module(void *context, int folder, const char *name)
{
	struct reading *r = context;

	return read_source(folder, name, r->files, name, &r->total, r->err);
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(cJSON *const *)a)->string, (*(cJSON *const *)b)->string);
}

/* The order of a listing means nothing, and what is served is known by its hash. */
static int sort_members(cJSON *object, struct error *err)
{
	size_t n = (size_t)cJSON_GetArraySize(object), i = 0;
	cleanup_free cJSON **all = calloc(n + 1, sizeof(*all));

	if (!all)
		return error_memory(err);
	while (object->child)
		all[i++] = cJSON_DetachItemViaPointer(object, object->child);
	qsort(all, n, sizeof *all, by_name);
	for (i = 0; i < n; i++)
		if (!cJSON_AddItemToObject(object, all[i]->string, all[i]))
			return error_memory(err);
	return 0;
}

cJSON *interface_read(const struct interface *it, struct error *err)
{
	cJSON *whole = cJSON_CreateObject(), *files = cJSON_AddObjectToObject(whole, "files");
	struct reading reading = { files, 0, err };
	char path[INTERFACE_PATH];

	if (!files)
		(void)error_memory(err);
	else if (!read_source(runner_folder(it->all->runner), interface_path(it, CODE, path), files, CODE, &reading.total, err) &&
		 !each_module(it, read_module, &reading) && !sort_members(files, err))
		return whole;
	cJSON_Delete(whole);
	return NULL;
}

void interface_hash(const cJSON *source, char sha[SHA256_HEX_SIZE])
{
	cleanup_free char *text = source ? cJSON_PrintUnformatted(source) : NULL;

	sha[0] = '\0';
	if (text)
		sha256_hex(text, strlen(text), sha, SHA256_HEX_SIZE);
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	return (hash ^ value) * UINT64_C(0x100000001b3);
}

struct stamping {
	uint64_t hash;
};

static int stamp_file(void *context, int folder, const char *name)
{
	struct stamping *s = context;
	uint64_t one = UINT64_C(0xcbf29ce484222325);
	struct stat st;

	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	for (const char *p = name; *p; p++)
		one = mix(one, (unsigned char)*p);
	one = mix(mix(mix(one, (uint64_t)st.st_ino), (uint64_t)st.st_size),
		  (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec);
	s->hash += one; /* whatever the order */
	return 0;
}

static uint64_t stamp(const struct interface *it)
{
	struct stamping s = { 1 };
	char path[INTERFACE_PATH];

	(void)stamp_file(&s, runner_folder(it->all->runner), interface_path(it, CODE, path));
	(void)each_module(it, stamp_file, &s);
	return s.hash;
}

static bool is_draft(const struct interface *it)
{
	char path[INTERFACE_PATH];
	struct stat st;

	return fstatat(runner_folder(it->all->runner), interface_path(it, CODE, path), &st, AT_SYMLINK_NOFOLLOW) < 0 || !st.st_size;
}

/* Serves what lies there now, unless that is what is served. */
static void look(struct interface *it)
{
	uint64_t now = stamp(it);
	cJSON *source;
	char sha[SHA256_HEX_SIZE];
	struct error err;

	if (now == it->stamp || !it->all->guest)
		return;
	it->stamp = now;
	source = is_draft(it) ? NULL : interface_read(it, &err);
	interface_hash(source, sha);
	cJSON_Delete(source);
	/* The same text does nothing, unless it failed. */
	if (*sha && !strcmp(sha, it->sha) && it->state != INTERFACE_FAILED)
		return;
	memcpy(it->sha, sha, sizeof sha);
	memset(it->died, 0, sizeof it->died);
	if (it->generation)
		interface_serve(it);
	else
		interface_adopt(it);
}

/* ---- which there are ---- */

static void free_interface(struct interface *it)
{
	struct interface **at = &it->all->list;

	while (*at != it)
		at = &(*at)->next;
	*at = it->next;
	functions_refuse(it, ENOENT, "the interface was removed");
	servers_forget(it);
	free(it->name);
	free(it);
}

static void remove_interface(struct interface *it)
{
	char path[INTERFACE_PATH];
	struct error ignored;
	int folder = runner_folder(it->all->runner);
	unsigned number = it->number;

	if (it->server)
		server_retire(it->server);
	free_interface(it);
	(void)snprintf(path, sizeof path, FOLDER "/%u", number);
	(void)file_remove_tree(folder, path, &ignored);
}

static struct interface *find(const struct interfaces *all, unsigned number)
{
	struct interface *it = all->list;

	while (it && it->number != number)
		it = it->next;
	return it;
}

/* What was given by ctl: "PARALLEL TIMEOUT". It lasts as long as the interface. */
static void read_settings(struct interface *it)
{
	cleanup_buffer struct buffer text = BUFFER(64);
	char path[INTERFACE_PATH], *rest;
	struct error ignored;
	long parallel;

	if (file_read(runner_folder(it->all->runner), interface_path(it, "settings", path), &text, &ignored) || !text.length)
		return;
	parallel = strtol(text.data, &rest, 10);
	it->parallel = parallel >= 1 && parallel <= PARALLEL_MAX ? (int)parallel : 1;
	it->timeout = strtod(rest, NULL);
	if (!(it->timeout >= 0))
		it->timeout = TIMEOUT;
}

static int keep_settings(const struct interface *it, struct error *err)
{
	char path[INTERFACE_PATH], text[64];

	(void)snprintf(text, sizeof text, "%d %.3f\n", it->parallel, it->timeout);
	return runner_set_text(it->all->runner, interface_path(it, "settings", path), text, err);
}

static void add(struct interfaces *all, unsigned number, const char *name)
{
	struct interface *it = find(all, number);
	char *copy = it && !strcmp(it->name, name) ? NULL : strdup(name);

	if (it) {
		it->seen = true;
		if (copy) { /* renamed */
			free(it->name);
			it->name = copy;
			it->stamp = 0;
			it->sha[0] = '\0';
		}
		return;
	}
	it = copy ? calloc(1, sizeof *it) : NULL;
	if (!it) {
		free(copy);
		return;
	}
	*it = (struct interface){ .all = all, .number = number, .name = copy, .seen = true, .parallel = 1,
				  .timeout = TIMEOUT, .next = all->list };
	all->list = it;
	read_settings(it);
}

static void scan(struct interfaces *all)
{
	cleanup_dir DIR *dir = file_list(runner_folder(all->runner), NAMES, 0);
	struct dirent *entry;

	for (struct interface *it = all->list; it; it = it->next)
		it->seen = false;
	while (dir && (entry = readdir(dir))) {
		char target[32];
		ssize_t n = entry->d_name[0] == '.' ? -1 : readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
		unsigned long number;
		char *end;

		if (n < 4)
			continue;
		target[n] = '\0';
		number = strtoul(target + 3, &end, 10);
		if (!strncmp(target, "../", 3) && !*end && number && number <= NUMBER_MAX)
			add(all, (unsigned)number, entry->d_name);
	}
	for (struct interface *it = all->list, *next; it; it = next) {
		next = it->next;
		if (!it->seen)
			remove_interface(it);
	}
}

void interfaces_look(struct interfaces *all)
{
	if (!all->guest)
		return;
	scan(all);
	for (struct interface *it = all->list; it; it = it->next)
		look(it);
}

/* ---- states ---- */

static bool answers(const struct interface *it, struct call *call)
{
	switch (it->state) {
	case INTERFACE_READY:
		call_end(call, 0, 0, "");
		return true;
	case INTERFACE_FAILED:
		call_end(call, EIO, 0, it->failure);
		return true;
	case INTERFACE_DRAFT:
		call_end(call, EINVAL, 0, "wait: it is a draft: interface.py is empty");
		return true;
	case INTERFACE_LOADING:
		break;
	}
	return false;
}

void interface_set_state(struct interface *it, enum interface_state state, const char *why)
{
	struct runner *r = it->all->runner;
	cleanup_buffer struct buffer failure = BUFFER(2 * ERROR_TEXT_SIZE);
	char path[INTERFACE_PATH], line[32];
	struct error ignored;

	it->state = state;
	if (!buffer_text(&failure, why))
		runner_scrub(r, &failure); /* the process's own words */
	(void)snprintf(it->failure, sizeof it->failure, "%s", failure.data ? failure.data : "");
	if (*it->failure)
		(void)buffer_text(&failure, "\n");
	(void)runner_set_text(r, interface_path(it, "failure", path), failure.data ? failure.data : "", &ignored);
	(void)snprintf(line, sizeof line, "%s\n", state_words[state]);
	(void)runner_set_text(r, interface_path(it, "state", path), line, &ignored);
	if (state == INTERFACE_FAILED || state == INTERFACE_DRAFT) {
		interface_untell(it);
		functions_refuse(it, state == INTERFACE_FAILED ? EIO : EINVAL,
				 *why ? why : "the interface is a draft: interface.py is empty");
	}
	for (struct call *c = it->all->calls->list, *next; c; c = next) {
		next = c->next;
		if (c->waits == it)
			(void)answers(it, c);
	}
	if (state == INTERFACE_READY)
		functions_begin(it);
}

/* ---- what is asked ---- */

/* "WORD N REST": the interface of that number, and what follows. */
static struct interface *addressed(struct interfaces *all, const char *line, const char **text, struct error *err)
{
	char *end;
	unsigned long number = strtoul(line + strcspn(line, " "), &end, 10);
	struct interface *it = number <= NUMBER_MAX ? find(all, (unsigned)number) : NULL;

	if (!it) {
		interfaces_look(all); /* it may have been made just now */
		it = number <= NUMBER_MAX ? find(all, (unsigned)number) : NULL;
	}
	if (!it) {
		(void)error_set(err, ENOENT, "there is no such interface");
		return NULL;
	}
	look(it);
	*text = end + (*end == ' ');
	return it;
}

int interfaces_begin_function(struct interfaces *all, struct call *call, struct error *err)
{
	const char *text, *who;
	struct interface *it = addressed(all, call->name, &text, err);
	cleanup_free char *name = NULL;

	if (!it)
		return -1;
	if (it->state == INTERFACE_FAILED)
		return error_set(err, EIO, "the interface has failed: %s", it->failure);
	if (it->state == INTERFACE_DRAFT)
		return error_set(err, EINVAL, "the interface is a draft: interface.py is empty");
	who = strchr(text, ' ');
	name = strndup(text, who ? (size_t)(who - text) : strlen(text));
	if (!name || !(call->function = function_make(it, FUNCTION_CALL, call, name, who ? who + 1 : "")))
		return error_memory(err);
	functions_begin(it);
	return 0;
}

static const char late[] = "the interface is still loading";

static int wait_for(struct interface *it, struct call *call, const char *text, struct error *err)
{
	if (call_wait(call, it, late, text, err) < 0)
		return -1;
	(void)answers(it, call);
	return 0;
}

static int restart(struct interface *it, struct call *call, const char *text, struct error *err)
{
	(void)text;
	if (it->state == INTERFACE_DRAFT)
		return error_set(err, EINVAL, "restart: it is a draft: interface.py is empty");
	memset(it->died, 0, sizeof it->died);
	interface_serve(it);
	return wait_for(it, call, "", err);
}

static int set_parallel(struct interface *it, struct call *call, const char *text, struct error *err)
{
	double count;

	if (call_take_number("parallel", text, 1, PARALLEL_MAX, &count, err) < 0)
		return -1;
	it->parallel = (int)count;
	if (keep_settings(it, err) < 0)
		return -1;
	functions_begin(it);
	call_end(call, 0, 0, "");
	return 0;
}

static int set_timeout(struct interface *it, struct call *call, const char *text, struct error *err)
{
	double seconds;

	if (call_take_number("timeout", text, 0, 1e9, &seconds, err) < 0)
		return -1;
	it->timeout = seconds;
	if (keep_settings(it, err) < 0)
		return -1;
	call_end(call, 0, 0, "");
	return 0;
}

int interfaces_begin_command(struct interfaces *all, struct call *call, struct error *err)
{
	static const struct {
		const char *name;
		int (*run)(struct interface *it, struct call *call, const char *text, struct error *err);
	} commands[] = {
		{ "wait", wait_for }, { "restart", restart }, { "parallel", set_parallel }, { "timeout", set_timeout },
	};
	const char *text;
	struct interface *it = addressed(all, call->name, &text, err);
	size_t word = it ? strcspn(text, " \t") : 0;

	for (size_t i = 0; it && i < sizeof commands / sizeof *commands; i++)
		if (strlen(commands[i].name) == word && !strncmp(text, commands[i].name, word))
			return commands[i].run(it, call, text + word + strspn(text + word, " \t"), err);
	return it ? error_set(err, EINVAL, "unknown command '%.64s'", text) : -1;
}

/* ---- their life ---- */

int interfaces_open(struct interfaces **interfaces, struct calls *calls, struct error *err)
{
	struct interfaces *all = calloc(1, sizeof *all);

	if (!all)
		return error_memory(err);
	all->calls = calls;
	all->runner = calls->runner;
	*interfaces = all;
	return 0;
}

void interfaces_close(struct interfaces *all)
{
	if (!all)
		return;
	interfaces_attach(all, NULL);
	while (all->list)
		free_interface(all->list);
	free(all);
}

void interfaces_attach(struct interfaces *all, struct guest *guest)
{
	all->guest = guest;
	if (!guest) {
		for (struct interface *it = all->list; it; it = it->next) {
			servers_forget(it);
			it->stamp = 0;
			it->generation = 0;
			it->sha[0] = '\0';
		}
		return;
	}
	interfaces_look(all);
}
