/* What exists of a state directory's on this machine, and removing what a crash left. Three places tell of
 * a box: its folder, what the runtime keeps (STATE/runtime/NAME/ID), and for root its control groups. Two
 * kinds of thing lie outside of a box: the network's helper, a process, and mounts that a killed daemon
 * or a runtime left. */
#include "backend/sandbox/local_things.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backend/sandbox/box_own.h"
#include "backend/sandbox/cgroup.h"
#include "backend/sandbox/ids.h"
#include "backend/sandbox/making.h"
#include "backend/sandbox/spawn.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/mounts.h"
#include "base/program.h"

#define UNMOUNT_MS 5000
#define TABLE_MAX (4u << 20)

/* ---- boxes: every id that any of the places knows ---- */

struct known {
	char id[96];
	char *box;         /* its folder, owned; NULL without */
	bool left;         /* the runtime or a control group has it */
	bool runs;
	bool in_use;       /* somebody is making it */
	double since;
};

struct knowns {
	const struct state *state;
	struct known *list;
	size_t count, room;
	bool failed;       /* memory */
};

static void free_knowns(struct knowns *k)
{
	for (size_t i = 0; i < k->count; i++)
		free(k->list[i].box);
	free(k->list);
}

static struct known *know(struct knowns *k, const char *id)
{
	if (k->count == k->room) {
		size_t room = k->room ? 2 * k->room : 64;
		struct known *list = realloc(k->list, room * sizeof *list);

		if (!list) {
			k->failed = true;
			return NULL;
		}
		k->list = list;
		k->room = room;
	}
	k->list[k->count] = (struct known){ .box = NULL };
	(void)snprintf(k->list[k->count].id, sizeof k->list->id, "%s", id);
	return &k->list[k->count++];
}

static void see_group(void *context, const char *id, bool runs)
{
	struct known *known = know(context, id);

	if (known) {
		known->left = true;
		known->runs = runs;
	}
}

