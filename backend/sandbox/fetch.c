#include "backend/sandbox/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/gate.h"
#include "backend/sandbox/layers.h"
#include "backend/sandbox/making.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "base/program.h"

#define SCRIPT_MAX (1u << 20)
#define INFO_MAX (16u << 20)
#define LINES_MAX 65536u
#define GATE_MS 1000
#define ADDRESS_MAX 512
#define INSIDE "/download"

struct fetch {
	const struct fetch_of *of;
	const char *folder;
	struct buffer line;     /* of what the script said, not yet whole */
	char why[512];          /* its sentence */
	double told;            /* of the progress in the log, per cent */
};

static void log_text(const struct fetch *f, const char *text)
{
	f->of->sandbox->host->log(f->of->sandbox->host->context, text, strlen(text));
}

/* ---- what the script says ---- */

static void put_progress(struct fetch *f, const char *line)
{
	unsigned long long done, total;
	char text[128], *end;
	struct error ignored;
	double percent;
	int folder, n;

	done = strtoull(line, &end, 10);
	total = strtoull(end, &end, 10);
	percent = total ? 100.0 * (double)done / (double)total : 100.0;
	n = snprintf(text, sizeof text, "%llu %llu %.0f%%\n", done, total, percent);
	folder = file_open_folder(AT_FDCWD, f->folder, &ignored);
	if (folder >= 0) {
		(void)file_swap(folder, "progress", text, (size_t)n, 0600, &ignored);
		(void)close(folder);
	}
	f->of->progress(f->of->context, text);
	if (percent < f->told + 5 && percent < 100)
		return;
	f->told = percent;
	(void)snprintf(text, sizeof text, "models: %.0f%% (%.1f of %.1f MB)\n", percent, (double)done / 1e6, (double)total / 1e6);
	log_text(f, text);
}

static void take_line(struct fetch *f, const char *line)
{
	if (*line == '=') {
		put_progress(f, line + 1);
	} else if (*line == '!') {
		(void)snprintf(f->why, sizeof f->why, "%s", line + 1);
	} else {
		log_text(f, "models: ");
		log_text(f, line);
		log_text(f, "\n");
	}
}

static void take(void *context, const void *data, size_t n)
{
	struct fetch *f = context;
	char *lf;

	if (f->line.length + n > LINES_MAX)
		buffer_clear(&f->line);
	if (buffer_append(&f->line, data, n))
		return;
	while (f->line.length && (lf = memchr(f->line.data, '\n', f->line.length))) {
		*lf = '\0';
		take_line(f, f->line.data);
		buffer_consume(&f->line, (size_t)(lf - f->line.data) + 1);
	}
}

/* ---- where the hub is ---- */

bool fetch_on_loopback(const char *endpoint, char *address, char *host, size_t size)
{
	const char *at = endpoint ? strstr(endpoint, "://") : NULL, *behind;
	size_t n;

	if (!at || (strncasecmp(endpoint, "http://", 7) != 0 && strncasecmp(endpoint, "https://", 8) != 0))
		return false;
	at += 3;
	n = strcspn(at, ":/?#");
	behind = at + n;
	if (!(n == 9 && !strncasecmp(at, "localhost", n)) && strncmp(at, "127.", 4) != 0)
		return false;
	/* The proxy takes an address at its word, and no name that leads to one. */
	if (*at != '1') {
		at = "127.0.0.1";
		n = 9;
	}
	return snprintf(address, size, "%.*s://%.*s%s", (int)(strstr(endpoint, "://") - endpoint), endpoint, (int)n, at, behind) < (int)size &&
	       snprintf(host, size, "%.*s%.*s", (int)n, at, *behind == ':' ? (int)strcspn(behind, "/?#") : 0, behind) < (int)size &&
	       (*behind == ':' || strlen(strcat(host, strncasecmp(endpoint, "https", 5) ? ":80" : ":443")) < size);
}

/* A way out that leads to the hub alone: nothing else of this machine can be reached by the box. */
static int open_gate(struct gate **gate, struct sandbox *hub, struct build *b, const char *host, cJSON *fields,
		     struct error *err)
{
	const struct sandbox_host *story = hub->host;
	cJSON *hosts = cJSON_AddArrayToObject(fields, "network");
	int ready;

	if (!cJSON_AddItemToArray(hosts, cJSON_CreateString(host)))
		return error_memory(err);
	hub->fields = fields;
	if (gate_open(gate, hub, NULL, b->commands.guest, err) || commands_asked(&b->commands, err))
		return -1;
	while (!(ready = gate_ready(*gate, err)))
		if (story->pump(story->context, GATE_MS, err))
			return -1;
	return ready < 0 ? -1 : 0;
}

/* ---- the download ---- */

