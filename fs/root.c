/* The root of the tree.
 *
 *      README status log error
 *      sandboxes/  workspaces/  notebooks/  sessions/     mkdir makes, config starts, rmdir ends
 *      workspace -> workspaces/default
 *      .fs/NAME                                           a sandbox's files; not listed */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fs/files.h"
#include "fs/show.h"

static const char page[] =
	"interpfs: sandboxes, notebooks and agents as files.\n"
	"\n"
	"A sandbox, a library in it, and a notebook:\n"
	"\n"
	"    mkdir sandboxes/lab && echo 'python_packages: [numpy]' > sandboxes/lab/config\n"
	"    echo wait > sandboxes/lab/ctl; cat sandboxes/lab/state\n"
	"    cp steering.py workspace/libraries/; echo wait > workspace/ctl; cat workspace/installed\n"
	"    mkdir notebooks/probe && echo 'sandbox: lab' > notebooks/probe/config\n"
	"    exec 3<> notebooks/probe/exec; echo 'import numpy; numpy.ones(3)' >&3; cat <&3; exec 3>&-\n"
	"    exec 3<> sandboxes/lab/exec; echo 'uname -a' >&3; cat <&3; exec 3>&-\n"
	"    ls sandboxes/lab/fs/\n"
	"\n"
	"An agent, and what it says as it says it:\n"
	"\n"
	"    exec 3<> sessions/new; printf 'notebook: probe\\n' >&3; read -r n <&3; exec 3>&-\n"
	"    echo 'Find what the vectors do.' > sessions/$n/input\n"
	"    cat sessions/$n/messages.follow\n"
	"\n"
	"Any MCP client can have a notebook's or a sandbox's tools: notebooks/probe/mcp.json.\n"
	"\n"
	"A write that is refused fails, and `error` beside it says why in a sentence. mkdir makes,\n"
	"config starts, rmdir ends. Reading starts nothing. `cat ctl` lists what may be written to it.\n"
	"Beside each log X there is X.follow, unlisted: the whole of X, then what comes, until it rests.\n"
	"\n"
	"Every file:\n"
	"\n";

static int show_readme(const struct node *node, struct buffer *out, struct error *err)
{
	cleanup_buffer struct buffer help = BUFFER(256u << 10);

	(void)node;
	if (buffer_text(out, page) < 0)
		return error_memory(err);
	if (tree_help(&help, err) < 0)
		return -1;
	for (char *line = help.data, *end; line && *line; line = end + 1) {
		char *tab = strchr(line, '\t');

		end = strchr(line, '\n');
		if (!end || !tab || tab > end)
			break;
		if (buffer_format(out, "    %-36.*s %.*s\n", (int)(tab - line), line, (int)(end - tab - 1), tab + 1) < 0)
			return error_memory(err);
	}
	return 0;
}

/* ---- status: a line an object, kept until the object changes ---- */

struct line {
	uint64_t serial;
	struct timespec changed;
	char *text;
};

struct lines {
	struct line *all;
	size_t n, room, at; /* at: how far the old ones have been used */
};

static struct {
	struct lines kinds[OBJECT_KINDS];
	struct timespec names[OBJECT_KINDS];
} known;

static void lines_free(struct lines *lines)
{
	for (size_t i = 0; i < lines->n; i++)
		free(lines->all[i].text);
	free(lines->all);
	memset(lines, 0, sizeof *lines);
}