static void see_box(struct knowns *k, const char *id, const char *path, bool in_use)
{
	struct known *known;
	struct stat st;
	struct error ignored;
	struct box box;

	if (stat(path, &st) || !S_ISDIR(st.st_mode) || !(known = know(k, id)))
		return;
	known->in_use = in_use;
	known->box = strdup(path);
	if (!known->box || box_init(&box, k->state->path, path, id, &ignored)) {
		k->failed = true;
		return;
	}
	box.ctl = -1;
	box.folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (box.folder >= 0)
		box.ctl = openat(box.folder, "ctl", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (box.ctl >= 0) {
		known->runs = box_recorded(&box) > 0;
		known->left = known->runs || !faccessat(box.ctl, "runtime", F_OK, 0);
		if (!fstatat(box.ctl, "pid", &st, AT_SYMLINK_NOFOLLOW))
			known->since = (double)st.st_mtim.tv_sec;
	}
	box_free(&box);
}

/* Whether somebody holds the lock of what is being made. */
static bool is_held(const char *path)
{
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
}

static int see_sandbox(void *context, uint64_t serial)
{
	struct knowns *k = context;
	char path[4096], id[64];

	(void)snprintf(id, sizeof id, "interpfs-%s-%" PRIu64, k->state->id, serial);
	if (snprintf(path, sizeof path, "%s/sandboxes/%" PRIu64 "/box", k->state->path, serial) < (int)sizeof path)
		see_box(k, id, path, false);
	return 0;
}

static void see_build(struct knowns *k, const char *hash)
{
	char path[4096], lock[4096], id[96];

	(void)snprintf(id, sizeof id, "interpfs-%s-build-%.16s", k->state->id, hash);
	if (snprintf(path, sizeof path, "%s/layers/.build-%s", k->state->path, hash) < (int)sizeof path &&
	    snprintf(lock, sizeof lock, "%s/layers/.lock-%s", k->state->path, hash) < (int)sizeof lock)
		see_box(k, id, path, is_held(lock));
}

/* "probe.PID": in use as long as that process is an interpfs. */
static void see_probe(struct knowns *k, const char *pid)
{
	cleanup_buffer struct buffer comm = BUFFER(64);
	struct error ignored;
	char path[4096], id[96];

	(void)snprintf(path, sizeof path, "/proc/%.16s/comm", pid);
	(void)file_read(AT_FDCWD, path, &comm, &ignored);
	(void)snprintf(id, sizeof id, "interpfs-%s-probe%.16s", k->state->id, pid);
	if (snprintf(path, sizeof path, "%s/probe.%.16s", k->state->path, pid) < (int)sizeof path)
		see_box(k, id, path, comm.length && !strncmp(comm.data, "interpfs", 8));
}

/* What runtimes keep of a container: which process is its first. */
static bool runs_by_record(int runtime, const char *id)
{
	static const struct { const char *file, *pid, *start; } records[] = {
		{ "status", "pid", "process-start-time" }, /* crun */
		{ "state.json", "init_process_pid", "init_process_start" }, /* runc */
	};
	bool runs = false;

	for (size_t i = 0; i < sizeof records / sizeof *records && !runs; i++) {
		cleanup_buffer struct buffer text = BUFFER(1 << 20);
		struct error ignored;
		char path[160];
		const cJSON *pid, *start;
		cJSON *record;

		(void)snprintf(path, sizeof path, "%.96s/%s", id, records[i].file);
		if (file_read(runtime, path, &text, &ignored) || !text.length)
			continue;
		record = cJSON_ParseWithLength(text.data, text.length);
		pid = cJSON_GetObjectItemCaseSensitive(record, records[i].pid);
		start = cJSON_GetObjectItemCaseSensitive(record, records[i].start);
		if (cJSON_IsNumber(pid) && pid->valuedouble > 1 && pid->valuedouble < INT32_MAX) {
			uint64_t started = box_start_time((pid_t)pid->valuedouble);

			runs = started && (!cJSON_IsNumber(start) || start->valuedouble == (double)started);
		}
		cJSON_Delete(record);
	}
	return runs;
}

static void see_runtimes(struct knowns *k, const char *prefix)
{
	cleanup_free char *path = NULL;
	cleanup_dir DIR *runtimes = NULL;
	const struct dirent *runtime, *entry;

	if (asprintf(&path, "%s/runtime", k->state->path) < 0) {
		path = NULL;
		return;
	}
	runtimes = opendir(path);
	while (runtimes && (runtime = readdir(runtimes))) {
		cleanup_dir DIR *dir = NULL;
		int fd = *runtime->d_name == '.' ? -1 : openat(dirfd(runtimes), runtime->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0 && !(dir = fdopendir(fd)))
			(void)close(fd);
		while (dir && (entry = readdir(dir))) {
			struct known *known = strncmp(entry->d_name, prefix, strlen(prefix)) ? NULL : know(k, entry->d_name);

			if (known) {
				known->left = true;
				known->runs = runs_by_record(fd, entry->d_name);
			}
		}
	}
}

static void see_folder(struct knowns *k, const char *path, const char *prefix, void (*see)(struct knowns *k, const char *rest))
{
	cleanup_dir DIR *dir = opendir(path);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, prefix, strlen(prefix)))
			see(k, entry->d_name + strlen(prefix));
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct known *)a)->id, ((const struct known *)b)->id);
}

/* What several places know is one thing. */
static void merge(struct knowns *k)
{
	size_t kept = 0;

	if (k->count)
		qsort(k->list, k->count, sizeof *k->list, compare);
	for (size_t i = 0; i < k->count; i++) {
		struct known *known = &k->list[i], *last = kept ? &k->list[kept - 1] : NULL;

		if (!last || strcmp(last->id, known->id)) {
			k->list[kept++] = *known;
			continue;
		}
		last->left |= known->left;
		last->runs |= known->runs;
		last->in_use |= known->in_use;
		if (known->box) {
			free(last->box);
			last->box = known->box;
			last->since = known->since;
		}
	}
	k->count = kept;
}

