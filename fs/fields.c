/* The fields of every configuration: one row a field, from which refusals, defaults and the
 * manual are made. The names are Seer's SandboxConfig's, so that an experiment carries over by
 * retyping its arguments. Rows with `later` are known and refused by name until they work. */
#include "fs/judge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hosts.h"
#include "base/json.h"
#include "base/repository.h"

#define YEAR (365.0 * 24 * 3600)
#define GIB (1024.0 * 1024 * 1024)

/* The text of a value, or of a list's only item. */
static const char *text_of(const cJSON *value)
{
	const cJSON *item = cJSON_IsArray(value) ? value->child : value;

	return cJSON_IsString(item) ? item->valuestring : "";
}

static int this_version(const cJSON *value, const char *const *works, struct error *err)
{
	for (const char *const *w = works; *w; w++)
		if (!strcmp(*w, text_of(value)))
			return 0;
	return error_set(err, ENOTSUP, "%s is not supported by this version", text_of(value));
}

static int check_backend(const cJSON *value, struct error *err)
{
	static const char *const works[] = { "local", "docker", NULL };

	return this_version(value, works, err);
}

static int check_provider(const cJSON *value, struct error *err)
{
	static const char *const works[] = { "claude", "replay", NULL };

	return this_version(value, works, err);
}

static int check_python_version(const cJSON *value, struct error *err)
{
	char out[JUDGE_SHOWN];
	const char *text = text_of(value), *at = text;
	int parts = 1;

	if (at[0] == '3' && (!at[1] || at[1] == '.')) {
		for (at++; *at == '.' && parts < 3; parts++) {
			size_t digits = strspn(++at, "0123456789");

			if (digits < 1 || digits > 2)
				break;
			at += digits;
		}
		if (!*at && at[-1] != '.')
			return 0;
	}
	return error_set(err, EINVAL, "python_version must be a version of Python 3, such as 3.11, not '%s'", judge_shown(text, out));
}

/* One line, and no option for pip: what stands here becomes an argument of a program. */
static int check_package(const cJSON *value, struct error *err)
{
	char out[JUDGE_SHOWN];
	const char *text = text_of(value);

	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			return error_set(err, EINVAL, "'%s' is no package", judge_shown(text, out));
	if (!*text || *text == '-' || *text == ' ')
		return error_set(err, EINVAL, "'%s' is no package", judge_shown(text, out));
	return 0;
}

/* Whoever uses a sandbox says so every few seconds. */
static int check_idle(const cJSON *value, struct error *err)
{
	double seconds = cJSON_GetNumberValue(value);

	if (seconds > 0 && seconds < 10)
		return error_set(err, EINVAL, "idle_timeout is 0, or 10 seconds and more, not %.0f", seconds);
	return 0;
}

/* A name or an id: it becomes a part of an address. Whether there is one, only the engine can tell. */
static int check_adopt(const cJSON *value, struct error *err)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	char out[JUDGE_SHOWN];
	const char *text = text_of(value);

	if (*text && text[strspn(text, letters)] == '\0' && !strchr("_.-", *text) && strlen(text) <= 128)
		return 0;
	return error_set(err, EINVAL, "adopt: '%s' is no name or id of a container", judge_shown(text, out));
}

