/* Tunnels: connections to what listens inside (DIAL), or from what connects there to us (ACCEPT), for links
 * over which no descriptor can be passed. Their bytes travel in frames, with credits as a command's.
 *
 *   connecting, accepting ──> DIALED: INPUT and STDOUT, until each direction has ended (INPUT_END, OUTPUT_END) ──> END
 *        └───────────────────── it was refused, broken, or given up (SIGNAL) ───────────────────────────┘ */
#include "backend/guest/guest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct tunnel tunnels[TUNNELS];

struct tunnel *tunnel_find(const struct link *link, uint32_t stream)
{
	for (size_t i = 0; i < TUNNELS; i++)
		if (tunnels[i].link == link && tunnels[i].stream == stream)
			return &tunnels[i];
	return NULL;
}

static void tunnel_free(struct tunnel *tunnel)
{
	close(tunnel->fd);
	buffer_free(&tunnel->input);
	tunnel->link = NULL;
}

static void tunnel_end(struct tunnel *tunnel, int code, const char *text)
{
	struct link *link = tunnel->link;
	uint32_t stream = tunnel->stream;

	tunnel_free(tunnel);
	link_end(link, stream, code, 0, text);
}

static void tunnel_broken(struct tunnel *tunnel)
{
	int code = errno;

	tunnel_end(tunnel, code, strerror(code));
}

void tunnel_open(struct link *link, uint32_t stream, const char *address, bool accepting)
{
	struct tunnel *tunnel = NULL;
	char text[512];
	int fd, code;

	for (size_t i = 0; i < TUNNELS && !tunnel; i++)
		if (!tunnels[i].link)
			tunnel = &tunnels[i];
	if (!tunnel) {
		link_end(link, stream, EMFILE, 0, "too many connections at once");
		return;
	}
	fd = accepting ? inside_listen_at(address) : inside_dial(address);
	if (fd < 0) {
		code = errno;
		(void)snprintf(text, sizeof text, "%s: %s", address, strerror(code));
		link_end(link, stream, code, 0, text);
		return;
	}
	*tunnel = (struct tunnel){ .link = link, .stream = stream, .fd = fd, .accepting = accepting, .input = BUFFER(GUEST_INPUT_CREDIT),
				   .credit = GUEST_CREDIT };
}

int tunnel_input(struct tunnel *tunnel, const void *data, size_t n)
{
	if (tunnel->input_ended || n > tunnel->input.limit - tunnel->input.length)
		return -1;
	if (buffer_append(&tunnel->input, data, n) < 0)
		tunnel_end(tunnel, ENOMEM, "the guest has no memory left");
	return 0;
}

void tunnel_input_end(struct tunnel *tunnel)
{
	tunnel->input_ended = true;
}

void tunnel_window(struct tunnel *tunnel, uint32_t more)
{
	if (tunnel->credit <= UINT32_MAX)
		tunnel->credit += more;
}

void tunnel_give_up(struct tunnel *tunnel)
{
	tunnel_end(tunnel, ECANCELED, "it was given up");
}

short tunnel_events(const struct tunnel *tunnel)
{
	short events = 0;

	if (tunnel->accepting)
		return POLLIN;
	if (!tunnel->connected || tunnel->input.length || (tunnel->input_ended && !tunnel->shut))
		events |= POLLOUT;
	if (tunnel->connected && !tunnel->output_ended && tunnel->credit && !link_full(tunnel->link))
		events |= POLLIN;
	return events;
}

/* Others may wait for the same: whoever comes first has the connection. False as long as there is none. */
static bool accept_one(struct tunnel *tunnel)
{
	int fd = accept4(tunnel->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return false; /* one that has gone again, or no descriptor is free: there will be another */
	(void)close(tunnel->fd);
	tunnel->fd = fd;
	tunnel->accepting = false;
	tunnel->connected = true;
	idle_touch();
	return link_put(tunnel->link, tunnel->stream, GUEST_DIALED, NULL, 0);
}

/* Whether it lives on. */
static bool finish_connect(struct tunnel *tunnel)
{
	int code = 0;
	socklen_t size = sizeof code;

	if (getsockopt(tunnel->fd, SOL_SOCKET, SO_ERROR, &code, &size) < 0 || code) {
		errno = code ? code : errno;
		tunnel_broken(tunnel);
		return false;
	}
	tunnel->connected = true;
	return link_put(tunnel->link, tunnel->stream, GUEST_DIALED, NULL, 0);
}

static bool write_input(struct tunnel *tunnel)
{
	uint8_t taken[4];
	ssize_t n;

	if (tunnel->input.length) {
		n = send(tunnel->fd, tunnel->input.data, tunnel->input.length, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n < 0) {
			tunnel_broken(tunnel);
			return false;
		}
		buffer_consume(&tunnel->input, (size_t)n);
		guest_put32(taken, (uint32_t)n);
		if (!link_put(tunnel->link, tunnel->stream, GUEST_TAKEN, taken, sizeof taken))
			return false;
	}
	if (tunnel->input_ended && !tunnel->input.length && !tunnel->shut) {
		tunnel->shut = true;
		(void)shutdown(tunnel->fd, SHUT_WR);
	}
	return true;
}

static bool read_output(struct tunnel *tunnel)
{
	static uint8_t bytes[FRAME_PAYLOAD_MAX];
	size_t want = tunnel->credit < sizeof bytes ? (size_t)tunnel->credit : sizeof bytes;
	ssize_t n = recv(tunnel->fd, bytes, want, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n < 0) {
		tunnel_broken(tunnel);
		return false;
	}
	if (!n) {
		tunnel->output_ended = true;
		return link_put(tunnel->link, tunnel->stream, GUEST_OUTPUT_END, NULL, 0);
	}
	tunnel->credit -= (uint64_t)n;
	return link_put(tunnel->link, tunnel->stream, GUEST_STDOUT, bytes, (size_t)n);
}

/* A link that cannot take a frame is closed, and its tunnels with it: then nothing more is done. */
void tunnel_ready(struct tunnel *tunnel, short revents)
{
	short wanted = tunnel_events(tunnel);

	if (tunnel->accepting) {
		if (revents)
			(void)accept_one(tunnel);
		return;
	}
	if (!tunnel->connected && !finish_connect(tunnel))
		return;
	if ((wanted & POLLOUT) && !write_input(tunnel))
		return;
	if ((wanted & POLLIN) && (revents & (POLLIN | POLLHUP | POLLERR)) && !read_output(tunnel))
		return;
	if (tunnel->shut && tunnel->output_ended)
		tunnel_end(tunnel, 0, "");
}

void tunnels_lost(const struct link *link)
{
	for (size_t i = 0; i < TUNNELS; i++)
		if (tunnels[i].link == link)
			tunnel_free(&tunnels[i]);
}