static int tell_box(struct things *things, const struct state *state, const struct known *known, struct error *err)
{
	uint64_t serial = things_serial(state, known->id);
	struct thing *thing = things_add(things, &sandbox_local, serial ? THING_SANDBOX : strstr(known->id, "-probe") ? THING_PROBE : THING_BUILD,
					 known->id, known->box);

	if (!thing)
		return error_memory(err);
	thing->since = known->since;
	(void)snprintf(thing->state, sizeof thing->state, "%s", known->runs ? "running" : known->left ? "left" : "stopped");
	if (serial)
		things_judge(state, serial, known->left || known->runs, thing);
	else if (known->in_use)
		(void)snprintf(thing->owner, sizeof thing->owner, "whoever makes it");
	else
		(void)snprintf(thing->stray, sizeof thing->stray, "nobody makes it any more");
	return 0;
}

static int list_boxes(struct state *state, struct things *things, struct error *err)
{
	struct knowns k = { .state = state };
	char prefix[64], layers[4096];
	int result = 0;

	(void)snprintf(prefix, sizeof prefix, "interpfs-%s-", state->id);
	(void)snprintf(layers, sizeof layers, "%s/layers", state->path);
	/* A box that ends meanwhile is seen nowhere, rather than as something left: its folder comes last. */
	if (!geteuid())
		cgroup_each(prefix, see_group, &k);
	see_runtimes(&k, prefix);
	see_folder(&k, layers, ".build-", see_build);
	see_folder(&k, state->path, "probe.", see_probe);
	if (state_each_serial(state, OBJECT_SANDBOX, see_sandbox, &k, err))
		result = -1;
	merge(&k);
	for (size_t i = 0; i < k.count && !result; i++)
		result = tell_box(things, state, &k.list[i], err);
	if (!result && k.failed)
		result = error_memory(err);
	free_knowns(&k);
	return result;
}

static void remove_runtimes(struct state *state, const char *id)
{
	cleanup_free char *path = NULL;
	cleanup_dir DIR *runtimes = NULL;
	const struct dirent *runtime;
	struct error ignored;

	if (asprintf(&path, "%s/runtime", state->path) < 0) {
		path = NULL;
		return;
	}
	runtimes = opendir(path);
	while (runtimes && (runtime = readdir(runtimes))) {
		cleanup_free char *root = NULL, *kept = NULL, *program = program_find(runtime->d_name);
		cleanup_buffer struct buffer out = BUFFER(65536);
		int status;

		if (*runtime->d_name == '.' || asprintf(&root, "%s/%s", path, runtime->d_name) < 0 || asprintf(&kept, "%s/%s", root, id) < 0 ||
		    access(kept, F_OK))
			continue;
		if (program) {
			char *argv[] = { program, (char[]){ "--root" }, root, (char[]){ "delete" }, (char[]){ "-f" }, (char *)(uintptr_t)id, NULL };

			(void)spawn_run(argv, RUNTIME_MS, &out, &status, &ignored);
		}
		(void)file_remove_tree(AT_FDCWD, kept, &ignored);
	}
}

/* Nobody begins to make the same meanwhile. */
static int lock_build(const struct state *state, const char *box, struct error *err)
{
	const char *name = strrchr(box, '-');
	cleanup_close int fd = -1;
	char path[4096];

	(void)snprintf(path, sizeof path, "%s/layers/.lock%s", state->path, name ? name : "");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB))
		return error_errno(err, "%s", path);
	return steal_fd(&fd);
}

/* The box's folder stays a sandbox's: whoever removes that has it removed. */
static int reap_box(struct state *state, const struct thing *thing, struct error *err)
{
	cleanup_close int lock = -1;
	struct error why = { .code = 0 };
	struct box box;
	int result = 0;

	if (thing->kind == THING_BUILD && thing->where) {
		lock = lock_build(state, thing->where, err);
		if (lock < 0)
			return -1;
	}
	if (thing->where) {
		if (box_init(&box, state->path, thing->where, thing->id, err))
			return -1;
		result = box_reap(&box, &why);
		ids_enter_if_marked(state);
		if (!result && thing->kind != THING_SANDBOX)
			result = box_remove(&box, &why);
		box_free(&box);
	}
	remove_runtimes(state, thing->id);
	if (cgroup_remove(thing->id, err))
		return -1;
	if (result)
		*err = why;
	return result;
}