static bool same_time(struct timespec a, struct timespec b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

/* A session's cost in dollars, "-" where nothing is known. */
static void put_cost(struct object *object, struct buffer *out)
{
	cleanup_buffer struct buffer text = BUFFER(256u << 10);
	int folder = object->kind == OBJECT_SESSION ? object_folder_fd(object) : -1;
	const cJSON *cost;
	struct error err;
	cJSON *usage = NULL;

	if (folder >= 0 && file_read(folder, "usage", &text, &err) == 0 && text.data)
		usage = cJSON_ParseWithLength(text.data, text.length);
	cost = cJSON_GetObjectItemCaseSensitive(usage, "cost");
	if (cJSON_IsNumber(cost))
		(void)buffer_format(out, " $%.4f\n", cost->valuedouble);
	else
		(void)buffer_text(out, " -\n");
	cJSON_Delete(usage);
}

/* "sandbox lab ready 2026-11-25T10:00:00Z workspaces/default -" */
static char *make_line(struct object *object)
{
	cleanup_buffer struct buffer out = BUFFER(64u << 10);
	const struct status *status = &object->status;
	time_t since = (time_t)status->since;
	char when[32] = "-";
	struct tm tm;
	cJSON *spec = object->want.generation ? show_spec(object) : NULL;
	size_t before;

	if (since > 0 && gmtime_r(&since, &tm))
		(void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
	(void)buffer_format(&out, "%s %s %s %s ", object_noun[object->kind], object->name,
			    object_state(object), when);
	before = out.length;
	(void)show_references(spec, &out);
	if (out.length == before)
		(void)buffer_text(&out, "-");
	cJSON_Delete(spec);
	put_cost(object, &out);
	return steal_pointer(&out.data);
}

struct rendering {
	struct lines *old, new_;
	struct buffer *out;
};

static int put_line(void *context, struct object *object)
{
	struct rendering *r = context;
	struct line line = { .serial = object->serial, .changed = object->changed };

	while (r->old->at < r->old->n && r->old->all[r->old->at].serial < object->serial)
		r->old->at++;
	if (r->old->at < r->old->n && r->old->all[r->old->at].serial == object->serial
	    && same_time(r->old->all[r->old->at].changed, object->changed))
		line.text = steal_pointer(&r->old->all[r->old->at].text);
	else
		line.text = make_line(object);
	if (!line.text || buffer_text(r->out, line.text) < 0) {
		free(line.text);
		return -1;
	}
	if (r->new_.n == r->new_.room) {
		size_t room = r->new_.room ? r->new_.room * 2 : 64;
		struct line *all = realloc(r->new_.all, room * sizeof *all);

		if (!all) {
			free(line.text);
			return -1;
		}
		r->new_.all = all;
		r->new_.room = room;
	}
	r->new_.all[r->new_.n++] = line;
	return 0;
}

static int show_status(const struct node *node, struct buffer *out, struct error *err)
{
	bool renamed = false;

	(void)node;
	for (int kind = 0; kind < OBJECT_KINDS; kind++) {
		struct timespec names = objects_changed((enum object_kind)kind);

		renamed = renamed || !same_time(names, known.names[kind]);
		known.names[kind] = names;
	}
	for (int kind = 0; kind < OBJECT_KINDS; kind++) {
		struct rendering r = { .old = &known.kinds[kind], .out = out };
		int failed;

		if (renamed)
			lines_free(r.old);
		r.old->at = 0;
		failed = objects_each((enum object_kind)kind, put_line, &r);
		lines_free(r.old);
		known.kinds[kind] = r.new_;
		if (failed)
			return error_memory(err);
	}
	return 0;
}

/* ---- error: the file of that name, or what a full disk did not take ---- */

static int show_refusal(const struct node *node, struct buffer *out, struct error *err)
{
	if (refusal_unstored(NULL))
		return buffer_text(out, refusal_unstored(NULL)) < 0 ? error_memory(err) : 0;
	return node_read(node, out, err);
}

static void measure_refusal(const struct node *node, struct stat *st)
{
	struct stat found;

	(void)node;
	if (refusal_unstored(NULL)) {
		st->st_size = (off_t)strlen(refusal_unstored(NULL));
	} else if (!fstatat(objects_state()->fd, "error", &found, AT_SYMLINK_NOFOLLOW)) {
		st->st_size = found.st_size;
		st->st_mtim = found.st_mtim;
	}
}

static int show_workspace(const struct node *node, struct buffer *out, struct error *err)
{
	(void)node;
	return buffer_text(out, "workspaces/default") < 0 ? error_memory(err) : 0;
}

static struct row inside_row = {
	.name = "NAME", .kind = FILE_TREE, .call = "root", .help = "a sandbox's files",
};

static struct row root_rows[] = {
	{ .name = "README", .kind = FILE_VALUE, .render = show_readme, .help = "this page" },
	{ .name = "status", .kind = FILE_VALUE, .render = show_status,
	  .help = "a line an object: kind, name, state, since when, what it uses, what it costs" },
	{ .name = "log", .kind = FILE_LOG, .help = "what interpfs itself did" },
	{ .name = "error", .kind = FILE_VALUE, .render = show_refusal, .measure = measure_refusal,
	  .help = "why the last mkdir, rename or new was refused" },
	{ .name = "sandboxes", .kind = FILE_DIRECTORY, .listing = LIST_OBJECTS, .objects = OBJECT_SANDBOX, .child = &sandbox_row,
	  .help = "machines for agents; mkdir makes one" },
	{ .name = "workspaces", .kind = FILE_DIRECTORY, .listing = LIST_OBJECTS, .objects = OBJECT_WORKSPACE,
	  .child = &workspace_row, .help = "libraries, skills and files for them" },
	{ .name = "workspace", .kind = FILE_LINK, .render = show_workspace, .help = "the workspace of everything that names no other" },
	{ .name = "notebooks", .kind = FILE_DIRECTORY, .listing = LIST_OBJECTS, .objects = OBJECT_NOTEBOOK,
	  .child = &notebook_row, .help = "kernels in sandboxes" },
	{ .name = "sessions", .kind = FILE_DIRECTORY, .rows = session_new_rows, .listing = LIST_OBJECTS,
	  .objects = OBJECT_SESSION, .child = &session_row, .help = "agents at work" },
	{ .name = ".fs", .kind = FILE_DIRECTORY, .unlisted = true, .listing = LIST_OBJECTS, .objects = OBJECT_SANDBOX,
	  .child = &inside_row, .help = "sandboxes' files; sandboxes/NAME/fs leads here" },
	{ .name = NULL },
};

struct row root_row = { .name = "", .kind = FILE_DIRECTORY, .rows = root_rows, .help = "the root" };
