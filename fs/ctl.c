/* ctl: commands, one a line. A write is parked until its commands have been carried out. Each
 * LOOKUP gave its opener an inode of its own, so that two of them wait for nothing of each other.
 *
 * A signal ends the waiting, not the command: the run goes on under its handle, and the same text
 * written again to the same open rejoins it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/config.h"
#include "fs/files.h"
#include "fs/mount.h"
#include "fs/snapshots.h"
#include "fs/supervise.h"

#define LINES_MAX 65536u

/* The commands of one write. */
struct run {
	struct handle *handle;
	struct object *object;
	char *text;            /* as written */
	size_t length;
	char *rest;            /* the lines that follow, within `lines` */
	char *again;           /* the line that waits for until_saved, and is then begun; NULL: none */
	char *lines;           /* a copy that is cut up */
	struct parked *parked; /* NULL: nobody waits (any more) */
	struct supervise_call *call;
	bool until_rest;       /* waits for the object to be stopped */
	bool until_settled;    /* … to be ready or to rest */
	bool only_waits;       /* … as it is: what it was told last may have been refused */
	bool until_saved;      /* … for a want to be on the disk, or a snapshot */
	bool busy;             /* a command is being begun */
	bool orphan;           /* its handle has closed: free it when the storage thread lets go */
	struct loop_timer timer;
	bool timed_out;
	bool finished;
	int code;
};

static void go_on(struct run *run);

static const struct command *find_command(const struct command *commands, const char *word, size_t n)
{
	for (; commands && commands->name; commands++)
		if (strlen(commands->name) == n && !strncmp(commands->name, word, n))
			return commands;
	return NULL;
}

static int refused(struct run *run, struct error *err)
{
	refuse_node(&run->handle->node, err);
	return err->code;
}

static int unknown(struct run *run, const char *line)
{
	struct buffer known = BUFFER(512);
	struct error err;

	for (const struct command *c = run->handle->node.row->commands; c && c->name; c++)
		(void)buffer_format(&known, "%s%s%s%s", known.length ? ", " : "", c->name,
				    c->arguments && *c->arguments ? " " : "", c->arguments ? c->arguments : "");
	(void)error_set(&err, EINVAL, "unknown command '%.64s'; known: %s", line, known.data ? known.data : "none");
	buffer_free(&known);
	return refused(run, &err);
}

/* What `wait` says of an object that has settled. */
static int settled_code(const struct object *object)
{
	static const char *const wanting[] = { "approving", "paused", "limited", "stalled", NULL };
	const char *state = object->status.state;

	if (object->removed || !strcmp(state, "failed") || !strcmp(state, "died") || !strcmp(state, "stopped"))
		return EIO;
	for (const char *const *w = wanting; *w; w++)
		if (!strcmp(*w, state))
			return EAGAIN;
	return 0;
}

static void free_run(struct run *run)
{
	loop_clear_timer(&run->timer);
	object_unpin(run->object);
	free(run->text);
	free(run->lines);
	free(run);
}

static void finish(struct run *run, int code)
{
	run->finished = true;
	run->code = code;
	loop_clear_timer(&run->timer);
	if (run->parked) {
		fuse_req_t request = unpark(run->parked);

		run->handle->data = NULL;
		if (code)
			fuse_reply_err(request, code);
		else
			fuse_reply_write(request, run->length);
		free_run(run);
	} /* else it waits to be rejoined, or for its handle to close */
}

static void interrupted(struct parked *parked)
{
	struct run *run = parked->data;

	run->parked = NULL;
}

static void time_is_up(struct loop_timer *timer)
{
	struct run *run = timer->data;

	run->timed_out = true;
	go_on(run);
}

static void saved(void *data, int result, const struct error *error)
{
	struct run *run = data;

	run->until_saved = false;
	if (run->orphan)
		free_run(run);
	else if (result)
		finish(run, error->code);
	else
		go_on(run);
}

static void taken(void *data, int result, const struct error *error)
{
	struct run *run = data;
	struct error err;

	if (result && run->object) {
		err = *error;
		refuse(run->object, &err);
	}
	saved(data, result, error);
}

static int want(struct run *run, enum want_what what)
{
	run->until_saved = true; /* before: the object's change is told at once */
	if (!object_want(run->object, what, saved, run))
		return 0;
	run->until_saved = false;
	return ENOMEM;
}

