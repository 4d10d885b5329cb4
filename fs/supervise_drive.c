/* What an object needs whose runner the mount is not connected to, decided from its files alone:
 * nothing, a connection to a runner that lives, or a runner. supervise.c draws the phases. */
#include "fs/supervise_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"

/* What becomes of an object that ran when the machine went down. NULL: its runner is started
 * again and finds out. */
static const struct {
	const char *state, *failure;
} after_reboot[OBJECT_KINDS] = {
	[OBJECT_SANDBOX] = { "died", "the machine was restarted while it ran; write restart to its ctl" },
	[OBJECT_NOTEBOOK] = { "died", "the machine was restarted while it ran; write restart to its ctl" },
	[OBJECT_SESSION] = { "interrupted", "the machine was restarted while it ran" },
};

void supervise_set_status(struct supervisor *s, struct object *o, const struct status *status)
{
	o->status = *status;
	if (s->callbacks.status)
		s->callbacks.status(s->context, o->kind, o->serial, &o->status);
}

void supervise_say_changed(struct supervisor *s, struct object *o, const char *path, int64_t size, int64_t mtime_ns)
{
	if (s->callbacks.changed)
		s->callbacks.changed(s->context, o->kind, o->serial, path, size, mtime_ns);
}

/* Where no runner lives, the mount writes in its place. Not synced, for this is the loop: what a power cut
 * takes back is decided once more, from the other files. */
static void write_for_runner(struct supervisor *s, struct object *o, int folder, const char *state,
			     const char *failure)
{
	struct status next = { .generation = o->want.generation };
	cleanup_buffer struct buffer b = BUFFER(2 * ERROR_TEXT_SIZE);
	struct error err;
	struct timespec now = { 0 };

	(void)clock_gettime(CLOCK_REALTIME, &now);
	next.since = (double)now.tv_sec + (double)(now.tv_nsec / 1000000) / 1000;
	(void)snprintf(next.state, sizeof next.state, "%s", state);
	if (buffer_format(&b, "%s\n", failure) < 0 ||
	    file_replace(folder, "failure", b.data, b.length, 0600, false, &err) < 0 ||
	    status_write(folder, &next, false, &err) < 0)
		supervise_log(s, o, "its state could not be written: %s", b.data ? err.text : "out of memory");
	supervise_say_changed(s, o, NULL, 0, 0);
	supervise_set_status(s, o, &next);
}

/* A runner deletes want last but for the folder itself: it was killed in between. */
static bool finish_removal(struct supervisor *s, struct object *o)
{
	struct error err;

	if (object_delete(s->state, o->kind, o->serial, &err) < 0) {
		supervise_log(s, o, "%s", err.text);
		return false;
	}
	supervise_forget(s, o);
	return true;
}

/* Reads want and status. -1 when the folder is gone; then the object is, too. */
static int read_object(struct supervisor *s, struct object *o, int *folder)
{
	bool removing = o->want.what == WANT_REMOVED;
	struct error err;
	struct status status;

	*folder = object_open(s->state, o->kind, o->serial, &err);
	if (*folder < 0) {
		if (err.code == ENOENT) {
			supervise_forget(s, o);
			return -1;
		}
		supervise_log(s, o, "%s", err.text);
		return 0;
	}
	if (want_read(*folder, &o->want, &err) < 0)
		supervise_log(s, o, "%s", err.text);
	else if (removing && !o->want.generation && finish_removal(s, o))
		return -1;
	if (status_read(*folder, &status, &err) < 0) {
		supervise_log(s, o, "%s", err.text);
		return 0;
	}
	if (status.generation != o->status.generation || strcmp(status.state, o->status.state) != 0 ||
	    status.since != o->status.since) {
		supervise_say_changed(s, o, NULL, 0, 0);
		supervise_set_status(s, o, &status);
	}
	return 0;
}

static bool lags(const struct object *o)
{
	return o->want.generation > o->status.generation || o->want.what == WANT_REMOVED;
}

