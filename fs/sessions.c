/* sessions/N/: an agent at work. `sessions/new` makes one from a config and tells its number on
 * the same descriptor; `sessions/latest` is the newest.
 *
 * The conversation is the session runner's; the mount puts what the user says into its inbox. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/content.h"
#include "base/json.h"
#include "fs/config.h"
#include "fs/show.h"

/* What is to be replayed must be there: a path, or a session's name. */
static int check_replay(const cJSON *replay, struct error *err)
{
	const char *source = cJSON_GetStringValue(replay);
	char out[JUDGE_SHOWN];

	if (source && *source != '/' && !objects_find(OBJECT_SESSION, source))
		return error_set(err, ENOENT, "there is no session '%s' to replay", judge_shown(source, out));
	if (source && *source == '/' && access(source, R_OK) < 0)
		return error_errno(err, "replay: %s", judge_shown(source, out));
	return 0;
}

/* sandboxes/NAME/interfaces/IF, as fields.c has checked: a reference with its number. */
static int refer_interface(const char *text, cJSON *references, struct error *err)
{
	char name[256] = "", interface[256] = "", out[JUDGE_SHOWN];
	cleanup_json cJSON *sandbox = cJSON_CreateObject(), *word = NULL;
	struct node directory, child;
	cJSON *one;

	(void)sscanf(text, "sandboxes/%255[^/]/interfaces/%255[^/]", name, interface);
	word = cJSON_CreateString(name);
	if (!sandbox || !word)
		return error_memory(err);
	if (refer(OBJECT_SANDBOX, word, sandbox, err) < 0)
		return -1;
	directory = (struct node){ .row = &sandbox_row, .object = objects_find(OBJECT_SANDBOX, name) };
	if (tree_find(&directory, "interfaces", &child) < 0 || (directory = child, tree_find(&directory, interface, &child) < 0))
		return error_set(err, ENOENT, "there is no '%s'; mkdir makes one", judge_shown(text, out));
	one = cJSON_DetachItemFromObjectCaseSensitive(sandbox, "sandbox");
	if (!one || !cJSON_AddItemToObject(references, "interface", one)) {
		cJSON_Delete(one);
		return error_memory(err);
	}
	return cJSON_AddNumberToObject(one, "number", child.index) ? 0 : error_memory(err);
}

/* Its agent has a place to work in, or just an interface's functions. */
static int check_servers(const cJSON *fields, cJSON *references, struct fault *fault, struct error *err)
{
	const cJSON *servers = cJSON_GetObjectItemCaseSensitive(fields, "mcp");
	static const char *const places[] = { "notebook", "sandbox" };

	*fault = (struct fault){ "mcp", -1 };
	if (!cJSON_GetArraySize(servers))
		return 0;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(fields, places[i])))
			return error_set(err, ENOTSUP, "mcp: with a %s its tools are all that a session can have in this version", places[i]);
	if (cJSON_GetArraySize(servers) > 1)
		return error_set(err, ENOTSUP, "mcp: a session can have one interface in this version");
	return refer_interface(cJSON_GetStringValue(servers->child), references, err);
}

static int check_session(const struct node *node, const cJSON *fields, bool final, cJSON *references,
			 struct fault *fault, struct error *err)
{
	static const struct {
		const char *name;
		enum object_kind kind;
	} named[] = { { "notebook", OBJECT_NOTEBOOK }, { "sandbox", OBJECT_SANDBOX }, { "workspace", OBJECT_WORKSPACE } };
	const cJSON *notebook = cJSON_GetObjectItemCaseSensitive(fields, "notebook");
	const cJSON *sandbox = cJSON_GetObjectItemCaseSensitive(fields, "sandbox");
	const cJSON *workspace = cJSON_GetObjectItemCaseSensitive(fields, "workspace");
	const cJSON *replay = cJSON_GetObjectItemCaseSensitive(fields, "replay");
	const char *provider = json_string(fields, "provider");
	bool replays = provider && !strcmp(provider, "replay");
	struct object *host = NULL, *used = NULL;
	cJSON *spec = NULL;