static int check_gpu(const cJSON *value, struct error *err)
{
	char out[JUDGE_SHOWN];
	const char *text = text_of(value);

	if (*text && !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -_.")])
		return 0;
	return error_set(err, EINVAL, "'%s' is no kind of GPU; write its name, for example A100", judge_shown(text, out));
}

static int check_port(const cJSON *value, struct error *err)
{
	char out[JUDGE_SHOWN];
	const char *text = text_of(value);
	size_t n = strlen(text);

	if (n > 0 && n <= 5 && text[0] != '0' && strspn(text, "0123456789") == n && strtol(text, NULL, 10) <= 65535)
		return 0;
	return error_set(err, EINVAL, "'%s' is no port; ports are numbers from 1 to 65535", judge_shown(text, out));
}

static int check_secret(const cJSON *value, struct error *err)
{
	char out[JUDGE_SHOWN];

	if (judge_is_variable(text_of(value)))
		return 0;
	return error_set(err, EINVAL, "'%s' is no name of a secret; a value is never written here",
			 judge_shown(text_of(value), out));
}

static int check_variable(const cJSON *value, struct error *err)
{
	char out[JUDGE_SHOWN];
	const char *name = value->child ? value->child->string : "";

	if (judge_is_variable(name))
		return 0;
	return error_set(err, EINVAL, "'%s' is no name of a variable (letters, digits and _)",
			 judge_shown(name, out));
}

/* Where something goes inside: absolute, not through `..`, not into the kernel's folders. */
static int check_pair(const cJSON *value, struct error *err)
{
	static const char *const kernels[] = { "/proc", "/sys", "/dev", "/run", NULL };
	char out[JUDGE_SHOWN];
	const cJSON *pair = value->child, *from = pair ? pair->child : NULL;
	const char *to = from && from->next ? from->next->valuestring : "";
	size_t n = strlen(to);

	if (to[0] != '/' || !to[strspn(to, "/")])
		return error_set(err, EINVAL, "'%s' is no absolute path inside the sandbox", judge_shown(to, out));
	if (strstr(to, "/../") || (n >= 3 && !strcmp(to + n - 3, "/..")))
		return error_set(err, EINVAL, "'%s' goes through ..", judge_shown(to, out));
	for (const char *const *k = kernels; *k; k++)
		if (!strncmp(to, *k, strlen(*k)) && (to[strlen(*k)] == '/' || !to[strlen(*k)]))
			return error_set(err, EINVAL, "'%s' is below %s, which is the kernel's",
					 judge_shown(to, out), *k);
	return 0;
}

/* Debian's names (Policy 5.6.1), with =VERSION, /RELEASE, :ARCHITECTURE. */
static int check_system_package(const cJSON *value, struct error *err)
{
	char out[JUDGE_SHOWN];
	const char *text = text_of(value);

	if (text[0] && strchr("abcdefghijklmnopqrstuvwxyz0123456789", text[0]) &&
	    !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.=/:~_")])
		return 0;
	return error_set(err, EINVAL, "'%s' is no package of apt", judge_shown(text, out));
}

/* An image's name becomes a part of an address; whether there is one, only its engine can tell. */
static int check_image(const cJSON *value, struct error *err)
{
	char out[JUDGE_SHOWN];
	const char *text = text_of(value);

	for (const char *c = text; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == 127)
			return error_set(err, EINVAL, "'%s' is no image", judge_shown(text, out));
	return *text ? 0 : error_set(err, EINVAL, "'' is no image");
}

/* A name of an object: what can be the name of a folder. */
static int check_name(const cJSON *value, struct error *err)
{
	char out[JUDGE_SHOWN];
	const char *text = text_of(value);

	if (*text && *text != '.' && strlen(text) < 256 && !strchr(text, '/'))
		return 0;
	return error_set(err, EINVAL, "'%s' is no name of an object; write its name alone", judge_shown(text, out));
}

static int check_preamble(const cJSON *value, struct error *err)
{
	char out[JUDGE_SHOWN];

	if (!strcmp(text_of(value), "model_info") || !strcmp(text_of(value), "docs"))
		return 0;
	return error_set(err, EINVAL, "preamble is made of model_info and docs, not '%s'",
			 judge_shown(text_of(value), out));
}

/* sandboxes/NAME/interfaces/IF */
static int check_server(const cJSON *value, struct error *err)
{
	char out[JUDGE_SHOWN], name[256], interface[256];
	int end = 0;

	if (sscanf(text_of(value), "sandboxes/%255[^/]/interfaces/%255[^/]%n", name, interface, &end) == 2 && !text_of(value)[end])
		return 0;
	return error_set(err, EINVAL, "mcp takes interfaces as sandboxes/NAME/interfaces/IF, not '%s'", judge_shown(text_of(value), out));
}

static int check_host(const cJSON *value, struct error *err)
{
	return cJSON_IsArray(value) ? hosts_check(text_of(value), err) : 0;
}

static const struct field secret_fields[] = {
	{ "name", FIELD_STRING, NULL, .check = check_secret, .help = "the variable" },
	{ "hosts", FIELD_STRINGS, "[]", .check = check_host, .help = "the hosts whose requests get it" },
	{ .name = NULL },
};

static bool is_python_name(const char *text)
{
	static const char *const taken[] = {
		"False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def",
		"del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda",
		"nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield", NULL,
	};

	for (const char *const *t = taken; *t; t++)
		if (!strcmp(*t, text))
			return false;
	return judge_is_variable(text) && strlen(text) <= 64;
}

/* ORG/NAME or NAME, as the hub has them. */
static bool is_repository(const char *text)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t first = strspn(text, letters);
	const char *name = text[first] == '/' ? text + first + 1 : text;

	return first && *name && *text != '.' && *text != '-' && *name != '.' && *name != '-' &&
	       !name[strspn(name, letters)] && !strstr(text, "--") && !strstr(text, "..") && strlen(text) <= 96;
}

/* A branch, a tag or a commit. It becomes an argument of a program. */
static int check_revision(const char *field, const char *revision, struct error *err)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
	char out[JUDGE_SHOWN];

	if (!revision || (*revision && !revision[strspn(revision, letters)] && !strstr(revision, "..") && *revision != '/' &&
			  *revision != '-' && strlen(revision) <= 96))
		return 0;
	return error_set(err, EINVAL, "%s: '%s' is no revision; write a branch, a tag or a commit", field, judge_shown(revision, out));
}

