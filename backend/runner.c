/* The life of a runner: takes the object's lock, listens, runs the story until the object is at
 * rest, ends. The order of the first steps is what makes two runners of one object impossible and
 * lets the mount connect as soon as standard output is closed:
 *
 *      lock run/lock -> write run/pid -> read want, status, spec.json -> bind and listen run/sock
 *      -> close standard output (the mount reads end of file there) -> story */
#include "backend/runner_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backend/runners.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/program.h"

#define SPEC_MAX (8u << 20)
#define EXIT_HELD 75
#define DRAIN_MS 5000
#define LOOK_MS 30000 /* how often it looks whether its folder is there */
#define REST_MS 500   /* with nothing to do for so long it gives memory back */
#define SPARE_MEMORY (128u << 10) /* so much may be free and not be the system's again */

struct state *runner_state(struct runner *r) { return &r->state; }
enum object_kind runner_kind(struct runner *r) { return r->kind; }
uint64_t runner_serial(struct runner *r) { return r->serial; }
int runner_folder(struct runner *r) { return r->folder; }
const char *runner_folder_path(struct runner *r) { return r->path; }
const struct want *runner_want(struct runner *r) { return &r->want; }
const struct status *runner_status(struct runner *r) { return &r->status; }
bool runner_after_reboot(struct runner *r) { return r->rebooted; }

const cJSON *runner_fields(struct runner *r)
{
	return cJSON_GetObjectItemCaseSensitive(r->spec, "fields");
}

const cJSON *runner_references(struct runner *r)
{
	return cJSON_GetObjectItemCaseSensitive(r->spec, "references");
}

static int read_spec(struct runner *r, struct error *err)
{
	cleanup_buffer struct buffer b = BUFFER(SPEC_MAX);
	cJSON *spec;

	if (file_read(r->folder, "spec.json", &b, err) < 0) {
		if (err->code != ENOENT)
			return -1;
		cJSON_Delete(r->spec);
		r->spec = NULL;
		return 0;
	}
	spec = cJSON_ParseWithLength(b.data, b.length);
	if (!cJSON_IsObject(spec)) {
		cJSON_Delete(spec);
		return error_set(err, EBADMSG, "spec.json: damaged");
	}
	cJSON_Delete(r->spec);
	r->spec = spec;
	return 0;
}

/* Somebody deleted the object's folder. Then what it holds outside is released as for a removal,
 * so that nothing goes on that no mount could ever show or end. */
static bool folder_vanished(struct runner *r)
{
	struct stat st;

	if (r->removed || fstat(r->folder, &st) < 0 || st.st_nlink)
		return false;
	r->removed = true;
	r->want.what = WANT_REMOVED;
	r->want.generation++;
	return true;
}

static int read_again(struct runner *r, struct error *err)
{
	if (r->removed || folder_vanished(r))
		return 0;
	if (want_read(r->folder, &r->want, err) < 0)
		return -1;
	return read_spec(r, err);
}

int runner_watch(struct runner *r, int fd, short events, struct error *err)
{
	struct watched *more;

	for (size_t i = 0; i < r->n_watched; i++) {
		if (r->watched[i].fd == fd) {
			r->watched[i].events = events;
			return 0;
		}
	}
	more = realloc(r->watched, (r->n_watched + 1) * sizeof *more);
	if (!more)
		return error_memory(err);
	r->watched = more;
	r->watched[r->n_watched++] = (struct watched){ fd, events };
	return 0;
}

void runner_unwatch(struct runner *r, int fd)
{
	for (size_t i = 0; i < r->n_watched; i++) {
		if (r->watched[i].fd != fd)
			continue;
		memmove(r->watched + i, r->watched + i + 1, (--r->n_watched - i) * sizeof *r->watched);
		return;
	}
}

/* What clients did that the story has not been told; true with *event. */
static bool next_of_clients(struct runner *r, struct runner_event *event)
{
	for (struct conversation *c = r->conversations; c; c = c->next) {
		if (c->role != ROLE_CALL && c->role != ROLE_COMMAND)
			continue;
		event->conversation = c;
		if (c->complete && !c->told && !c->ended && !c->closed && !(r->holding && c->role == ROLE_CALL)) {
			c->told = true;
			event->kind = c->role == ROLE_CALL ? RUNNER_CALL : RUNNER_COMMAND;
			event->text = c->name;
			event->request = c->request.data ? c->request.data : "";
			event->length = c->request.length;
			return true;
		}
		if (c->told && !c->ended && !c->closed_told && (c->closed || c->lost)) {
			c->closed_told = true;
			event->kind = RUNNER_CLOSED;
			event->text = c->name;
			event->gone = c->lost;
			return true;
		}
		if (c->told && !c->ended && c->was_full && c->fd >= 0 && !conversation_full(c)) {
			c->was_full = false;
			event->kind = RUNNER_DRAINED;
			return true;
		}
	}
	event->conversation = NULL;
	return false;
}

/* Where something is to be started anew and the program is not the newest any more, the newest does it:
 * this process ends as by a signal, and what is wanted and not acted on has the mount start another. */
