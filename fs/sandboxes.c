/* sandboxes/NAME/: a machine of its own for each.
 *
 *      config state error id log info.json hold ctl     what every object has
 *      exec python                                      a command in, its output out
 *      fs -> ../../.fs/NAME                             its files, behind a link, since walkers follow none
 *      ports/N                                          where port N inside can be reached
 *      models/VAR/                                      a model that is inside
 *      repos/NAME/                                      a repository that is cloned into it
 *      gpu processes jupyter mcp.json                   what its runner recorded
 *      interfaces/IF/                                   functions served from inside: fs/interfaces.c */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hosts.h"
#include "base/json.h"
#include "base/repository.h"
#include "base/secret.h"
#include "fs/mount.h"
#include "fs/show.h"
#include "fs/snapshots.h"
#include "fs/supervise.h"
#include "fs/workspaces.h"

/* What the config names on this machine must be there: told now, not when it starts. */
static int check_local(const cJSON *fields, const char *name, bool folders, struct fault *fault, struct error *err)
{
	const cJSON *pair;
	char out[JUDGE_SHOWN];

	*fault = (struct fault){ name, -1 };
	cJSON_ArrayForEach(pair, cJSON_GetObjectItemCaseSensitive(fields, name)) {
		const char *path = cJSON_GetStringValue(pair->child);
		struct stat st;

		fault->item++;
		(void)judge_shown(path ? path : "", out);
		if (!path || stat(path, &st) < 0)
			return error_errno(err, "%s: %s", name, out);
		if (folders != S_ISDIR(st.st_mode))
			return error_set(err, folders ? ENOTDIR : EISDIR, "%s: %s %s", name, out,
					 folders ? "is no folder; local_files takes files" : "is a folder; local_dirs takes folders");
	}
	return 0;
}

/* Whether a host that gets a secret is one that can be reached at all. */
static bool is_admitted(const cJSON *network, const char *name, int port)
{
	const cJSON *listed;

	cJSON_ArrayForEach(listed, network)
		if (hosts_match(listed->valuestring, name, port))
			return true;
	return false;
}

static bool is_listed(const cJSON *network, const char *host)
{
	const cJSON *listed;
	char name[HOST_SIZE];
	int port = 443;

	cJSON_ArrayForEach(listed, network)
		if (!strcmp(listed->valuestring, host))
			return true;
	return !hosts_split(host, name, &port) && is_admitted(network, name, port);
}

static int check_secrets(const cJSON *fields, bool final, struct fault *fault, struct error *err)
{
	const cJSON *network = cJSON_GetObjectItemCaseSensitive(fields, "network"), *secret, *host;

	*fault = (struct fault){ "secrets", -1 };
	cJSON_ArrayForEach(secret, cJSON_GetObjectItemCaseSensitive(fields, "secrets")) {
		const char *name = secret_name(secret);

		fault->item++;
		if (!supervise_has_secret(mount_supervisor(), name))
			return error_set(err, ENOKEY, "the secret %s is not in the mount's environment, nor in its env_file",
					 name);
		cJSON_ArrayForEach(host, secret_hosts(secret))
			if (final && !is_listed(network, host->valuestring))
				return error_set(err, EINVAL, "secrets: %s is for %s, which is not in network; "
						 "network must be a list of hosts that has it", name, host->valuestring);
	}
	return 0;
}

/* Each is a folder below /models, a variable MODEL_VAR_PATH, and in a kernel VAR and VAR_tokenizer; an
 * adapter's base model is VAR_base. */
static bool is_base_of(const cJSON *one, const cJSON *other)
{
	char base[96];

	(void)snprintf(base, sizeof base, "%s_base", json_word(one, "var_name"));
	return *json_word(one, "base_model") && !strcasecmp(base, json_word(other, "var_name"));
}

static int check_models(const cJSON *fields, struct fault *fault, struct error *err)
{
	const cJSON *models = cJSON_GetObjectItemCaseSensitive(fields, "models"), *one, *other;

	*fault = (struct fault){ "models", -1 };
	cJSON_ArrayForEach(one, models) {
		fault->item++;
		for (other = models->child; other != one; other = other->next) {
			const cJSON *adapter = is_base_of(one, other) ? one : is_base_of(other, one) ? other : NULL;

			if (!strcasecmp(json_word(one, "var_name"), json_word(other, "var_name")))
				return error_set(err, EINVAL, "models: two have the var_name %s; give each its own", json_word(one, "var_name"));
			if (adapter)
				return error_set(err, EINVAL, "models: %s_base is where the base model of %s will be; give it another var_name",
						 json_word(adapter, "var_name"), json_word(adapter, "var_name"));
		}
	}
	return 0;
}

