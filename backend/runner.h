/* The skeleton that every runner stands on: one process for one object, plain sequential code.
 *
 * A story (sandbox_story, notebook_story, session_story, workspace_story) is called with a
 * runner that holds the object's lock, listens on run/sock, and has read want and spec.json. It
 * loops over runner_next(), which waits for commands, calls, changes of want and the story's own
 * descriptors at once, and returns when the object is at rest; runner_main() then ends the
 * process. The story alone writes the object's files, through the functions below, which tell
 * the mount what changed before they return.
 *
 *      for (;;) {
 *              if (runner_next(r, timeout_ms, &event, err) < 0) return -1;
 *              switch (event.kind) { … }
 *      }
 */
#ifndef INTERPFS_BACKEND_RUNNER_H
#define INTERPFS_BACKEND_RUNNER_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "fs/state.h"

struct runner;
struct conversation; /* a client's command or call; valid until conversation_end, which must be
                        called for each, also after RUNNER_CLOSED */

typedef int runner_story(struct runner *runner, struct error *err);

/* `interpfs runner STATE KIND SERIAL`: opens the runner, runs the story, sets the state failed
 * with the story's error if it returns -1. Returns the process's exit status: 0, 75 when another
 * runner has the object. Becomes a subreaper; ignores SIGPIPE and SIGHUP; SIGTERM is an event. */
int runner_main(int argc, char **argv);

/* What there is to know. */
struct state *runner_state(struct runner *r);
enum object_kind runner_kind(struct runner *r);
uint64_t runner_serial(struct runner *r);
int runner_folder(struct runner *r);                     /* descriptor, borrowed */
const char *runner_folder_path(struct runner *r);        /* absolute path, borrowed */
const struct want *runner_want(struct runner *r);        /* as last read */
const struct status *runner_status(struct runner *r);    /* as last written */
/* Whether the process that ran the object before this one belonged to an earlier boot of the
 * machine (or there was none): whatever status says was running then is gone. */
bool runner_after_reboot(struct runner *r);
/* spec.json's "fields" and "references"; borrowed until the next RUNNER_WANT. NULL if there is none. */
const cJSON *runner_fields(struct runner *r);
const cJSON *runner_references(struct runner *r);

/* Secrets come from the mount by WATCH. runner_secrets waits up to timeout_ms until every name in
 * the JSON array is known, but not long once the mount has spoken; -1 ENOKEY names the first that
 * is missing. runner_hear waits up to timeout_ms until it has spoken. */
int runner_hear(struct runner *r, int timeout_ms, struct error *err);
int runner_secrets(struct runner *r, const cJSON *names, int timeout_ms, struct error *err);
const char *runner_secret(struct runner *r, const char *name); /* borrowed, NULL when unknown */
/* Replaces their values in what is to be written by their names. `failure` and logs (log, *.log) are
 * looked through by the functions that write them. */
struct buffer;
void runner_scrub(struct runner *r, struct buffer *text);
/* How many bytes at the text's end may be the beginning of a value, of which the rest is to come. */
size_t runner_scrub_tail(struct runner *r, const char *text, size_t n);

enum runner_event_kind {
	RUNNER_TIMEOUT,  /* nothing happened for timeout_ms */
	RUNNER_WANT,     /* want, spec.json or a document may have changed; all were read again */
	RUNNER_COMMAND,  /* text is the line; answer with conversation_end */
	RUNNER_CALL,     /* text is the call's name, request/length its bytes; answer with
	                    conversation_send …, conversation_end */
	RUNNER_CLOSED,   /* the client said CLOSE (gone = false): end what it asked for; or its
	                    connection was lost (gone = true): go on, and log the output that comes
	                    from now on (what was sent before and did not arrive is in the log). After
	                    this event conversation_send is a no-op; conversation_end must still be called */
	RUNNER_DRAINED,  /* a conversation that was full (conversation_full) has room again */
	RUNNER_FD,       /* a watched descriptor is ready: fd, revents */
	RUNNER_SIGNAL,   /* SIGTERM: bring the object to a state from which a new runner can go on, return */
};

struct runner_event {
	enum runner_event_kind kind;
	struct conversation *conversation;
	const char *text;      /* lent until the next runner_next */
	const char *request;
	size_t length;
	bool gone;
	int fd;
	short revents;
};

/* Waits for the next event. timeout_ms -1: for ever. -1 only when the runner itself cannot go on. */
int runner_next(struct runner *r, int timeout_ms, struct runner_event *event, struct error *err);

/* While a story brings something to its end it takes no new calls: they wait for the one that begins
 * next, or end with the runner, with a sentence on how the object is. */
void runner_hold_calls(struct runner *r, bool hold);

/* From now until the next runner_next, what is told and answered is gathered, and then sent at once:
 * each notice once, as the file is by then, before any answer. For a story whose events change many
 * files; it must not block for long. */
void runner_cork(struct runner *r);

/* Lets runner_next report a descriptor (poll(2) events; changing them is calling it again). */
int runner_watch(struct runner *r, int fd, short events, struct error *err);
void runner_unwatch(struct runner *r, int fd);

/* Answers. send copies into the conversation's own buffer and never blocks; passed is a
 * descriptor that rides along (duplicated; -1 for none). end gives errno (0 when it went well),
 * exit status and sentence, and forgets the conversation once all is sent. */
int conversation_send(struct conversation *c, int channel, const void *data, size_t n, int passed);
void conversation_end(struct conversation *c, int code, int exit, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
bool conversation_full(const struct conversation *c);     /* over 256 KiB unsent: stop producing */
void conversation_set_data(struct conversation *c, void *data);
void *conversation_data(const struct conversation *c);

/* Files. Each tells the watchers before it returns. Paths are relative to the object's folder;
 * values are replaced, logs are appended with one write(2) a record. Folders on the way are made.
 * When this process first appends to a log that another left in the middle of a line: a .jsonl is
 * cut after its last whole line, "log" and "messages" get a line "[interrupted]", any other file
 * is left as it is. */
int runner_set_state(struct runner *r, const char *state, struct error *err); /* durable */
/* The same before it is on the disk: the story syncs the file "status" (syncing.h) before it says
 * anything more. */
int runner_show_state(struct runner *r, const char *state, struct error *err);
int runner_set_failure(struct runner *r, const char *text, struct error *err); /* "" removes it */
int runner_set_value(struct runner *r, const char *path, const void *data, size_t n, mode_t mode,
		     struct error *err);
int runner_set_text(struct runner *r, const char *path, const char *text, struct error *err);
int runner_append(struct runner *r, const char *path, const void *data, size_t n, struct error *err);
/* The same of a log of which not all is kept: where it would be longer than RUNNER_LOG_MAX, it takes the place of
 * `older`, in the same folder, and begins anew. */
#define RUNNER_LOG_MAX (16 << 20)
int runner_append_turning(struct runner *r, const char *path, const char *older, const void *data, size_t n,
			  struct error *err);
int runner_sync(struct runner *r, const char *path, struct error *err); /* fsync before an effect outside */
/* A line "2026-11-25T10:00:00Z text" in the object's log. Failure to log is not an error of the story. */
void runner_log(struct runner *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Says that path changed, for files that the story wrote itself (also removal: size -1). */
void runner_changed(struct runner *r, const char *path);

/* Deletes the object's folder and all in it, want last, so that a crash in between is finished by
 * the next runner. runner_main does it for a story that returned while want is WANT_REMOVED: a
 * story only releases what is outside of the folder. */
int runner_remove_folder(struct runner *r, struct error *err);

#endif
