/* The mount's side of the runners: starts, adopts and restarts them, listens to their notices,
 * and carries commands and calls to them. One instance a mount, owned by the loop's thread.
 *
 * Nothing here blocks. The loop watches the one descriptor supervise_fd() for EPOLLIN (it is an
 * epoll of its own, timers included) and calls supervise_step(), inside which all callbacks run.
 * Only the functions marked "any thread" may be called from the storage thread; they touch files
 * alone, and the loop then says supervise_poke().
 *
 *   a start      storage thread: spec.json, supervise_want(WANT_RUN)      loop: supervise_poke
 *   a stop       storage thread: supervise_want(WANT_STOPPED)             loop: supervise_poke
 *   a removal    storage thread: supervise_remove                         loop: supervise_poke
 *   a wait       is over when status.generation == the want's generation and
 *                status_settled(kind, status.state); the status callback says when to look */
#ifndef INTERPFS_FS_SUPERVISE_H
#define INTERPFS_FS_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "fs/state.h"

struct supervisor;

struct supervise_callbacks {
	/* A file of the object's folder changed: its size (-1: removed) and modification time. path
	 * NULL: any may have (a runner was adopted), look again at what is cached. */
	void (*changed)(void *context, enum object_kind kind, uint64_t serial, const char *path,
			int64_t size, int64_t mtime_ns);
	/* The object's status is now this. Called after `changed` for "status". */
	void (*status)(void *context, enum object_kind kind, uint64_t serial, const struct status *status);
	/* A removed object's folder is gone. */
	void (*gone)(void *context, enum object_kind kind, uint64_t serial);
	/* At the scan: its config is not what spec.json was made from, and no refusal says why: a
	 * crash came between. Judge it again and put it into force. */
	void (*unjudged)(void *context, enum object_kind kind, uint64_t serial);
	/* A line for the root's log; serial 0: it is of no object. */
	void (*log)(void *context, enum object_kind kind, uint64_t serial, const char *text);
};

/* Borrows state until supervise_close. */
int supervise_open(struct supervisor **supervisor, struct state *state,
		   const struct supervise_callbacks *callbacks, void *context, struct error *err);
/* Lets go; runners go on. Calls are dropped without their `ended`. */
void supervise_close(struct supervisor *s);

/* Starts this program with other words (at most six; NULL ends them) and the environment that runners get.
 * *output, the caller's, is a pipe that comes to its end when it has ended. */
int supervise_run(struct supervisor *s, const char *const words[], int *output, struct error *err);

/* Reads NAME=VALUE lines (# begins a comment) of a file that only its owner can read. */
int supervise_env_file(struct supervisor *s, const char *path, struct error *err);

/* Whether a secret of this name is there: in that file, or in the mount's environment. */
bool supervise_has_secret(const struct supervisor *s, const char *name);

/* Once, after the mount holds the lock: finishes what a crash left half done, adopts runners that
 * live, starts those that lag behind their want. Calls changed, status, unjudged, gone. */
int supervise_scan(struct supervisor *s, struct error *err);

int supervise_fd(const struct supervisor *s);
void supervise_step(struct supervisor *s);

/* Any thread. Writes the next generation of want, durably; *want (may be NULL) is what was
 * written. One thread at a time for an object. */
int supervise_want(const struct state *state, enum object_kind kind, uint64_t serial,
		   enum want_what what, struct want *want, struct error *err);

/* Any thread. Records the removal (want, then the name), durably. What never ran is deleted here;
 * a runner deletes the rest. */
int supervise_remove(struct state *state, enum object_kind kind, const char *name, uint64_t serial,
		     struct error *err);

/* Any thread. Takes back an object that was just made and could not be furnished. */
void supervise_undo(struct state *state, enum object_kind kind, const char *name, uint64_t serial);

/* A change of want is on its way to the disk, and supervise_poke will follow: a call that comes in
 * between waits for it, so that it sees every write that was closed before it. */
void supervise_expect(struct supervisor *s, enum object_kind kind, uint64_t serial);

/* want, spec.json or a document of the object has changed: reads want, tells the runner or starts
 * it. Also says that an object was made. */
void supervise_poke(struct supervisor *s, enum object_kind kind, uint64_t serial);

/* The last known status and want of the object; false when it is not known. */
bool supervise_look(const struct supervisor *s, enum object_kind kind, uint64_t serial,
		    struct status *status, struct want *want);

/* Calls and commands. */
struct supervise_call;

struct supervise_call_callbacks {
	/* channel is TALK_STDOUT or TALK_STDERR. May be NULL. */
	void (*data)(void *context, int channel, const void *data, size_t n);
	/* Exactly once, unless the caller closed or abandoned it; the call is gone afterwards. code is
	 * 0 or an errno with its sentence. passed is a descriptor that the receiver owns, or -1. */
	void (*ended)(void *context, int code, int exit, const char *text, int passed);
};

/* Starts a call with its whole request, or a command. Where the object starts but its runner does
 * not listen yet, it waits for it; where nothing runs, `ended` comes with ENOTCONN in the next
 * step. NULL only without memory. */
struct supervise_call *supervise_call(struct supervisor *s, enum object_kind kind, uint64_t serial,
				      const char *name, const void *request, size_t n,
				      const struct supervise_call_callbacks *callbacks, void *context);
struct supervise_call *supervise_command(struct supervisor *s, enum object_kind kind, uint64_t serial,
					 const char *line,
					 const struct supervise_call_callbacks *callbacks, void *context);

/* A call whose answer nobody reads: its output goes into the object's log. -1 only without memory. */
int supervise_call_unread(struct supervisor *s, enum object_kind kind, uint64_t serial, const char *name,
			  const void *request, size_t n);

/* Stops and goes on taking data: while paused the kernel's buffer fills and the runner holds back. */
void supervise_call_pause(struct supervise_call *call, bool paused);
/* Both free the call; `ended` is not called. close ends what was asked for; abandon lets it run. */
void supervise_call_close(struct supervise_call *call);
void supervise_call_abandon(struct supervise_call *call);

#endif