/* ---- the network's helpers ---- */

/* What stands behind the state directory in a path, which the kernel may tell without links; NULL when it
 * is not below it. */
static const char *below_state(const struct state *state, const char *path)
{
	cleanup_free char *real = realpath(state->path, NULL);
	const char *const tops[] = { state->path, real };

	for (size_t i = 0; i < 2; i++) {
		size_t n = tops[i] ? strlen(tops[i]) : 0;

		if (n && !strncmp(path, tops[i], n) && path[n] == '/')
			return path + n;
	}
	return NULL;
}

/* The box that a path leads into, as list_boxes() names it. */
static bool name_box(const struct state *state, const char *path, char box[4096])
{
	const char *rest = below_state(state, path), *end = rest ? strstr(rest, "/ctl/") : NULL;

	return end && snprintf(box, 4096, "%s%.*s", state->path, (int)(end - rest), rest) < 4096;
}

/* What a process of that number says of itself: where it writes, or what it was told. */
static bool box_of_helper(const struct state *state, const char *pid, char box[4096])
{
	cleanup_buffer struct buffer words = BUFFER(65536);
	struct error ignored;
	char path[64], target[4096];
	ssize_t n;

	(void)snprintf(path, sizeof path, "/proc/%.16s/fd/1", pid);
	n = readlink(path, target, sizeof target - 1);
	if (n > 0) {
		target[n] = '\0';
		if (name_box(state, target, box))
			return true;
	}
	(void)snprintf(path, sizeof path, "/proc/%.16s/cmdline", pid);
	if (file_read(AT_FDCWD, path, &words, &ignored))
		return false;
	for (size_t at = 0; at < words.length; at += strlen(words.data + at) + 1)
		if (name_box(state, words.data + at, box))
			return true;
	return false;
}

static bool is_helper(const char *pid)
{
	static const char *const names[] = { "slirp4netns", "pasta", "pasta.avx2", "passt" };
	cleanup_buffer struct buffer comm = BUFFER(64);
	struct error ignored;
	char path[64];
	bool found = false;

	(void)snprintf(path, sizeof path, "/proc/%.16s/comm", pid);
	if (file_read(AT_FDCWD, path, &comm, &ignored) || !comm.length)
		return false;
	comm.data[strcspn(comm.data, "\n")] = '\0';
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		found = found || !strcmp(comm.data, names[i]);
	return found;
}

/* A helper belongs to a box that may run; owner or stray is filled in. */
static void judge_helper(const struct state *state, const struct things *things, struct thing *helper)
{
	for (size_t i = 0; i + 1 < things->count; i++) {
		const struct thing *t = &things->list[i];

		if (!t->where || strcmp(t->where, helper->where) != 0)
			continue;
		if (t->serial) {
			things_judge(state, t->serial, true, helper);
		} else {
			memcpy(helper->owner, t->owner, sizeof t->owner);
			memcpy(helper->stray, t->stray, sizeof t->stray);
		}
	}
	if (!*helper->owner && !*helper->stray)
		(void)snprintf(helper->stray, sizeof helper->stray, "there is nothing that it joins to the outside");
}

static int list_helpers(struct state *state, struct things *things, struct error *err)
{
	cleanup_dir DIR *dir = opendir("/proc");
	const struct dirent *entry;
	char box[4096];

	while (dir && (entry = readdir(dir))) {
		struct thing *thing;

		if (!isdigit((unsigned char)*entry->d_name) || !is_helper(entry->d_name) || !box_of_helper(state, entry->d_name, box))
			continue;
		thing = things_add(things, &sandbox_local, THING_NETWORK, entry->d_name, box);
		if (!thing)
			return error_memory(err);
		thing->pid = (pid_t)strtol(entry->d_name, NULL, 10);
		(void)snprintf(thing->state, sizeof thing->state, "running");
		judge_helper(state, things, thing);
	}
	return 0;
}

