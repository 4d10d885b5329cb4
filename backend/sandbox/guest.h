/* The runner's end of the stream to the guest, the program that is pid 1 of every sandbox
 * (backend/guest/). docs/guest-protocol.md describes the frames. One link carries any number of
 * operations at once, each with a stream number and credits of its own, so that an unread
 * command holds up nobody else. Nothing here blocks: the owner polls guest_fd() for
 * guest_events() and calls guest_step(). Callbacks run inside guest_step() and may begin
 * operations, but not detach the link.
 *
 * What comes from the guest is hostile: sizes are checked, descriptors are fstat'ed, a frame
 * that does not belong ends the link. */
#ifndef INTERPFS_BACKEND_SANDBOX_GUEST_H
#define INTERPFS_BACKEND_SANDBOX_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct guest;
struct guest_operation; /* owned by the link; gone after its `ended` callback has returned */

/* Any may be NULL: nobody wants it. */
struct guest_callbacks {
	/* Output of a command, or a file's bytes. channel is TALK_STDOUT or TALK_STDERR. The bytes
	 * are the receiver's at once; credits go back when it calls guest_consumed(). */
	void (*output)(void *context, int channel, const void *data, size_t n);
	/* A descriptor that the guest passed out (connect, root); the receiver owns it. */
	void (*passed)(void *context, int fd);
	/* The end: code 0 and the exit status (128 + signal for a killed command), or an errno with a
	 * sentence. Called exactly once; with ENOTCONN for all that was under way when the link ends. */
	void (*ended)(void *context, int code, int exit, const char *text);
};

struct guest_command {
	const char *const *argv;  /* NULL-terminated; argv[0] is searched in PATH inside */
	const char *const *env;   /* NULL-terminated NAME=VALUE added to the sandbox's environment; may be NULL */
	const char *cwd;          /* NULL: /workspace */
	const void *input;        /* standard input, then end of file; may be NULL (then /dev/null) */
	size_t input_length;      /* at most 1 MiB */
	bool background;          /* that it runs is no use of the sandbox (idle_timeout) */
};

/* What carries the frames where it is no socket of this machine. Descriptors cannot be passed over
 * it: guest_connect() gives the near end of a tunnel instead, guest_root() what guest_lead_to_root() was told. */
struct guest_carrier {
	void *context;
	int fd;                                                     /* to poll */
	ssize_t (*receive)(void *context, void *data, size_t n);    /* as recv(2), never waiting; 0 at its end */
	ssize_t (*send)(void *context, const void *data, size_t n); /* as send(2), never waiting */
	bool (*pending)(void *context);                             /* what has come may be more than poll(2) tells */
	void (*close)(void *context);
};

/* Takes a connected stream socket, or a carrier (not on failure). */
int guest_attach(struct guest **guest, int fd, struct error *err);
int guest_attach_carrier(struct guest **guest, const struct guest_carrier *carrier, struct error *err);
void guest_detach(struct guest *guest); /* ends what is under way with ENOTCONN; closes */

/* The folder that the sandbox's root is: guest_root() gives no other. */
struct stat;
void guest_expect_root(struct guest *guest, const struct stat *root);
/* Where the link is carried: the folder in /proc of the sandbox's first process, whose root it is (taken); -1
 * where guest_root() is refused (EOPNOTSUPP), and why: "not available: …". */
#define GUEST_NO_ROOT_SIZE 256
void guest_lead_to_root(struct guest *guest, int process, const char *why);

int guest_fd(const struct guest *guest);
short guest_events(struct guest *guest); /* asked again after whatever was asked of the guest */
bool guest_unsent(const struct guest *guest); /* requests wait until more can be sent */
/* Sends and receives what can be without blocking. -1 when the link has ended (ECONNRESET: the
 * guest is gone; EPROTO: it sent nonsense); the caller then detaches. */
int guest_step(struct guest *guest, struct error *err);

/* Each starts an operation, or returns NULL with err. */
struct guest_operation *guest_ping(struct guest *g, const struct guest_callbacks *cb, void *context, struct error *err);
struct guest_operation *guest_exec(struct guest *g, const struct guest_command *command,
				   const struct guest_callbacks *cb, void *context, struct error *err);
/* Connects inside: a unix socket's path, or "tcp:PORT" on the sandbox's loopback. passed() gets
 * the connected descriptor, or that of a tunnel to it, which then lives as long as the link. */
struct guest_operation *guest_connect(struct guest *g, const char *address,
				      const struct guest_callbacks *cb, void *context, struct error *err);
/* The other way around: passed() gets a socket that listens inside at such an address. The guest
 * keeps it, so that asking again gives the same one. It is hostile like all that comes from there. */
struct guest_operation *guest_listen(struct guest *g, const char *address,
				     const struct guest_callbacks *cb, void *context, struct error *err);
/* Where the link is carried and no descriptor can be passed: passed() gets a tunnel to the next that connects
 * to such an address inside, whenever that is. Many may wait at one address. */
bool guest_is_carried(const struct guest *g);
struct guest_operation *guest_accept(struct guest *g, const char *address,
				     const struct guest_callbacks *cb, void *context, struct error *err);
/* passed() gets an O_PATH descriptor of the sandbox's root. */
struct guest_operation *guest_root(struct guest *g, const struct guest_callbacks *cb, void *context, struct error *err);
/* output() gets a table of what runs inside: "PID PPID STATE SECONDS RSS_KB COMMAND" lines. */
struct guest_operation *guest_processes(struct guest *g, const struct guest_callbacks *cb, void *context, struct error *err);
/* Moves the deadline to `seconds` from now; 0: none. */
struct guest_operation *guest_deadline(struct guest *g, uint64_t seconds, const struct guest_callbacks *cb, void *context, struct error *err);
/* Variables over those that all commands have, NULL-terminated NAME=VALUE. More than fit into a frame are
 * E2BIG: ask twice. */
struct guest_operation *guest_environment(struct guest *g, const char *const *variables,
					  const struct guest_callbacks *cb, void *context, struct error *err);
/* Ends when nothing has used it for so long; 0: never. And: somebody outside uses it now. */
struct guest_operation *guest_idle(struct guest *g, uint64_t seconds, const struct guest_callbacks *cb, void *context, struct error *err);
struct guest_operation *guest_touch(struct guest *g, const struct guest_callbacks *cb, void *context, struct error *err);
/* Records that it stops, kills everything, exits; the link then ends. */
struct guest_operation *guest_quit(struct guest *g, const struct guest_callbacks *cb, void *context, struct error *err);

/* A request whose end is waited for: its context is a struct guest_answer. guest_await() steps the link
 * until it has come, at most timeout_ms; other (-1: none) is the pidfd of a child whose failure ends
 * the waiting. */
struct guest_answer {
	bool ended;
	int code;
};
extern const struct guest_callbacks guest_answer_callbacks;
int guest_await(struct guest *guest, struct guest_answer *answer, int other, int timeout_ms, struct error *err);

/* To the command's process group. SIGTERM is followed by SIGKILL if it has not ended in 2 s. */
void guest_signal(struct guest_operation *operation, int signal);
/* No callback of it comes any more: what it still sends is dropped. It is not ended by this. */
void guest_forget(struct guest_operation *operation);
void guest_consumed(struct guest_operation *operation, size_t n); /* gives back n bytes of credit */

#endif
