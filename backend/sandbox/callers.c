#include "backend/sandbox/callers.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/flow.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/frame.h"
#include "base/talk.h"

#define CALLERS_MAX 256         /* at once; more wait in the queue */
#define DOORS 4
#define AHEAD (256u << 10)      /* of a request that the other runner does not take */
#define LIBRARY_MAX (1u << 20)  /* bytes of a file that is looked at */
#define DEEP 2                  /* folders in which libraries lie */
#define MARK "\n_INTERFACE = \""

struct caller {
	struct caller *next;
	struct callers *all;
	int fd;
	struct buffer in;       /* from it, not yet whole frames */
	struct talk talk;       /* to the runner that serves; fd -1 before its first frame */
	struct flow out;        /* back to it */
	short events, served;   /* what is watched of the two */
	bool complete;          /* its request is whole */
	bool over;              /* an answer of ours is the last that it gets */
};

/* Where no descriptor can be passed: one that waits for the next caller. */
struct door {
	struct callers *all;
	struct guest_operation *waits; /* NULL: it waits for room, or cannot */
};

struct callers {
	struct runner *runner;
	struct guest *guest;
	struct guest_operation *asked;
	int listening;          /* -1 before it has come, or where it never does */
	struct door doors[DOORS];
	bool carried;           /* the doors are used */
	bool open;              /* it is watched */
	int count;
	struct caller *list;
};

/* ---- what is asked for ---- */

static bool take_number(const char **text, char after, unsigned long long most, unsigned long long *number)
{
	char *end;

	if (**text < '1' || **text > '9')
		return false;
	errno = 0;
	*number = strtoull(*text, &end, 10);
	if (errno || *end != after || *number > most)
		return false;
	*text = end + 1;
	return true;
}

int callers_parse(const void *payload, size_t n, struct caller_request *request)
{
	static const char word[] = "function ";
	char line[CALLERS_ID + CALLERS_NAME + sizeof word];
	const char *text = line + sizeof word - 1, *name;
	unsigned long long number;
	size_t length;

	if (n >= sizeof line || memchr(payload, '\0', n))
		return -1;
	memcpy(line, payload, n);
	line[n] = '\0';
	if (strncmp(line, word, sizeof word - 1) != 0 || !(name = strchr(text, ' ')) || (size_t)(name - text) >= CALLERS_ID)
		return -1;
	(void)snprintf(request->interface, sizeof request->interface, "%.*s", (int)(name - text), text);
	length = strspn(text, "0123456789abcdef");
	if (!length || length >= sizeof request->state || text[length] != '.')
		return -1;
	(void)snprintf(request->state, sizeof request->state, "%.*s", (int)length, text);
	text += length + 1;
	if (!take_number(&text, '.', UINT32_MAX, &request->serial) || !take_number(&text, ' ', 4095, &number))
		return -1;
	request->number = (unsigned)number;
	length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
	if (!length || length >= sizeof request->name || text[length])
		return -1;
	(void)snprintf(request->name, sizeof request->name, "%s", text);
	return 0;
}

/* Whether the file is that interface's library. */
static bool is_library(int folder, const char *name, const char *interface)
{
	cleanup_buffer struct buffer text = BUFFER(LIBRARY_MAX);
	cleanup_close int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char path[32];
	struct stat st;
	struct error ignored;
	const char *mark;
	size_t n = strlen(interface);

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > LIBRARY_MAX)
		return false;
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (file_read(AT_FDCWD, path, &text, &ignored) < 0 || !text.length)
		return false;
	mark = strstr(text.data, MARK);
	return mark && !strncmp(mark + sizeof MARK - 1, interface, n) && mark[sizeof MARK - 1 + n] == '"';
}

