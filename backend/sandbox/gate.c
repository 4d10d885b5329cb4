#include "backend/sandbox/gate.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/proxy/authority.h"
#include "backend/sandbox/spawn.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/program.h"
#include "base/secret.h"

#define LINES_MAX 65536u
#define TRUSTED_MAX (4u << 20)
#define DOORS 16 /* as many may connect at once, before the next has its door */
#define LIVES_SECONDS 1.0 /* one that dies earlier is not started again */

/* One that waits for a connection from inside, where no socket that listens can be passed. */
struct door {
	struct gate *gate;
	struct guest_operation *asked;
};

struct gate {
	struct sandbox *sandbox;
	struct runner *runner;
	struct guest *guest;
	struct guest_operation *asked; /* the socket that listens inside; with doors, that they are there */
	int listening;                 /* -1 before it has come; with doors, the proxy's end of what they hand on */
	int handing;                   /* our end of that; -1 without doors */
	struct door doors[DOORS];
	int config;                    /* the proxy reads its end, and sees us go */
	int said;                      /* its output */
	pid_t pid;                     /* 0: it does not run */
	int pidfd;
	double started;
	struct buffer line;            /* of what it said, not yet whole */
	struct error failure;          /* code 0: none */
};

bool gate_is_wanted(const struct sandbox *s)
{
	return cJSON_IsArray(sandbox_field(s, "network"));
}

bool gate_has_secrets(const struct sandbox *s)
{
	const cJSON *secret;

	cJSON_ArrayForEach(secret, sandbox_field(s, "secrets"))
		if (gate_is_wanted(s) && cJSON_GetArraySize(secret_hosts(secret)) > 0)
			return true;
	return false;
}

const struct gate_variable *gate_environment(const struct sandbox *s)
{
	/* With secrets from the beginning, else behind what is only for them. */
	static const struct gate_variable all[] = {
		{ "SSL_CERT_FILE", GATE_TRUSTED_INSIDE },      { "REQUESTS_CA_BUNDLE", GATE_TRUSTED_INSIDE },
		{ "CURL_CA_BUNDLE", GATE_TRUSTED_INSIDE },     { "PIP_CERT", GATE_TRUSTED_INSIDE },
		{ "GIT_SSL_CAINFO", GATE_TRUSTED_INSIDE },     { "NODE_EXTRA_CA_CERTS", GATE_TRUSTED_INSIDE },
		{ "HTTP_PROXY", GATE_URL },  { "http_proxy", GATE_URL },
		{ "HTTPS_PROXY", GATE_URL }, { "https_proxy", GATE_URL },
		{ "NO_PROXY", "localhost,127.0.0.1,::1" },     { "no_proxy", "localhost,127.0.0.1,::1" },
		{ NULL, NULL },
	};

	if (!gate_is_wanted(s))
		return all + sizeof all / sizeof *all - 1;
	return all + (gate_has_secrets(s) ? 0 : 6);
}

int gate_write_trusted(const struct sandbox *s, struct error *err)
{
	static const char *const places[] = { "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
					      "/etc/ssl/cert.pem" };
	cleanup_buffer struct buffer text = BUFFER(TRUSTED_MAX);
	const char *own = getenv("SSL_CERT_FILE");
	struct error ignored;

	for (size_t i = 0; i <= sizeof places / sizeof *places && !text.length; i++) {
		const char *place = i ? places[i - 1] : own;

		if (place)
			(void)file_read(AT_FDCWD, place, &text, &ignored);
	}
	if (text.length && buffer_text(&text, "\n") < 0)
		return error_memory(err);
	if (authority_make(s->folder, err) < 0 || authority_certificate(s->folder, &text, err) < 0)
		return -1;
	return file_replace(s->folder, GATE_TRUSTED, text.data, text.length, 0644, false, err);
}

/* ---- what it says ---- */

static void tell(const struct gate *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A box in which something is made has no runner of its own. */
static void tell(const struct gate *g, const char *format, ...)
{
	cleanup_free char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	if (text && g->runner)
		runner_log(g->runner, "%s", text);
	else if (text)
		sandbox_say(g->sandbox, text);
}

static void take_lines(struct gate *g)
{
	char piece[4096], *lf;
	ssize_t n = read(g->said, piece, sizeof piece);

	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			g->sandbox->host->unwatch(g->sandbox->host->context, g->said);
		return;
	}
	if (buffer_append(&g->line, piece, (size_t)n) < 0)
		buffer_clear(&g->line);
	while (g->line.length && (lf = memchr(g->line.data, '\n', g->line.length))) {
		tell(g, "network: %.*s", (int)(lf - g->line.data), g->line.data);
		buffer_consume(&g->line, (size_t)(lf - g->line.data) + 1);
	}
}