/* From inside: what its network does not let through cannot be cloned, unless a snapshot has it already. */
static int check_reach(const cJSON *fields, const struct repository *r, struct error *err)
{
	const cJSON *network = cJSON_GetObjectItemCaseSensitive(fields, "network");

	if (json_string(fields, "from_snapshot") || (cJSON_IsString(network) && strcmp(network->valuestring, "none") != 0))
		return 0;
	if (cJSON_IsString(network))
		return error_set(err, EINVAL, "repos: %s is cloned from inside, and network is none; let network be full, or [%s]",
				 r->name, r->host);
	if (!r->web)
		return error_set(err, EINVAL, "repos: %s: only https: and http: go through the proxy of a network that is a list", r->name);
	if (!is_admitted(network, r->host, r->port))
		return error_set(err, EINVAL, "repos: %s is cloned from inside, from %s:%d, which is not in network", r->name, r->host,
				 r->port);
	return 0;
}

/* Each is a folder below /workspace. */
static int check_repositories(const cJSON *fields, struct fault *fault, struct error *err)
{
	const cJSON *repos = cJSON_GetObjectItemCaseSensitive(fields, "repos"), *one, *other;
	struct repository r, before;

	*fault = (struct fault){ "repos", -1 };
	cJSON_ArrayForEach(one, repos) {
		fault->item++;
		(void)repository_read(&r, json_word(one, "url"));
		for (other = repos->child; other != one; other = other->next) {
			(void)repository_read(&before, json_word(other, "url"));
			if (!strcmp(before.name, r.name))
				return error_set(err, EINVAL, "repos: two would be /workspace/%s", r.name);
		}
		if (check_reach(fields, &r, err) < 0)
			return -1;
	}
	return 0;
}

/* apt changes files of the host's root, which a user's namespace does not map. */
static int check_image(const cJSON *fields, struct fault *fault, struct error *err)
{
	static const char *const roots[] = { "system_packages", "setup" };
	const char *image = json_string(fields, "image");
	char out[JUDGE_SHOWN];
	const char *backend = json_string(fields, "backend");

	for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
		*fault = (struct fault){ roots[i], -1 };
		if (geteuid() && backend && !strcmp(backend, "local") && !image &&
		    cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(fields, roots[i])))
			return error_set(err, EPERM, "%s needs root on the backend local: mount as root, name an image, or use backend: docker",
					 roots[i]);
	}
	*fault = (struct fault){ "image", -1 };
	if (image && backend && !strcmp(backend, "local") && *image != '/' && *image != '~')
		return error_set(err, EINVAL, "image: on the backend local it is the path of a folder, a .tar or an OCI layout; "
				 "names such as %s need backend: docker", judge_shown(image, out));
	return 0;
}

static bool is_default(const cJSON *fields, const struct field *f)
{
	cJSON *fallback = cJSON_Parse(f->fallback);
	bool same = cJSON_Compare(cJSON_GetObjectItemCaseSensitive(fields, f->name), fallback, true);

	cJSON_Delete(fallback);
	return same;
}

/* What cannot be so in a container that is there already is refused by name. */
static int check_adopt(const cJSON *fields, struct fault *fault, struct error *err)
{
	if (!json_string(fields, "adopt"))
		return 0;
	/* The first: the others may be the snapshot's. */
	*fault = (struct fault){ "from_snapshot", -1 };
	if (json_string(fields, "from_snapshot"))
		return error_set(err, EINVAL, "from_snapshot cannot stand beside adopt: a container that is adopted has its own files");
	for (const struct field *f = sandbox_fields; f->name; f++) {
		*fault = (struct fault){ f->name, -1 };
		if (f->made && !is_default(fields, f))
			return error_set(err, EINVAL, "%s cannot stand beside adopt: a container that is adopted stays as it is; leave it out",
					 f->name);
	}
	return 0;
}

/* What only some backends serve is refused by name where another was chosen. */
static int check_only(const cJSON *fields, struct fault *fault, struct error *err)
{
	const char *backend = json_string(fields, "backend");
	char out[JUDGE_SHOWN];

	for (const struct field *f = sandbox_fields; f->name; f++) {
		if (!f->only || judge_is_choice(f->only, backend ? backend : ""))
			continue;
		*fault = (struct fault){ f->name, -1 };
		if (!is_default(fields, f))
			return error_set(err, ENOTSUP, "%s: the backend %s does not have it; %s does", f->name,
					 judge_shown(backend ? backend : "", out), f->only);
	}
	return 0;
}

