/* The guest's own parts: its beginning and end (main.c), how it is reached in an engine's container
 * (engine.c), the loop (loop.c), connections (link.c), commands (job.c), tunnels (tunnel.c), which
 * processes are its own (family.c) and what else it answers (inside.c). One thread, one poll loop,
 * nothing that waits. */
#ifndef INTERPFS_BACKEND_GUEST_GUEST_H
#define INTERPFS_BACKEND_GUEST_GUEST_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "backend/guest/protocol.h"
#include "base/buffer.h"
#include "base/frame.h"

#define GUEST_IDLED 125 /* exit status */
#define LINKS 32       /* connections at once */
#define JOBS 1024      /* commands at once */
#define TUNNELS 1024   /* connections to what listens inside, over links that pass no descriptor */
#define LINK_OUT (4u << 20)
#define LINK_FDS 64    /* descriptors on their way out of one connection */

struct link {
	int fd;                    /* -1: free */
	int out_fd;                /* where its frames go: fd, or the other one of two pipes */
	bool passes;               /* descriptors can ride along */
	struct buffer in, out;
	struct { size_t at; int fd; } passed[LINK_FDS]; /* descriptor and where in `out` its frame begins */
	size_t passed_count;
	bool waits;                /* frames lie in `in` until their answers find room */
};

struct job {
	pid_t pid;                 /* 0: free; the process and its group */
	struct link *link;         /* NULL: the connection is gone, the output is dropped */
	uint32_t stream;
	int out[2];                /* stdout, stderr; -1 when at its end */
	int in;                    /* stdin; -1 when closed */
	struct buffer input;       /* not yet written */
	bool input_ended;
	uint64_t credit;           /* bytes of output that may still be sent */
	bool background;           /* that it runs is no use of the sandbox */
	bool exited;
	int status;                /* exit status, or 128 + signal */
	int left[2];               /* bytes that were in the pipes when it exited */
	int64_t kill_at;           /* ms of CLOCK_MONOTONIC at which TERM becomes KILL; 0: not asked */
};

extern struct link links[LINKS];
extern struct job jobs[JOBS];
extern int root_folder;        /* O_PATH descriptor of / */
extern struct rlimit job_descriptors; /* RLIMIT_NOFILE of commands; rlim_max 0: the guest's */

struct tunnel {
	struct link *link;         /* NULL: free */
	uint32_t stream;
	int fd;
	bool accepting;            /* fd listens: it waits for who connects */
	bool connected;
	struct buffer input;       /* not yet written */
	bool input_ended, shut;    /* no more of it will come; its end was told to who listens */
	bool output_ended;
	uint64_t credit;           /* bytes of output that may still be sent */
};

extern struct tunnel tunnels[TUNNELS];

struct loop {
	int listening, signals, timer; /* -1: none */
	void (*signalled)(int signals);
	void (*due)(void);
	int64_t deaf_until;            /* ms of CLOCK_MONOTONIC, 0: it listens */
};

/* link.c */
/* NULL: there are LINKS of them. Takes the descriptors then only. */
struct link *link_add(int fd, int out_fd, bool passes);
bool link_accept(int listening);         /* false: there is no descriptor for who wants in */
void link_readable(struct link *link);   /* reads and handles frames; closes on nonsense */
void link_flush(struct link *link);      /* sends what can be sent */
void link_go_on(struct link *link);      /* handles what could not be answered before, and sends */
void link_close(struct link *link);
short link_events(const struct link *link);
bool link_put(struct link *link, uint32_t stream, uint8_t type, const void *payload, size_t n);
bool link_pass(struct link *link, uint32_t stream, int fd); /* takes fd, also when it fails */
int parse_seconds(const char *text, uint64_t *seconds); /* -1 (EINVAL): no decimal number */
void link_end(struct link *link, uint32_t stream, int code, int exit_status, const char *text);
bool link_full(const struct link *link);

/* job.c */
struct fields { char **arguments; char **variables; char *folder; bool input, background; };
void job_start(struct link *link, uint32_t stream, const struct fields *fields);
int job_environment(char **variables);   /* for all that start from now on; -1 without memory */
struct job *job_find(const struct link *link, uint32_t stream);
int job_input(struct job *job, const void *data, size_t n); /* -1: it had no credit for that */
void job_input_end(struct job *job);
void job_signal(struct job *job, int signal);
void job_window(struct job *job, uint32_t more);
void job_reaped(pid_t pid, int status);
void jobs_reap(void);                    /* every process that has ended, also those that nobody started */
void job_readable(struct job *job, int which);
void job_writable(struct job *job);
bool job_wants(const struct job *job, int which);
void jobs_lost(struct link *link);
int jobs_timers(void);                   /* ms until the next is due, -1: none; kills what is due */

/* tunnel.c */
void tunnel_open(struct link *link, uint32_t stream, const char *address, bool accepting);
struct tunnel *tunnel_find(const struct link *link, uint32_t stream);
int tunnel_input(struct tunnel *tunnel, const void *data, size_t n); /* -1: it had no credit for that */
void tunnel_input_end(struct tunnel *tunnel);
void tunnel_window(struct tunnel *tunnel, uint32_t more);
void tunnel_give_up(struct tunnel *tunnel);
short tunnel_events(const struct tunnel *tunnel);
void tunnel_ready(struct tunnel *tunnel, short revents);
void tunnels_lost(const struct link *link);

/* engine.c */
extern bool engine_container;            /* this is in an engine's container: nobody can hand it descriptors */
extern bool guest_adopted;               /* which is somebody else's: not process 1 */
int engine_begin(void);                  /* makes the first link; the descriptor that listens for others, -1 */
int engine_begin_adopted(const char *program, const char *token); /* the same there */
void engine_leave(void);                 /* what it was put there as is removed */
bool engine_let_in(int fd);              /* whether a connection comes from outside of the container */
int engine_connect(const char *token);   /* `interpfs-guest connect [TOKEN]`, to its exit status */
int engine_remove(const char *program);  /* `interpfs-guest remove` */

/* family.c */
struct relative {
	pid_t pid, parent;
	double seconds;                  /* that it has computed, and those whose end it has seen */
	bool ours;
};
int family_begin(void);                  /* -1 with errno */
size_t family_look(const struct relative **list); /* those that are the guest's; good until the next call */
void family_signal(int signal);
void family_await(int64_t until);        /* at most, until none is left */
void family_kill(void);

/* inside.c */
int inside_dial(const char *address);    /* a non-blocking socket that is connected or connecting, -1 */
void inside_connect(struct link *link, uint32_t stream, const char *address);
/* idle.c: ends the sandbox when nothing has used it for so long; 0: never. */
void idle_set(uint64_t seconds);
void idle_touch(void);
int idle_look(void); /* when it is due; ms until it is due again, -1 for never */

int inside_listen_at(const char *address); /* a non-blocking socket that listens, the same for all who ask; -1 */
void inside_listen(struct link *link, uint32_t stream, const char *address);
void inside_root(struct link *link, uint32_t stream);
void inside_processes(struct link *link, uint32_t stream);

/* loop.c */
void loop_turn(struct loop *loop, int timeout_ms); /* waits at most so long, -1: for ever */

/* hold.c */
int hold_namespaces(const char *which);               /* returns the exit status */

/* main.c */
void guest_set_deadline(uint64_t seconds);
void guest_leave(const char *why, int code, const char *text) __attribute__((noreturn));
void guest_raise_loopback(void);
int64_t guest_now(void);                 /* ms of CLOCK_MONOTONIC */

#endif