static void said(void *context, short revents)
{
	(void)revents;
	take_lines(context);
}

/* ---- its life ---- */

static void add(cJSON *object, const char *name, const char *value, bool *good)
{
	*good = *good && cJSON_AddStringToObject(object, name, value);
}

/* What it is told, one line. Owned; wiped by the caller. */
static char *render(const struct gate *g)
{
	const char *trusted = getenv("SSL_CERT_FILE");
	cJSON *config = cJSON_CreateObject(), *hosts = cJSON_Duplicate(sandbox_field(g->sandbox, "network"), true);
	cJSON *secrets = cJSON_AddArrayToObject(config, "secrets");
	const cJSON *secret;
	bool good = hosts && secrets;
	char *text = NULL;

	if (!cJSON_AddItemToObject(config, "hosts", hosts))
		good = false;
	add(config, "trusted", trusted ? trusted : "", &good);
	cJSON_ArrayForEach(secret, sandbox_field(g->sandbox, "secrets")) {
		const char *name = secret_name(secret);
		const char *value = name && g->runner ? runner_secret(g->runner, name) : NULL;
		char placeholder[512];
		cJSON *one;

		if (!value || !cJSON_GetArraySize(secret_hosts(secret)))
			continue;
		(void)snprintf(placeholder, sizeof placeholder, GATE_PLACEHOLDER, name);
		one = cJSON_CreateObject();
		add(one, "name", name, &good);
		add(one, "placeholder", placeholder, &good);
		add(one, "value", value, &good);
		good = good && cJSON_AddItemToObject(one, "hosts", cJSON_Duplicate(secret_hosts(secret), true));
		good = cJSON_AddItemToArray(secrets, one) && good;
	}
	if (good)
		text = cJSON_PrintUnformatted(config);
	cJSON_Delete(config);
	return text;
}

static void ended(void *context, short revents);

static int pipe_pair(int ends[2], struct error *err)
{
	return pipe2(ends, O_CLOEXEC) < 0 ? error_errno(err, "a pipe") : 0;
}

static int launch(struct gate *g, struct error *err)
{
	cleanup_free char *program = program_path(), *text = render(g);
	char *const argv[] = { program, (char []){ "proxy" }, NULL };
	int config[2] = { -1, -1 }, output[2] = { -1, -1 };
	struct spawn what = { .argv = argv, .lasting = true };
	int result = -1;

	if (!program || !text)
		return error_memory(err);
	if (!pipe_pair(config, err) && !pipe_pair(output, err)) {
		what.output = output[1];
		what.passed[0] = g->listening;
		what.passed[1] = g->sandbox->folder;
		what.passed[2] = config[0];
		g->pid = spawn(&what, &g->pidfd, err);
		result = g->pid > 0 ? 0 : -1;
	}
	if (!result)
		result = file_write_all(config[1], text, strlen(text), err) || file_write_all(config[1], "\n", 1, err) ? -1 : 0;
	explicit_bzero(text, strlen(text));
	for (int i = 0; i < 4; i++) { /* the ends that are its, and all of them when it did not start */
		int *fd = i < 2 ? &config[i] : &output[i - 2];

		if (*fd >= 0 && (result || i == 0 || i == 3))
			(void)close(*fd);
	}
	if (result)
		return -1;
	g->config = config[1];
	g->said = output[0];
	g->started = clock_seconds();
	(void)fcntl(g->said, F_SETFL, O_NONBLOCK);
	return g->sandbox->host->watch(g->sandbox->host->context, g->said, POLLIN, said, g, err) ||
	       g->sandbox->host->watch(g->sandbox->host->context, g->pidfd, POLLIN, ended, g, err) ? -1 : 0;
}

/* Lets go of the process; it ends by itself. */
static void release(struct gate *g)
{
	const struct sandbox_host *host = g->sandbox->host;

	if (g->said >= 0) {
		host->unwatch(host->context, g->said);
		take_lines(g);
		(void)close(g->said);
	}
	if (g->pidfd >= 0) {
		host->unwatch(host->context, g->pidfd);
		(void)close(g->pidfd);
	}
	if (g->config >= 0)
		(void)close(g->config);
	if (g->pid > 0)
		(void)waitpid(g->pid, NULL, WNOHANG);
	g->said = g->pidfd = g->config = -1;
	g->pid = 0;
	buffer_clear(&g->line);
}

