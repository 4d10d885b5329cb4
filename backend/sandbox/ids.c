#include "backend/sandbox/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/sandbox/spawn.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/program.h"

#define TABLE_MAX (1u << 20)
#define HOLDER_MS 60000 /* for what hangs */
#define HELPER_MS 60000
#define USUAL_FIRST 100000u
#define USUAL_COUNT 65536u

static const char *const tables[] = { "/etc/subuid", "/etc/subgid" };
static const char *const programs[] = { "newuidmap", "newgidmap" };
static const char *const maps[] = { "uid_map", "gid_map" };

static const struct ids_map *map_of(const struct ids *ids, int i)
{
	return i ? &ids->groups : &ids->users;
}

uint32_t ids_outside(const struct ids_map *map, uint32_t inside, bool *known)
{
	*known = !inside || inside <= map->count;
	return inside && *known ? map->first + (inside - 1) : map->own;
}

uint32_t ids_inside(const struct ids_map *map, uint32_t outside)
{
	if (outside == map->own)
		return 0;
	return outside >= map->first && outside - map->first < map->count ? outside - map->first + 1 : outside;
}

/* ---- files ---- */

void ids_text(const struct ids *ids, char out[IDS_TEXT_SIZE])
{
	(void)snprintf(out, IDS_TEXT_SIZE, "%" PRIu32 ":%" PRIu32 ":%" PRIu32 " %" PRIu32 ":%" PRIu32 ":%" PRIu32, ids->users.own,
		       ids->users.first, ids->users.count, ids->groups.own, ids->groups.first, ids->groups.count);
}

bool ids_same(const struct ids *a, const struct ids *b)
{
	return !memcmp(a, b, sizeof *a);
}

int ids_write(const struct ids *ids, int folder, bool durable, struct error *err)
{
	char text[IDS_TEXT_SIZE];

	ids_text(ids, text);
	return file_replace(folder, IDS_FILE, text, strlen(text), 0600, durable, err);
}

int ids_read(struct ids *ids, int folder, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(IDS_TEXT_SIZE);

	*ids = (struct ids){ .users = { .own = geteuid() }, .groups = { .own = getegid() } };
	if (file_read(folder, IDS_FILE, &text, err))
		return err->code == ENOENT ? 0 : -1;
	if (!text.length ||
	    sscanf(text.data, "%" SCNu32 ":%" SCNu32 ":%" SCNu32 " %" SCNu32 ":%" SCNu32 ":%" SCNu32, &ids->users.own, &ids->users.first,
		   &ids->users.count, &ids->groups.own, &ids->groups.first, &ids->groups.count) != 6)
		return error_set(err, EBADMSG, IDS_FILE ": damaged");
	return 1;
}

/* ---- whose they are ---- */

/* "NAME:FIRST:COUNT" of a table. */
static bool read_line(const char *line, size_t *name, uint32_t *first, uint32_t *count)
{
	unsigned long long begin, n;
	char *end;

	*name = strcspn(line, ":\n");
	if (!*name || line[*name] != ':' || line[*name + 1] < '0' || line[*name + 1] > '9')
		return false;
	begin = strtoull(line + *name + 1, &end, 10);
	if (*end != ':' || end[1] < '0' || end[1] > '9')
		return false;
	n = strtoull(end + 1, &end, 10);
	if ((*end && *end != '\n') || !begin || !n || begin >= UINT32_MAX || n > UINT32_MAX - begin)
		return false;
	*first = (uint32_t)begin;
	*count = (uint32_t)n;
	return true;
}

void ids_look_up(const char *text, const char *user, uid_t uid, struct ids_map *map, uint32_t *free_from)
{
	char number[16];

	(void)snprintf(number, sizeof number, "%u", (unsigned)uid);
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		uint32_t first, count;
		size_t n;

		if (!read_line(line, &n, &first, &count))
			continue;
		if (first + count > *free_from)
			*free_from = first + count;
		if ((strlen(user) == n && !strncmp(line, user, n)) || (strlen(number) == n && !strncmp(line, number, n)))
			if (count > map->count && (map->own < first || map->own - first >= count)) {
				map->first = first;
				map->count = count;
			}
	}
}