static bool leaves_it_to_a_newer(const struct runner *r)
{
	return (r->kind == OBJECT_SANDBOX || r->kind == OBJECT_NOTEBOOK) && r->want.what == WANT_RUN &&
	       r->want.generation > r->status.generation && program_was_replaced();
}

void runner_hold_calls(struct runner *r, bool hold) { r->holding = hold; }

static bool owes_something(const struct runner *r)
{
	for (const struct conversation *c = r->conversations; c; c = c->next)
		if (c->fd >= 0 && c->out.length)
			return true;
	return false;
}

/* How long to wait at most, ms. Whoever has had nothing to do for a while gives back what that took, once:
 * who prints is read into the same pages over and over, and of a library's pages a few are used. */
static int64_t rest(struct runner *r, int64_t left)
{
	int64_t now = clock_ms();

	if (left < 0 || left > LOOK_MS)
		left = LOOK_MS;
	if (r->resting)
		return left;
	if (owes_something(r))
		r->busy = now;
	if (now < r->busy + REST_MS)
		return left < r->busy + REST_MS - now ? left : r->busy + REST_MS - now;
	if (mallinfo2().fordblks > SPARE_MEMORY)
		(void)malloc_trim(0);
	program_let_go_of_code();
	r->resting = true;
	return left;
}

static int next_event(struct runner *r, int timeout_ms, struct runner_event *event, struct error *err)
{
	int64_t end = timeout_ms < 0 ? -1 : clock_ms() + timeout_ms;

	runner_uncork(r);
	/* The request of a call was lent until now. */
	for (struct conversation *c = r->conversations; c; c = c->next)
		if (c->told)
			buffer_free(&c->request);
	*event = (struct runner_event){ .kind = RUNNER_TIMEOUT, .fd = -1 };
	for (;;) {
		int64_t left = end < 0 ? -1 : end - clock_ms();
		long ready;

		if (left < 0 && end >= 0)
			left = 0;
		if (r->terminated) {
			r->terminated = false;
			event->kind = RUNNER_SIGNAL;
			return 0;
		}
		if (r->poked) {
			r->poked = false;
			event->kind = RUNNER_WANT;
			if (read_again(r, err) < 0)
				return -1;
			if (leaves_it_to_a_newer(r))
				event->kind = RUNNER_SIGNAL;
			return 0;
		}
		if (next_of_clients(r, event))
			return 0;
		if (runner_pump(r, rest(r, left), &ready, &event->revents, err) < 0)
			return -1;
		if (clock_ms() - r->looked >= LOOK_MS) {
			r->looked = clock_ms();
			if (folder_vanished(r))
				r->poked = true;
		}
		/* What clients did comes before what descriptors say; those stay ready. */
		if (r->terminated || r->poked || next_of_clients(r, event)) {
			if (event->kind != RUNNER_TIMEOUT)
				return 0;
			continue;
		}
		if (ready >= 0) {
			event->kind = RUNNER_FD;
			event->fd = r->watched[ready].fd;
			return 0;
		}
		if (end >= 0 && clock_ms() >= end)
			return 0;
	}
}

int runner_next(struct runner *r, int timeout_ms, struct runner_event *event, struct error *err)
{
	int result = next_event(r, timeout_ms, event, err);

	if (result == 0 && event->kind != RUNNER_TIMEOUT) {
		r->busy = clock_ms();
		r->resting = false;
	}
	return result;
}

/* A POSIX lock: it belongs to this process alone, no child ever holds it. The one before may be
 * in the middle of its exit, so a lock that nobody living holds is waited for. */
static int take_lock(struct runner *r, struct error *err)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int64_t end = clock_ms() + 2000;

	r->lock = openat(r->folder, "run/lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (r->lock < 0)
		return error_errno(err, "run/lock");
	while (fcntl(r->lock, F_SETLK, &lock) < 0) {
		struct timespec pause = { .tv_nsec = 2000000 };
		int pid;

		if (errno != EACCES && errno != EAGAIN && errno != EINTR)
			return error_errno(err, "run/lock");
		if (runner_alive(r->folder, &pid))
			return error_set(err, EBUSY, "process %d runs it", pid);
		if (clock_ms() > end)
			return error_set(err, EBUSY, "another process holds run/lock");
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

static int open_runner(struct runner *r, char **argv, struct error *err)
{
	struct runner_record self;
	char *end;
	int kind = 0;

	while (kind < OBJECT_KINDS && strcmp(argv[2], object_noun[kind]) != 0)
		kind++;
	errno = 0;
	r->serial = strtoull(argv[3], &end, 10);
	if (kind == OBJECT_KINDS || *argv[3] < '1' || *argv[3] > '9' || *end || errno)
		return error_set(err, EINVAL, "no such object: %s %s", argv[2], argv[3]);
	r->kind = (enum object_kind)kind;
	if (state_open(&r->state, argv[1], err) < 0)
		return -1;
	r->folder = object_open(&r->state, r->kind, r->serial, err);
	if (r->folder < 0)
		return -1;
	if (asprintf(&r->path, "%s/%s/%" PRIu64, r->state.path, object_folder[kind], r->serial) < 0) {
		r->path = NULL;
		return error_memory(err);
	}
	if (file_make_folder(r->folder, "run", 0700, err) < 0 || take_lock(r, err) < 0)
		return -1;
	failpoint("runner-locked");
	r->rebooted = runner_of_earlier_boot(r->folder);
	if (runner_record_self(&self, err) < 0 || runner_record_write(r->folder, &self, err) < 0)
		return -1;
	failpoint("runner-recorded");
	return 0;
}

static int settle_process(struct runner *r, struct error *err)
{
	struct rlimit files;
	sigset_t set;

	(void)umask(077);
	program_keep_private();
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGHUP, SIG_IGN) == SIG_ERR)
		return error_errno(err, "signal");
	if (sigemptyset(&set) < 0 || sigaddset(&set, SIGTERM) < 0 || sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return error_errno(err, "signals");
	r->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r->signals < 0)
		return error_errno(err, "signalfd");
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return error_errno(err, "subreaper");
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max < 65536 ? files.rlim_max : 65536;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	return 0;
}

