#include "backend/sandbox/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"

#define REMOVE_TRIES 200
#define HURRY_TIMES 8
#define HURRY_PAUSE_NS 5000000
#define REMOVE_PAUSE_NS 1000000 /* the kernel empties a group a moment after its last process died */

struct hierarchy {
	char *mount;       /* where it is mounted */
	char *controllers; /* version 1: "cpu,cpuacct" as among its mount options; "" for version 2 */
};

/* One line of /proc/self/mountinfo: "… mount options … - type source superoptions". The line is
 * cut up. False for other file systems. */
static bool parse_mount(char *line, struct hierarchy *h)
{
	char *dash = strstr(line, " - "), *mount = NULL, *type, *options;

	if (!dash)
		return false;
	*dash = '\0';
	for (int i = 0; i < 5; i++)
		mount = strsep(&line, " ");
	dash += 3;
	type = strsep(&dash, " ");
	if (!mount || (strcmp(type, "cgroup") && strcmp(type, "cgroup2")))
		return false;
	(void)strsep(&dash, " "); /* the source */
	options = dash ? dash : type + strlen(type);
	h->mount = mount;
	h->controllers = strcmp(type, "cgroup2") ? options : type + strlen(type);
	return true;
}

/* Calls visit for each hierarchy until it returns true. */
static void each_hierarchy(bool (*visit)(void *context, const struct hierarchy *h), void *context)
{
	cleanup_buffer struct buffer text = BUFFER(1 << 20);
	struct error ignored;
	char *rest, *line;

	if (file_read(AT_FDCWD, "/proc/self/mountinfo", &text, &ignored) || !text.length)
		return;
	rest = text.data;
	while ((line = strsep(&rest, "\n"))) {
		struct hierarchy h;

		if (parse_mount(line, &h) && visit(context, &h))
			return;
	}
}

static bool has_word(const char *list, const char *word, const char *separators)
{
	size_t n = strlen(word);

	for (const char *p = list; *p; p += strcspn(p, separators), p += strspn(p, separators))
		if (!strncmp(p, word, n) && (p[n] == '\0' || strchr(separators, p[n])))
			return true;
	return false;
}

/* The folder of a controller's group of a process. */
struct lookup {
	const char *controller;
	const char *groups; /* /proc/PID/cgroup */
	char *folder;       /* owned */
	bool unified;
};

/* The path in "N:CONTROLLERS:PATH" for a controller; "" is version 2's. Length in *n. */
static const char *group_path(const char *groups, const char *controller, size_t *n)
{
	for (const char *line = groups; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL;
		char list[256];

		if (!second || second - first > (long)sizeof list)
			continue;
		(void)snprintf(list, sizeof list, "%.*s", (int)(second - first - 1), first + 1);
		if (*controller ? has_word(list, controller, ",") : !*list) {
			*n = strcspn(second + 1, "\n");
			return second + 1;
		}
	}
	return NULL;
}

static bool look(void *context, const struct hierarchy *h)
{
	struct lookup *l = context;
	bool unified = !*h->controllers;
	size_t n;
	const char *path;

	if (!unified && !has_word(h->controllers, l->controller, ","))
		return false;
	path = group_path(l->groups, unified ? "" : l->controller, &n);
	if (!path)
		return false;
	/* Version 1 wins where both are there: a controller belongs to one of them. */
	if (unified && l->folder)
		return false;
	free(l->folder);
	l->unified = unified;
	if (asprintf(&l->folder, "%s%.*s", h->mount, (int)n, path) < 0)
		l->folder = NULL;
	return !unified;
}

static bool read_file(const struct lookup *l, const char *v1, const char *v2, char *text, size_t size)
{
	cleanup_buffer struct buffer out = BUFFER(256);
	cleanup_free char *path = NULL;
	struct error ignored;

	if (!l->folder || asprintf(&path, "%s/%s", l->folder, l->unified ? v2 : v1) < 0 ||
	    file_read(AT_FDCWD, path, &out, &ignored) || !out.length)
		return false;
	(void)snprintf(text, size, "%s", out.data);
	return true;
}