static void fail(struct gate *g, const struct error *err)
{
	g->failure = *err;
	(void)error_wrap(&g->failure, "network");
	tell(g, "%s", g->failure.text);
}

static void ended(void *context, short revents)
{
	struct gate *g = context;
	bool lived = clock_seconds() - g->started >= LIVES_SECONDS;
	struct error err;

	(void)revents;
	release(g);
	if (!lived)
		(void)error_set(&err, EIO, "the way out could not be opened");
	else
		tell(g, "network: the way out had ended and is opened again");
	if (!lived || launch(g, &err) < 0)
		fail(g, &err);
}

/* ---- the guest's part ---- */

static void passed(void *context, int fd)
{
	struct gate *g = context;

	g->listening = fd; /* once at most: guest.h */
}

static void listens(void *context, int code, int status, const char *text)
{
	struct gate *g = context;
	struct error err;

	(void)status;
	g->asked = NULL;
	if (code)
		(void)error_set(&err, code, "%s", text);
	else if (g->listening < 0)
		(void)error_set(&err, EPROTO, "the guest does not listen");
	if (code || g->listening < 0 || launch(g, &err) < 0)
		fail(g, &err);
}

/* ---- doors ---- */

/* To the proxy. One that it does not take in time is closed, as by a full queue. */
static void hand_on(void *context, int fd)
{
	const struct door *door = context;
	union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int))]; } control;
	char byte = 0;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };

	memset(&control, 0, sizeof control);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	(void)sendmsg(door->gate->handing, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)close(fd);
}

static void open_door(struct door *door, struct error *err);

/* It has handed on a connection, or could not wait for one. */
static void passed_through(void *context, int code, int status, const char *text)
{
	struct door *door = context;
	struct error err = { .code = 0 };

	(void)status;
	door->asked = NULL;
	if (code)
		(void)error_set(&err, code, "%s", text);
	else
		open_door(door, &err);
	if (err.code && !door->gate->failure.code)
		fail(door->gate, &err);
}

static void open_door(struct door *door, struct error *err)
{
	static const struct guest_callbacks callbacks = { NULL, hand_on, passed_through };
	char address[16];

	(void)snprintf(address, sizeof address, "tcp:%d", GATE_PORT);
	door->asked = guest_accept(door->gate->guest, address, &callbacks, door, err);
}

/* Requests are answered in their order: who hears of the last knows that all doors wait. */
static int open_doors(struct gate *g, struct error *err)
{
	static const struct guest_callbacks callbacks = { NULL, NULL, listens };
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return error_errno(err, "network");
	g->listening = ends[0];
	g->handing = ends[1];
	for (size_t i = 0; i < DOORS; i++) {
		g->doors[i].gate = g;
		open_door(&g->doors[i], err);
		if (!g->doors[i].asked)
			return -1;
	}
	g->asked = guest_ping(g->guest, &callbacks, g, err);
	return g->asked ? 0 : -1;
}

static int listen_inside(struct gate *g, struct error *err)
{
	static const struct guest_callbacks callbacks = { NULL, passed, listens };
	char address[16];

	(void)snprintf(address, sizeof address, "tcp:%d", GATE_PORT);
	g->asked = guest_listen(g->guest, address, &callbacks, g, err);
	return g->asked ? 0 : -1;
}

int gate_open(struct gate **gate, struct sandbox *s, struct runner *runner, struct guest *guest, struct error *err)
{
	struct gate *g;

	*gate = NULL;
	if (!gate_is_wanted(s))
		return 0;
	g = calloc(1, sizeof *g);
	if (!g)
		return error_memory(err);
	*g = (struct gate){ .sandbox = s, .runner = runner, .guest = guest, .listening = -1, .handing = -1, .config = -1, .said = -1,
			    .pidfd = -1, .line = BUFFER(LINES_MAX) };
	if (guest_is_carried(guest) ? open_doors(g, err) : listen_inside(g, err)) {
		gate_close(g);
		return -1;
	}
	*gate = g;
	return 0;
}

int gate_ready(const struct gate *gate, struct error *err)
{
	if (!gate)
		return 1;
	if (gate->failure.code) {
		*err = gate->failure;
		return -1;
	}
	return gate->pid > 0;
}

void gate_close(struct gate *g)
{
	if (!g)
		return;
	if (g->asked)
		guest_forget(g->asked);
	for (size_t i = 0; i < DOORS; i++)
		if (g->doors[i].asked)
			guest_forget(g->doors[i].asked);
	release(g);
	if (g->handing >= 0)
		(void)close(g->handing);
	if (g->listening >= 0)
		(void)close(g->listening);
	buffer_free(&g->line);
	free(g);
}
