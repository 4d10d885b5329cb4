/* sandboxes/NAME/ */
#include "fs/rows.h"

static const struct command commands[] = {
	{ "start", "", "start it with its config", COMMAND_START, NULL },
	{ "stop", "", "stop it; its files stay", COMMAND_STOP, NULL },
	{ "restart", "", "stop it and start it again", COMMAND_RESTART, NULL },
	{ "wait", "[SECONDS]", "return when it is ready, or fail", COMMAND_WAIT, NULL },
	{ "extend", "SECONDS", "more time until it is stopped", COMMAND_RUNNER, NULL },
	{ NULL, NULL, NULL, COMMAND_RUNNER, NULL },
};

static struct row rows[] = {
	{ .name = "config", .kind = FILE_DOCUMENT, .help = "what it is to be; closing it starts it", .fields = sandbox_fields },
	{ .name = "state", .kind = FILE_VALUE, .help = "what it is", .render = show_state },
	{ .name = "error", .kind = FILE_VALUE, .help = "why it failed or was refused", .render = show_error },
	{ .name = "log", .kind = FILE_LOG, .help = "what happened to it" },
	{ .name = "ctl", .kind = FILE_CTL, .help = "commands", .commands = commands },
	{ .name = "hold", .kind = FILE_HOLD, .help = "held open, it lives" },
	{ .name = "exec", .kind = FILE_CALL, .help = "a shell command in, its output out", .call = "exec", .exit_line = true },
	{ .name = "python", .kind = FILE_CALL, .help = "Python in, its output out", .call = "python", .exit_line = true },
	{ .name = NULL },
};

struct row sandbox_row = { .name = "NAME", .kind = FILE_DIRECTORY, .help = "a sandbox", .rows = rows };