void cgroup_read(pid_t pid, struct cgroup_limits *limits)
{
	static const char *const controllers[] = { "memory", "cpu", "pids" };
	cleanup_buffer struct buffer groups = BUFFER(65536);
	struct error ignored;
	char path[64];

	*limits = (struct cgroup_limits){ .memory = 0 };
	(void)snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
	if (file_read(AT_FDCWD, path, &groups, &ignored) || !groups.length)
		return;
	for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++) {
		struct lookup l = { .controller = controllers[i], .groups = groups.data };
		char text[256], period[256];
		double quota;

		each_hierarchy(look, &l);
		switch (i) {
		case 0:
			/* Version 1 says "none" with a number near the largest. */
			if (read_file(&l, "memory.limit_in_bytes", "memory.max", text, sizeof text) &&
			    strtoull(text, NULL, 10) < UINT64_MAX / 4)
				limits->memory = strtoull(text, NULL, 10);
			break;
		case 1:
			if (!read_file(&l, "cpu.cfs_quota_us", "cpu.max", text, sizeof text))
				break;
			if (l.unified)
				(void)snprintf(period, sizeof period, "%s", strchr(text, ' ') ? strchr(text, ' ') : "");
			else if (!read_file(&l, "cpu.cfs_period_us", "", period, sizeof period))
				break;
			quota = strtod(text, NULL);
			if (quota > 0 && strtod(period, NULL) > 0)
				limits->cpu = quota / strtod(period, NULL);
			break;
		default:
			if (read_file(&l, "pids.max", "pids.max", text, sizeof text))
				limits->pids = strtoull(text, NULL, 10);
		}
		free(l.folder);
	}
}

static void *stay_where_it_is(void *nothing)
{
	cleanup_buffer struct buffer groups = BUFFER(65536);
	cleanup_free char *folder = NULL, *path = NULL;
	const struct timespec pause = { .tv_nsec = HURRY_PAUSE_NS };
	struct lookup l = { .controller = "pids" };
	struct error ignored;

	if (!file_read(AT_FDCWD, "/proc/self/cgroup", &groups, &ignored) && groups.length) {
		l.groups = groups.data;
		each_hierarchy(look, &l);
		folder = l.folder;
	}
	if (folder && asprintf(&path, "%s/cgroup.procs", folder) < 0)
		path = NULL;
	for (int i = 0; path && i < HURRY_TIMES; i++) {
		cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, "0", 1) != 1)
			break;
		(void)nanosleep(&pause, NULL);
	}
	return nothing;
}

void cgroup_hurry(void)
{
	pthread_attr_t attributes;
	pthread_t thread;

	if (geteuid() || pthread_attr_init(&attributes))
		return;
	if (!pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED))
		(void)pthread_create(&thread, &attributes, stay_where_it_is, NULL); /* else it takes longer */
	(void)pthread_attr_destroy(&attributes);
}

struct removal {
	const char *id;
	int failed; /* errno */
};

static void kill_group(const char *folder)
{
	cleanup_buffer struct buffer list = BUFFER(1 << 20);
	cleanup_free char *path = NULL;
	struct error ignored;
	char *p;

	if (asprintf(&path, "%s/cgroup.procs", folder) < 0 || file_read(AT_FDCWD, path, &list, &ignored))
		return;
	for (p = list.data; p && *p; p += strcspn(p, "\n"), p += *p == '\n') {
		long pid = strtol(p, NULL, 10);

		if (pid > 1)
			(void)kill((pid_t)pid, SIGKILL);
	}
}

static bool remove_in(void *context, const struct hierarchy *h)
{
	struct removal *r = context;
	cleanup_free char *folder = NULL;
	const struct timespec pause = { .tv_nsec = REMOVE_PAUSE_NS };

	if (asprintf(&folder, "%s" CGROUP_PARENT "/%s", h->mount, r->id) < 0)
		return false;
	for (int i = 0; i < REMOVE_TRIES; i++) {
		if (!rmdir(folder) || errno == ENOENT || errno == ENOTDIR)
			return false;
		if (errno != EBUSY)
			break;
		kill_group(folder);
		(void)nanosleep(&pause, NULL);
	}
	r->failed = errno;
	return false;
}

struct seeking {
	const char *prefix;
	void (*visit)(void *context, const char *id, bool runs);
	void *context;
};