static int check_sandbox(const struct node *node, const cJSON *fields, bool final, cJSON *references,
			 struct fault *fault, struct error *err)
{
	const cJSON *workspace = cJSON_GetObjectItemCaseSensitive(fields, "workspace");
	struct object *standard = objects_find(OBJECT_WORKSPACE, "default");

	(void)node;
	if (check_adopt(fields, fault, err) < 0 ||
	    (final && (check_only(fields, fault, err) < 0 || check_image(fields, fault, err) < 0 ||
		       check_models(fields, fault, err) < 0 || check_repositories(fields, fault, err) < 0)) ||
	    check_secrets(fields, final, fault, err) < 0
	    || check_local(fields, "local_files", false, fault, err) < 0
	    || check_local(fields, "local_dirs", true, fault, err) < 0)
		return -1;
	*fault = (struct fault){ "from_snapshot", -1 };
	if (refer(OBJECT_SNAPSHOT, cJSON_GetObjectItemCaseSensitive(fields, "from_snapshot"), references, err) < 0)
		return -1;
	*fault = (struct fault){ "workspace", -1 };
	if (cJSON_IsString(workspace))
		return refer(OBJECT_WORKSPACE, workspace, references, err);
	return standard && !json_string(fields, "adopt") ? refer_to(standard, references, err) : 0; /* nothing can be bound into it */
}

static int show_fs(const struct node *node, struct buffer *out, struct error *err)
{
	return buffer_format(out, "../../.fs/%s", node->object->name) < 0 ? error_memory(err) : 0;
}

/* Where it is reached is kept for the next start, and told while something can be there. */
static int show_port(const struct node *node, struct buffer *out, struct error *err)
{
	char path[64];
	int folder = tree_folder(node);

	if (strcmp(node->object->status.state, "ready") != 0 || folder < 0 || tree_path(node, path, sizeof path) < 0)
		return 0;
	return file_read(folder, path, out, err);
}

static struct row port_row = {
	.name = "#", .kind = FILE_VALUE, .file = "ports/#", .render = show_port, .own = true,
	.help = "the address from which that port inside can be reached",
};

static bool has_name(const struct node *node)
{
	char path[64];

	return tree_path(node, path, sizeof path) == 0 && has_file(node, path);
}

static struct row model_rows[] = {
	{ .name = "name", .kind = FILE_VALUE, .file = "models/#/name", .present = has_name, .help = "the model; absent where it is hidden" },
	{ .name = "path", .kind = FILE_VALUE, .file = "models/#/path", .help = "where it is inside" },
	{ .name = "state", .kind = FILE_VALUE, .file = "models/#/state", .help = "waiting downloading ready failed" },
	{ .name = "progress", .kind = FILE_VALUE, .file = "models/#/progress", .help = "bytes that are here, bytes in all, per cent" },
	{ .name = "info.json", .kind = FILE_VALUE, .file = "models/#/info.json", .help = "its name, revision, size, and the hashes of its files" },
	{ .name = NULL },
};

static struct row sandbox_model_row = {
	.name = "VAR", .kind = FILE_DIRECTORY, .file = "models/#", .rows = model_rows, .help = "a model that is inside at /models/VAR",
};