static int check_model(const cJSON *value, struct error *err)
{
	const cJSON *model = value->child;
	const char *var = json_string(model, "var_name"), *base = json_string(model, "base_model");
	const char *name = json_string(model, "name");
	bool peft = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(model, "is_peft"));
	char out[JUDGE_SHOWN];

	if (name && !is_repository(name))
		return error_set(err, EINVAL, "models: '%s' is no model of the hub; write it as google/gemma-2-9b", judge_shown(name, out));
	if (base && !is_repository(base))
		return error_set(err, EINVAL, "models: base_model '%s' is no model of the hub; write it as google/gemma-2-9b", judge_shown(base, out));
	if (var && !is_python_name(var))
		return error_set(err, EINVAL, "models: var_name '%s' is no name of a variable in Python", judge_shown(var, out));
	if (check_revision("models", json_string(model, "revision"), err) < 0)
		return -1;
	if (peft && !base)
		return error_set(err, EINVAL, "models: %s is_peft, and base_model is missing: name the model that it is an adapter of",
				 judge_shown(name ? name : "", out));
	if (base && !peft)
		return error_set(err, EINVAL, "models: %s has a base_model and is no adapter; write is_peft: true",
				 judge_shown(name ? name : "", out));
	return 0;
}

static const struct field model_fields[] = {
	{ "name", FIELD_STRING, NULL, .help = "the model, as the hub calls it" },
	{ "var_name", FIELD_STRING, "\"model\"", .help = "what it is called inside" },
	{ "hidden", FIELD_BOOLEAN, "false", .help = "its name appears nowhere inside" },
	{ "is_peft", FIELD_BOOLEAN, "false", .help = "it is an adapter of base_model" },
	{ "base_model", FIELD_STRING, "null", .help = "the model that an adapter is for" },
	{ "load_as_peft", FIELD_BOOLEAN, "false", .help = "it is loaded so that adapters can be put on it" },
	{ "revision", FIELD_STRING, "null", .help = "a branch, a tag or a commit; absent is the newest when it was downloaded" },
	{ .name = NULL },
};

