/* workspaces/NAME/: libraries, skills and files for agents.
 *
 * libraries/ skills/ files/ are folders on disk, which sandboxes have bound read-only; what is
 * copied in is there at once. When something below libraries/ or skills/ was written, the
 * workspace's runner (backend/workspace.c) looks at it: `installed`, docs.md, modules/. */
#include "fs/workspaces.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "fs/config.h"
#include "fs/mount.h"
#include "fs/show.h"
#include "fs/supervise.h"

int workspace_furnish(int folder, struct error *err)
{
	static const char *const folders[] = { "libraries", "skills", "files", "modules" };

	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
		if (file_make_folder(folder, folders[i], 0755, err) < 0)
			return -1;
	return 0;
}

int workspace_make_default(struct error *err)
{
	struct object *object = objects_find(OBJECT_WORKSPACE, "default");
	uint64_t serial;
	int folder;

	if (!object) {
		if (state_add(objects_state(), OBJECT_WORKSPACE, "default", &serial, err) < 0)
			return error_wrap(err, "workspace default");
		object = objects_add(OBJECT_WORKSPACE, "default", serial);
		if (!object)
			return error_memory(err);
		supervise_poke(mount_supervisor(), OBJECT_WORKSPACE, serial);
	}
	folder = object_folder_fd(object);
	return folder < 0 ? error_errno(err, "workspace default") : workspace_furnish(folder, err);
}

bool workspace_stays(const struct object *object, struct error *err)
{
	if (object->kind != OBJECT_WORKSPACE || strcmp(object->name, "default") != 0)
		return false;
	(void)error_set(err, EPERM, "it stays, with this name: it is the workspace of everything that names no other");
	return true;
}

/* ---- telling its runner ---- */

/* Wants on their way to the disk. A change that comes meanwhile is told by one more, once. */
struct telling {
	struct object *object; /* pinned */
	bool again;
	struct telling *next;
};

static struct telling *tellings;

static void told(void *data, int result, const struct error *error);

static void tell(struct telling *t)
{
	if (object_want(t->object, WANT_RUN, told, t) < 0)
		told(t, 0, NULL);
}

static void told(void *data, int result, const struct error *error)
{
	struct telling *t = data, **at = &tellings;

	(void)result;
	(void)error;
	if (t->again && !t->object->removed && !result) {
		t->again = false;
		tell(t);
		return;
	}
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	object_unpin(t->object);
	free(t);
}

void workspace_touched(uint64_t serial)
{
	struct object *object = objects_by_serial(serial);
	struct telling *t = tellings;

	if (!object || object->removed)
		return;
	while (t && t->object != object)
		t = t->next;
	if (t) {
		t->again = true;
		return;
	}
	t = malloc(sizeof *t);
	if (!t)
		return;
	*t = (struct telling){ .object = object, .next = tellings };
	object_pin(object);
	tellings = t;
	tell(t);
}

static int reload(const struct node *node, const char *arguments, struct error *err)
{
	int folder = object_folder_fd(node->object);

	(void)arguments;
	/* What failed to be installed is tried again. */
	if (folder < 0 || file_replace(folder, "again", "", 0, 0600, false, err) < 0)
		return folder < 0 ? error_errno(err, "workspaces/%s", node->object->name) : -1;
	workspace_touched(node->object->serial);
	return 0;
}

/* ---- its files ---- */

struct users {
	struct object *workspace;
	struct buffer *out;
	bool dated;             /* whether newest is wanted, which costs a stat each */
	struct timespec newest; /* when a config of theirs came into force */
	int failed;
};

#define NO_WORKSPACE UINT64_MAX

/* The workspace of something that may use one; NULL without. Its config is read once: of sessions there are
 * thousands, and each stat of `used-by` asks for them all. */
static struct object *workspace_of(struct object *user)
{
	struct object *workspace;

	if (!user->workspace) {
		cJSON *spec = object_spec(user);
		const cJSON *references = cJSON_GetObjectItemCaseSensitive(spec, "references");
		const cJSON *serial = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(references, "workspace"), "serial");

		if (spec)
			user->workspace = cJSON_IsNumber(serial) && serial->valuedouble >= 1 ? (uint64_t)serial->valuedouble : NO_WORKSPACE;
		cJSON_Delete(spec);
	}
	workspace = user->workspace && user->workspace != NO_WORKSPACE ? objects_by_serial(user->workspace) : NULL;
	return workspace && !workspace->removed ? workspace : NULL;
}

static struct timespec later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec) ? a : b;
}

static int put_user(void *context, struct object *object)
{
	struct users *users = context;
	struct stat st;

	if (workspace_of(object) != users->workspace)
		return users->failed;
	if (buffer_format(users->out, "%s/%s\n", object_folder[object->kind], object->name) < 0)
		users->failed = -1;
	if (users->dated && fstatat(object_folder_fd(object), "spec.json", &st, AT_SYMLINK_NOFOLLOW) == 0)
		users->newest = later(users->newest, st.st_mtim);
	return users->failed;
}

