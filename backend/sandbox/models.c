#include "backend/sandbox/models.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/fetch.h"
#include "backend/sandbox/numbers.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/hubname.h"
#include "base/json.h"

#define VALUE_MAX (16u << 20)

/* ---- numbers ---- */

/* The number of what is called so (0: none is), and the highest that is taken. */
static int look_up(int folder, const char *called, unsigned long *number, unsigned long *last, struct error *err)
{
	cleanup_dir DIR *dir = file_list(folder, ".", 0);
	char path[HUBNAME_MAX + 8], target[32];
	const struct dirent *entry;
	ssize_t n;

	*number = *last = 0;
	if (!dir)
		return error_errno(err, "models");
	while ((entry = readdir(dir))) {
		unsigned long one = isdigit((unsigned char)entry->d_name[0]) ? strtoul(entry->d_name, NULL, 10) : 0;

		if (one > *last)
			*last = one;
	}
	(void)snprintf(path, sizeof path, "names/%s", called);
	n = readlinkat(folder, path, target, sizeof target - 1);
	if (n > 3) {
		target[n] = '\0';
		*number = strtoul(target + 3, NULL, 10);
	}
	return 0;
}

/* The folder of a model, made where there is none. Owned; NULL with err. */
static char *find_folder(const struct state *state, const char *called, struct error *err)
{
	cleanup_free char *above = NULL;
	cleanup_close int folder = -1, lock = -1;
	unsigned long number, last;
	char *path = NULL;

	if (asprintf(&above, "%s/models", state->path) < 0) {
		above = NULL;
		(void)error_memory(err);
		return NULL;
	}
	if (file_make_folder(AT_FDCWD, above, 0700, err))
		return NULL;
	folder = file_open_folder(AT_FDCWD, above, err);
	if (folder < 0)
		return NULL;
	lock = openat(folder, ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX)) { /* for as long as one mkdir takes */
		(void)error_errno(err, "models");
		return NULL;
	}
	if (look_up(folder, called, &number, &last, err))
		return NULL;
	if (!number) {
		number = last + 1;
		if (numbers_give(folder, called, number, err))
			return NULL;
	}
	if (asprintf(&path, "%s/%lu", above, number) < 0) {
		(void)error_memory(err);
		return NULL;
	}
	return path;
}

/* ---- what the tree shows ---- */

struct telling {
	struct sandbox *s;
	size_t number;      /* of the sandbox's own models, from 1 */
	char *folder;       /* of the model that is looked at; borrowed */
	const char *name;
};