static bool has_process(const char *groups, const char *id)
{
	cleanup_buffer struct buffer list = BUFFER(1 << 20);
	cleanup_free char *path = NULL;
	struct error ignored;

	if (asprintf(&path, "%s/%s/cgroup.procs", groups, id) < 0) {
		path = NULL;
		return false;
	}
	return !file_read(AT_FDCWD, path, &list, &ignored) && list.length;
}

static bool seek_in(void *context, const struct hierarchy *h)
{
	const struct seeking *s = context;
	cleanup_free char *groups = NULL;
	cleanup_dir DIR *dir = NULL;
	const struct dirent *entry;

	if (asprintf(&groups, "%s" CGROUP_PARENT, h->mount) < 0) {
		groups = NULL;
		return false;
	}
	dir = opendir(groups);
	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, s->prefix, strlen(s->prefix)))
			s->visit(s->context, entry->d_name, has_process(groups, entry->d_name));
	return false;
}

void cgroup_each(const char *prefix, void (*visit)(void *context, const char *id, bool runs), void *context)
{
	struct seeking s = { prefix, visit, context };

	each_hierarchy(seek_in, &s);
}

int cgroup_remove(const char *id, struct error *err)
{
	struct removal r = { .id = id };

	if (geteuid())
		return 0;
	each_hierarchy(remove_in, &r);
	errno = r.failed;
	return r.failed ? error_errno(err, "cannot remove the control group of %s", id) : 0;
}

/* ---- standing still ---- */

#define FREEZE_TRIES 2000
#define FREEZE_PAUSE_NS 1000000

struct freezing {
	const char *id;
	char *folder; /* owned; NULL without a group */
	bool unified;
};

/* Version 1's freezer, where there is one; it is never in both. */
static bool find_freezer(void *context, const struct hierarchy *h)
{
	struct freezing *f = context;
	cleanup_free char *file = NULL;
	bool unified = !*h->controllers;

	if (!unified && !has_word(h->controllers, "freezer", ","))
		return false;
	if (asprintf(&file, "%s" CGROUP_PARENT "/%s/%s", h->mount, f->id, unified ? "cgroup.freeze" : "freezer.state") < 0 ||
	    access(file, F_OK))
		return false;
	free(f->folder);
	f->unified = unified;
	f->folder = strndup(file, (size_t)(strrchr(file, '/') - file));
	return !unified;
}

static bool stands(const struct freezing *f, bool frozen)
{
	cleanup_buffer struct buffer text = BUFFER(4096);
	cleanup_free char *path = NULL;
	struct error ignored;

	if (asprintf(&path, "%s/%s", f->folder, f->unified ? "cgroup.events" : "freezer.state") < 0 ||
	    file_read(AT_FDCWD, path, &text, &ignored) || !text.length)
		return false;
	return strstr(text.data, f->unified ? frozen ? "frozen 1" : "frozen 0" : frozen ? "FROZEN" : "THAWED");
}

static int tell_freezer(const struct freezing *f, bool frozen)
{
	const char *word = f->unified ? frozen ? "1" : "0" : frozen ? "FROZEN" : "THAWED";
	cleanup_free char *path = NULL;
	cleanup_close int fd = -1;

	if (asprintf(&path, "%s/%s", f->folder, f->unified ? "cgroup.freeze" : "freezer.state") < 0)
		return -1;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, word, strlen(word)) < 0 ? -1 : 0;
}

int cgroup_freeze(const char *id, bool frozen, struct error *err)
{
	const struct timespec pause = { .tv_nsec = FREEZE_PAUSE_NS };
	struct freezing f = { .id = id };
	int result = 0;

	each_hierarchy(find_freezer, &f);
	if (f.folder && tell_freezer(&f, frozen))
		result = error_errno(err, "the sandbox cannot be held still");
	for (int i = 0; f.folder && !result; i++) {
		if (stands(&f, frozen))
			result = 1;
		else if (i == FREEZE_TRIES)
			result = error_set(err, ETIMEDOUT, "the sandbox does not stand still: a process in it waits for the kernel");
		else
			(void)nanosleep(&pause, NULL);
	}
	free(f.folder);
	return result;
}
