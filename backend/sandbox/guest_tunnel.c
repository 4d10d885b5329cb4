/* Links that are carried by somebody else's connection (an engine's). No descriptor comes over
 * them, so a connection inside is a tunnel of frames: its caller gets the one end of a socket pair, and
 * here the other is copied to and from the stream, within the credits of both. The carrier and all
 * tunnels are one epoll set, which is what the owner of the link polls. */
#include "backend/sandbox/guest_own.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUE_MAX (1u << 20) /* past this a tunnel's input waits for the link */
#define READY_MAX 64
#define PIECE 16384u         /* a tunnel's turn, so that many share the link */

struct guest_tunnel {
	struct guest_tunnel *next;
	struct guest *guest;
	struct guest_operation *operation; /* NULL: it has ended inside */
	int fd;                            /* our end; -1 before it is connected */
	struct buffer out;                 /* what came from inside and was not yet taken */
	bool out_ended, in_ended;
	bool gone;                         /* the near end was closed: what still comes is dropped */
	unsigned interest;
};

int tunnels_open(struct guest *g, struct error *err)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };

	g->set = epoll_create1(EPOLL_CLOEXEC);
	if (g->set < 0)
		return error_errno(err, "the guest's stream");
	if (epoll_ctl(g->set, EPOLL_CTL_ADD, g->carrier.fd, &event) < 0) {
		(void)error_errno(err, "the guest's stream");
		(void)close(g->set);
		g->set = -1;
		return -1;
	}
	g->carrier_interest = EPOLLIN;
	return 0;
}

static void tunnel_free(struct guest_tunnel *t)
{
	struct guest_tunnel **at = &t->guest->tunnels;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	if (t->operation)
		t->operation->tunnel = NULL;
	if (t->fd >= 0)
		(void)close(t->fd); /* and with it its place in the set */
	buffer_free(&t->out);
	free(t);
}

void tunnels_close(struct guest *g)
{
	while (g->tunnels)
		tunnel_free(g->tunnels);
	(void)close(g->set);
}

/* ---- what is waited for ---- */

static unsigned wanted(const struct guest_tunnel *t)
{
	unsigned events = t->out.length ? EPOLLOUT : 0;

	if (t->operation && !t->in_ended && t->operation->input_credit && t->guest->out.length < QUEUE_MAX)
		events |= EPOLLIN;
	return events;
}

/* What nobody waits for is not in the set: that its other end was closed would be told for ever. */
static int arrange(struct guest_tunnel *t)
{
	struct epoll_event event = { .events = wanted(t), .data.ptr = t };
	int how = !t->interest ? EPOLL_CTL_ADD : event.events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;

	if (t->fd < 0 || event.events == t->interest)
		return 0;
	t->interest = event.events;
	return epoll_ctl(t->guest->set, how, t->fd, &event);
}

int tunnels_arrange(struct guest *g)
{
	bool pending = g->carrier.pending(g->carrier.context);
	struct epoll_event event = { .events = EPOLLIN | (g->out.length || pending ? EPOLLOUT : 0), .data.ptr = NULL };

	for (struct guest_tunnel *t = g->tunnels; t; t = t->next)
		if (arrange(t) < 0)
			return -1;
	if (event.events == g->carrier_interest)
		return 0;
	g->carrier_interest = event.events;
	return epoll_ctl(g->set, EPOLL_CTL_MOD, g->carrier.fd, &event);
}

/* ---- from inside ---- */

/* The near end is gone: nobody wants what is inside any more. */
static void give_up(struct guest_tunnel *t)
{
	if (t->operation)
		guest_signal(t->operation, 9);
	t->gone = t->in_ended = true;
	buffer_clear(&t->out);
}

/* -1: it is over and freed. */
static int push_out(struct guest_tunnel *t)
{
	while (t->out.length) {
		ssize_t n = send(t->fd, t->out.data, t->out.length, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0) {
			give_up(t);
			break;
		}
		buffer_consume(&t->out, (size_t)n);
		if (t->operation)
			guest_consumed(t->operation, (size_t)n);
	}
	if (t->out_ended && !t->operation) {
		tunnel_free(t);
		return -1;
	}
	if (t->out_ended)
		(void)shutdown(t->fd, SHUT_WR);
	return 0;
}

