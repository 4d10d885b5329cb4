#include "backend/sandbox/commands.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define PRINTED_MAX 65536

/* What pip and uv may know of the user's environment. Never in config.json: an index's address
 * may carry a password. */
static const char *const passed_on[] = {
	"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_TRUSTED_HOST", "PIP_CERT",
	"PIP_PROXY", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL",
	"UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_HTTP_TIMEOUT", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY",
	"HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
};

static const char *const fixed[] = {
	"PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_INPUT=1", "PIP_PROGRESS_BAR=off", "PIP_ROOT_USER_ACTION=ignore",
	"PYTHONUNBUFFERED=1", "UV_LINK_MODE=copy", "UV_NATIVE_TLS=1", "UV_COMPILE_BYTECODE=1", "UV_NO_PROGRESS=1",
	"UV_PYTHON_DOWNLOADS=never", "DEBIAN_FRONTEND=noninteractive", "PIP_BREAK_SYSTEM_PACKAGES=1",
};

#define PASSED_ON (sizeof passed_on / sizeof *passed_on)
#define FIXED (sizeof fixed / sizeof *fixed)

void commands_open(struct commands *c, struct sandbox *sandbox)
{
	*c = (struct commands){ .sandbox = sandbox, .printed = BUFFER(PRINTED_MAX * 2) };
}

static void step(void *context, short revents);

static int watch(struct commands *c, struct error *err)
{
	const struct sandbox_host *host = c->sandbox->host;

	return host->watch(host->context, guest_fd(c->guest), guest_events(c->guest), step, c, err);
}

static void step(void *context, short revents)
{
	struct commands *c = context;
	struct error err;

	(void)revents;
	/* A link that is lost ends the command under way by its own callback. */
	if (c->lost)
		return;
	if (guest_step(c->guest, &err) || watch(c, &err)) {
		c->lost = true;
		c->sandbox->host->unwatch(c->sandbox->host->context, guest_fd(c->guest));
	}
}

int commands_attach(struct commands *c, struct guest *guest, struct error *err)
{
	c->guest = guest;
	c->lost = false;
	return watch(c, err);
}

int commands_asked(struct commands *c, struct error *err)
{
	return watch(c, err);
}

void commands_release(struct commands *c)
{
	c->sandbox->host->unwatch(c->sandbox->host->context, guest_fd(c->guest));
	c->guest = NULL;
}

void commands_detach(struct commands *c)
{
	struct guest *guest = c->guest;

	if (!guest)
		return;
	commands_release(c);
	guest_detach(guest);
}

void commands_close(struct commands *c)
{
	commands_detach(c);
	buffer_free(&c->printed);
}

void commands_log(const struct commands *c, const char *text)
{
	c->sandbox->host->log(c->sandbox->host->context, text, strlen(text));
}

/* ---- one command ---- */

static void output(void *context, int channel, const void *data, size_t n)
{
	struct commands *c = context;

	(void)channel;
	if (c->take)
		c->take(c->take_context, data, n);
	else if (!c->quiet)
		c->sandbox->host->log(c->sandbox->host->context, data, n);
	if (c->printed.length + n > PRINTED_MAX) {
		size_t over = c->printed.length + n - PRINTED_MAX;

		buffer_consume(&c->printed, over < c->printed.length ? over : c->printed.length);
	}
	(void)buffer_append(&c->printed, data, n); /* for the sentence of a failure only */
	guest_consumed(c->operation, n);
}

static void ended(void *context, int code, int exit_, const char *text)
{
	struct commands *c = context;

	if (code && text)
		(void)buffer_text(&c->printed, text);
	c->ended = true;
	c->code = code;
	c->exit = exit_;
}

/* What a variable of this machine's is where the commands run; NULL: it is not passed on. */
static const char *translate(const struct commands *c, const char *name, const char *value)
{
	static const char *const bundles[] = { "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE" };

	if (!c->elsewhere)
		return value;
	for (size_t i = 0; i < sizeof bundles / sizeof *bundles; i++)
		if (!strcmp(name, bundles[i]))
			return c->certificates;
	return *value == '/' ? NULL : value;
}

/* Whether the command has a variable of its own of that name. */
static bool is_own(const struct commands *c, const char *name)
{
	size_t n = strlen(name);

	for (const char *const *v = c->env; v && *v; v++)
		if (!strncmp(*v, name, n) && (*v)[n] == '=')
			return true;
	return false;
}