/* Says to the mount that it can connect. */
static int close_output(struct error *err)
{
	cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDOUT_FILENO) < 0)
		return error_errno(err, "standard output");
	return 0;
}

/* Calls the story until what is wanted has been acted on. */
static int run_story(struct runner *r, struct error *err)
{
	runner_story *story = runner_story_of(r->kind);

	/* Started for nothing: by a mount that was killed meanwhile, or after all was deleted. A snapshot's may still have
	 * to count. */
	if (r->kind != OBJECT_SNAPSHOT && r->want.what != WANT_REMOVED && r->want.generation <= r->status.generation &&
	    status_resting(r->kind, r->status.state))
		return 0;
	for (;;) {
		uint64_t asked = r->want.generation;
		bool told;

		if (story(r, err) < 0)
			return -1;
		told = r->want.what == WANT_REMOVED;
		runner_drain(r, DRAIN_MS);
		if (r->removed)
			return 0;
		if (read_again(r, err) < 0)
			return -1;
		if (r->want.what == WANT_REMOVED && told)
			return runner_remove_folder(r, err);
		/* Wanted since it returned: it has to let go of what is outside of the folder. */
		if (r->want.what == WANT_REMOVED)
			continue;
		r->poked = false;
		if (r->want.generation == r->status.generation || !status_resting(r->kind, r->status.state))
			return 0;
		/* It was asked for more while it came to rest; if not, it would never act. */
		if (r->want.generation == asked)
			return error_set(err, EIO, "its runner ended without doing what was wanted");
	}
}

static int live(struct runner *r, struct error *err)
{
	struct error second;

	if (status_read(r->folder, &r->status, err) == 0 && read_again(r, err) == 0 &&
	    runner_listen(r, err) == 0 && close_output(err) == 0 && run_story(r, err) == 0)
		return 0;
	/* A story that failed leaves a sentence; if even that cannot be written, stderr has both. */
	if (!r->removed && (runner_set_failure(r, err->text, &second) < 0 ||
			    runner_set_state(r, "failed", &second) < 0))
		fprintf(stderr, "interpfs runner: %s\n", second.text);
	return -1;
}

int runner_main(int argc, char **argv)
{
	struct runner r = { .state = { .fd = -1, .lock = -1 }, .folder = -1, .lock = -1, .listener = -1,
			    .signals = -1 };
	struct error err = { 0 }, ignored;
	int status = 0;

	for (size_t i = 0; i < OPEN_LOGS; i++)
		r.logs[i].fd = -1;
	if (argc != 4) {
		fprintf(stderr, "usage: interpfs runner STATE KIND SERIAL\n");
		return 64;
	}
	if (settle_process(&r, &err) < 0 || open_runner(&r, argv, &err) < 0) {
		status = err.code == EBUSY ? EXIT_HELD : 1;
		fprintf(stderr, "interpfs runner: %s\n", err.text);
	} else if (live(&r, &err) < 0) {
		status = 1;
		fprintf(stderr, "interpfs runner: %s\n", err.text);
	}
	/* Also for those who connected and were not looked at yet. */
	if (r.listener >= 0)
		(void)runner_pump(&r, 0, NULL, NULL, &ignored);
	if (status != 1)
		status_sentence(r.kind, &r.status, r.folder, err.text, sizeof err.text);
	runner_end_all(&r, ENOTCONN, err.text);
	runner_drain(&r, DRAIN_MS);
	failpoint("runner-exit");
	/* Nobody shall connect to what does not listen; a client that did already is told ENOTCONN. */
	if (r.listener >= 0) {
		if (!r.removed)
			(void)unlinkat(r.folder, "run/sock", 0);
		(void)close(r.listener);
	}
	runner_close_all(&r);
	runner_close_logs(&r);
	cJSON_Delete(r.spec);
	cJSON_Delete(r.secrets);
	free(r.watched);
	free(r.polled);
	free(r.path);
	if (r.signals >= 0)
		(void)close(r.signals);
	if (r.folder >= 0)
		(void)close(r.folder);
	state_close(&r.state);
	if (r.lock >= 0)
		(void)close(r.lock);
	return status;
}
