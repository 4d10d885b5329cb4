#include "backend/sandbox/build.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sandbox/cgroup.h"
#include "base/cleanup.h"

#define DEADLINE_S 3600
#define QUIT_MS 5000

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
	"UV_PYTHON_DOWNLOADS=never", "DEBIAN_FRONTEND=noninteractive",
};

#define PASSED_ON (sizeof passed_on / sizeof *passed_on)
#define FIXED (sizeof fixed / sizeof *fixed)

int build_open(struct build *b, struct sandbox *sandbox, const char *path, const char *id, const char *image,
	       struct error *err)
{
	*b = (struct build){ .sandbox = sandbox, .uplink = UPLINK,
			      .printed = BUFFER(BUILD_PRINTED_MAX * 2) };
	b->box.folder = b->box.ctl = b->box.pidfd = -1;
	cgroup_hurry();
	if (network_choose("full", &b->network, err) || box_init(&b->box, sandbox->state->path, path, id, err))
		return -1;
	if (box_reap(&b->box, err) || box_remove(&b->box, err) || box_make(&b->box, err) ||
	    uplink_begin(&b->uplink, &b->network, err) || box_start_uplink(&b->box, &b->uplink, err) ||
	    plan_system(&b->plan, sandbox->state, &b->box, image, "build", &b->uplink, err))
		return -1;
	b->plan.bundle.timeout = DEADLINE_S;
	return 0;
}

static void step(void *context, short revents);

static int watch(struct build *b, struct error *err)
{
	const struct sandbox_host *host = b->sandbox->host;

	return host->watch(host->context, guest_fd(b->guest), guest_events(b->guest), step, b, err);
}

static void step(void *context, short revents)
{
	struct build *b = context;
	struct error err;

	(void)revents;
	/* A link that is lost ends the command under way by its own callback. */
	if (b->lost)
		return;
	if (guest_step(b->guest, &err) || watch(b, &err)) {
		b->lost = true;
		b->sandbox->host->unwatch(b->sandbox->host->context, guest_fd(b->guest));
	}
}

int build_start(struct build *b, const char *runtime, struct error *err)
{
	if (plan_start(&b->plan, runtime, &b->uplink, 0, &b->guest, err))
		return -1;
	return watch(b, err);
}

static void output(void *context, int channel, const void *data, size_t n)
{
	struct build *b = context;

	(void)channel;
	b->sandbox->host->log(b->sandbox->host->context, data, n);
	if (b->printed.length + n > BUILD_PRINTED_MAX) {
		size_t over = b->printed.length + n - BUILD_PRINTED_MAX;

		buffer_consume(&b->printed, over < b->printed.length ? over : b->printed.length);
	}
	(void)buffer_append(&b->printed, data, n); /* for the sentence of a failure only */
	guest_consumed(b->operation, n);
}

static void passed(void *context, int fd)
{
	(void)context;
	(void)close(fd);
}

static void ended(void *context, int code, int exit_, const char *text)
{
	struct build *b = context;

	if (code && text)
		(void)buffer_text(&b->printed, text);
	b->ended = true;
	b->code = code;
	b->exit = exit_;
}

int build_run(struct build *b, const char *const argv[], int *exit_, struct error *err)
{
	static const struct guest_callbacks callbacks = { output, passed, ended };
	char *own[PASSED_ON] = { NULL };
	const char *env[PASSED_ON + FIXED + 1];
	struct guest_command command = { .argv = argv, .env = env, .cwd = "/" };
	size_t n = 0;
	int result = 0;

	for (size_t i = 0; i < FIXED; i++)
		env[n++] = fixed[i];
	for (size_t i = 0; i < PASSED_ON; i++) {
		const char *value = getenv(passed_on[i]);

		if (value && asprintf(&own[i], "%s=%s", passed_on[i], value) >= 0)
			env[n++] = own[i];
	}
	env[n] = NULL;
	buffer_clear(&b->printed);
	b->ended = false;
	b->operation = guest_exec(b->guest, &command, &callbacks, b, err);
	for (size_t i = 0; i < PASSED_ON; i++)
		free(own[i]);
	if (!b->operation || watch(b, err))
		return -1;
	while (!b->ended && !b->lost && !result)
		result = b->sandbox->host->pump(b->sandbox->host->context, -1, err);
	b->operation = NULL;
	if (result)
		return -1;
	if (!b->ended || b->code)
		return error_set(err, b->ended ? b->code : EIO, "the build sandbox ended: %.300s",
				 b->printed.length ? b->printed.data : "its first process died");
	*exit_ = b->exit;
	return 0;
}

static void detach(struct build *b)
{
	if (!b->guest)
		return;
	b->sandbox->host->unwatch(b->sandbox->host->context, guest_fd(b->guest));
	guest_detach(b->guest);
	b->guest = NULL;
}

int build_stop(struct build *b, struct error *err)
{
	/* Killed, not asked: everything that it was to write has been written. */
	detach(b);
	return box_end(&b->box, 0, err);
}

void build_close(struct build *b)
{
	struct error ignored;

	detach(b);
	if (b->box.path) {
		(void)box_end(&b->box, 0, &ignored);
		(void)box_reap(&b->box, &ignored);
		(void)box_remove(&b->box, &ignored);
	}
	box_free(&b->box);
	plan_free(&b->plan);
	uplink_end(&b->uplink);
	network_free(&b->network);
	buffer_free(&b->printed);
}