static void call_ended(void *context, int code, int exit, const char *text, int passed)
{
	struct run *run = context;
	struct error err;

	(void)exit;
	if (passed >= 0)
		(void)close(passed);
	run->call = NULL;
	if (code) {
		(void)error_set(&err, code, "%s", text && *text ? text : strerror(code));
		finish(run, refused(run, &err));
	} else {
		go_on(run);
	}
}

static int start(struct run *run)
{
	struct object *object = run->object;
	struct error err;

	if (!config_exists(object) && config_try_again(object, true, &err) < 0)
		return refused(run, &err);
	if (object->kind == OBJECT_SESSION) {
		cJSON *message = cJSON_CreateObject();

		run->until_saved = true;
		if (message && cJSON_AddStringToObject(message, "kind", "start") &&
		    !object_message(object, message, saved, run))
			return 0;
		run->until_saved = false;
		return ENOMEM;
	}
	if (object->want.what == WANT_RUN && !object_at_rest(object))
		return 0;
	return want(run, WANT_RUN);
}

static int wait_for(struct run *run, const char *arguments)
{
	struct error err;

	if (*arguments) {
		char *end;
		double seconds = strtod(arguments, &end);

		if (*end || !(seconds >= 0 && seconds < 1e9)) {
			(void)error_set(&err, EINVAL, "wait: '%.64s' is no number of seconds", arguments);
			return refused(run, &err);
		}
		loop_set_timer(&run->timer, (int64_t)(seconds * 1000));
	}
	if (!run->object->want.generation) {
		if (run->object->kind == OBJECT_WORKSPACE)
			return 0; /* nothing was copied in yet */
		if (config_exists(run->object))
			(void)error_set(&err, EINVAL, "wait: it is a draft: nothing of it was started");
		else
			(void)config_try_again(run->object, false, &err);
		return refused(run, &err);
	}
	run->until_settled = run->only_waits = true;
	return 0;
}

static int no_work(void *data, struct error *err)
{
	(void)data;
	(void)err;
	return 0;
}

/* To the runner, which answers; of a numbered folder's ctl it is told of which. It reads the documents
 * there, so that what was closed before has to be on the disk. */
static int command(struct run *run, char *line)
{
	static const struct supervise_call_callbacks callbacks = { .ended = call_ended };
	const struct node *node = &run->handle->node;
	cleanup_free char *whole = NULL;

	if (node->row->call && save_is_under_way(run->object)) {
		run->until_saved = !in_storage(no_work, saved, run);
		run->again = run->until_saved ? line : NULL;
		return run->until_saved ? 0 : ENOMEM;
	}
	if (node->row->call && asprintf(&whole, "%s %u %s", node->row->call, node->index, line) < 0) {
		whole = NULL;
		return ENOMEM;
	}
	run->call = supervise_command(mount_supervisor(), run->object->kind, run->object->serial, whole ? whole : line,
				      &callbacks, run);
	return run->call ? 0 : ENOMEM;
}

/* Begins a line. 0 or an errno; what it waits for is set in run. */
static int begin(struct run *run, char *line)
{
	const struct node *node = &run->handle->node;
	struct object *object = run->object;
	size_t word = strcspn(line, " \t");
	const struct command *c = find_command(node->row->commands, line, word);
	const char *arguments = line + word + strspn(line + word, " \t");
	struct error err;

	if (!c)
		return unknown(run, line);
	accept_node(node); /* what it leads to is told by `error` now */
	switch (c->how) {
	case COMMAND_RUNNER:
		return command(run, line);
	case COMMAND_WAIT:
		return wait_for(run, arguments);
	case COMMAND_START:
		return start(run);
	case COMMAND_STOP:
		if (object_at_rest(object))
			return 0;
		run->until_rest = true;
		return want(run, WANT_STOPPED);
	case COMMAND_RESTART:
		run->until_settled = true;
		if (config_exists(object))
			return want(run, WANT_RUN);
		return config_try_again(object, true, &err) < 0 ? refused(run, &err) : 0;
	case COMMAND_SNAPSHOT:
		run->until_saved = true; /* as for a want */
		if (!snapshot_take(object, arguments, taken, run, &err))
			return 0;
		run->until_saved = false;
		return refused(run, &err);
	case COMMAND_HERE:
		if (c->run(node, arguments, &err) < 0)
			return refused(run, &err);
		return 0;
	}
	return EINVAL;
}