int commands_feed(struct commands *c, const char *const argv[], const void *input, size_t length, int *exit_,
		  struct error *err)
{
	static const struct guest_callbacks callbacks = { output, NULL, ended };
	char *own[PASSED_ON] = { NULL };
	const char *env[PASSED_ON + FIXED + COMMANDS_ENV_MAX + 1];
	struct guest_command command = { .argv = argv, .env = env, .cwd = c->cwd ? c->cwd : "/", .input = input, .input_length = length };
	size_t n = 0;
	int result = 0;

	for (size_t i = 0; i < FIXED; i++)
		env[n++] = fixed[i];
	for (size_t i = 0; i < PASSED_ON; i++) {
		const char *value = getenv(passed_on[i]);

		value = value && !is_own(c, passed_on[i]) ? translate(c, passed_on[i], value) : NULL;
		if (value && asprintf(&own[i], "%s=%s", passed_on[i], value) >= 0)
			env[n++] = own[i];
	}
	for (size_t i = 0; c->env && c->env[i] && i < COMMANDS_ENV_MAX; i++)
		env[n++] = c->env[i];
	env[n] = NULL;
	buffer_clear(&c->printed);
	c->ended = false;
	c->operation = guest_exec(c->guest, &command, &callbacks, c, err);
	for (size_t i = 0; i < PASSED_ON; i++)
		free(own[i]);
	if (!c->operation || watch(c, err))
		return -1;
	while (!c->ended && !c->lost && !result)
		result = c->sandbox->host->pump(c->sandbox->host->context, -1, err);
	c->operation = NULL;
	if (result)
		return -1;
	if (!c->ended || c->code)
		return error_set(err, c->ended ? c->code : EIO, "the build sandbox ended: %.300s",
				 c->printed.length ? c->printed.data : "its first process died");
	*exit_ = c->exit;
	return 0;
}

int commands_run(struct commands *c, const char *const argv[], int *exit_, struct error *err)
{
	return commands_feed(c, argv, NULL, 0, exit_, err);
}

int commands_must(struct commands *c, const char *const argv[], const char *what, struct error *err)
{
	int status;

	if (commands_run(c, argv, &status, err))
		return -1;
	return status ? commands_failed(c, what, err) : 0;
}

/* ---- what a failed one said ---- */

static bool starts(const char *line, const char *with)
{
	return !strncmp(line, with, strlen(with));
}

/* What uv says below its error, in one of its generations; NULL when the line is none of that. */
static const char *reason(const char *line)
{
	static const char *const before[] = { "  cause: ", "  Caused by: ", "  \xe2\x95\xb0\xe2\x94\x80\xe2\x96\xb6 " };

	for (size_t i = 0; i < sizeof before / sizeof *before; i++)
		if (starts(line, before[i]))
			return line + strlen(before[i]);
	return NULL;
}

/* pip says "ERROR: No matching distribution found for x", perhaps followed by other lines; uv an
 * "error: …", or "  × No solution found …:", with the reason in the next line; apt "E: Unable to
 * locate …". */
void commands_failure(const char *printed, char *out, size_t size)
{
	static const char *const wanted[] = {
		"ERROR: Cannot install", "ERROR: No matching distribution", "ERROR: Could not install", "ERROR: ", "error: ", "  \xc3\x97 ", "E: ",
	};
	const char *best = NULL, *last = NULL, *why;
	size_t rank = sizeof wanted / sizeof *wanted, n;

	for (const char *line = printed; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if (strspn(line, " \t\r") == strcspn(line, "\n"))
			continue;
		last = line;
		for (size_t i = 0; i <= rank && i < sizeof wanted / sizeof *wanted; i++)
			if (starts(line, wanted[i])) {
				best = line;
				rank = i;
				break;
			}
	}
	if (!best)
		best = last ? last : "the package manager failed without a word";
	best += strspn(best, " ");
	n = strcspn(best, "\r\n");
	why = best[n] == '\n' ? reason(best + n + 1) : NULL;
	if (why && n && best[n - 1] == ':')
		n--;
	(void)snprintf(out, size, "%.*s%s%.*s", (int)n, best, why ? ": " : "", why ? (int)strcspn(why, "\r\n") : 0,
		       why ? why : "");
}

int commands_failed(const struct commands *c, const char *what, struct error *err)
{
	char sentence[512];

	commands_failure(c->printed.length ? c->printed.data : "", sentence, sizeof sentence);
	return what ? error_set(err, EIO, "%s: %s", what, sentence) : error_set(err, EIO, "%s", sentence);
}