static void read_table(const char *table, const char *user, struct ids_map *map, uint32_t *free_from)
{
	cleanup_buffer struct buffer text = BUFFER(TABLE_MAX);
	struct error ignored;

	if (!file_read(AT_FDCWD, table, &text, &ignored) && text.length)
		ids_look_up(text.data, user, geteuid(), map, free_from);
}

int ids_find(struct ids *ids, struct error *err)
{
	const struct passwd *entry = getpwuid(geteuid());
	const char *user = entry ? entry->pw_name : "";
	uint32_t free_from = USUAL_FIRST;

	*ids = (struct ids){ .users = { .own = geteuid() }, .groups = { .own = getegid() } };
	read_table(tables[0], user, &ids->users, &free_from);
	read_table(tables[1], user, &ids->groups, &free_from);
	for (size_t i = 0; i < 2; i++) {
		cleanup_free char *program = program_find(programs[i]);

		if (!program)
			return error_set(err, ENOENT, "%s is missing: sudo apt-get install -y uidmap", programs[i]);
	}
	if (ids->users.count && ids->groups.count)
		return 0;
	if (free_from > UINT32_MAX - USUAL_COUNT)
		free_from = USUAL_FIRST;
	return error_set(err, ENOENT, "no range of ids is %s's in %s: sudo usermod --add-subuids %" PRIu32 "-%" PRIu32
			 " --add-subgids %" PRIu32 "-%" PRIu32 " %s", *user ? user : "this user", tables[ids->users.count ? 1 : 0], free_from,
			 free_from + USUAL_COUNT - 1, free_from, free_from + USUAL_COUNT - 1, *user ? user : "NAME");
}

/* ---- the namespace ---- */

/* A process in a new one without a map, which stays until hold is closed. */
struct holder {
	pid_t pid;
	int pidfd, hold;
};

static void end_holder(struct holder *h)
{
	if (h->pid > 0) {
		(void)kill(h->pid, SIGKILL);
		while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
			;
		(void)close(h->pidfd);
		(void)close(h->hold);
	}
	h->pid = 0;
}

static int begin_holder(struct holder *h, struct error *err)
{
	cleanup_free char *program = program_guest();
	char *argv[] = { program, (char[]){ "hold" }, (char[]){ "user" }, NULL };
	struct spawn what = { .argv = argv, .output = -1, .passed = { -1, -1, -1, -1 } };
	struct pollfd said = { .events = POLLIN };
	unsigned char code = EIO;
	int says[2], holds[2], n;

	*h = (struct holder){ .pid = 0 };
	if (!program)
		return error_memory(err);
	if (pipe2(says, O_CLOEXEC))
		return error_errno(err, "pipe");
	if (pipe2(holds, O_CLOEXEC)) {
		(void)close(says[0]);
		(void)close(says[1]);
		return error_errno(err, "pipe");
	}
	what.passed[0] = says[1];
	what.passed[1] = holds[0];
	h->hold = holds[1];
	h->pid = spawn(&what, &h->pidfd, err);
	(void)close(says[1]);
	(void)close(holds[0]);
	if (h->pid < 0) {
		(void)close(says[0]);
		(void)close(h->hold);
		return -1;
	}
	said.fd = says[0];
	do
		n = poll(&said, 1, HOLDER_MS);
	while (n < 0 && errno == EINTR);
	if (n <= 0 || read(says[0], &code, 1) != 1)
		code = EIO;
	(void)close(says[0]);
	if (!code)
		return 0;
	end_holder(h);
	return error_set(err, code, "cannot make a user namespace: %s", strerror(code));
}