/* Whether what the present line waits for has come; *code is its result. */
static bool line_done(struct run *run, int *code)
{
	struct error err;

	*code = 0;
	if (run->call || run->until_saved)
		return false;
	if (run->object && run->object->removed && (run->until_rest || run->until_settled)) {
		*code = run->until_rest ? 0 : EIO;
	} else if (run->until_rest && !object_at_rest(run->object)) {
		return false;
	} else if (run->until_settled && (!object_settled(run->object) || run->object->texts)) {
		if (!run->timed_out)
			return false;
		*code = ETIMEDOUT;
	} else if (run->until_settled) {
		*code = settled_code(run->object);
		if (*code == EIO && run->only_waits && !run->object->removed && config_refused(run->object, &err))
			(void)refused(run, &err);
	}
	run->until_rest = run->until_settled = run->only_waits = run->timed_out = false;
	loop_clear_timer(&run->timer);
	return true;
}

static void go_on(struct run *run)
{
	int code;

	if (run->busy)
		return; /* a command told of its own change */
	while (!run->finished && line_done(run, &code)) {
		char *line = run->again ? run->again : run->rest, *end;

		if (code) {
			finish(run, code);
			return;
		}
		line += strspn(line, " \t\r\n");
		if (!*line) {
			finish(run, 0);
			return;
		}
		end = line + strcspn(line, "\n");
		if (!run->again)
			run->rest = *end ? end + 1 : end;
		run->again = NULL;
		*end = '\0';
		while (end > line && strchr(" \t\r", end[-1]))
			*--end = '\0';
		run->busy = true;
		code = begin(run, line);
		run->busy = false;
		if (code) {
			finish(run, code);
			return;
		}
	}
}

static void drop(struct run *run)
{
	if (run->call)
		supervise_call_abandon(run->call);
	run->call = NULL;
	if (run->until_saved)
		run->orphan = true;
	else
		free_run(run);
}

static void ctl_write(struct handle *h, fuse_req_t request, const char *data, size_t n, off_t offset)
{
	struct run *run = h->data;

	(void)offset;
	if (n > LINES_MAX || memchr(data, '\0', n) || !h->node.object) {
		fuse_reply_err(request, EINVAL);
		return;
	}
	if (run && run->parked) {
		fuse_reply_err(request, EBUSY); /* threads that share one open */
		return;
	}
	if (run && run->length == n && !memcmp(run->text, data, n)) {
		if (run->finished) {
			int code = run->code;

			h->data = NULL;
			free_run(run);
			if (code)
				fuse_reply_err(request, code);
			else
				fuse_reply_write(request, n);
		} else {
			run->parked = park(request, h, n, interrupted, run);
		}
		return;
	}
	if (run)
		drop(run);
	h->data = run = calloc(1, sizeof *run);
	if (run) {
		*run = (struct run){ .handle = h, .object = h->node.object, .length = n, .text = malloc(n + 1),
				     .lines = malloc(n + 1), .timer = { .fire = time_is_up, .data = run } };
		object_pin(run->object);
	}
	if (!run || !run->text || !run->lines) {
		if (run)
			free_run(run);
		h->data = NULL;
		fuse_reply_err(request, ENOMEM);
		return;
	}
	memcpy(run->text, data, n);
	memcpy(run->lines, data, n);
	run->text[n] = run->lines[n] = '\0';
	run->rest = run->lines;
	run->parked = park(request, h, n, interrupted, run);
	go_on(run);
}

static void ctl_changed(struct handle *h)
{
	if (h->data)
		go_on(h->data);
}

static void ctl_release(struct handle *h)
{
	if (h->data)
		drop(h->data);
	h->data = NULL;
}

static void list_commands(const struct node *node, struct buffer *out)
{
	for (const struct command *c = node->row->commands; c && c->name; c++)
		(void)buffer_format(out, "%s%s%s\t%s\n", c->name, c->arguments && *c->arguments ? " " : "",
				    c->arguments ? c->arguments : "", c->help ? c->help : "");
}

static void ctl_stat(const struct node *node, struct stat *st)
{
	struct buffer text = BUFFER(LINES_MAX);

	list_commands(node, &text);
	st->st_size = (off_t)text.length;
	buffer_free(&text);
}

static int ctl_open(struct handle *h, struct error *err)
{
	(void)err;
	list_commands(&h->node, &h->text);
	return 0;
}

struct kind ctl_kind = { .mode = 0600, .stat = ctl_stat, .open = ctl_open, .write = ctl_write,
			 .changed = ctl_changed, .release = ctl_release };
