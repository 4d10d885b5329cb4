#include "backend/sandbox/engine_own.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define NEWEST 44 /* of the API's versions 1.N the newest that this code was written for */
#define DEFAULT_SOCKET "/var/run/docker.sock"
#define ASK_MS 10000

/* ---- where it is ---- */

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static bool is_socket(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISSOCK(st.st_mode);
}

/* The first socket that may be opened; else the first that is there; else Docker's own. Owned. */
static char *find_socket(void)
{
	static const char *const places[][2] = {
		{ NULL, DEFAULT_SOCKET }, { "XDG_RUNTIME_DIR", "/docker.sock" },
		{ "XDG_RUNTIME_DIR", "/podman/podman.sock" }, { NULL, "/run/podman/podman.sock" },
	};
	char *there = NULL;

	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		const char *folder = places[i][0] ? variable(places[i][0]) : "";
		char *path = NULL;

		if (!folder || asprintf(&path, "%s%s", folder, places[i][1]) < 0)
			continue;
		if (is_socket(path) && !access(path, R_OK | W_OK)) {
			free(there);
			return path;
		}
		if (!there && is_socket(path))
			there = path;
		else
			free(path);
	}
	return there ? there : strdup(DEFAULT_SOCKET);
}

static int find_certificates(struct engine *e, bool always, struct error *err)
{
	const char *folder = variable("DOCKER_CERT_PATH"), *home = variable("HOME");

	e->verified = always || variable("DOCKER_TLS_VERIFY");
	if (!e->verified && !variable("DOCKER_TLS"))
		return 0;
	if (!folder && !home)
		return error_set(err, ENOENT, "DOCKER_CERT_PATH is not set, and there is no home folder for .docker");
	if (folder ? asprintf(&e->certificates, "%s", folder) < 0 : asprintf(&e->certificates, "%s/.docker", home) < 0)
		return error_memory(err);
	return 0;
}

/* "tcp://HOST[:PORT]", with TLS where the environment says so. */
static int take_network(struct engine *e, const char *rest, bool tls, struct error *err)
{
	size_t n = strcspn(rest, "/");
	const char *colon = memchr(rest, ':', n), *bracket = memchr(rest, ']', n);
	bool port = bracket ? bracket[1] == ':' : colon != NULL;

	if (!n || find_certificates(e, tls, err))
		return n ? -1 : error_set(err, EINVAL, "the engine's address '%s' names no host", e->address);
	if (asprintf(&e->base, "%s://%.*s%s", e->certificates ? "https" : "http", (int)n, rest,
		     port ? "" : e->certificates ? ":2376" : ":2375") < 0) {
		e->base = NULL;
		return error_memory(err);
	}
	return 0;
}

static int take_address(struct engine *e, struct error *err)
{
	static const struct { const char *scheme; bool tls; } networks[] = {
		{ "tcp://", false }, { "http://", false }, { "https://", true },
	};

	if (!strncmp(e->address, "unix://", 7)) {
		e->socket = strdup(e->address + 7);
		e->base = strdup("http://engine");
		return e->socket && e->base ? 0 : error_memory(err);
	}
	for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
		if (!strncmp(e->address, networks[i].scheme, strlen(networks[i].scheme)))
			return take_network(e, e->address + strlen(networks[i].scheme), networks[i].tls, err);
	return error_set(err, ENOTSUP, "the engine's address '%s' is not supported: it begins with unix:// or tcp://",
			 e->address);
}

int engine_open(struct engine **engine, const char *address, const struct sandbox_host *host, struct error *err)
{
	struct engine *e = calloc(1, sizeof *e);
	cleanup_free char *found = NULL;

	if (!e)
		return error_memory(err);
	e->host = host;
	e->set = -1;
	if (!address)
		address = variable("DOCKER_HOST");
	if (!address)
		found = find_socket();
	if (address ? asprintf(&e->address, "%s", address) < 0 : !found || asprintf(&e->address, "unix://%s", found) < 0) {
		e->address = NULL;
		(void)error_memory(err);
	} else if (!take_address(e, err) && !engine_open_calls(e, err)) {
		*engine = e;
		return 0;
	}
	engine_close(e);
	return -1;
}

void engine_close(struct engine *e)
{
	if (!e)
		return;
	engine_close_calls(e);
	free(e->address);
	free(e->socket);
	free(e->base);
	free(e->certificates);
	free(e);
}

void engine_hurry(struct engine *e, int timeout_ms)
{
	e->limit_ms = timeout_ms;
}

const char *engine_address(const struct engine *e)
{
	return e->address;
}

const char *engine_told(const struct engine *e)
{
	return e->told;
}

bool engine_is_podman(const struct engine *e)
{
	return e->podman;
}

bool engine_is_here(const struct engine *engine)
{
	return engine->socket;
}