static int check_repository(const cJSON *value, struct error *err)
{
	const char *url = json_word(value->child, "url"), *wrong;
	struct repository repository;
	char out[JUDGE_SHOWN];

	wrong = repository_read(&repository, url);
	if (wrong)
		return error_set(err, EINVAL, "repos: '%s' %s", judge_shown(url, out), wrong);
	return check_revision("repos", json_string(value->child, "revision"), err);
}

static const struct field repository_fields[] = {
	{ "url", FIELD_STRING, NULL, .help = "org/repo at GitHub, https://host/path, or git@host:path" },
	{ "revision", FIELD_STRING, "null", .help = "a branch, a tag or a commit; absent is the repository's own branch" },
	{ "install", FIELD_STRING, "null", .help = "a shell command that is run in it, for example pip install -e ." },
	{ "dockerfile", FIELD_STRING, "null", .later = true, .help = "what its own container is built from" },
	{ .name = NULL },
};

const struct field sandbox_fields[] = {
	{ "backend", FIELD_CHOICE, "\"local\"", .choices = "local|docker|slurm|modal", .check = check_backend,
	  .help = "where it runs" },
	{ "image", FIELD_STRING, "null", .made = true, .check = check_image,
	  .help = "the system inside; on docker a name, for example python:3.12 (absent is python:3.12-slim, or of python_version); "
		  "on local a folder, a .tar or an OCI layout of this machine (absent is this machine's own)" },
	{ "setup", FIELD_STRINGS, "[]", .made = true, .help = "shell commands that belong to the image, made once; needs root, or an image" },
	{ "gpu", FIELD_STRING, "null", .made = true, .check = check_gpu, .help = "the kind of GPU, for example A100; any for whichever is free" },
	{ "gpu_count", FIELD_INTEGER, "1", .made = true, .minimum = 1, .maximum = 64, .help = "how many GPUs" },
	{ "cpu", FIELD_NUMBER, "null", .made = true, .minimum = 0.05, .maximum = 4096, .help = "cores" },
	{ "memory", FIELD_SIZE, "null", .made = true, .minimum = 16.0 * 1024 * 1024, .maximum = 65536 * GIB,
	  .help = "the most memory, for example 16G" },
	{ "timeout", FIELD_INTEGER, "3600", .minimum = 1, .maximum = YEAR, .alive = true,
	  .help = "seconds until it is stopped" },
	{ "snapshot_on_timeout", FIELD_BOOLEAN, "false", .made = true,
	  .help = "whether its files are kept as a snapshot, too, when its timeout has stopped it; error says which" },
	{ "idle_timeout", FIELD_INTEGER, "0", .maximum = YEAR, .alive = true, .check = check_idle,
	  .help = "seconds without a command, a busy notebook, a session's turn or work of its processes until it is stopped; 0 is never" },
	{ "execution_mode", FIELD_CHOICE, "\"notebook\"", .choices = "notebook|cli|none",
	  .help = "what its agent gets: notebook, cli, or none" },
	{ "python_version", FIELD_STRING, "null", .made = true, .check = check_python_version,
	  .help = "for example 3.11; absent is the machine's own" },
	{ "python_packages", FIELD_STRINGS, "[]", .made = true, .check = check_package, .help = "what pip installs, for example [numpy]" },
	{ "system_packages", FIELD_STRINGS, "[]", .made = true, .check = check_system_package,
	  .help = "what apt installs, for example [git], made once; needs root, or an image" },
	{ "notebook_packages", FIELD_STRINGS, "[\"jupyter_server\",\"ipykernel\"]", .made = true, .check = check_package,
	  .help = "what Jupyter's own environment is made of; with jupyterlab (or notebook) a notebook's url opens it" },
	{ "models", FIELD_OBJECTS, "[]", .made = true, .fields = model_fields, .check = check_model,
	  .help = "models that are inside, read-only at /models/VAR, downloaded once: [{name, var_name, hidden, is_peft, base_model, load_as_peft, revision}]" },
	{ "repos", FIELD_OBJECTS, "[]", .made = true, .fields = repository_fields, .check = check_repository,
	  .help = "repositories that are cloned to /workspace once it is ready: [{url, revision, install}]; "
		  "one that fails says so in repos/NAME/state" },
	{ "secrets", FIELD_OBJECTS, "[]", .fields = secret_fields,
	  .help = "names of variables whose values come from the mount's environment or env_file; "
		  "with {name, hosts} the value never enters the sandbox and goes into requests to those hosts" },
	{ "env", FIELD_MAP, "{}", .check = check_variable, .help = "variables that every program inside has" },
	{ "local_files", FIELD_PAIRS, "[]", .made = true, .check = check_pair, .help = "files that are copied in: [[~/here, /there]]" },
	{ "local_dirs", FIELD_PAIRS, "[]", .made = true, .check = check_pair, .help = "folders that are inside, copy-on-write" },
	{ "workspace", FIELD_STRING, "null", .made = true, .check = check_name,
	  .help = "the workspace whose libraries, skills and files are inside; absent is workspace/" },
	{ "ports", FIELD_STRINGS, "[]", .check = check_port, .help = "ports inside that ports/N makes reachable, for example [8000]" },
	{ "network", FIELD_CHOICE_OR_STRINGS, "\"full\"", .made = true, .choices = "full|none", .check = check_host,
	  .help = "full: out, but not to this machine's loopback; none; or a list of hosts such as "
		  "[pypi.org, '*.huggingface.co', db.lab:5432], reached through a proxy" },
	{ "from_snapshot", FIELD_STRING, "null", .made = true, .check = check_name,
	  .help = "the snapshot whose files it begins with; what is left out here is as in that one's config" },
	{ "adopt", FIELD_STRING, "null", .only = "docker", .check = check_adopt,
	  .help = "a container that somebody else has started, by its name or id: it is used as it is, and runs on when the sandbox ends" },
	{ "docker_in_docker", FIELD_BOOLEAN, "false", .made = true, .later = true, .help = "Docker inside" },
	{ "debug", FIELD_BOOLEAN, "false", .made = true, .later = true, .help = "code-server inside" },
	{ .name = NULL },
};

