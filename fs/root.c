/* The root of the tree.
 *
 *      README status log error
 *      backends/                                          what there is to run sandboxes on
 *      sandboxes/  workspaces/  notebooks/  sessions/     mkdir makes, config starts, rmdir ends
 *      snapshots/                                         a sandbox's ctl makes, rmdir deletes
 *      models/ORG--NAME/                                  what was downloaded for sandboxes
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
#include "fs/backends.h"
#include "fs/files.h"
#include "fs/show.h"
#include "fs/status.h"

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
	"A snapshot, and a sandbox that begins with it; a function that is served from inside:\n"
	"\n"
	"    echo 'snapshot base' > sandboxes/lab/ctl\n"
	"    mkdir sandboxes/two && echo 'from_snapshot: base' > sandboxes/two/config\n"
	"    i=sandboxes/lab/interfaces/tools; mkdir $i\n"
	"    printf '@expose\\ndef double(x: float):\\n    return 2 * x\\n' > $i/interface.py; echo wait > $i/ctl\n"
	"    exec 3<> $i/functions/double; echo '{\"x\": 21}' >&3; cat <&3; exec 3>&-\n"
	"\n"
	"Any MCP client can have a notebook's, a sandbox's or an interface's tools: notebooks/probe/mcp.json.\n"
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
	{ .name = "status", .kind = FILE_VALUE, .render = show_status, .measure = measure_status, .lists = true,
	  .help = "a line an object: kind, name, state, since when, what it uses, what it costs" },
	{ .name = "log", .kind = FILE_LOG, .help = "what interpfs itself did" },
	{ .name = "error", .kind = FILE_VALUE, .render = show_refusal, .measure = measure_refusal,
	  .help = "why the last mkdir, rename or new was refused" },
	{ .name = "backends", .kind = FILE_DIRECTORY, .rows = backend_rows, .help = "where sandboxes run" },
	{ .name = "models", .kind = FILE_DIRECTORY, .listing = LIST_NAMED, .found = true, .drops = model_may_drop, .child = &model_row,
	  .help = "models of the hub that sandboxes have downloaded" },
	{ .name = "sandboxes", .kind = FILE_DIRECTORY, .listing = LIST_OBJECTS, .objects = OBJECT_SANDBOX, .child = &sandbox_row,
	  .help = "machines for agents; mkdir makes one" },
	{ .name = "workspaces", .kind = FILE_DIRECTORY, .listing = LIST_OBJECTS, .objects = OBJECT_WORKSPACE,
	  .child = &workspace_row, .help = "libraries, skills and files for them" },
	{ .name = "workspace", .kind = FILE_LINK, .render = show_workspace, .help = "the workspace of everything that names no other" },
	{ .name = "notebooks", .kind = FILE_DIRECTORY, .listing = LIST_OBJECTS, .objects = OBJECT_NOTEBOOK,
	  .child = &notebook_row, .help = "kernels in sandboxes" },
	{ .name = "sessions", .kind = FILE_DIRECTORY, .rows = session_new_rows, .listing = LIST_OBJECTS,
	  .objects = OBJECT_SESSION, .child = &session_row, .help = "agents at work" },
	{ .name = "snapshots", .kind = FILE_DIRECTORY, .listing = LIST_OBJECTS, .objects = OBJECT_SNAPSHOT,
	  .child = &snapshot_row, .unmade = "a snapshot is made by: echo 'snapshot NAME' > sandboxes/S/ctl",
	  .help = "sandboxes' files as they were" },
	{ .name = ".fs", .kind = FILE_DIRECTORY, .unlisted = true, .listing = LIST_OBJECTS, .objects = OBJECT_SANDBOX,
	  .child = &inside_row, .help = "sandboxes' files; sandboxes/NAME/fs leads here" },
	{ .name = NULL },
};

struct row root_row = { .name = "", .kind = FILE_DIRECTORY, .rows = root_rows, .help = "the root" };