/* The last line that a runner printed before it ended, for a failure's sentence. */
static void last_words(int folder, char *text, size_t size)
{
	cleanup_buffer struct buffer b = BUFFER(1 << 20);
	struct error ignored;
	const char *line;

	(void)file_read(folder, "run/stderr", &b, &ignored);
	line = buffer_last_line(&b);
	(void)snprintf(text, size, "%s%.*s", *line ? ": " : "", (int)(size > 4 ? size - 4 : 0), line);
}

/* Notes that a runner ended before its time; false when it did so too often. */
static bool may_restart(struct object *o)
{
	int64_t now = clock_ms();
	int oldest = 0, recent = 0;

	for (int i = 0; i < DEATHS; i++) {
		if (o->deaths[i] && now - o->deaths[i] < DEATHS_WITHIN_MS)
			recent++;
		if (o->deaths[i] < o->deaths[oldest])
			oldest = i;
	}
	o->deaths[oldest] = now;
	return recent < DEATHS;
}

/* A runner that has ended in its own way has taken its socket away. */
bool supervise_left_undone(const struct object *o, int folder)
{
	return o->kind == OBJECT_SNAPSHOT && o->want.what == WANT_RUN && !strcmp(o->status.state, "ready") &&
	       !faccessat(folder, "run/sock", F_OK, AT_SYMLINK_NOFOLLOW) && faccessat(folder, "size", F_OK, AT_SYMLINK_NOFOLLOW) < 0;
}

static bool is_at_rest(const struct object *o)
{
	return !lags(o) && status_resting(o->kind, o->status.state);
}

static void spawn(struct supervisor *s, struct object *o, int folder)
{
	struct error err;
	int output;
	pid_t pid;

	if (!supervise_need_link(o)) {
		(void)error_memory(&err);
	} else if (supervise_spawn(s, o, folder, &output, &pid, &err) == 0) {
		supervise_wait_for_child(s, pid);
		o->phase = PHASE_SPAWNING;
		o->spawned_for = o->want.generation;
		if (supervise_source(s, &o->link->output, output, EPOLLIN) == 0) {
			failpoint("supervise-spawned");
			return;
		}
		(void)error_errno(&err, "epoll");
		(void)close(output);
	}
	supervise_drop_link(s, o);
	supervise_log(s, o, "cannot be started: %s", err.text);
	if (o->want.what != WANT_REMOVED && !is_at_rest(o))
		write_for_runner(s, o, folder, "failed", err.text);
	supervise_fail_calls(s, o, ENOTCONN, err.text);
}

/* The sentence for a call to something at rest. */
void supervise_refuse_calls(struct supervisor *s, struct object *o, int folder)
{
	char text[512];

	if (!o->calls)
		return;
	status_sentence(o->kind, &o->status, folder, text, sizeof text);
	supervise_fail_calls(s, o, ENOTCONN, text);
}

void supervise_wait_longer(struct supervisor *s, struct object *o)
{
	struct link *l = supervise_need_link(o);

	if (!l)
		return;
	if (o->phase != PHASE_WAITING)
		s->waiting++;
	o->phase = PHASE_WAITING;
	l->retry_pause = l->retry_pause ? l->retry_pause * 2 : 5;
	if (l->retry_pause > 500)
		l->retry_pause = 500;
	l->retry_at = clock_ms() + l->retry_pause;
	supervise_arm(s, l->retry_pause);
}