const struct field notebook_fields[] = {
	{ "sandbox", FIELD_STRING, NULL, .check = check_name, .help = "name the sandbox in which the notebook runs" },
	{ "workspace", FIELD_STRING, "null", .later = true, .help = "its workspace; absent is the sandbox's" },
	{ "secrets", FIELD_STRINGS, "[]", .later = true, .help = "secrets of a notebook without a sandbox" },
	{ "env", FIELD_MAP, "{}", .later = true, .help = "variables of a notebook without a sandbox" },
	{ "python", FIELD_STRING, "null", .later = true, .help = "the interpreter of a notebook without a sandbox" },
	{ "workdir", FIELD_STRING, "null", .later = true, .help = "the folder of a notebook without a sandbox" },
	{ "attach", FIELD_STRING, "null", .later = true, .help = "the address of a Jupyter Server that runs already" },
	{ "resume", FIELD_STRING, "null", .later = true, .help = "an .ipynb file whose cells run again" },
	{ "continue", FIELD_STRING, "null", .later = true, .help = "an .ipynb file that goes on" },
	{ .name = NULL },
};

const struct field workspace_fields[] = {
	{ "preload_models", FIELD_BOOLEAN, "true", .help = "a sandbox's models are loaded into each kernel before its first cell" },
	{ "hidden_model_loading", FIELD_BOOLEAN, "true", .later = true, .help = "models are loaded out of the agent's sight" },
	{ "packages", FIELD_STRINGS, "[]", .check = check_package,
	  .help = "what pip installs in whatever uses the workspace, at once, also where it runs already" },
	{ .name = NULL },
};