static int read_script(struct buffer *script, struct error *err)
{
	cleanup_free char *path = program_share("fetch.py");

	return path ? file_read(AT_FDCWD, path, script, err) : error_memory(err);
}

/* NAME=VALUE for the one command; the token is nowhere else. */
struct environment {
	char *owned[COMMANDS_ENV_MAX];
	const char *list[COMMANDS_ENV_MAX + 1];
	size_t count;
};

static int add(struct environment *e, const char *name, const char *value, struct error *err)
{
	if (asprintf(&e->owned[e->count], "%s=%s", name, value) < 0) {
		e->owned[e->count] = NULL;
		return error_memory(err);
	}
	e->list[e->count] = e->owned[e->count];
	e->count++;
	return 0;
}

static void forget(struct environment *e)
{
	for (size_t i = 0; i < e->count; i++) {
		explicit_bzero(e->owned[i], strlen(e->owned[i]));
		free(e->owned[i]);
	}
}

static int fill_environment(struct environment *e, const struct sandbox *s, const char *endpoint, bool loopback,
			    struct error *err)
{
	const char *token = s->host->secret(s->host->context, "HF_TOKEN");
	/* Fixed: bytes are counted, and a download goes on where it was cut. */
	static const char *const fixed[][2] = {
		{ "HF_HUB_DISABLE_XET", "1" }, { "HF_HUB_DISABLE_TELEMETRY", "1" }, { "HF_HUB_DISABLE_PROGRESS_BARS", "1" },
		{ "HF_HUB_VERBOSITY", "error" }, { "HF_HOME", "/tmp/hub" },
	};
	static const char *const proxies[] = { "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy" };

	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
		if (add(e, fixed[i][0], fixed[i][1], err))
			return -1;
	if (endpoint && add(e, "HF_ENDPOINT", endpoint, err))
		return -1;
	if (token && add(e, "HF_TOKEN", token, err))
		return -1;
	for (size_t i = 0; loopback && i < sizeof proxies / sizeof *proxies; i++)
		if (add(e, proxies[i], GATE_URL, err))
			return -1;
	return loopback && (add(e, "NO_PROXY", "", err) || add(e, "no_proxy", "", err)) ? -1 : 0;
}

static int run_script(struct fetch *f, struct build *b, const char *endpoint, bool loopback, struct error *err)
{
	cleanup_buffer struct buffer script = BUFFER(SCRIPT_MAX);
	const char *argv[] = { PLAN_VENV "/bin/python", "-", f->of->name, f->of->revision ? f->of->revision : "", INSIDE, NULL };
	struct environment e = { .count = 0 };
	int status = 0, result;

	result = read_script(&script, err) || fill_environment(&e, f->of->sandbox, endpoint, loopback, err) ? -1 : 0;
	if (!result) {
		b->commands.env = e.list;
		b->commands.take = take;
		b->commands.take_context = f;
		result = commands_feed(&b->commands, argv, script.data, script.length, &status, err);
		b->commands.env = NULL;
		b->commands.take = NULL;
	}
	forget(&e);
	if (result || !status)
		return result;
	return *f->why ? error_set(err, EIO, "%s", f->why) : commands_failed(&b->commands, f->of->name, err);
}

/* What is for people, beside info.json. */
static int write_values(const struct fetch *f, const char *made, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(INFO_MAX);
	cleanup_close int from = file_open_folder(AT_FDCWD, made, err), to = file_open_folder(AT_FDCWD, f->folder, err);
	const char *revision;
	char size[32], path[4096];
	cJSON *info;
	int result;

	if (from < 0 || to < 0 || file_read(from, "info.json", &text, err))
		return -1;
	info = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	revision = json_string(info, "revision");
	(void)snprintf(size, sizeof size, "%.0f\n", cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(info, "size")));
	(void)snprintf(path, sizeof path, "%s/files\n", f->folder);
	result = !revision ? error_set(err, EBADMSG, "the download told no revision") :
		 file_replace(to, "info.json", text.data, text.length, 0600, false, err) ||
		 file_replace(to, "size", size, strlen(size), 0600, false, err) ||
		 file_replace(to, "path", path, strlen(path), 0600, false, err) ? -1 : 0;
	if (!result) {
		cleanup_free char *line = NULL;

		result = asprintf(&line, "%s\n", revision) < 0 ? error_memory(err)
							       : file_replace(to, "revision", line, strlen(line), 0600, false, err);
	}
	cJSON_Delete(info);
	return result;
}

/* What a box has left may be anything: a link would show what it leads to. */
static int check_left(int from, struct error *err)
{
	static const struct { const char *name; mode_t kind; } parts[] = {
		{ "files", S_IFDIR }, { "hidden", S_IFDIR }, { "info.json", S_IFREG },
	};

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		struct stat st;

		if (fstatat(from, parts[i].name, &st, AT_SYMLINK_NOFOLLOW) || (st.st_mode & S_IFMT) != parts[i].kind)
			return error_set(err, EBADMSG, "the download has left no %s", parts[i].name);
	}
	return 0;
}

