/* backends/: where sandboxes run.
 *
 *      NAME/state error info.json running      as `interpfs backend NAME` recorded them last
 *
 * An engine may take seconds to answer, or never. So the answers are files of the state directory
 * (backends/NAME/), and a process of a moment asks for new ones when somebody looks and the last are old. Who
 * looks is held back until it has ended (fs/coming.h), but not for long: then the last ones are shown. */
#include "fs/backends.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "fs/coming.h"
#include "fs/loop.h"
#include "fs/mount.h"
#include "fs/show.h"
#include "fs/supervise.h"

#define FRESH_MS 1000      /* answers are as good as new for so long */
#define FRESH_TIMES 10     /* or for so many times what it took to get them: `grep -r` waits once */
#define PATIENCE_MS 2500

static struct sample {
	const char *name;
	struct loop_watch watch;   /* open as long as the process runs */
	struct loop_timer patience;
	int64_t began, ended;      /* 0: never */
	bool running, waiting;     /* waiting: it has not been too long yet */
} samples[] = { { .name = "local", .watch = { .fd = -1 } }, { .name = "docker", .watch = { .fd = -1 } } };

static void let_go(struct sample *s)
{
	s->waiting = false;
	loop_clear_timer(&s->patience);
	coming_arrived();
}

static void too_long(struct loop_timer *timer)
{
	let_go(timer->data);
}

static void ended(struct loop_watch *watch, uint32_t events)
{
	struct sample *s = watch->data;
	char piece[64];

	(void)events;
	if (read(watch->fd, piece, sizeof piece) > 0)
		return;
	loop_unwatch(watch);
	(void)close(watch->fd);
	watch->fd = -1;
	s->ended = clock_ms();
	s->running = false;
	let_go(s);
}

static bool is_fresh(const struct sample *s)
{
	int64_t took = s->ended - s->began, good = took * FRESH_TIMES > FRESH_MS ? took * FRESH_TIMES : FRESH_MS;

	return s->ended && clock_ms() - s->ended < good;
}

static void begin(struct sample *s)
{
	const char *const words[] = { "backend", s->name, objects_state()->path, NULL };
	struct error err;

	s->began = clock_ms();
	s->ended = s->began; /* where it cannot be started, it is not tried at once again */
	s->watch.ready = ended;
	s->watch.data = s;
	if (supervise_run(mount_supervisor(), words, &s->watch.fd, &err) < 0) {
		mount_log("backends/%s: %s", s->name, err.text);
		return;
	}
	if (loop_watch(&s->watch, EPOLLIN, &err) < 0) {
		(void)close(s->watch.fd);
		s->watch.fd = -1;
		return;
	}
	s->running = s->waiting = true;
	s->patience.fire = too_long;
	s->patience.data = s;
	loop_set_timer(&s->patience, PATIENCE_MS);
}

int backends_open(const struct state *state, struct error *err)
{
	for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
		char path[64];

		(void)snprintf(path, sizeof path, "backends/%s", samples[i].name);
		if (file_make_folders(state->fd, path, 0700, err) < 0)
			return -1;
	}
	return 0;
}

bool backends_come(const struct node *node)
{
	for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
		if (!strcmp(samples[i].name, node->row->sampled)) {
			if (!samples[i].running && !is_fresh(&samples[i]))
				begin(&samples[i]);
			return samples[i].waiting;
		}
	return false;
}

#define FILES(NAME)                                                                                                     \
	{                                                                                                               \
		{ .name = "state", .kind = FILE_VALUE, .file = "backends/" NAME "/state", .sampled = NAME,              \
		  .help = "ready or unavailable" },                                                                     \
		{ .name = "error", .kind = FILE_VALUE, .file = "backends/" NAME "/error", .sampled = NAME,              \
		  .help = "why it is unavailable, and what mends that" },                                               \
		{ .name = "info.json", .kind = FILE_VALUE, .file = "backends/" NAME "/info.json", .sampled = NAME,      \
		  .help = "versions, GPUs, limits" },                                                                   \
		{ .name = "running", .kind = FILE_VALUE, .file = "backends/" NAME "/running", .sampled = NAME,          \
		  .help = "what exists there: name, backend, kind, id, state, since when, whose it is" },               \
		{ .name = NULL },                                                                                       \
	}

static struct row local_rows[] = FILES("local");
static struct row docker_rows[] = FILES("docker");

struct row backend_rows[] = {
	{ .name = "local", .kind = FILE_DIRECTORY, .rows = local_rows, .sampled = "local", .help = "this machine itself" },
	{ .name = "docker", .kind = FILE_DIRECTORY, .rows = docker_rows, .sampled = "docker",
	  .help = "containers of an engine: Docker, Podman" },
	{ .name = NULL },
};