static const struct field limit_fields[] = {
	{ "turns", FIELD_INTEGER, "null", .minimum = 1, .maximum = 1e9, .alive = true, .help = "answers of the model" },
	{ "usd", FIELD_NUMBER, "null", .minimum = 0.000001, .maximum = 1e9, .alive = true, .help = "what it may cost" },
	{ "tokens", FIELD_INTEGER, "null", .later = true, .help = "tokens in and out" },
	{ "seconds", FIELD_NUMBER, "null", .later = true, .help = "how long it may take" },
	{ "repeats", FIELD_INTEGER, "null", .later = true, .help = "equal tool calls in a row" },
	{ .name = NULL },
};

const struct field session_fields[] = {
	{ "notebook", FIELD_STRING, "null", .check = check_name, .help = "the notebook that its agent works in" },
	{ "sandbox", FIELD_STRING, "null", .check = check_name, .help = "or the sandbox" },
	{ "workspace", FIELD_STRING, "null", .check = check_name, .help = "the workspace; absent is the sandbox's, or workspace/" },
	{ "kind", FIELD_STRING, "null", .later = true, .help = "notebook, cli, local or none" },
	{ "workdir", FIELD_STRING, "null", .later = true, .help = "the folder of a local session" },
	{ "provider", FIELD_CHOICE, "\"claude\"", .choices = "claude|replay|claude-code|openai|gemini",
	  .check = check_provider, .help = "who drives the agent" },
	{ "model", FIELD_STRING, "null", .help = "the provider's model; absent is its default" },
	{ "preamble", FIELD_STRINGS, "[\"model_info\",\"docs\"]", .check = check_preamble,
	  .help = "what comes before prompt: model_info, docs; [] for nothing" },
	{ "mcp", FIELD_STRINGS, "[]", .check = check_server,
	  .help = "in place of a notebook or a sandbox, an interface whose functions are all that its agent has: [sandboxes/NAME/interfaces/IF]" },
	{ "tools", FIELD_OBJECT, "{}", .later = true, .help = "tools that are allowed or denied" },
	{ "approve", FIELD_ANY, "\"never\"", .later = true, .help = "which calls a person must allow" },
	{ "limits", FIELD_OBJECT, "{\"turns\":null,\"usd\":null}", .fields = limit_fields, .alive = true,
	  .help = "where it stops: turns, usd" },
	{ "tool_timeout", FIELD_INTEGER, "120", .maximum = YEAR, .alive = true, .help = "seconds a tool may take; 0 is for ever" },
	{ "tool_output_limit", FIELD_SIZE, "\"32K\"", .later = true, .help = "how much of a tool's output the model gets" },
	{ "effort", FIELD_ANY, "null", .later = true, .help = "how hard the model tries" },
	{ "thinking", FIELD_ANY, "null", .later = true, .help = "how the model thinks" },
	{ "max_output_tokens", FIELD_INTEGER, "null", .later = true, .help = "the longest answer" },
	{ "on_overflow", FIELD_STRING, "\"stop\"", .later = true, .help = "what happens when the window is full" },
	{ "retry", FIELD_ANY, "{\"attempts\":8,\"seconds\":900}", .later = true, .help = "how often a request is tried" },
	{ "resume", FIELD_STRING, "\"auto\"", .later = true, .help = "what happens after a crash" },
	{ "checkpoint", FIELD_STRING, "\"none\"", .later = true, .help = "when a snapshot is taken" },
	{ "options", FIELD_OBJECT, "{}", .help = "goes into the provider's request as it is" },
	{ "replay", FIELD_SOURCE, "null", .help = "with provider: replay, the session or file to repeat" },
	{ .name = NULL },
};