static int reap_helper(const struct state *state, const struct thing *thing, struct error *err)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, thing->pid, 0);
	char box[4096];

	/* The descriptor first: who has the number now is looked at, and cannot change any more. */
	if (pidfd < 0 || !is_helper(thing->id) || !box_of_helper(state, thing->id, box) || strcmp(box, thing->where) != 0)
		return 0;
	return syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) ? error_errno(err, "process %s", thing->id) : 0;
}

/* ---- mounts ---- */

/* The folder that the mount of this state directory lay on, where its daemon has died; else "". */
static void find_dead_mount(const struct state *state, char path[4096])
{
	cleanup_buffer struct buffer text = BUFFER(4200);
	struct error ignored;
	struct statfs fs;
	const char *blank;
	long pid;

	*path = '\0';
	if (file_read(state->fd, "lock", &text, &ignored) || !text.length || !(blank = strchr(text.data, ' ')))
		return;
	pid = strtol(text.data, NULL, 10);
	if (pid <= 1 || !kill((pid_t)pid, 0) || errno != ESRCH) /* nothing is asked of one that lives: it may hang */
		return;
	(void)snprintf(path, 4096, "%s", blank + 1);
	path[strcspn(path, "\n")] = '\0';
	if (!statfs(path, &fs) || errno != ENOTCONN)
		*path = '\0';
}

/* Below a sandbox's or a build's folder: nothing of ours is ever mounted there outside of a box. */
static bool is_in_box(const struct state *state, const char *point)
{
	static const char *const folders[] = { "/sandboxes/", "/layers/.build-", "/probe." };
	const char *rest = below_state(state, point);
	bool found = false;

	for (size_t i = 0; rest && i < sizeof folders / sizeof *folders; i++)
		found = found || !strncmp(rest, folders[i], strlen(folders[i]));
	return found;
}

static int list_mounts(struct state *state, struct things *things, struct error *err)
{
	cleanup_buffer struct buffer table = BUFFER(TABLE_MAX);
	char dead[4096], *rest, *line;

	find_dead_mount(state, dead);
	if (file_read(AT_FDCWD, "/proc/self/mountinfo", &table, err))
		return -1;
	rest = table.data;
	while (rest && (line = strsep(&rest, "\n"))) {
		bool ours = strstr(line, " - fuse.interpfs ");
		char *point = NULL;
		struct thing *thing;

		for (int i = 0; i < 5 && line; i++)
			point = strsep(&line, " ");
		if (!point)
			continue;
		mounts_unescape(point);
		if (!(ours && *dead && !strcmp(point, dead)) && !is_in_box(state, point))
			continue;
		thing = things_add(things, &sandbox_local, THING_MOUNT, point, point);
		if (!thing)
			return error_memory(err);
		(void)snprintf(thing->state, sizeof thing->state, "%s", ours ? "dead" : "mounted");
		(void)snprintf(thing->stray, sizeof thing->stray, "%s", ours ? "nobody serves it" : "nothing of ours is mounted there");
	}
	return 0;
}

static int reap_mount(const struct thing *thing, struct error *err)
{
	cleanup_free char *helper = program_find("fusermount3");
	char *argv[] = { helper, (char[]){ "-uz" }, (char[]){ "--" }, thing->where, NULL };
	cleanup_buffer struct buffer out = BUFFER(4096);
	int status;

	if (!umount2(thing->where, MNT_DETACH | UMOUNT_NOFOLLOW) || errno == EINVAL || errno == ENOENT)
		return 0;
	if (!helper)
		return error_errno(err, "%s", thing->where);
	if (spawn_run(argv, UNMOUNT_MS, &out, &status, err))
		return -1;
	return status ? error_set(err, EIO, "%s: %.200s", thing->where, out.length ? out.data : "it cannot be unmounted") : 0;
}

/* ---- both ---- */

int local_list(struct state *state, struct things *things, struct error *err)
{
	return list_boxes(state, things, err) || list_helpers(state, things, err) || list_mounts(state, things, err) ? -1 : 0;
}

int local_reap(struct state *state, const struct thing *thing, struct error *err)
{
	switch (thing->kind) {
	case THING_NETWORK:
		return reap_helper(state, thing, err);
	case THING_MOUNT:
		return reap_mount(thing, err);
	default:
		return reap_box(state, thing, err);
	}
}