static int enter_holders(const struct holder *h, struct error *err)
{
	cleanup_close int namespace = -1;
	char path[64];

	(void)snprintf(path, sizeof path, "/proc/%d/ns/user", (int)h->pid);
	namespace = open(path, O_RDONLY | O_CLOEXEC);
	return namespace < 0 || setns(namespace, CLONE_NEWUSER) ? error_errno(err, "cannot enter a user namespace") : 0;
}

static int write_map(pid_t pid, const char *file, const char *text, struct error *err)
{
	cleanup_close int fd = -1;
	char path[64];

	(void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, text, strlen(text)) < 0 ? error_errno(err, "cannot map a sandbox's ids: %s", file) : 0;
}

int ids_give(pid_t holder, const struct ids *ids, struct error *err)
{
	for (int i = 0; i < 2; i++) {
		const struct ids_map *map = map_of(ids, i);
		char text[80];

		(void)snprintf(text, sizeof text, "0 %" PRIu32 " 1\n1 %" PRIu32 " %" PRIu32 "\n", map->own, map->first, map->count);
		if (write_map(holder, maps[i], text, err))
			return -1;
	}
	return 0;
}

/* By newuidmap: each id as itself. */
static int ask_for_map(pid_t pid, int i, const struct ids_map *map, struct error *err)
{
	cleanup_free char *program = program_find(programs[i]);
	char number[16], own[16], first[16], count[16];
	char *argv[] = { program, number, own, own, (char[]){ "1" }, first, first, count, NULL };
	cleanup_buffer struct buffer said = BUFFER(4096);
	int status;

	if (!program)
		return error_set(err, ENOENT, "%s is missing", programs[i]);
	(void)snprintf(number, sizeof number, "%d", (int)pid);
	(void)snprintf(own, sizeof own, "%" PRIu32, map->own);
	(void)snprintf(first, sizeof first, "%" PRIu32, map->first);
	(void)snprintf(count, sizeof count, "%" PRIu32, map->count);
	if (spawn_run(argv, HELPER_MS, &said, &status, err))
		return -1;
	return status ? error_set(err, EPERM, "%.300s", said.length ? buffer_last_line(&said) : programs[i]) : 0;
}

static struct {
	bool tried, own;
	int result;
	struct ids ids;
	struct error why;
} entered;

static int enter(struct ids *ids, struct error *err)
{
	struct holder holder;
	int result;

	if (!geteuid())
		return error_set(err, EINVAL, "root has all ids");
	if (entered.own)
		return error_set(err, EBUSY, "a namespace with one id was entered");
	if (ids_find(ids, err) || begin_holder(&holder, err))
		return -1;
	result = ask_for_map(holder.pid, 0, &ids->users, err) || ask_for_map(holder.pid, 1, &ids->groups, err) ||
		 enter_holders(&holder, err) ? -1 : 0;
	end_holder(&holder);
	return result;
}

const struct ids *ids_enter(struct error *err)
{
	if (!entered.tried)
		entered.result = enter(&entered.ids, &entered.why);
	entered.tried = true;
	if (!entered.result)
		return &entered.ids;
	*err = entered.why;
	return NULL;
}

void ids_enter_if_marked(const struct state *state)
{
	struct error ignored;

	if (geteuid() && !faccessat(state->fd, IDS_FILE, F_OK, 0))
		(void)ids_enter(&ignored);
}

void ids_enter_own(void)
{
	struct error ignored;
	struct holder holder;
	char uids[48], gids[48];

	if (!geteuid() || entered.own || (entered.tried && !entered.result) || begin_holder(&holder, &ignored))
		return;
	(void)snprintf(uids, sizeof uids, "%u %u 1\n", (unsigned)geteuid(), (unsigned)geteuid());
	(void)snprintf(gids, sizeof gids, "%u %u 1\n", (unsigned)getegid(), (unsigned)getegid());
	entered.own = !write_map(holder.pid, "setgroups", "deny", &ignored) && !write_map(holder.pid, maps[0], uids, &ignored) &&
		      !write_map(holder.pid, maps[1], gids, &ignored) && !enter_holders(&holder, &ignored);
	end_holder(&holder);
}
