/* One turn of the guest's loop: everything that it waits for in one poll(2), then what is ready.
 * A turn is bounded, whatever those inside or outside do, so that the deadline is kept. */
#include "backend/guest/guest.h"

#include <poll.h>

#define DEAF_MS 100 /* without a free descriptor nobody is let in for so long */

enum what { LISTEN, SIGNALS, DEADLINE, LINK, JOB_OUT, JOB_ERR, JOB_IN, TUNNEL };

#define POLLED (3 + 2 * LINKS + 3 * JOBS + TUNNELS)

static struct pollfd polled[POLLED];
static struct { enum what what; void *of; } meaning[POLLED];
static nfds_t count;

static void ask(int fd, short events, enum what what, void *of)
{
	if (fd < 0)
		return;
	polled[count] = (struct pollfd){ .fd = fd, .events = events };
	meaning[count].what = what;
	meaning[count].of = of;
	count++;
}

/* Of two pipes only what is waited for is asked: the far end's closing would be told again and again. */
static void ask_link(struct link *link)
{
	short events = link_events(link);

	if (link->fd == link->out_fd) {
		ask(link->fd, events, LINK, link);
		return;
	}
	if (events & POLLIN)
		ask(link->fd, POLLIN, LINK, link);
	if (events & POLLOUT)
		ask(link->out_fd, POLLOUT, LINK, link);
}

static void ask_all(const struct loop *loop)
{
	count = 0;
	if (!loop->deaf_until)
		ask(loop->listening, POLLIN, LISTEN, NULL);
	ask(loop->signals, POLLIN, SIGNALS, NULL);
	ask(loop->timer, POLLIN, DEADLINE, NULL);
	for (size_t i = 0; i < LINKS; i++)
		if (links[i].fd >= 0)
			ask_link(&links[i]);
	for (size_t i = 0; i < JOBS; i++) {
		struct job *job = &jobs[i];

		if (!job->pid)
			continue;
		if (job_wants(job, 0))
			ask(job->out[0], POLLIN, JOB_OUT, job);
		if (job_wants(job, 1))
			ask(job->out[1], POLLIN, JOB_ERR, job);
		if (job->in >= 0 && job->input.length)
			ask(job->in, POLLOUT, JOB_IN, job);
	}
	for (size_t i = 0; i < TUNNELS; i++)
		if (tunnels[i].link && tunnel_events(&tunnels[i]))
			ask(tunnels[i].fd, tunnel_events(&tunnels[i]), TUNNEL, &tunnels[i]);
}

/* An earlier event of the same turn may have ended what a later one is about: the descriptor of a
 * job or link that was freed is -1 by then, or another job's, which is polled again next turn. */
static void handle_one(struct loop *loop, const struct pollfd *p, enum what what, void *of)
{
	struct link *link = of;
	struct job *job = of;
	struct tunnel *tunnel = of;

	switch (what) {
	case LISTEN:
		if (!link_accept(loop->listening))
			loop->deaf_until = guest_now() + DEAF_MS;
		return;
	case SIGNALS:
		loop->signalled(loop->signals);
		return;
	case DEADLINE:
		loop->due();
		return;
	case LINK:
		if (link->out_fd == p->fd && (p->revents & (POLLOUT | POLLERR)))
			link_go_on(link);
		if (link->fd == p->fd && (p->revents & (POLLIN | POLLHUP | POLLERR)))
			link_readable(link);
		return;
	case JOB_OUT:
	case JOB_ERR:
		if (job->pid && job->out[what == JOB_ERR] == p->fd)
			job_readable(job, what == JOB_ERR);
		return;
	case JOB_IN:
		if (job->pid && job->in == p->fd)
			job_writable(job);
		return;
	case TUNNEL:
		if (tunnel->link && tunnel->fd == p->fd)
			tunnel_ready(tunnel, p->revents);
		return;
	}
}

void loop_turn(struct loop *loop, int timeout_ms)
{
	int next = jobs_timers(), look = idle_look();

	if (look >= 0 && (next < 0 || next > look))
		next = look;
	if (loop->deaf_until && loop->deaf_until <= guest_now())
		loop->deaf_until = 0;
	if (loop->deaf_until && (next < 0 || next > DEAF_MS))
		next = DEAF_MS;
	if (timeout_ms >= 0 && (next < 0 || next > timeout_ms))
		next = timeout_ms;
	ask_all(loop);
	if (poll(polled, count, next) < 0)
		return;
	for (nfds_t i = 0; i < count; i++)
		if (polled[i].revents)
			handle_one(loop, &polled[i], meaning[i].what, meaning[i].of);
	for (size_t i = 0; i < LINKS; i++)
		if (links[i].fd >= 0 && (links[i].out.length || links[i].waits))
			link_go_on(&links[i]);
}
