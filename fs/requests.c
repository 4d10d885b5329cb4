/* Requests that wait, and who made them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/files.h"

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

static void interrupted(fuse_req_t request, void *data)
{
	struct parked *p = data;

	(void)take_out(p);
	fuse_reply_err(request, EINTR);
	if (p->expired)
		p->expired(p);
	free(p);
}

static void time_is_up(struct loop_timer *timer)
{
	struct parked *p = timer->data;
	fuse_req_t request = take_out(p);

	fuse_req_interrupt_func(request, NULL, NULL);
	p->request = request;
	p->expired(p);
	free(p);
}

struct parked *park(fuse_req_t request, struct handle *h, size_t size, int64_t deadline_ms,
		    void (*expired)(struct parked *parked), void *data)
{
	struct parked *p = malloc(sizeof *p), **last = &h->parked;
	bool gone;

	if (!p) {
		fuse_reply_err(request, ENOMEM);
		return NULL;
	}
	*p = (struct parked){ .request = request, .handle = h, .size = size, .expired = expired, .data = data };
	while (*last)
		last = &(*last)->next;
	p->link = last;
	*last = p;
	p->timer = (struct loop_timer){ .fire = time_is_up, .data = p };
	if (deadline_ms >= 0)
		loop_set_timer(&p->timer, deadline_ms);
	gone = fuse_req_interrupted(request);
	fuse_req_interrupt_func(request, interrupted, p); /* calls at once when it is */
	return gone ? NULL : p;
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
	int thread = fuse_req_ctx(request)->pid, group = thread;
	cleanup_file FILE *status = NULL;
	char path[64], line[256];

	(void)snprintf(path, sizeof path, "/proc/%d/status", thread);
	status = fopen(path, "re");
	while (status && fgets(line, sizeof line, status))
		if (!strncmp(line, "Tgid:", 5)) {
			group = (int)strtol(line + 5, NULL, 10);
			break;
		}
	return group;
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