/* hidden/ first: what is there with files/ is whole. */
static int publish(const struct fetch *f, const struct making *m, const char *made, struct error *err)
{
	cleanup_close int from = file_open_folder(AT_FDCWD, made, err), to = file_open_folder(AT_FDCWD, f->folder, err);
	cleanup_free char *files = NULL;

	if (from < 0 || to < 0 || check_left(from, err) || write_values(f, made, err) || file_remove_tree(to, "hidden", err))
		return -1;
	if (renameat(from, "hidden", to, "hidden"))
		return error_errno(err, "cannot keep a model");
	if (asprintf(&files, "%s/files", made) < 0) {
		files = NULL;
		return error_memory(err);
	}
	return making_publish(m, files, err) || file_remove_tree(to, "making", err) ? -1 : 0;
}

static int make(struct fetch *f, const struct making *m, const struct python *python, struct layer_chain *chain,
		struct error *err)
{
	struct sandbox hub = *f->of->sandbox;
	const char *endpoint = hub.host->secret(hub.host->context, "HF_ENDPOINT");
	char address[ADDRESS_MAX], host[ADDRESS_MAX];
	bool loopback = fetch_on_loopback(endpoint, address, host, sizeof address);
	cleanup_free char *made = NULL;
	struct gate *gate = NULL;
	cJSON *fields = cJSON_CreateObject();
	struct build b;
	int result = making_open(m, &b, f->of->sandbox, NULL, err);

	if (!result && asprintf(&made, "%s/making", f->folder) < 0) {
		made = NULL;
		result = error_memory(err);
	}
	if (!result)
		result = file_make_folder(AT_FDCWD, made, 0755, err) ||
			 plan_layers(&b.plan, (const char *const *)chain->paths, err) || plan_python(&b.plan, python, err) ||
			 plan_bind(&b.plan, made, INSIDE, true, err) || build_start(&b, f->of->runtime, err) ? -1 : 0;
	failpoint("model-downloading");
	if (!result && loopback)
		result = open_gate(&gate, &hub, &b, host, fields, err);
	if (!result)
		result = run_script(f, &b, loopback ? address : endpoint, loopback, err);
	gate_close(gate);
	cJSON_Delete(fields);
	if (!result)
		result = build_stop(&b, err) || publish(f, m, made, err) ? -1 : 0;
	build_close(&b);
	return result;
}

/* huggingface_hub has a layer of its own, so that a sandbox's packages are what its config says. */
static int with_layer(struct fetch *f, const struct making *m, struct error *err)
{
	struct sandbox *s = f->of->sandbox;
	const struct image none = { .path = NULL };
	struct layer_chain chain = { { NULL } };
	struct python python = { .exe = NULL };
	cleanup_free char *cache = NULL;
	cJSON *packages = cJSON_CreateArray();
	int result;

	if (asprintf(&cache, "%s/pythons.json", s->state->path) < 0) {
		cache = NULL;
		result = error_memory(err);
	} else if (!cJSON_AddItemToArray(packages, cJSON_CreateString("huggingface_hub"))) {
		result = error_memory(err);
	} else {
		result = python_find(NULL, cache, &python, err) ||
			 layers_find(s, f->of->runtime, &python, &none, packages, &chain, err) ? -1 : 0;
	}
	if (!result)
		result = make(f, m, &python, &chain, err);
	layers_free(&chain);
	python_free(&python);
	cJSON_Delete(packages);
	return result;
}

/* Whoever looks at the model sees by it that somebody is at it. */
static int link_lock(const char *folder, const struct making *m, struct error *err)
{
	cleanup_free char *at = NULL;

	if (asprintf(&at, "%s/lock", folder) < 0) {
		at = NULL;
		return error_memory(err);
	}
	(void)unlink(at);
	return symlink(m->lock_path, at) ? error_errno(err, "a model's lock") : 0;
}

int fetch_model(const struct fetch_of *of, const char *folder, struct error *err)
{
	struct fetch f = { .of = of, .folder = folder, .line = BUFFER(LINES_MAX), .told = -5 };
	struct making m = MAKING;
	int result;

	m.name = "files";
	m.waits = "another sandbox is downloading the same model; waiting for it\n";
	m.waiting = of->waiting;
	m.context = of->context;
	making_hash(folder, strlen(folder), m.hash);
	result = making_claim(&m, of->sandbox, folder, err);
	if (result > 0)
		result = link_lock(folder, &m, err) || with_layer(&f, &m, err) ? -1 : 0;
	making_done(&m);
	buffer_free(&f.line);
	return result;
}