/* As far as its owner is told, the operation is over now. */
static int connected(struct guest_operation *o, struct error *err)
{
	struct guest_tunnel *t = o->tunnel;
	struct guest_callbacks callbacks = o->callbacks;
	int ends[2];

	if (t->fd >= 0)
		return error_set(err, EPROTO, "the guest connected what was connected");
	if (o->forgotten)
		return 0; /* it was given up, and its end is on its way */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) {
		int code = errno;

		guest_forget(o);
		callbacks.ended(o->context, code, 0, strerror(code));
		return 0;
	}
	t->fd = ends[0];
	o->callbacks = (struct guest_callbacks){ NULL, NULL, NULL };
	callbacks.passed(o->context, ends[1]);
	callbacks.ended(o->context, 0, 0, "");
	return 0;
}

int tunnel_take(struct guest_operation *o, const struct frame *frame, struct error *err)
{
	struct guest_tunnel *t = o->tunnel;

	switch (frame->type) {
	case GUEST_DIALED:
		return connected(o, err);
	case GUEST_STDOUT:
		if (frame->length > o->credit || t->out_ended)
			return error_set(err, EPROTO, "the guest sent more than it may");
		o->credit -= frame->length;
		if (t->fd < 0 && !o->forgotten)
			return error_set(err, EPROTO, "the guest sent before it was connected");
		if (t->fd < 0 || t->gone) {
			guest_consumed(o, frame->length);
			return 0;
		}
		if (buffer_append(&t->out, frame->payload, frame->length) < 0)
			return error_memory(err);
		(void)push_out(t);
		return 0;
	case GUEST_OUTPUT_END:
		t->out_ended = true;
		if (t->fd >= 0)
			(void)push_out(t);
		return 0;
	case GUEST_TAKEN:
		if (frame->length != 4 || guest_get32(frame->payload) > GUEST_INPUT_CREDIT - o->input_credit)
			return error_set(err, EPROTO, "the guest sent a credit that is none");
		o->input_credit += guest_get32(frame->payload);
		return 0;
	default:
		return error_set(err, EPROTO, "the guest sent a frame of unknown type %u", frame->type);
	}
}

void tunnel_ended(struct guest_tunnel *t)
{
	t->operation = NULL;
	t->out_ended = true;
	if (t->fd < 0)
		tunnel_free(t);
	else
		(void)push_out(t);
}

/* ---- to the inside ---- */

static void pull_in(struct guest_tunnel *t)
{
	struct guest_operation *o = t->operation;
	size_t room = o->input_credit < PIECE ? o->input_credit : PIECE;
	char bytes[PIECE];
	ssize_t n = recv(t->fd, bytes, room, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		give_up(t);
		return;
	}
	t->in_ended = !n;
	o->input_credit -= (size_t)n;
	if (frame_append(&t->guest->out, o->stream, n ? GUEST_INPUT : GUEST_INPUT_END, bytes, (size_t)n) < 0)
		t->guest->broken = true;
}

void tunnels_step(struct guest *g)
{
	struct epoll_event ready[READY_MAX];
	int n = epoll_wait(g->set, ready, READY_MAX, 0);

	/* One tunnel's turn ends no other: only frames and the link's end do. */
	for (int i = 0; i < n; i++) {
		struct guest_tunnel *t = ready[i].data.ptr;

		if (!t || ((wanted(t) & EPOLLOUT) && push_out(t) < 0))
			continue;
		if (wanted(t) & EPOLLIN)
			pull_in(t);
	}
}

struct guest_operation *tunnel_begin(struct guest *g, char kind, const char *address, const struct guest_callbacks *cb,
				    void *context, struct error *err)
{
	struct guest_tunnel *t = calloc(1, sizeof *t);
	struct guest_operation *o;

	if (!t) {
		(void)error_memory(err);
		return NULL;
	}
	o = guest_begin(g, kind, address, cb, context, err);
	if (!o) {
		free(t);
		return NULL;
	}
	*t = (struct guest_tunnel){ .next = g->tunnels, .guest = g, .operation = o, .fd = -1, .out = BUFFER(GUEST_CREDIT) };
	g->tunnels = t;
	o->tunnel = t;
	return o;
}