/* What was said last: its runner begins anew with an empty one. */
static int show_repository_error(const struct node *node, struct buffer *out, struct error *err)
{
	int folder = tree_folder(node);
	char refusal[64], failure[64];
	struct stat refused, failed;
	bool told;

	(void)snprintf(refusal, sizeof refusal, "repos/%u/refusal", node->index);
	(void)snprintf(failure, sizeof failure, "repos/%u/error", node->index);
	if (folder < 0 || fstatat(folder, failure, &failed, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	told = !fstatat(folder, refusal, &refused, AT_SYMLINK_NOFOLLOW) &&
	       (refused.st_mtim.tv_sec > failed.st_mtim.tv_sec ||
		(refused.st_mtim.tv_sec == failed.st_mtim.tv_sec && refused.st_mtim.tv_nsec >= failed.st_mtim.tv_nsec));
	return told && !file_read(folder, refusal, out, err) ? 0 : file_read(folder, failure, out, err);
}

static const struct command repository_commands[] = {
	{ "wait", "[SECONDS]", "returns when it is ready; fails if it failed", COMMAND_RUNNER, NULL },
	{ "retry", "", "tries again what failed, and returns when it is ready", COMMAND_RUNNER, NULL },
	{ .name = NULL },
};

static struct row repository_rows[] = {
	{ .name = "url", .kind = FILE_VALUE, .file = "repos/#/url", .help = "where it comes from" },
	{ .name = "path", .kind = FILE_VALUE, .file = "repos/#/path", .help = "where it is inside" },
	{ .name = "revision", .kind = FILE_VALUE, .file = "repos/#/revision", .help = "the commit that was cloned" },
	{ .name = "state", .kind = FILE_VALUE, .file = "repos/#/state",
	  .help = "waiting (for the sandbox, or for the install of one before it) cloning installing ready failed" },
	{ .name = "error", .kind = FILE_VALUE, .file = "repos/#/error", .render = show_repository_error,
	  .help = "why it failed; the sandbox's next start tries again" },
	{ .name = "ctl", .kind = FILE_CTL, .call = "repository", .refusals = "repos/#/refusal", .commands = repository_commands,
	  .help = "takes commands; reading lists them" },
	{ .name = "log", .kind = FILE_LOG, .file = "repos/#/log", .help = "what git and its install say" },
	{ .name = NULL },
};

static struct row sandbox_repository_row = {
	.name = "NAME", .kind = FILE_DIRECTORY, .file = "repos/#", .rows = repository_rows,
	.help = "a repository that is inside at /workspace/NAME",
};

static const struct command sandbox_commands[] = {
	{ "start", "", "starts it, if it does not run", COMMAND_START, NULL },
	{ "stop", "", "stops it; its files stay", COMMAND_STOP, NULL },
	{ "restart", "", "stops and starts it, and returns when it is ready", COMMAND_RESTART, NULL },
	{ "wait", "[SECONDS]", "returns when it is ready; fails if it failed", COMMAND_WAIT, NULL },
	{ "snapshot", "NAME", "keeps its files as they are as snapshots/NAME; from_snapshot: NAME begins from them", COMMAND_SNAPSHOT, NULL },
	{ "extend", "SECONDS", "puts its deadline off", COMMAND_RUNNER, NULL },
	{ .name = NULL },
};

static struct row sandbox_rows[] = {
	{ .name = "config", .kind = FILE_DOCUMENT, .fields = sandbox_fields, .complete = snapshot_complete, .check = check_sandbox,
	  .help = "YAML or JSON; closing it starts the sandbox" },
	{ .name = "state", .kind = FILE_VALUE, .render = show_state, .measure = measure_state, .own = true,
	  .help = "draft building starting ready stopping stopped failed died" },
	{ .name = "error", .kind = FILE_VALUE, .render = show_error, .measure = measure_error, .own = true,
	  .help = "why the last write was refused, or why it failed" },
	{ .name = "id", .kind = FILE_VALUE, .help = "what its backend calls it" },
	{ .name = "log", .kind = FILE_LOG, .help = "what was done for it, pip's own lines included" },
	{ .name = "info.json", .kind = FILE_VALUE, .render = show_info, .measure = measure_info, .help = "everything about it, for programs" },
	{ .name = "hold", .kind = FILE_HOLD, .help = "stops it when the last who holds this open has closed it" },
	{ .name = "ctl", .kind = FILE_CTL, .commands = sandbox_commands, .help = "takes commands; reading lists them" },
	{ .name = "exec", .kind = FILE_CALL, .call = "exec", .exit_line = true, .help = "a shell command in, its output out" },
	{ .name = "python", .kind = FILE_CALL, .call = "python", .exit_line = true, .help = "Python code in, its output out" },
	{ .name = "fs", .kind = FILE_LINK, .render = show_fs, .help = "its files, live, both ways" },
	{ .name = "gpu", .kind = FILE_VALUE, .help = "what its GPUs do, as CSV, sampled" },
	{ .name = "processes", .kind = FILE_VALUE, .help = "what runs inside, sampled" },
	{ .name = "ports", .kind = FILE_DIRECTORY, .listing = LIST_NUMBERS, .child = &port_row, .help = "a value a port" },
	{ .name = "interfaces", .kind = FILE_DIRECTORY, .listing = LIST_NAMED, .child = &interface_row,
	  .help = "mkdir makes one: functions that are served from inside" },
	{ .name = "models", .kind = FILE_DIRECTORY, .listing = LIST_NAMED, .found = true, .child = &sandbox_model_row,
	  .help = "a folder a model of its config" },
	{ .name = "repos", .kind = FILE_DIRECTORY, .listing = LIST_NAMED, .found = true, .child = &sandbox_repository_row,
	  .help = "a folder a repository of its config" },
	{ .name = "jupyter", .kind = FILE_VALUE, .mode = 0400, .help = "Jupyter's address with its token" },
	{ .name = "mcp.json", .kind = FILE_VALUE, .mode = 0400, .render = show_mcp, .help = "its tools, for any MCP client" },
	{ .name = NULL },
};

struct row sandbox_row = { .name = "NAME", .kind = FILE_DIRECTORY, .rows = sandbox_rows, .help = "a sandbox" };