static bool has_library(int above, const char *path, const char *interface, int depth)
{
	cleanup_dir DIR *dir = file_list(above, path, O_NOFOLLOW);
	struct dirent *entry;
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		size_t n = strlen(entry->d_name);

		if (entry->d_name[0] == '.')
			continue;
		if (entry->d_type == DT_DIR)
			found = depth < DEEP && has_library(dirfd(dir), entry->d_name, interface, depth + 1);
		else
			found = n > 3 && !strcmp(entry->d_name + n - 3, ".py") && is_library(dirfd(dir), entry->d_name, interface);
	}
	return found;
}

static bool may_call(struct runner *r, const struct caller_request *request)
{
	const cJSON *workspace = cJSON_GetObjectItemCaseSensitive(runner_references(r), "workspace");
	const cJSON *serial = cJSON_GetObjectItemCaseSensitive(workspace, "serial");
	char path[64];

	if (!cJSON_IsNumber(serial) || strcmp(request->state, runner_state(r)->id) != 0)
		return false;
	(void)snprintf(path, sizeof path, "workspaces/%" PRIu64 "/libraries", (uint64_t)serial->valuedouble);
	return has_library(runner_state(r)->fd, path, request->interface, 0);
}

/* ---- one of them ---- */

static void arrange(struct callers *all);

static void drop(struct caller *c)
{
	struct callers *all = c->all;
	struct caller **at = &all->list;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	all->count--;
	runner_unwatch(all->runner, c->fd);
	(void)close(c->fd);
	if (c->talk.fd >= 0) {
		struct error ignored;

		/* Whoever hangs up does not want it any more. */
		(void)talk_send(&c->talk, TALK_CLOSE, NULL, 0, &ignored);
		runner_unwatch(all->runner, c->talk.fd);
		talk_close(&c->talk);
	}
	buffer_free(&c->in);
	flow_free(&c->out);
	free(c);
	arrange(all);
}

/* Tells it why not, and that is all. -1: it is over. */
static int refuse(struct caller *c, int code, const char *why)
{
	struct talk answer = { .fd = c->fd, .passed = -1, .out = BUFFER(FRAME_PAYLOAD_MAX) };
	cJSON *end = cJSON_CreateObject();
	char *text = NULL;
	struct error ignored;

	if (cJSON_AddNumberToObject(end, "errno", code) && cJSON_AddStringToObject(end, "text", why) &&
	    cJSON_AddNumberToObject(end, "exit", 1))
		text = cJSON_PrintUnformatted(end);
	cJSON_Delete(end);
	if (text)
		(void)talk_send(&answer, TALK_END, text, strlen(text), &ignored);
	free(text);
	buffer_free(&answer.out);
	c->over = true;
	return -1;
}

/* The name that links to a sandbox's folder. */
struct naming {
	uint64_t serial;
	char name[256];
};

static int is_it(void *context, const char *name, uint64_t serial)
{
	struct naming *n = context;

	if (serial != n->serial)
		return 0;
	(void)snprintf(n->name, sizeof n->name, "%s", name);
	return 1;
}

/* Connects to the runner of the sandbox that serves it, and begins the call there. */
static int begin(struct caller *c, const struct caller_request *request)
{
	struct runner *r = c->all->runner;
	struct state *state = runner_state(r);
	cleanup_close int folder = -1;
	cleanup_free char *line = NULL;
	struct naming own = { runner_serial(r), "" };
	char why[ERROR_TEXT_SIZE];
	struct status status;
	struct error err;

	if (!may_call(r, request))
		return refuse(c, EACCES, "the workspace has no library of this interface");
	folder = object_open(state, OBJECT_SANDBOX, request->serial, &err);
	if (folder < 0)
		return refuse(c, ENOENT, "the sandbox that served it has been removed");
	if (talk_connect(&c->talk, folder, &err) < 0) {
		if (err.code != ENOTCONN || status_read(folder, &status, &err) < 0)
			return refuse(c, err.code, err.text);
		status_sentence(OBJECT_SANDBOX, &status, folder, why, sizeof why);
		return refuse(c, ENOTCONN, why);
	}
	(void)state_each_name(state, OBJECT_SANDBOX, is_it, &own, &err);
	if (asprintf(&line, "function %u %s sandboxes/%s", request->number, request->name, own.name) < 0) {
		line = NULL;
		return refuse(c, ENOMEM, "out of memory");
	}
	return talk_send(&c->talk, TALK_CALL, line, strlen(line), &err) < 0 ? refuse(c, err.code, err.text) : 0;
}

