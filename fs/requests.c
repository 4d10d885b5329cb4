/* Requests that wait, and who made them. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/files.h"

/* Signals that only tell something (a child has ended, the window has another size): no wait ends by them,
 * as none does on a disk. The kernel cannot be told to go on with a request that was answered EINTR, and
 * a shell takes that for a failure: whether `echo wait >ctl` worked would depend on its background jobs. */
static const int telling[] = { SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGPROF, SIGVTALRM };

#define LOOK_AGAIN_MS 50

/* A line of /proc/PID/status: its number. */
struct status_line {
	const char *name;
	int base;
	unsigned long long value;
};

static bool read_status(pid_t thread, struct status_line *lines, size_t n)
{
	cleanup_file FILE *status = NULL;
	char path[64], line[256];
	size_t found = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/status", (int)thread);
	status = fopen(path, "re");
	while (status && found < n && fgets(line, sizeof line, status))
		for (size_t i = 0; i < n; i++)
			if (!strncmp(line, lines[i].name, strlen(lines[i].name))) {
				lines[i].value = strtoull(line + strlen(lines[i].name), NULL, lines[i].base);
				found++;
			}
	return found == n;
}

/* The signals that the request's thread would take if it came back, a bit each; false: it cannot be known. */
static bool pending_signals(fuse_req_t request, unsigned long long *pending)
{
	struct status_line lines[] = { { "SigPnd:", 16, 0 }, { "ShdPnd:", 16, 0 }, { "SigBlk:", 16, 0 }, { "SigIgn:", 16, 0 } };

	if (!read_status(fuse_req_ctx(request)->pid, lines, sizeof lines / sizeof *lines))
		return false;
	*pending = (lines[0].value | lines[1].value) & ~lines[2].value & ~lines[3].value;
	return true;
}

static unsigned long long without_telling(unsigned long long pending)
{
	for (size_t i = 0; i < sizeof telling / sizeof *telling; i++)
		pending &= ~(1ull << (telling[i] - 1));
	return pending;
}

static fuse_req_t take_out(struct parked *p)
{
	fuse_req_t request = p->request;

	loop_clear_timer(&p->timer);
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
	p->request = NULL;
	return request;
}

static void end(struct parked *p)
{
	if (p->interrupted)
		p->interrupted(p);
	if (p->gone)
		*p->gone = true;
	free(p);
}

/* The kernel tells of the first signal only; of what follows one that only tells something, nothing. */
static void look_again(struct loop_timer *timer)
{
	struct parked *p = timer->data;
	unsigned long long pending;
	fuse_req_t request;

	if (pending_signals(p->request, &pending) && !without_telling(pending)) {
		loop_set_timer(timer, LOOK_AGAIN_MS);
		return;
	}
	request = take_out(p);
	fuse_req_interrupt_func(request, NULL, NULL);
	fuse_reply_err(request, EINTR);
	end(p);
}

static void interrupted(fuse_req_t request, void *data)
{
	struct parked *p = data;
	unsigned long long pending;

	/* None at all: the process is to be frozen, say, which only one that comes back can be. */
	if (pending_signals(request, &pending) && pending && !without_telling(pending)) {
		loop_set_timer(&p->timer, LOOK_AGAIN_MS);
		return;
	}
	(void)take_out(p);
	fuse_reply_err(request, EINTR);
	end(p);
}

struct parked *park(fuse_req_t request, struct handle *h, size_t size, void (*when_interrupted)(struct parked *parked),
		    void *data)
{
	struct parked *p = malloc(sizeof *p), **last = &h->parked;
	bool gone = false;

	if (!p) {
		fuse_reply_err(request, ENOMEM);
		return NULL;
	}
	*p = (struct parked){ .request = request, .handle = h, .size = size, .interrupted = when_interrupted, .data = data,
			      .gone = &gone };
	while (*last)
		last = &(*last)->next;
	p->link = last;
	*last = p;
	p->timer = (struct loop_timer){ .fire = look_again, .data = p };
	/* libfuse would call at once for one that is interrupted already, under the request's lock, and free
	 * the lock with the request if that is answered. The kernel tells no more of such a one. */
	if (fuse_req_interrupted(request))
		interrupted(request, p);
	else
		fuse_req_interrupt_func(request, interrupted, p);
	if (gone)
		return NULL;
	p->gone = NULL;
	return p;
}

fuse_req_t unpark(struct parked *p)
{
	fuse_req_t request = take_out(p);

	fuse_req_interrupt_func(request, NULL, NULL);
	free(p);
	return request;
}

int caller_group(fuse_req_t request)
{
	struct status_line group = { "Tgid:", 10, 0 };
	int thread = fuse_req_ctx(request)->pid;

	return read_status(thread, &group, 1) ? (int)group.value : thread;
}

bool caller_is_killed(fuse_req_t request)
{
	cleanup_file FILE *file = NULL;
	char path[64], line[1024], *field;
	unsigned long flags = 0, code = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)fuse_req_ctx(request)->pid);
	file = fopen(path, "re");
	if (!file || !fgets(line, sizeof line, file) || !(field = strrchr(line, ')')))
		return false;
	/* behind the name: field 3 state … 9 flags … 52 exit_code */
	for (int n = 2; (field = strchr(field, ' ')); n++) {
		field++;
		if (n + 1 == 9)
			flags = strtoul(field, NULL, 10);
		else if (n + 1 == 52)
			code = strtoul(field, NULL, 10);
	}
	return (flags & 0x4) /* PF_EXITING */ && (code & 0x7f);
}