static const enum object_kind user_kinds[] = { OBJECT_SANDBOX, OBJECT_NOTEBOOK, OBJECT_SESSION };

static int find_users(struct users *users)
{
	for (size_t i = 0; i < sizeof user_kinds / sizeof *user_kinds && !users->failed; i++)
		(void)objects_each(user_kinds[i], put_user, users);
	return users->failed;
}

static int show_users(const struct node *node, struct buffer *out, struct error *err)
{
	struct users users = { .workspace = node->object, .out = out };

	return find_users(&users) ? error_memory(err) : 0;
}

/* What used-by said when it was last looked at, and since when. */
struct said {
	uint64_t serial;
	char *text;
	struct timespec since;
	struct said *next;
};

static struct said *all_said;
static struct timespec config_came;

void workspace_users_changed(void) { (void)clock_gettime(CLOCK_REALTIME, &config_came); }

/* When anybody's name or config last became another. */
static struct timespec users_changed(void)
{
	struct timespec when = config_came;

	for (size_t i = 0; i < sizeof user_kinds / sizeof *user_kinds; i++)
		when = later(when, objects_changed(user_kinds[i]));
	return when;
}

static struct said *said_of(const struct object *workspace)
{
	struct said *said = all_said;

	while (said && said->serial != workspace->serial)
		said = said->next;
	if (!said && (said = calloc(1, sizeof *said))) {
		said->serial = workspace->serial;
		said->next = all_said;
		all_said = said;
	}
	return said;
}

static void measure_users(const struct node *node, struct stat *st)
{
	cleanup_buffer struct buffer text = BUFFER(64u << 20);
	struct said *said = said_of(node->object);
	struct users users = { .workspace = node->object, .out = &text, .dated = !said || !said->text,
			       .newest = object_made(node->object) };
	const char *now;

	if (find_users(&users))
		said = NULL;
	now = text.data ? text.data : "";
	st->st_size = (off_t)text.length;
	st->st_mtim = users.newest;
	if (!said)
		return;
	if (!said->text || strcmp(said->text, now) != 0) {
		said->since = said->text ? users_changed() : users.newest;
		free(said->text);
		said->text = strdup(now);
	}
	st->st_mtim = said->since;
}

void workspace_user_rests(struct object *sandbox)
{
	struct object *workspace = workspace_of(sandbox);
	int folder = workspace ? object_folder_fd(workspace) : -1;

	if (folder >= 0 && !faccessat(folder, "distributions.json", F_OK, 0))
		workspace_touched(workspace->serial);
}

void workspace_held(struct object *notebook)
{
	struct object *workspace = workspace_of(notebook);

	if (workspace)
		workspace_touched(workspace->serial);
}

static const struct command workspace_commands[] = {
	{ "wait", "[SECONDS]", "returns when what was copied in has been looked at", COMMAND_WAIT, NULL },
	{ "reload", "", "looks at libraries/ and skills/ again, and installs what failed", COMMAND_HERE, reload },
	{ .name = NULL },
};

static struct row workspace_rows[] = {
	{ .name = "config", .kind = FILE_DOCUMENT, .fields = workspace_fields, .help = "YAML or JSON; a workspace works without one" },
	{ .name = "libraries", .kind = FILE_TREE,
	  .help = "*.py files, packages, skill folders with code.py: on Python's path in every sandbox that uses it; wheels, "
		  "sdists (.tar.gz) and requirements.txt: installed in each of them, also while it runs" },
	{ .name = "installed", .kind = FILE_VALUE, .help = "a line an entry: name, kind, installed or failed, where, why; for what pip installs a line an entry and "
		  "sandbox, waiting without one, installing while it does; held where a kernel has objects of an old library" },
	{ .name = "skills", .kind = FILE_TREE, .help = "a folder with SKILL.md each; agents find them" },
	{ .name = "files", .kind = FILE_TREE, .help = "lands in the sandbox's /workspace/files" },
	{ .name = "init.py", .kind = FILE_DOCUMENT, .help = "run in each kernel before the agent starts" },
	{ .name = "docs.md", .kind = FILE_VALUE, .help = "the libraries' documentation, for a prompt" },
	{ .name = "used-by", .kind = FILE_VALUE, .render = show_users, .measure = measure_users, .help = "what uses it" },
	{ .name = "error", .kind = FILE_VALUE, .render = show_error, .measure = measure_error, .own = true, .help = "why the last write was refused" },
	{ .name = "ctl", .kind = FILE_CTL, .commands = workspace_commands, .help = "takes commands; reading lists them" },
	{ .name = NULL },
};

struct row workspace_row = {
	.name = "NAME", .kind = FILE_DIRECTORY, .rows = workspace_rows, .made = workspace_furnish, .help = "a workspace",
};