int engine_unreachable(const struct engine *e, CURLcode code, const char *message, struct error *err)
{
	const char *where = e->socket ? e->socket : e->address;

	if (e->socket && !access(e->socket, F_OK) && access(e->socket, R_OK | W_OK))
		return error_set(err, EACCES, "%s may not be opened by you: join the group that owns it, "
				 "as with: sudo usermod -aG docker $USER", where);
	if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
		return error_set(err, ECONNREFUSED, "no engine answers at %s: start Docker, or set DOCKER_HOST", where);
	return error_set(err, EIO, "the engine at %s: %.300s", where, *message ? message : curl_easy_strerror(code));
}

/* ---- connections ---- */

char *engine_url(const struct engine *e, const char *path, bool versioned)
{
	char *url = NULL;

	if (asprintf(&url, "%s%s%s%s", e->base, versioned ? "/v" : "", versioned ? e->version : "", path) < 0)
		return NULL;
	return url;
}

static CURLcode set_certificates(const struct engine *e, CURL *easy)
{
	static const struct { CURLoption option; const char *file; } files[] = {
		{ CURLOPT_CAINFO, "ca.pem" }, { CURLOPT_SSLCERT, "cert.pem" }, { CURLOPT_SSLKEY, "key.pem" },
	};
	CURLcode rc = CURLE_OK;

	for (size_t i = 0; i < sizeof files / sizeof *files && !rc; i++) {
		cleanup_free char *path = NULL;

		if (asprintf(&path, "%s/%s", e->certificates, files[i].file) < 0)
			return CURLE_OUT_OF_MEMORY;
		/* An engine whose certificate anybody vouches for needs none of them. */
		if (!access(path, R_OK))
			rc = curl_easy_setopt(easy, files[i].option, path);
	}
	if (!rc && !e->verified)
		rc = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
	if (!rc && !e->verified)
		rc = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	return rc;
}

CURL *engine_handle(const struct engine *e, const char *path, bool versioned, char *message, struct error *err)
{
	cleanup_free char *url = engine_url(e, path, versioned);
	CURL *easy = curl_easy_init();
	CURLcode rc = easy && url ? CURLE_OK : CURLE_OUT_OF_MEMORY;

#define SET(option, value) (rc = rc ? rc : curl_easy_setopt(easy, option, value))
	SET(CURLOPT_URL, url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_CONNECTTIMEOUT_MS, 10000L);
	SET(CURLOPT_USERAGENT, "interpfs");
	SET(CURLOPT_ERRORBUFFER, message);
	if (e->socket)
		SET(CURLOPT_UNIX_SOCKET_PATH, e->socket);
	else
		SET(CURLOPT_TCP_KEEPALIVE, 1L);
#undef SET
	message[0] = '\0';
	if (!rc && e->certificates)
		rc = set_certificates(e, easy);
	if (!rc)
		return easy;
	if (easy)
		curl_easy_cleanup(easy);
	(void)error_set(err, rc == CURLE_OUT_OF_MEMORY ? ENOMEM : EIO, "libcurl: %s", curl_easy_strerror(rc));
	return NULL;
}

char *engine_escape(const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:@";
	char *escaped = malloc(3 * strlen(text) + 1), *out = escaped;

	for (; escaped && *text; text++) {
		if (strchr(plain, *text)) {
			*out++ = *text;
		} else {
			(void)snprintf(out, 4, "%%%02X", (unsigned char)*text);
			out += 3;
		}
	}
	if (escaped)
		*out = '\0';
	return escaped;
}

/* ---- what it is ---- */

struct greeting {
	char version[16];  /* Api-Version */
	char libpod[16];   /* Libpod-Api-Version: it is Podman's */
	char server[64];   /* "Docker/20.10.24 (linux)" */
};

static size_t on_header(char *line, size_t size, size_t count, void *context)
{
	struct greeting *g = context;
	const struct kept_header kept[] = {
		{ "Api-Version", g->version, sizeof g->version },
		{ "Libpod-Api-Version", g->libpod, sizeof g->libpod },
		{ "Server", g->server, sizeof g->server },
	};

	curl_keep_header(line, size * count, kept, sizeof kept / sizeof *kept);
	return size * count;
}

int engine_ask(struct engine *e, struct error *err)
{
	const struct engine_request request = { .method = "GET", .path = "/_ping", .timeout_ms = ASK_MS };
	struct greeting greeting = { "", "", "" };
	const char *version;
	char *end;
	long minor;

	if (*e->version)
		return 0;
	if (engine_perform(e, &request, false, on_header, &greeting, NULL, err))
		return -1;
	minor = strncmp(greeting.version, "1.", 2) ? -1 : strtol(greeting.version + 2, &end, 10);
	if (minor < 0)
		return error_set(err, EPROTO, "what answers at %s is no engine: start Docker, or set DOCKER_HOST",
				 e->socket ? e->socket : e->address);
	(void)snprintf(e->version, sizeof e->version, "1.%ld", minor < NEWEST ? minor : NEWEST);
	e->podman = *greeting.libpod;
	version = strchr(greeting.server, '/');
	(void)snprintf(e->told, sizeof e->told, "%s %.*s at %.120s", e->podman ? "Podman" : "Docker",
		       version ? (int)strcspn(version + 1, " ") : 1, version ? version + 1 : "?", e->address);
	return 0;
}
