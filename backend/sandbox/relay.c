#include "backend/sandbox/relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/sandbox/flow.h"
#include "base/peer.h"

#define PASSAGES 2048     /* through each door at once; more wait in its queue */
#define CONNECTING 16     /* of them not yet connected inside, whose queue is short too */
#define TRIES 500         /* to connect inside while that queue is full, one each … */
#define TRY_MS 20

/* Where connections come in. Each has places of its own: whoever fills the port, which others on
 * this machine may find, leaves the socket in the runner's folder to the notebooks. */
enum { DOOR_UNIX, DOOR_TCP, DOORS };

struct door {
	int fd;              /* listens; -1: there is none */
	bool open;
	int passages, connecting; /* that came through it, and those of them without an inner end */
};

struct passage {
	struct passage *next;
	struct relay *relay;
	struct door *door;
	int outer, inner;                /* inner -1 until the guest has passed it out */
	short outer_events, inner_events;
	struct guest_operation *connecting; /* NULL and inner -1: the next try is due at a tick */
	int tries;
	struct flow in, out;             /* outer -> inner, inner -> outer */
};

struct relay {
	struct runner *runner;
	struct guest *guest;
	char inside[108];
	const char *name;                /* of the unix socket in the runner's folder; NULL without one */
	struct door doors[DOORS];
	int timer, peers;
	uid_t owner;                     /* whose processes may come in, beside root's */
	bool ticking;
	bool starved;                    /* there is no descriptor for another connection, until a tick */
	struct passage *passages;
	struct passage **by_fd;          /* by descriptor; NULL where it is none of ours */
	size_t by_fd_size;
};

static void drop(struct passage *p);

static int remember(struct relay *r, int fd, struct passage *p)
{
	if ((size_t)fd >= r->by_fd_size) {
		size_t size = (size_t)fd + 64;
		struct passage **grown = realloc(r->by_fd, size * sizeof(*grown));

		if (!grown)
			return -1;
		memset(grown + r->by_fd_size, 0, (size - r->by_fd_size) * sizeof(*grown));
		r->by_fd = grown;
		r->by_fd_size = size;
	}
	r->by_fd[fd] = p;
	return 0;
}

static void forget(struct relay *r, int fd)
{
	runner_unwatch(r->runner, fd);
	if ((size_t)fd < r->by_fd_size)
		r->by_fd[fd] = NULL;
	close(fd);
}

/* Watches a descriptor for what its flows can do now; -1 ends the passage. */
static int watch(struct relay *r, int fd, short wanted, short *events)
{
	struct error ignored;

	if (fd < 0 || wanted == *events)
		return 0;
	if (!wanted)
		runner_unwatch(r->runner, fd);
	else if (runner_watch(r->runner, fd, wanted, &ignored) < 0)
		return -1;
	*events = wanted;
	return 0;
}

static int watch_both(struct passage *p)
{
	short outer = (short)((!p->in.length && !p->in.ended && p->inner >= 0 ? POLLIN : 0) | (p->out.length ? POLLOUT : 0));
	short inner = (short)((!p->out.length && !p->out.ended ? POLLIN : 0) | (p->in.length ? POLLOUT : 0));

	return watch(p->relay, p->outer, outer, &p->outer_events) < 0 ||
	       watch(p->relay, p->inner, inner, &p->inner_events) < 0 ? -1 : 0;
}

static void go_on(struct passage *p)
{
	if (p->inner < 0)
		return;
	if (flow_move(&p->in, p->outer, p->inner) < 0 || flow_move(&p->out, p->inner, p->outer) < 0 ||
	    (p->in.ended && p->out.ended && !p->in.length && !p->out.length) || watch_both(p) < 0)
		drop(p);
}

static void open_door(struct relay *r, struct door *door, bool open)
{
	struct error ignored;

	if (door->fd < 0 || open == door->open)
		return;
	if (!open)
		runner_unwatch(r->runner, door->fd);
	else if (runner_watch(r->runner, door->fd, POLLIN, &ignored) < 0)
		return;
	door->open = open;
}

/* Something has changed: who may be let in, and whether a tick is needed. */
static void arrange(struct relay *r)
{
	bool ticking = r->starved, connecting = false;

	for (int i = 0; i < DOORS; i++) {
		struct door *door = &r->doors[i];

		open_door(r, door, r->guest && !r->starved && door->passages < PASSAGES && door->connecting < CONNECTING);
		connecting = connecting || door->connecting;
	}
	for (struct passage *p = connecting ? r->passages : NULL; p && !ticking; p = p->next)
		ticking = p->inner < 0 && !p->connecting;
	if (ticking != r->ticking) {
		struct itimerspec every = { 0 };

		every.it_value.tv_nsec = every.it_interval.tv_nsec = ticking ? TRY_MS * 1000000 : 0;
		(void)timerfd_settime(r->timer, 0, &every, NULL);
		r->ticking = ticking;
	}
}

static void drop(struct passage *p)
{
	struct relay *r = p->relay;
	struct passage **at = &r->passages;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	p->door->passages--;
	if (p->inner < 0 || p->connecting)
		p->door->connecting--;
	if (p->connecting)
		guest_forget(p->connecting);
	forget(r, p->outer);
	if (p->inner >= 0)
		forget(r, p->inner);
	flow_free(&p->in);
	flow_free(&p->out);
	free(p);
	r->starved = false;
	arrange(r);
}

static void connected(void *context, int fd)
{
	struct passage *p = context;

	if (p->inner >= 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || remember(p->relay, fd, p) < 0)
		close(fd);
	else
		p->inner = fd;
}

