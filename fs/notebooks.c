/* notebooks/NAME/: a kernel in a sandbox, and its notebook on disk. */
#include <fcntl.h>

#include "base/cellstatus.h"
#include "fs/ipynb.h"
#include "fs/show.h"

static int show_word(const struct node *node, enum cellstatus_word word, struct buffer *out, struct error *err)
{
	struct cellstatus status;
	int folder = tree_folder(node);
	char path[64];

	if (folder < 0 || tree_path(node, path, sizeof path) < 0)
		return error_errno(err, "%s", node->row->name);
	if (cellstatus_read(folder, path, &status, err) < 0)
		return -1;
	if (*status.word[word] && buffer_format(out, "%s\n", status.word[word]) < 0)
		return error_memory(err);
	return 0;
}

static int show_cell_state(const struct node *node, struct buffer *out, struct error *err)
{
	return show_word(node, CELLSTATUS_STATE, out, err);
}

static int show_cell_count(const struct node *node, struct buffer *out, struct error *err)
{
	return show_word(node, CELLSTATUS_COUNT, out, err);
}

static int show_cell_duration(const struct node *node, struct buffer *out, struct error *err)
{
	return show_word(node, CELLSTATUS_DURATION, out, err);
}

static void measure_word(const struct node *node, struct stat *st)
{
	cleanup_buffer struct buffer text = BUFFER(CELLSTATUS_LINE);
	struct error ignored;
	struct stat found;
	char path[64];

	if (node->row->render(node, &text, &ignored) == 0)
		st->st_size = (off_t)text.length;
	if (tree_path(node, path, sizeof path) == 0 && fstatat(tree_folder(node), path, &found, AT_SYMLINK_NOFOLLOW) == 0)
		st->st_mtim = found.st_mtim;
}

static int check_notebook(const struct node *node, const cJSON *fields, bool final, cJSON *references,
			  struct fault *fault, struct error *err)
{
	const cJSON *name = cJSON_GetObjectItemCaseSensitive(fields, "sandbox");
	struct object *sandbox, *workspace;
	cJSON *spec;

	(void)node;
	(void)final;
	*fault = (struct fault){ "sandbox", -1 };
	if (refer(OBJECT_SANDBOX, name, references, err) < 0)
		return -1;
	sandbox = objects_find(OBJECT_SANDBOX, name->valuestring);
	spec = sandbox ? object_spec(sandbox) : NULL;
	workspace = spec ? show_reference(spec, "workspace") : objects_find(OBJECT_WORKSPACE, "default");
	cJSON_Delete(spec);
	return workspace ? refer_to(workspace, references, err) : 0;
}

static const struct command notebook_commands[] = {
	{ "wait", "[SECONDS]", "returns when it is idle; fails if it failed", COMMAND_WAIT, NULL },
	{ "interrupt", "", "ends the cell that runs", COMMAND_RUNNER, NULL },
	{ "restart", "", "a new kernel; returns when it is idle", COMMAND_RESTART, NULL },
	{ "shutdown", "", "ends the kernel; the notebook stays", COMMAND_STOP, NULL },
	{ .name = NULL },
};

static struct row output_row = {
	.name = "FILE", .kind = FILE_VALUE, .mode = 0444, .help = "an output as a file: 0.png 1.html 2.json",
};

static struct row image_row = {
	.name = "FILE", .kind = FILE_VALUE, .mode = 0444, .help = "cell-N-K.png of every picture",
};

static struct row cell_rows[] = {
	{ .name = "source", .kind = FILE_INBOX, .file = "cells/#/source", .call = "edit #",
	  .help = "its code; closing it after writing runs the cell again" },
	{ .name = "output", .kind = FILE_VALUE, .file = "cells/#/output", .help = "its text output" },
	{ .name = "outputs", .kind = FILE_DIRECTORY, .file = "cells/#/outputs", .listing = LIST_FILES, .child = &output_row,
	  .help = "its other outputs, a file each" },
	{ .name = "state", .kind = FILE_VALUE, .file = "cells/#/status", .render = show_cell_state, .measure = measure_word,
	  .help = "queued busy ok error interrupted died" },
	{ .name = "duration", .kind = FILE_VALUE, .file = "cells/#/status", .render = show_cell_duration,
	  .measure = measure_word, .help = "seconds" },
	{ .name = "count", .kind = FILE_VALUE, .file = "cells/#/status", .render = show_cell_count, .measure = measure_word,
	  .help = "the kernel's number of the execution" },
	{ .name = NULL },
};

static struct row cell_row = {
	.name = "#", .kind = FILE_DIRECTORY, .file = "cells/#", .rows = cell_rows, .help = "a cell",
};

static struct row notebook_rows[] = {
	{ .name = "config", .kind = FILE_DOCUMENT, .fields = notebook_fields, .check = check_notebook,
	  .help = "YAML or JSON; closing it starts the kernel" },
	{ .name = "state", .kind = FILE_VALUE, .render = show_state, .measure = measure_state, .own = true,
	  .help = "draft starting idle busy stopped failed died" },
	{ .name = "error", .kind = FILE_VALUE, .render = show_error, .measure = measure_error, .own = true,
	  .help = "why the last write was refused, or why it failed" },
	{ .name = "log", .kind = FILE_LOG, .help = "what was done for it" },
	{ .name = "info.json", .kind = FILE_VALUE, .render = show_info, .measure = measure_info, .help = "everything about it, for programs" },
	{ .name = "url", .kind = FILE_VALUE, .mode = 0400, .help = "Jupyter's own page of it, with the token" },
	{ .name = "hold", .kind = FILE_HOLD, .help = "stops it when the last who holds this open has closed it" },
	{ .name = "notebook.ipynb", .kind = FILE_VALUE, .assemble = ipynb_assemble, .measure = ipynb_measure,
	  .help = "the notebook, valid at every moment" },
	{ .name = "exec", .kind = FILE_CALL, .call = "exec", .help = "code in, a new cell's text output out" },
	{ .name = "eval", .kind = FILE_CALL, .call = "eval", .help = "the same without a cell" },
	{ .name = "markdown", .kind = FILE_INBOX, .call = "markdown", .help = "each close adds a Markdown cell" },
	{ .name = "cells", .kind = FILE_DIRECTORY, .listing = LIST_NUMBERS, .child = &cell_row, .help = "a folder a cell" },
	{ .name = "images", .kind = FILE_DIRECTORY, .listing = LIST_FILES, .child = &image_row, .help = "every picture" },
	{ .name = "model_info.md", .kind = FILE_VALUE, .help = "what a prompt should say of the models in the kernel" },
	{ .name = "mcp.json", .kind = FILE_VALUE, .mode = 0400, .render = show_mcp, .help = "its tools, for any MCP client" },
	{ .name = "ctl", .kind = FILE_CTL, .commands = notebook_commands, .help = "takes commands; reading lists them" },
	{ .name = NULL },
};

struct row notebook_row = { .name = "NAME", .kind = FILE_DIRECTORY, .rows = notebook_rows, .help = "a notebook" };
