/* The guest while a sandbox runs: its link among the runner's descriptors, its deadline, info.json, and a
 * sample of what runs inside now and then. */
#include "backend/sandbox/life.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/talk.h"

#define SAMPLE_MAX (256u << 10)
#define INFO_MAX (1u << 20)

double life_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_BOOTTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double life_real(double at)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9 + at - life_now();
}

static void guest_ready(void *context, short revents)
{
	struct life *s = context;
	struct error err;

	(void)revents;
	if (!s->lost && (guest_step(s->guest, &err) || life_watch_guest(s, &err)))
		s->lost = true;
	if (s->lost)
		life_unwatch(s, guest_fd(s->guest));
}

int life_watch_guest(struct life *s, struct error *err)
{
	return s->host.watch(s, guest_fd(s->guest), guest_events(s->guest), guest_ready, s, err);
}

const struct guest_callbacks life_quiet = { NULL, NULL, NULL };

/* "STARTED DEADLINE" of CLOCK_BOOTTIME. */
int life_keep_deadline(struct life *s, struct error *err)
{
	char text[64];
	int n = snprintf(text, sizeof text, "%.3f %.3f\n", s->started, s->deadline);

	return file_replace(runner_folder(s->runner), "deadline", text, (size_t)n, 0600, false, err);
}

void life_read_deadline(struct life *s)
{
	cleanup_buffer struct buffer text = BUFFER(256);
	struct error ignored;
	char *rest;

	s->started = life_now();
	s->deadline = 0;
	if (file_read(runner_folder(s->runner), "deadline", &text, &ignored) || !text.length)
		return;
	s->started = strtod(text.data, &rest);
	s->deadline = strtod(rest, NULL);
}

/* Adds the deadline and writes it; takes info (NULL: out of memory). */
static int put_info(struct life *s, cJSON *info, struct error *err)
{
	cleanup_free char *text = NULL;
	/* Milliseconds, as `since` has them. */
	bool good = info && (s->deadline <= 0 ||
			     cJSON_AddNumberToObject(info, "deadline", round(life_real(s->deadline) * 1000) / 1000));

	text = good ? cJSON_Print(info) : NULL;
	cJSON_Delete(info);
	return text ? runner_set_text(s->runner, "info.json", text, err) : error_memory(err);
}

int life_write_info(struct life *s, struct error *err)
{
	cJSON *info = cJSON_CreateObject();

	if (info && s->backend->describe(&s->sandbox, info, err)) {
		cJSON_Delete(info);
		return -1;
	}
	return put_info(s, info, err);
}

/* The rest stays as it was found at the start: a later runner has not looked at it. */
int life_tell_deadline(struct life *s, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(INFO_MAX);
	cJSON *info;

	if (file_read(runner_folder(s->runner), "info.json", &text, err))
		return -1;
	info = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	if (!info)
		return error_set(err, EBADMSG, "info.json: damaged");
	cJSON_DeleteItemFromObjectCaseSensitive(info, "deadline");
	return put_info(s, info, err);
}

int life_set_deadline(struct life *s, double deadline, struct error *err)
{
	double left = deadline - life_now();

	if (!guest_deadline(s->guest, deadline > 0 ? (uint64_t)ceil(left > 1 ? left : 1) : 0, &life_quiet, NULL, err) ||
	    life_watch_guest(s, err))
		return -1;
	s->deadline = deadline;
	return life_keep_deadline(s, err) || life_tell_deadline(s, err) ? -1 : 0;
}

int life_set_idle(struct life *s, struct error *err)
{
	double idle = sandbox_number(&s->sandbox, "idle_timeout", 0);

	return guest_idle(s->guest, idle > 0 ? (uint64_t)idle : 0, &life_quiet, NULL, err) ? life_watch_guest(s, err) : -1;
}

static void sample_output(void *context, int channel, const void *data, size_t n)
{
	struct sample *sample = context;

	if (channel == TALK_STDOUT)
		(void)buffer_append(&sample->text, data, n); /* what is past the limit is not shown */
	guest_consumed(sample->operation, n);
}

static void sample_ended(void *context, int code, int exit_, const char *text)
{
	struct sample *sample = context;
	struct error ignored;

	(void)text;
	sample->operation = NULL;
	if (!code && !exit_)
		(void)runner_set_value(sample->life->runner, sample->value, sample->text.data ? sample->text.data : "",
				       sample->text.length, 0600, &ignored);
}

static const struct guest_callbacks sample_callbacks = { sample_output, NULL, sample_ended };

void life_open_samples(struct life *s)
{
	s->processes = (struct sample){ .life = s, .value = "processes", .text = BUFFER(SAMPLE_MAX) };
	s->gpu = (struct sample){ .life = s, .value = "gpu", .text = BUFFER(SAMPLE_MAX) };
}

void life_close_samples(struct life *s)
{
	buffer_free(&s->processes.text);
	buffer_free(&s->gpu.text);
}

static void ask_gpu(struct life *s)
{
	static const char *const argv[] = { "nvidia-smi", "--format=csv",
					    "--query-gpu=index,name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw",
					    NULL };
	const struct guest_command command = { .argv = argv, .cwd = "/", .background = true };
	struct error ignored;

	if (!sandbox_text(&s->sandbox, "gpu") || s->gpu.operation)
		return;
	buffer_clear(&s->gpu.text);
	s->gpu.operation = guest_exec(s->guest, &command, &sample_callbacks, &s->gpu, &ignored);
}

void life_sample(struct life *s)
{
	struct error ignored;

	if (s->lost || life_now() < s->sampled + LIFE_SAMPLE_MS / 1000.0)
		return;
	s->sampled = life_now();
	if (!s->processes.operation) {
		buffer_clear(&s->processes.text);
		s->processes.operation = guest_processes(s->guest, &sample_callbacks, &s->processes, &ignored);
	}
	ask_gpu(s);
	/* A cell that sleeps, a session whose model thinks: nothing happens inside, and it is used. */
	if (calls_in_use(s->calls))
		(void)guest_touch(s->guest, &life_quiet, NULL, &ignored);
	if (life_watch_guest(s, &ignored))
		s->lost = true;
}

int life_clear_samples(struct life *s, struct error *err)
{
	return runner_set_value(s->runner, "processes", "", 0, 0600, err) ||
	       runner_set_value(s->runner, "gpu", "", 0, 0600, err) ? -1 : 0;
}

void life_detach(struct life *s, int code, const char *reason)
{
	if (s->guest) {
		calls_detach(s->calls, code, reason);
		gate_close(s->gate);
		s->gate = NULL;
		life_unwatch(s, guest_fd(s->guest));
		guest_detach(s->guest);
	}
	s->guest = NULL;
}

int life_attach(struct life *s, struct guest *guest, struct error *err)
{
	s->guest = guest;
	s->lost = false;
	s->attached = life_now();
	if (gate_open(&s->gate, &s->sandbox, s->runner, guest, err) || life_set_idle(s, err))
		return -1;
	calls_attach(s->calls, guest);
	return 0;
}
