/* models/ORG--NAME/: models of the hub that sandboxes have downloaded (backend/sandbox/models.h).
 *
 *      state size path revision used-by     rmdir drops the copy
 *
 * Sandboxes' runners write what is here; the mount only shows it, and drops what nobody uses. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hubname.h"
#include "base/json.h"
#include "fs/numbered.h"
#include "fs/show.h"

/* ---- who uses it ---- */

struct users {
	const char *called;
	struct buffer *out;
	const char *between;
	int failed;
};

static bool is_named(const struct users *users, const cJSON *model, const char *name, const char *revision)
{
	const char *text = json_string(model, name);
	char called[HUBNAME_MAX];

	return text && !hubname(called, text, revision) && !strcmp(called, users->called);
}

static bool names_it(const struct users *users, const cJSON *spec)
{
	const cJSON *fields = cJSON_GetObjectItemCaseSensitive(spec, "fields"), *model;

	cJSON_ArrayForEach(model, cJSON_GetObjectItemCaseSensitive(fields, "models")) {
		const char *revision = json_string(model, "revision");

		if (is_named(users, model, "name", revision) || is_named(users, model, "base_model", NULL))
			return true;
	}
	return false;
}

static int put_user(void *context, struct object *object)
{
	struct users *users = context;
	cJSON *spec = object_at_rest(object) ? NULL : object_spec(object);

	if (names_it(users, spec) && buffer_format(users->out, "%s%s/%s", users->out->length ? users->between : "",
						   object_folder[object->kind], object->name) < 0)
		users->failed = -1;
	cJSON_Delete(spec);
	return users->failed;
}

struct search {
	uint32_t index;
	char called[HUBNAME_MAX];
};

static int is_it(void *context, const char *name, const struct node *child)
{
	struct search *search = context;

	if (child->index != search->index)
		return 0;
	(void)snprintf(search->called, sizeof search->called, "%s", name);
	return 1;
}

static int show_users(const struct node *node, struct buffer *out, struct error *err)
{
	struct search search = { .index = node->index };
	const struct row models = { .name = "models", .child = &model_row };
	const struct node above = { .row = &models };
	struct users users = { .called = search.called, .out = out, .between = "\n" };

	(void)numbered_list(&above, is_it, &search);
	if (*search.called && objects_each(OBJECT_SANDBOX, put_user, &users))
		return error_memory(err);
	return out->length && buffer_text(out, "\n") < 0 ? error_memory(err) : 0;
}

int model_may_drop(const struct node *node, const char *name, struct error *err)
{
	cleanup_buffer struct buffer out = BUFFER(ERROR_TEXT_SIZE);
	struct users users = { .called = name, .out = &out, .between = ", " };

	(void)node;
	(void)objects_each(OBJECT_SANDBOX, put_user, &users);
	return out.length ? error_set(err, EBUSY, "it is in use by %s", out.data) : 0;
}

/* ---- how it is ---- */

/* Whoever downloads holds the lock. */
static bool is_locked(int folder, uint32_t number)
{
	cleanup_close int lock = -1;
	char path[64];

	(void)snprintf(path, sizeof path, "models/%u/lock", number);
	lock = openat(folder, path, O_RDONLY | O_CLOEXEC);
	return lock >= 0 && flock(lock, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

static int show_model_state(const struct node *node, struct buffer *out, struct error *err)
{
	int folder = tree_folder(node);
	char path[64];
	struct stat st;
	const char *state;

	(void)snprintf(path, sizeof path, "models/%u/files", node->index);
	state = folder < 0 ? "" : !fstatat(folder, path, &st, AT_SYMLINK_NOFOLLOW) ? "ready\n" :
		is_locked(folder, node->index) ? "downloading\n" : "partial\n";
	return buffer_text(out, state) < 0 ? error_memory(err) : 0;
}

static struct row model_rows[] = {
	{ .name = "state", .kind = FILE_VALUE, .render = show_model_state,
	  .help = "downloading, ready, or partial (cut; the next sandbox that wants it goes on)" },
	{ .name = "size", .kind = FILE_VALUE, .file = "models/#/size", .help = "bytes" },
	{ .name = "path", .kind = FILE_VALUE, .file = "models/#/path", .help = "where its files are on this machine" },
	{ .name = "revision", .kind = FILE_VALUE, .file = "models/#/revision", .help = "the commit that was downloaded" },
	{ .name = "used-by", .kind = FILE_VALUE, .render = show_users, .help = "sandboxes that have it inside" },
	{ .name = NULL },
};

struct row model_row = {
	.name = "ORG--NAME", .kind = FILE_DIRECTORY, .file = "models/#", .rows = model_rows, .help = "a model of the hub; rmdir drops the copy",
};