/* One frame of its request. -1: it is over. */
static int take(struct caller *c, const struct frame *frame)
{
	struct caller_request request;
	struct error ignored;

	if (frame->stream)
		return -1;
	if (c->talk.fd < 0)
		return frame->type == TALK_CALL && callers_parse(frame->payload, frame->length, &request) == 0 ?
			begin(c, &request) : refuse(c, EPROTO, "that is no call of an interface");
	if (c->complete || (frame->type != TALK_DATA && frame->type != TALK_GO))
		return -1;
	c->complete = frame->type == TALK_GO;
	return talk_send(&c->talk, frame->type, frame->payload, frame->length, &ignored) < 0 ? -1 : 0;
}

static int take_all(struct caller *c)
{
	struct frame frame;
	struct error ignored;
	size_t done = 0;
	long size = 0;

	while ((c->talk.fd < 0 || c->talk.out.length < AHEAD) &&
	       (size = frame_parse(c->in.data + done, c->in.length - done, &frame, &ignored)) > 0) {
		done += (size_t)size;
		if (take(c, &frame) < 0)
			return -1;
	}
	buffer_consume(&c->in, done);
	return size < 0 ? -1 : 0;
}

/* 1: it may have more, 0: nothing now, -1: it is gone or sent nonsense. */
static int receive(struct caller *c)
{
	char piece[16384];
	ssize_t n = recv(c->fd, piece, sizeof piece, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	/* Nothing more is to come after its request: that it hangs up ends the call. */
	if (n == 0 || c->complete || buffer_append(&c->in, piece, (size_t)n) < 0)
		return -1;
	return take_all(c) < 0 ? -1 : 1;
}

static int watch(struct runner *r, int fd, short wanted, short *events)
{
	struct error ignored;

	if (wanted == *events)
		return 0;
	*events = wanted;
	if (!wanted)
		runner_unwatch(r, fd);
	return wanted ? runner_watch(r, fd, wanted, &ignored) : 0;
}

static int watch_both(struct caller *c)
{
	struct runner *r = c->all->runner;
	bool ahead = c->talk.fd >= 0 && c->talk.out.length >= AHEAD;

	if (watch(r, c->fd, (short)((ahead ? 0 : POLLIN) | (c->out.length ? POLLOUT : 0)), &c->events) < 0)
		return -1;
	return c->talk.fd < 0 ? 0 :
	       watch(r, c->talk.fd, (short)((c->out.length ? 0 : POLLIN) | (c->talk.out.length ? POLLOUT : 0)), &c->served);
}

static void go_on(struct caller *c)
{
	int more = 1;
	struct error ignored;

	for (int turn = 0; turn < 16 && more > 0 && (c->talk.fd < 0 || c->talk.out.length < AHEAD); turn++)
		more = receive(c);
	if (c->talk.fd >= 0 && more >= 0) {
		if (c->talk.out.length && talk_flush(&c->talk, &ignored) < 0)
			buffer_clear(&c->talk.out); /* it has said why: that is read */
		if (take_all(c) < 0 || flow_move(&c->out, c->talk.fd, c->fd) < 0)
			more = -1;
		if (c->out.ended && !c->out.length) { /* all was said */
			runner_unwatch(c->all->runner, c->talk.fd);
			talk_close(&c->talk);
			more = -1;
		}
	}
	if (more < 0 || watch_both(c) < 0)
		drop(c);
}

/* ---- all of them ---- */

static void open_door(struct door *door);

static void arrange(struct callers *all)
{
	bool open = all->listening >= 0 && all->count < CALLERS_MAX;
	struct error ignored;

	for (size_t i = 0; all->carried && all->count < CALLERS_MAX && i < DOORS; i++)
		if (!all->doors[i].waits)
			open_door(&all->doors[i]);

	if (open == all->open)
		return;
	if (!open)
		runner_unwatch(all->runner, all->listening);
	else if (runner_watch(all->runner, all->listening, POLLIN, &ignored) < 0)
		return;
	all->open = open;
}

/* Takes the connection. */
static void add(struct callers *all, int fd)
{
	struct caller *c = fd < 0 ? NULL : calloc(1, sizeof *c);

	if (!c) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	*c = (struct caller){ .all = all, .fd = fd, .next = all->list, .talk = { .fd = -1, .passed = -1 },
			      .in = BUFFER(2 * (FRAME_HEADER_SIZE + FRAME_PAYLOAD_MAX)) };
	all->list = c;
	all->count++;
	arrange(all);
	go_on(c);
}

bool callers_descriptor(struct callers *all, int fd)
{
	if (!all || fd < 0)
		return false;
	if (fd == all->listening) {
		add(all, accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
		return true;
	}
	for (struct caller *c = all->list; c; c = c->next)
		if (c->fd == fd || c->talk.fd == fd) {
			go_on(c);
			return true;
		}
	return false;
}

static void entered(void *context, int fd)
{
	const struct door *door = context;

	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		(void)close(fd);
	else
		add(door->all, fd);
}

/* Somebody has entered, or it could not wait: then nor could another. */
static void door_ended(void *context, int code, int status, const char *text)
{
	struct door *door = context;

	(void)status;
	door->waits = NULL;
	if (code && door->all->carried)
		runner_log(door->all->runner, "interfaces cannot be called from inside: %s", text);
	if (code)
		door->all->carried = false;
	arrange(door->all);
}

static void open_door(struct door *door)
{
	static const struct guest_callbacks callbacks = { NULL, entered, door_ended };
	struct error err;

	door->waits = guest_accept(door->all->guest, CALLERS_SOCKET, &callbacks, door, &err);
	if (!door->waits)
		door->all->carried = false;
}

static void passed(void *context, int fd)
{
	struct callers *all = context;

	if (all->listening >= 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		(void)close(fd);
	else
		all->listening = fd;
}

static void listens(void *context, int code, int status, const char *text)
{
	struct callers *all = context;

	(void)status;
	all->asked = NULL;
	if (code)
		runner_log(all->runner, "interfaces cannot be called from inside: %s", text);
	arrange(all);
}

struct callers *callers_open(struct runner *runner, struct guest *guest)
{
	static const struct guest_callbacks callbacks = { NULL, passed, listens };
	struct callers *all;
	struct error err;

	if (!cJSON_GetObjectItemCaseSensitive(runner_references(runner), "workspace"))
		return NULL;
	all = calloc(1, sizeof *all);
	if (!all)
		return NULL;
	all->runner = runner;
	all->listening = -1;
	all->guest = guest;
	all->carried = guest_is_carried(guest);
	for (size_t i = 0; i < DOORS; i++)
		all->doors[i].all = all;
	if (all->carried) {
		arrange(all);
		return all;
	}
	all->asked = guest_listen(guest, CALLERS_SOCKET, &callbacks, all, &err);
	if (!all->asked)
		runner_log(runner, "interfaces cannot be called from inside: %s", err.text);
	return all;
}

void callers_close(struct callers *all)
{
	if (!all)
		return;
	if (all->asked)
		guest_forget(all->asked);
	for (size_t i = 0; i < DOORS; i++)
		if (all->doors[i].waits)
			guest_forget(all->doors[i].waits);
	all->carried = false;
	while (all->list)
		drop(all->list);
	if (all->open)
		runner_unwatch(all->runner, all->listening);
	if (all->listening >= 0)
		(void)close(all->listening);
	free(all);
}