/* Tries to connect to a runner. 0: connected; -1 ENOTCONN: nobody listens. */
int supervise_attach(struct supervisor *s, struct object *o, int folder, struct error *err)
{
	struct link *l = supervise_need_link(o);
	cleanup_free char *text = NULL;

	if (!l)
		return error_memory(err);
	if (talk_connect(&l->talk, folder, err) < 0)
		return -1;
	text = supervise_watch_text(s, o, folder);
	if (!text) {
		talk_close(&l->talk);
		return error_memory(err);
	}
	/* One that was started just now has read all there is; another may have been told nothing of
	 * what a mount wrote before it was killed. */
	if (talk_send(&l->talk, TALK_WATCH, text, strlen(text), err) < 0 ||
	    ((l->poked || o->phase != PHASE_SPAWNING) && talk_send(&l->talk, TALK_POKE, NULL, 0, err) < 0)) {
		talk_close(&l->talk);
		return -1;
	}
	if (supervise_source(s, &l->watch, l->talk.fd, EPOLLIN | (l->talk.out.length ? EPOLLOUT : 0)) < 0) {
		(void)error_errno(err, "epoll");
		talk_close(&l->talk);
		return -1;
	}
	if (o->phase == PHASE_WAITING)
		s->waiting--;
	o->phase = PHASE_CONNECTED;
	l->synced = l->poked = false;
	l->retry_pause = 0;
	return 0;
}

/* Whether a runner ended before its time, where it has to run again. One that came to rest when
 * it was just wanted again did not; it has taken its socket away. */
static bool ended_early(const struct object *o, int folder)
{
	return !status_resting(o->kind, o->status.state) || o->status.generation < o->spawned_for ||
	       o->want.what == WANT_REMOVED || faccessat(folder, "run/sock", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* An object without a connection: what it is now decides what it needs. false when it is gone. */
static bool drive_once(struct supervisor *s, struct object *o)
{
	cleanup_close int folder = -1;
	char words[400], text[ERROR_TEXT_SIZE];
	bool was_waiting = o->phase == PHASE_WAITING;
	struct error err;

	if (read_object(s, o, &folder) < 0)
		return false;
	if (folder < 0)
		return true;
	if (runner_alive(folder, NULL)) {
		/* One that has just let go of us is most likely in the middle of its end. */
		if ((o->died && !was_waiting) || supervise_attach(s, o, folder, &err) < 0)
			supervise_wait_longer(s, o);
		else
			o->died = false;
		return true;
	}
	supervise_drop_link(s, o);
	if (is_at_rest(o)) {
		o->died = false;
		supervise_refuse_calls(s, o, folder);
		if (supervise_left_undone(o, folder) && may_restart(o))
			spawn(s, o, folder);
		return true;
	}
	if (!lags(o) && !o->died && runner_of_earlier_boot(folder) && after_reboot[o->kind].state) {
		write_for_runner(s, o, folder, after_reboot[o->kind].state, after_reboot[o->kind].failure);
		supervise_refuse_calls(s, o, folder);
		return true;
	}
	/* What was wanted since is another try: it does not fail for the end of the one before. */
	if ((was_waiting || o->died) && ended_early(o, folder) &&
	    (!o->spawned_for || o->want.generation <= o->spawned_for)) {
		o->died = false;
		last_words(folder, words, sizeof words);
		if (!may_restart(o)) {
			(void)snprintf(text, sizeof text, "its runner ended unexpectedly %d times within a minute%s",
				       DEATHS + 1, words);
			supervise_log(s, o, "%s", text);
			if (o->want.what != WANT_REMOVED)
				write_for_runner(s, o, folder, "failed", text);
			supervise_refuse_calls(s, o, folder);
			return true;
		}
		supervise_log(s, o, "its runner ended unexpectedly and is started again%s", words);
	}
	o->died = false;
	spawn(s, o, folder);
	return true;
}

/* Callbacks inside may ask for the same object again: that is done when they have returned. */
void supervise_drive(struct supervisor *s, struct object *o)
{
	o->again = true;
	if (o->driving)
		return;
	o->driving = true;
	while (o->again && (o->phase == PHASE_REST || o->phase == PHASE_WAITING)) {
		o->again = false;
		if (!drive_once(s, o))
			return;
	}
	o->driving = false;
}

/* Its runner has ended; whether it should have is seen in what it left. */
void supervise_lost(struct supervisor *s, struct object *o)
{
	supervise_drop_link(s, o);
	o->died = true;
	supervise_drive(s, o);
}