static void tell(const struct telling *t, const char *what, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void tell(const struct telling *t, const char *what, const char *format, ...)
{
	cleanup_free char *text = NULL;
	char path[64];
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	(void)snprintf(path, sizeof path, "models/%zu/%s", t->number, what);
	if (text)
		t->s->host->value(t->s->host->context, path, text);
}

static void progressed(void *context, const char *text)
{
	const struct telling *t = context;

	tell(t, "state", "downloading\n");
	tell(t, "progress", "%s", text);
}

/* Another sandbox downloads it. */
static void waiting(void *context)
{
	const struct telling *t = context;
	cleanup_buffer struct buffer text = BUFFER(256);
	cleanup_free char *path = NULL;
	struct error ignored;

	if (asprintf(&path, "%s/progress", t->folder) < 0) {
		path = NULL;
		return;
	}
	if (!file_read(AT_FDCWD, path, &text, &ignored) && text.length)
		progressed(context, text.data);
}

static int read_info(const char *folder, struct buffer *text, struct error *err)
{
	cleanup_free char *path = NULL;

	if (asprintf(&path, "%s/info.json", folder) < 0) {
		path = NULL;
		return error_memory(err);
	}
	return file_read(AT_FDCWD, path, text, err);
}

/* ---- one model ---- */

/* A hidden one whose name could not be taken out of it is refused. */
static int check_hidden(const char *folder, const char *name, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(VALUE_MAX);
	const cJSON *first;
	cJSON *info;

	if (read_info(folder, &text, err))
		return -1;
	info = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	first = cJSON_GetObjectItemCaseSensitive(info, "not_hidden");
	first = first ? first->child : NULL;
	if (first)
		(void)error_set(err, EINVAL, "%s cannot be hidden: %s: %s", name, first->string,
				cJSON_IsString(first) ? first->valuestring : "");
	cJSON_Delete(info);
	return first ? -1 : 0;
}

/* Its folder on this machine, complete. */
static int find(struct telling *t, const char *runtime, const char *name, const char *revision, bool hidden, char **path,
		struct error *err)
{
	char called[HUBNAME_MAX];
	cleanup_free char *folder = NULL;
	struct fetch_of of = { .sandbox = t->s, .runtime = runtime, .name = name, .revision = revision, .progress = progressed,
			       .waiting = waiting, .context = t };

	*path = NULL;
	if (hubname(called, name, revision))
		return error_set(err, ENAMETOOLONG, "its name is too long");
	folder = find_folder(t->s->state, called, err);
	if (!folder)
		return -1;
	t->folder = folder;
	t->name = name;
	if (fetch_model(&of, folder, err))
		return -1;
	t->folder = NULL;
	if (hidden && check_hidden(folder, name, err))
		return -1;
	if (asprintf(path, "%s/%s", folder, hidden ? "hidden" : "files") < 0) {
		*path = NULL;
		return error_memory(err);
	}
	return 0;
}

static void tell_ready(const struct telling *t, const char *path, bool hidden)
{
	cleanup_buffer struct buffer text = BUFFER(VALUE_MAX);
	cleanup_free char *folder = strdup(path), *printed = NULL;
	struct error ignored;
	cJSON *info;

	if (folder && strrchr(folder, '/'))
		*strrchr(folder, '/') = '\0';
	if (folder && !read_info(folder, &text, &ignored) && text.length) {
		info = cJSON_ParseWithLength(text.data, text.length);
		cJSON_DeleteItemFromObjectCaseSensitive(info, "not_hidden");
		if (hidden)
			cJSON_DeleteItemFromObjectCaseSensitive(info, "name");
		printed = info ? cJSON_Print(info) : NULL;
		cJSON_Delete(info);
	}
	if (printed)
		tell(t, "info.json", "%s\n", printed);
	tell(t, "state", "ready\n");
}

/* models/names/VAR in the sandbox's folder. */
static int name_it(const struct telling *t, const char *var, struct error *err)
{
	cleanup_close int folder = -1;

	if (file_make_folder(t->s->folder, "models", 0755, err))
		return -1;
	folder = file_open_folder(t->s->folder, "models", err);
	if (folder < 0 || numbers_give(folder, var, t->number, err))
		return -1;
	t->s->host->value(t->s->host->context, "models", NULL);
	return 0;
}

static int find_one(struct telling *t, const char *runtime, const cJSON *entry, struct sandbox_model *m, struct error *err)
{
	const char *name = json_string(entry, "name"), *base = json_string(entry, "base_model");
	bool hidden = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(entry, "hidden"));
	int result;

	m->var = json_string(entry, "var_name");
	if (!name || !m->var)
		return error_set(err, EINVAL, "models: each has a name and a var_name");
	if (name_it(t, m->var, err))
		return -1;
	tell(t, "path", "/models/%s\n", m->var);
	if (!hidden)
		tell(t, "name", "%s\n", name);
	tell(t, "state", "waiting\n");
	result = find(t, runtime, name, json_string(entry, "revision"), hidden, &m->path, err);
	if (!result && base)
		result = find(t, runtime, base, NULL, hidden, &m->base, err);
	if (result) {
		tell(t, "state", "failed\n");
		return error_wrap(err, "models");
	}
	tell_ready(t, m->path, hidden);
	return 0;
}

int sandbox_models_find(struct sandbox *s, const char *runtime, struct sandbox_models *models, struct error *err)
{
	const cJSON *list = sandbox_field(s, "models"), *entry;
	struct telling t = { .s = s };
	int n = cJSON_GetArraySize(list);

	sandbox_models_free(models);
	if (file_remove_tree(s->folder, "models", err))
		return -1;
	if (!n)
		return 0;
	models->list = calloc((size_t)n, sizeof *models->list);
	if (!models->list)
		return error_memory(err);
	cJSON_ArrayForEach(entry, list) {
		t.number++;
		if (find_one(&t, runtime, entry, &models->list[models->count++], err))
			return -1;
	}
	return 0;
}

static int visit_one(const char *path, const char *var, const char *suffix,
		     int (*visit)(void *context, const char *path, const char *inside, const char *variable, struct error *err),
		     void *context, struct error *err)
{
	cleanup_free char *inside = NULL, *variable = NULL;

	if (asprintf(&inside, "/models/%s%s", var, suffix) < 0)
		inside = NULL;
	if (!inside || asprintf(&variable, "MODEL_%s%s_PATH", var, suffix) < 0) {
		variable = NULL;
		return error_memory(err);
	}
	for (char *c = variable; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	return visit(context, path, inside, variable, err);
}

int sandbox_models_each(const struct sandbox_models *models,
			int (*visit)(void *context, const char *path, const char *inside, const char *variable, struct error *err),
			void *context, struct error *err)
{
	for (size_t i = 0; i < models->count; i++) {
		const struct sandbox_model *m = &models->list[i];

		if (visit_one(m->path, m->var, "", visit, context, err) || (m->base && visit_one(m->base, m->var, "_base", visit, context, err)))
			return -1;
	}
	return 0;
}

static int plan_one(void *context, const char *path, const char *inside, const char *variable, struct error *err)
{
	return plan_bind(context, path, inside, false, err) || plan_env(context, variable, inside, err) ? -1 : 0;
}

int sandbox_models_plan(struct plan *plan, const struct sandbox_models *models, struct error *err)
{
	return sandbox_models_each(models, plan_one, plan, err);
}

void sandbox_models_free(struct sandbox_models *models)
{
	for (size_t i = 0; i < models->count; i++) {
		free(models->list[i].path);
		free(models->list[i].base);
	}
	free(models->list);
	*models = (struct sandbox_models){ NULL, 0 };
}