static void connect_ended(void *context, int code, int status, const char *text)
{
	struct passage *p = context;
	struct relay *r = p->relay;

	(void)status;
	(void)text;
	p->connecting = NULL;
	if (p->inner >= 0) {
		p->door->connecting--;
		go_on(p);
	} else if (code != EAGAIN || ++p->tries == TRIES) {
		drop(p);
	}
	arrange(r);
}

static void connect_inside(struct passage *p)
{
	static const struct guest_callbacks callbacks = { NULL, connected, connect_ended };
	struct error ignored;

	p->connecting = guest_connect(p->relay->guest, p->relay->inside, &callbacks, p, &ignored);
	if (!p->connecting)
		drop(p);
}

static void tick(struct relay *r)
{
	uint64_t times;

	if (read(r->timer, &times, sizeof times) < 0)
		return;
	r->starved = false;
	for (struct passage *p = r->passages, *next; p; p = next) {
		next = p->next;
		if (p->inner < 0 && !p->connecting)
			connect_inside(p);
	}
	arrange(r);
}

static void accept_one(struct relay *r, struct door *door)
{
	int fd = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), one = 1;
	bool tcp = door == &r->doors[DOOR_TCP];
	struct passage *p;

	if (fd < 0) {
		r->starved = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
		arrange(r);
		return;
	}
	p = r->guest && (!tcp || peer_may(r->peers, fd, r->owner)) ? calloc(1, sizeof *p) : NULL;
	if (!p || remember(r, fd, p) < 0) {
		free(p);
		close(fd);
		return;
	}
	if (tcp)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	p->relay = r;
	p->door = door;
	p->outer = fd;
	p->inner = -1;
	p->next = r->passages;
	r->passages = p;
	door->passages++;
	door->connecting++;
	connect_inside(p);
	arrange(r);
}

bool relay_descriptor(struct relay *r, int fd, short revents)
{
	struct passage *p;

	(void)revents;
	if (fd < 0)
		return false;
	for (int i = 0; i < DOORS; i++)
		if (fd == r->doors[i].fd) {
			accept_one(r, &r->doors[i]);
			return true;
		}
	if (fd == r->timer) {
		tick(r);
		return true;
	}
	p = (size_t)fd < r->by_fd_size ? r->by_fd[fd] : NULL;
	if (!p)
		return false;
	go_on(p);
	return true;
}

/* Bound through the folder's descriptor, since a state directory's path may be long. */
static int listen_unix(struct relay *r, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int folder = runner_folder(r->runner), fd;
	mode_t before;
	int bound;

	fd = r->doors[DOOR_UNIX].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_errno(err, "%s", r->name);
	if (unlinkat(folder, r->name, 0) < 0 && errno != ENOENT)
		return error_errno(err, "%s", r->name);
	(void)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder, r->name);
	before = umask(0177);
	bound = bind(fd, (struct sockaddr *)&address, sizeof address);
	(void)umask(before);
	if (bound < 0 || listen(fd, 1024) < 0)
		return error_errno(err, "%s", r->name);
	return 0;
}

static int listen_tcp(struct relay *r, int *port, struct error *err)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				       .sin_port = htons((uint16_t)*port) };
	socklen_t size = sizeof address;
	int one = 1, fd;

	fd = r->doors[DOOR_TCP].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_errno(err, "a port on the loopback for %s", r->inside);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		address.sin_port = 0; /* the port of the last time is taken: another will do */
		if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
			return error_errno(err, "a port on the loopback for %s", r->inside);
	}
	if (listen(fd, 1024) < 0 || getsockname(fd, (struct sockaddr *)&address, &size) < 0)
		return error_errno(err, "a port on the loopback for %s", r->inside);
	*port = ntohs(address.sin_port);
	return 0;
}

static int open_timer(struct relay *r, struct error *err)
{
	r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return r->timer < 0 ? error_errno(err, "a timer") : runner_watch(r->runner, r->timer, POLLIN, err);
}

int relay_open(struct relay **relay, struct runner *runner, const char *inside, const char *name, int *port,
	       struct error *err)
{
	struct relay *r = calloc(1, sizeof *r);

	if (!r)
		return error_memory(err);
	r->runner = runner;
	r->name = name;
	r->doors[DOOR_UNIX].fd = r->doors[DOOR_TCP].fd = r->timer = r->peers = -1;
	r->owner = geteuid();
	(void)snprintf(r->inside, sizeof r->inside, "%s", inside);
	if ((name && listen_unix(r, err) < 0) || listen_tcp(r, port, err) < 0 || open_timer(r, err) < 0) {
		relay_close(r);
		return -1;
	}
	r->peers = peer_open(r->doors[DOOR_TCP].fd);
	*relay = r;
	return 0;
}

void relay_attach(struct relay *r, struct guest *guest)
{
	r->guest = guest;
	while (!guest && r->passages) /* they have lost their other end */
		drop(r->passages);
	arrange(r);
}

void relay_close(struct relay *r)
{
	if (!r)
		return;
	relay_attach(r, NULL);
	if (r->doors[DOOR_UNIX].fd >= 0) {
		close(r->doors[DOOR_UNIX].fd);
		(void)unlinkat(runner_folder(r->runner), r->name, 0);
	}
	if (r->doors[DOOR_TCP].fd >= 0)
		close(r->doors[DOOR_TCP].fd);
	if (r->peers >= 0)
		close(r->peers);
	if (r->timer >= 0) {
		runner_unwatch(r->runner, r->timer);
		close(r->timer);
	}
	free(r->by_fd);
	free(r);
}
