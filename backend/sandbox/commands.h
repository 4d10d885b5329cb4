/* Commands that are run one after the other over a guest's stream while something is made: their output
 * goes to a sandbox's log as it comes, commands and calls of the sandbox are served meanwhile, and what
 * a failed one said becomes a sentence. */
#ifndef INTERPFS_BACKEND_SANDBOX_COMMANDS_H
#define INTERPFS_BACKEND_SANDBOX_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/sandbox/backend.h"
#include "backend/sandbox/guest.h"
#include "base/buffer.h"
#include "base/error.h"

#define COMMANDS_ENV_MAX 16

struct commands {
	struct sandbox *sandbox;     /* for whom: its log, its story */
	struct guest *guest;         /* NULL: not attached */
	struct buffer printed;       /* the last command's output, its last 64 KiB */
	const char *cwd;             /* where they run; NULL: / */
	bool quiet;                  /* its output is not for the log */
	const char *const *env;      /* its own NAME=VALUE, COMMANDS_ENV_MAX at most, in place of the user's; NULL: none */
	void (*take)(void *context, const void *data, size_t n); /* its output instead of the log; NULL: the log */
	void *take_context;
	bool elsewhere;              /* paths of this machine mean nothing where it runs */
	const char *certificates;    /* there, for what is elsewhere; NULL: its own */
	/* the command under way */
	struct guest_operation *operation;
	bool ended, lost;
	int code, exit;
};

void commands_open(struct commands *commands, struct sandbox *sandbox);
/* Takes the guest. */
int commands_attach(struct commands *commands, struct guest *guest, struct error *err);
/* After anything else was asked of the guest: it has to be sent. */
int commands_asked(struct commands *commands, struct error *err);
void commands_detach(struct commands *commands);
/* The guest is its owner's again. */
void commands_release(struct commands *commands);
void commands_close(struct commands *commands);

/* Runs a command to its end; 0 whatever its exit status, which is in *exit. The package
 * manager's settings of the user's environment (indexes, proxies, certificates) are passed on. */
int commands_run(struct commands *commands, const char *const argv[], int *exit, struct error *err);
/* With standard input. */
int commands_feed(struct commands *commands, const char *const argv[], const void *input, size_t n, int *exit,
		  struct error *err);
/* One that has to succeed: otherwise -1 with "WHAT: what it said" (without what: what it said). */
int commands_must(struct commands *commands, const char *const argv[], const char *what, struct error *err);
/* -1 with the last command's sentence. */
int commands_failed(const struct commands *commands, const char *what, struct error *err);
void commands_log(const struct commands *commands, const char *text);

/* Exposed for tests: the sentence in what pip, uv or apt printed. Length-limited, never empty. */
void commands_failure(const char *printed, char *out, size_t size);

#endif
