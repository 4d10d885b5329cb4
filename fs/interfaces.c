/* sandboxes/NAME/interfaces/IF/: functions that are served from inside the sandbox.
 *
 *      interface.py helpers.py …    the text, and modules that it imports; closing them serves it
 *      state error log ctl          of that
 *      functions/FN                 a call each: JSON arguments in, the result out
 *      schema.json library/IF.py skill/SKILL.md prompt.md mcp.json      the functions, for others
 *      calls.jsonl                  who called what */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fs/show.h"

/* While the sandbox does not run nothing is served, whatever its runner said last. */
static int show_interface_state(const struct node *node, struct buffer *out, struct error *err)
{
	cleanup_buffer struct buffer said = BUFFER(64);
	int folder = object_folder_fd(node->object);
	const char *state = "draft\n";
	struct error ignored;
	char path[128];
	struct stat st;

	(void)snprintf(path, sizeof path, "interfaces/%u/interface.py", node->index);
	if (folder >= 0 && fstatat(folder, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0) {
		state = "stopped\n";
		if (!object_at_rest(node->object)) {
			state = "loading\n";
			(void)tree_path(node, path, sizeof path);
			if (!file_read(folder, path, &said, &ignored) && said.length && strcmp(said.data, "draft\n") != 0)
				state = said.data;
		}
	}
	return buffer_text(out, state) < 0 ? error_memory(err) : 0;
}

static int show_interface_error(const struct node *node, struct buffer *out, struct error *err)
{
	static const char *const files[] = { "refusal", "failure" };
	int folder = object_folder_fd(node->object);
	size_t before = out->length;

	for (size_t i = 0; folder >= 0 && out->length == before && i < 2; i++) {
		char path[128];

		(void)snprintf(path, sizeof path, "interfaces/%u/%s", node->index, files[i]);
		if (file_read(folder, path, out, err) < 0 && err->code != ENOENT)
			return -1;
	}
	return 0;
}

static const struct command interface_commands[] = {
	{ "wait", "[SECONDS]", "returns when it is ready; fails if it failed", COMMAND_RUNNER, NULL },
	{ "restart", "", "serves it by a new process, and returns when it is ready", COMMAND_RUNNER, NULL },
	{ "parallel", "COUNT", "so many calls at once; 1 at first", COMMAND_RUNNER, NULL },
	{ "timeout", "SECONDS", "after which a call is given up; 3600 at first, 0 never", COMMAND_RUNNER, NULL },
	{ .name = NULL },
};

static struct row function_row = {
	.name = "FN", .kind = FILE_CALL, .call = "function", .help = "JSON arguments in, the result as JSON out",
};

static struct row library_row = {
	.name = "IF.py", .kind = FILE_VALUE, .mode = 0444, .help = "functions that call those of the interface",
};

static struct row skill_rows[] = {
	{ .name = "SKILL.md", .kind = FILE_VALUE, .file = "interfaces/#/SKILL.md", .help = "what there is, for agents" },
	{ .name = NULL },
};

static struct row module_row = {
	.name = "FILE", .kind = FILE_KEPT, .help = "a module that interface.py imports, or a text that it reads",
};

static bool is_there(const struct node *node)
{
	int folder = tree_folder(node);
	char path[128];

	return folder >= 0 && !tree_path(node, path, sizeof path) && !faccessat(folder, path, F_OK, AT_SYMLINK_NOFOLLOW);
}

static struct row interface_rows[] = {
	{ .name = "interface.py", .kind = FILE_DOCUMENT, .file = "interfaces/#/interface.py", .refusals = "interfaces/#/refusal",
	  .help = "Python with @expose functions; closing it serves them" },
	{ .name = "state", .kind = FILE_VALUE, .file = "interfaces/#/state", .render = show_interface_state,
	  .help = "draft loading ready failed stopped" },
	{ .name = "error", .kind = FILE_VALUE, .render = show_interface_error, .help = "why the last write was refused, or why it failed" },
	{ .name = "log", .kind = FILE_LOG, .file = "interfaces/#/log", .turns = true,
	  .help = "what was done for it, and what its functions print" },
	{ .name = "log.1", .kind = FILE_VALUE, .file = "interfaces/#/log.1", .present = is_there, .help = "what was in log before it was full" },
	{ .name = "ctl", .kind = FILE_CTL, .call = "interface", .refusals = "interfaces/#/refusal", .commands = interface_commands,
	  .help = "takes commands; reading lists them" },
	{ .name = "functions", .kind = FILE_DIRECTORY, .file = "interfaces/#/functions", .listing = LIST_FILES,
	  .child = &function_row, .help = "a call a function" },
	{ .name = "schema.json", .kind = FILE_VALUE, .file = "interfaces/#/schema.json", .help = "a JSON Schema for each function" },
	{ .name = "library", .kind = FILE_DIRECTORY, .file = "interfaces/#/library", .listing = LIST_FILES, .child = &library_row,
	  .help = "a client module, for libraries/ of a workspace" },
	{ .name = "skill", .kind = FILE_DIRECTORY, .file = "interfaces/#/skill", .rows = skill_rows, .help = "the same as a skill" },
	{ .name = "prompt.md", .kind = FILE_VALUE, .file = "interfaces/#/prompt.md", .help = "the same as text for a prompt" },
	{ .name = "mcp.json", .kind = FILE_VALUE, .mode = 0400, .render = show_interface_mcp,
	  .help = "the same as an MCP server" },
	{ .name = "calls.jsonl", .kind = FILE_LOG, .file = "interfaces/#/calls.jsonl", .turns = true,
	  .help = "a line a call: who, what, with which arguments, how long, what came back" },
	{ .name = "calls.1.jsonl", .kind = FILE_VALUE, .file = "interfaces/#/calls.1.jsonl", .present = is_there,
	  .help = "what was in calls.jsonl before it was full" },
	{ .name = NULL },
};

struct row interface_row = {
	.name = "IF", .kind = FILE_DIRECTORY, .file = "interfaces/#/code", .rows = interface_rows, .listing = LIST_FILES,
	.child = &module_row, .help = "an interface; files beside interface.py are there for it",
};