	(void)node;
	for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
		*fault = (struct fault){ named[i].name, -1 };
		if (refer(named[i].kind, cJSON_GetObjectItemCaseSensitive(fields, named[i].name), references, err) < 0)
			return -1;
	}
	*fault = (struct fault){ "sandbox", -1 };
	if (cJSON_IsString(notebook) && cJSON_IsString(sandbox))
		return error_set(err, EINVAL, "give notebook or sandbox, not both: a notebook has its sandbox");
	if (check_servers(fields, references, fault, err) < 0)
		return -1;
	*fault = (struct fault){ "replay", -1 };
	if (check_replay(replay, err) < 0)
		return -1;
	if (final && replays != cJSON_IsString(replay)) {
		fault->field = replays ? "provider" : "replay";
		return error_set(err, EINVAL, replays ? "provider replay needs the field replay: a session, a folder or a file"
						      : "replay goes with provider: replay");
	}
	if (cJSON_IsString(notebook))
		host = objects_find(OBJECT_NOTEBOOK, notebook->valuestring);
	else if (cJSON_IsString(sandbox))
		host = objects_find(OBJECT_SANDBOX, sandbox->valuestring);
	spec = host ? object_spec(host) : NULL;
	used = spec ? show_reference(spec, "sandbox") : NULL;
	if (used && refer_to(used, references, err) < 0) {
		cJSON_Delete(spec);
		return -1;
	}
	used = spec ? show_reference(spec, "workspace") : objects_find(OBJECT_WORKSPACE, "default");
	cJSON_Delete(spec);
	return used && !cJSON_IsString(workspace) ? refer_to(used, references, err) : 0;
}

/* The prompt is frozen with the first turn, so that what was signed and cached stays valid. */
static int judge_prompt(const struct node *node, const char *text, size_t n, bool final, struct error *err)
{
	if (has_file(node, "messages.jsonl"))
		return error_set(err, EBUSY, "the first turn has been sent with it; make a new session to change it");
	return final ? judge_text(text, n, true, err) : 0;
}

/* A message is text, or JSON content blocks where it begins with '['. */
static int judge_input(const struct node *node, const char *text, size_t n, bool final, struct error *err)
{
	cJSON *blocks;
	int code;

	if (!config_exists(node->object))
		return error_set(err, EINVAL, "the session has no config yet; write it first");
	if (!final)
		return 0;
	if (judge_text(text, n, true, err) < 0)
		return -1;
	blocks = content_parse(text, n);
	code = blocks ? content_check(blocks, err) : 0;
	cJSON_Delete(blocks);
	return code;
}

static int show_latest(const struct node *node, struct buffer *out, struct error *err)
{
	const struct object *latest = objects_latest(OBJECT_SESSION);

	(void)node;
	if (!latest)
		return error_set(err, ENOENT, "there is no session yet");
	return buffer_text(out, latest->name) < 0 ? error_memory(err) : 0;
}

static bool has_latest(const struct node *node)
{
	(void)node;
	return objects_latest(OBJECT_SESSION) != NULL;
}

static const struct command session_commands[] = {
	{ "start", "", "the first turn, without a user's message", COMMAND_START, NULL },
	{ "wait", "[SECONDS]", "returns when its turn has ended; EAGAIN when it needs a person", COMMAND_WAIT, NULL },
	{ "interrupt", "", "ends the turn; what was done stays", COMMAND_RUNNER, NULL },
	{ "stop", "", "ends the turn and its process", COMMAND_STOP, NULL },
	{ .name = NULL },
};

static struct row call_rows[] = {
	{ .name = "name", .kind = FILE_VALUE, .file = "calls/#/name", .help = "the tool" },
	{ .name = "arguments", .kind = FILE_VALUE, .file = "calls/#/arguments", .help = "JSON" },
	{ .name = "state", .kind = FILE_VALUE, .file = "calls/#/state", .help = "running done error interrupted" },
	{ .name = "result", .kind = FILE_VALUE, .file = "calls/#/result", .help = "what the model got" },
	{ .name = "elapsed", .kind = FILE_VALUE, .file = "calls/#/elapsed", .help = "seconds" },
	{ .name = NULL },
};

