/* Starts a runner: a session and process group of its own, no descriptor but standard output (a
 * pipe that it closes once it listens) and standard error (run/stderr), and an environment that
 * holds only what is listed here, so that the mount's secrets are in no other process. */
#include "fs/supervise_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/secret.h"
#include "base/launch.h"
#include "base/program.h"

extern char **environ;

static const char *const passed_on[] = {
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
	"XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS",
	"http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
	"DOCKER_HOST", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE",
	"ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", NULL,
};

static bool is_passed_on(const char *entry)
{
	if (!strncmp(entry, "INTERPFS_", 9))
		return true;
	/* An address with a user and a password in it is a secret. */
	if (!strncmp(entry, "PIP_", 4) || !strncmp(entry, "UV_", 3))
		return !strchr(entry, '@');
	for (const char *const *name = passed_on; *name; name++) {
		size_t n = strlen(*name);

		if (!strncmp(entry, *name, n) && entry[n] == '=')
			return true;
	}
	return false;
}

/* Borrows its strings from environ. */
static char **make_environment(void)
{
	size_t n = 0;
	char **made;

	while (environ[n])
		n++;
	made = calloc(n + 1, sizeof *made);
	for (size_t i = 0, out = 0; made && i < n; i++)
		if (is_passed_on(environ[i]))
			made[out++] = environ[i];
	return made;
}

int supervise_spawn(struct supervisor *s, const struct object *o, int folder, int *output, pid_t *pid,
		    struct error *err)
{
	cleanup_free char *program = program_path();
	cleanup_free char **envp = make_environment();
	cleanup_close int in = -1;
	cleanup_close int out = -1;
	cleanup_close int errors = -1;
	char kind[16], serial[24], word[] = "runner";
	char *argv[] = { program, word, s->state->path, kind, serial, NULL };
	int pipes[2], code;

	if (!program || !envp)
		return error_memory(err);
	(void)snprintf(kind, sizeof kind, "%s", object_noun[o->kind]);
	(void)snprintf(serial, sizeof serial, "%" PRIu64, o->serial);
	if (file_make_folder(folder, "run", 0700, err) < 0)
		return -1;
	errors = openat(folder, "run/stderr", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (errors < 0)
		return error_errno(err, "run/stderr");
	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_errno(err, "pipe");
	in = pipes[0];
	out = pipes[1];
	code = launch(argv, envp, out, errors, pid);
	if (code)
		return error_set(err, code, "%s: %s", program, strerror(code));
	*output = steal_fd(&in);
	return 0;
}

int supervise_run(struct supervisor *s, const char *const words[], int *output, struct error *err)
{
	cleanup_free char *program = program_path();
	cleanup_free char **envp = make_environment();
	cleanup_close int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC), in = -1, out = -1;
	char *argv[8] = { program };
	int pipes[2], code;
	pid_t pid;

	if (!program || !envp)
		return error_memory(err);
	for (size_t n = 1; n + 1 < sizeof argv / sizeof *argv && words[n - 1]; n++)
		argv[n] = (char *)(uintptr_t)words[n - 1];
	if (nowhere < 0 || pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_errno(err, "pipe");
	in = pipes[0];
	out = pipes[1];
	code = launch(argv, envp, out, nowhere, &pid);
	if (code)
		return error_set(err, code, "%s: %s", program, strerror(code));
	supervise_wait_for_child(s, pid);
	*output = steal_fd(&in);
	return 0;
}

int supervise_env_file(struct supervisor *s, const char *path, struct error *err)
{
	cleanup_buffer struct buffer b = BUFFER(1 << 20);
	struct stat st;
	size_t line = 0;
	char *p;

	if (stat(path, &st) < 0)
		return error_errno(err, "env_file %s", path);
	if (st.st_mode & 077)
		return error_set(err, EACCES, "env_file %s: others can read it; chmod 600 mends that", path);
	if (file_read(AT_FDCWD, path, &b, err) < 0)
		return error_wrap(err, "env_file");
	if (!s->environment && !(s->environment = cJSON_CreateObject()))
		return error_memory(err);
	for (char *next = b.data; (p = strsep(&next, "\n"));) {
		char *value;

		line++;
		p += strspn(p, " \t");
		if (!strncmp(p, "export ", 7))
			p += 7;
		if (!*p || *p == '#')
			continue;
		value = strchr(p, '=');
		if (!value || value == p)
			return error_set(err, EINVAL, "env_file %s: line %zu is not NAME=VALUE", path, line);
		*value++ = '\0';
		size_t n = strlen(value);

		if (n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n - 1] == value[0]) {
			value[n - 1] = '\0';
			value++;
		}
		cJSON_DeleteItemFromObjectCaseSensitive(s->environment, p);
		if (!cJSON_AddStringToObject(s->environment, p, value))
			return error_memory(err);
	}
	return 0;
}

/* What a session's provider needs of the environment. */
static const struct {
	const char *provider;
	const char *const *names;
} providers[] = {
	{ "claude", (const char *const[]){ "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", NULL } },
	{ NULL, NULL },
};

/* What models are downloaded with; none of it enters the sandbox. */
static const char *const hub[] = { "HF_TOKEN", "HF_ENDPOINT", NULL };

static const char *find_secret(const struct supervisor *s, const char *name)
{
	const char *value = json_string(s->environment, name);

	return value ? value : getenv(name);
}

bool supervise_has_secret(const struct supervisor *s, const char *name)
{
	return find_secret(s, name) != NULL;
}

static void add_secret(struct supervisor *s, cJSON *secrets, const char *name)
{
	const char *value = find_secret(s, name);

	if (value && !cJSON_GetObjectItemCaseSensitive(secrets, name))
		(void)cJSON_AddStringToObject(secrets, name, value);
}

char *supervise_watch_text(struct supervisor *s, const struct object *o, int folder)
{
	cleanup_buffer struct buffer b = BUFFER(8 << 20);
	struct error ignored;
	cJSON *spec = file_read(folder, "spec.json", &b, &ignored) == 0 ? cJSON_ParseWithLength(b.data, b.length) : NULL;
	const cJSON *fields = cJSON_GetObjectItemCaseSensitive(spec, "fields");
	const char *provider = json_string(fields, "provider");
	cJSON *watch = cJSON_CreateObject();
	cJSON *secrets = cJSON_AddObjectToObject(watch, "secrets");
	const cJSON *name;
	char *text = NULL;

	cJSON_ArrayForEach(name, cJSON_GetObjectItemCaseSensitive(fields, "secrets")) {
		if (secrets && secret_name(name))
			add_secret(s, secrets, secret_name(name));
	}
	for (const char *const *n = hub; secrets && *n && cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(fields, "models")); n++)
		add_secret(s, secrets, *n);
	for (int i = 0; secrets && o->kind == OBJECT_SESSION && provider && providers[i].provider; i++) {
		if (strcmp(provider, providers[i].provider) != 0)
			continue;
		for (const char *const *n = providers[i].names; *n; n++)
			add_secret(s, secrets, *n);
	}
	if (secrets)
		text = cJSON_PrintUnformatted(watch);
	cJSON_Delete(watch);
	cJSON_Delete(spec);
	return text;
}