static struct row one_call_row = {
	.name = "#", .kind = FILE_DIRECTORY, .file = "calls/#", .rows = call_rows, .help = "a tool call",
};

static struct row request_row = {
	.name = "#.json", .kind = FILE_VALUE, .mode = 0400, .file = "requests/#.json", .help = "the exact body sent",
};

static struct row session_rows[] = {
	{ .name = "config", .kind = FILE_DOCUMENT, .fields = session_fields, .check = check_session,
	  .help = "YAML or JSON: notebook or sandbox, provider, model, limits" },
	{ .name = "prompt", .kind = FILE_DOCUMENT, .judge = judge_prompt, .help = "the system prompt, until the first turn" },
	{ .name = "system", .kind = FILE_VALUE, .help = "the system prompt as sent" },
	{ .name = "input", .kind = FILE_INBOX, .judge = judge_input, .help = "each close is a user's message, and starts a turn" },
	{ .name = "state", .kind = FILE_VALUE, .render = show_state, .measure = measure_state, .own = true,
	  .help = "draft starting waiting running retrying done interrupted stalled limited failed" },
	{ .name = "error", .kind = FILE_VALUE, .render = show_error, .measure = measure_error, .own = true,
	  .help = "why the last write was refused, why it failed, or until when it waits" },
	{ .name = "log", .kind = FILE_LOG, .help = "what was done for it" },
	{ .name = "info.json", .kind = FILE_VALUE, .render = show_info, .measure = measure_info, .help = "everything about it, for programs" },
	{ .name = "hold", .kind = FILE_HOLD, .help = "stops it when the last who holds this open has closed it" },
	{ .name = "messages", .kind = FILE_LOG, .help = "the conversation, for people, as it comes" },
	{ .name = "messages.jsonl", .kind = FILE_LOG, .help = "the conversation, for programs, an event a line" },
	{ .name = "result", .kind = FILE_VALUE, .help = "the last answer's text" },
	{ .name = "usage", .kind = FILE_VALUE, .help = "JSON: tokens, cost, turns, seconds" },
	{ .name = "ctl", .kind = FILE_CTL, .commands = session_commands, .help = "takes commands; reading lists them" },
	{ .name = "calls", .kind = FILE_DIRECTORY, .listing = LIST_NUMBERS, .child = &one_call_row, .help = "a folder a tool call" },
	{ .name = "requests", .kind = FILE_DIRECTORY, .listing = LIST_NUMBERS, .child = &request_row, .help = "what was sent" },
	{ .name = "mcp.json", .kind = FILE_VALUE, .mode = 0400, .render = show_session_mcp,
	  .help = "this session's MCP servers, for any other agent" },
	{ .name = "outputs", .kind = FILE_TREE, .help = "what the agent left, and pictures of tool results" },
	{ .name = "notebook", .kind = FILE_LINK, .render = show_notebook_link, .present = show_has_notebook, .help = "what it works in" },
	{ .name = "sandbox", .kind = FILE_LINK, .render = show_sandbox_link, .present = show_has_sandbox, .help = "what it works in" },
	{ .name = "workspace", .kind = FILE_LINK, .render = show_workspace_link, .present = show_has_workspace,
	  .help = "its libraries and skills" },
	{ .name = NULL },
};

struct row session_row = { .name = "N", .kind = FILE_DIRECTORY, .rows = session_rows, .help = "a session" };

struct row session_new_rows[] = {
	{ .name = "new", .kind = FILE_NEW, .mode = 0600, .fields = session_fields, .check = check_session, .objects = OBJECT_SESSION,
	  .help = "a config written here makes the next session; its number is read back from the same descriptor" },
	{ .name = "latest", .kind = FILE_LINK, .render = show_latest, .present = has_latest, .help = "the newest session" },
	{ .name = NULL },
};
