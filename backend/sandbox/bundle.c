#include "backend/sandbox/bundle.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "backend/sandbox/seccomp.h"
#include "base/buffer.h"
#include "base/cleanup.h"

#define TTY 5
#define OPTIONS_MAX 4095 /* mount(2) takes one page with its NUL */

const char *const bundle_capabilities[] = {
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_SETFCAP", NULL
};

static const char *const masked[] = {
	"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
	"/sys/devices/virtual/powercap", "/sys/fs/cgroup",
};

static const char *const readonly[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

/* The kernel's own file systems. Each options string is cut at the commas. */
static const struct fixed_mount {
	const char *destination, *type, *options;
} fixed_mounts[] = {
	{ "/proc", "proc", "nosuid,noexec,nodev" },
	{ "/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k" },
	{ "/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620" },
	{ "/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777" },
	{ "/run", "tmpfs", "nosuid,nodev,mode=755" },
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* cJSON tells of missing memory by NULL at every step; one flag remembers it. */
struct writer {
	bool failed;
};

static cJSON *adopt(struct writer *w, cJSON *parent, const char *name, cJSON *child)
{
	if (!child || !parent ||
	    !(name ? cJSON_AddItemToObject(parent, name, child) : cJSON_AddItemToArray(parent, child))) {
		cJSON_Delete(child);
		w->failed = true;
		return NULL;
	}
	return child;
}

static cJSON *add_object(struct writer *w, cJSON *parent, const char *name)
{
	return adopt(w, parent, name, cJSON_CreateObject());
}

static cJSON *add_array(struct writer *w, cJSON *parent, const char *name)
{
	return adopt(w, parent, name, cJSON_CreateArray());
}

static void add_text(struct writer *w, cJSON *parent, const char *name, const char *text)
{
	adopt(w, parent, name, cJSON_CreateString(text));
}

static void add_number(struct writer *w, cJSON *parent, const char *name, double number)
{
	adopt(w, parent, name, cJSON_CreateNumber(number));
}

static void add_bool(struct writer *w, cJSON *parent, const char *name, bool value)
{
	adopt(w, parent, name, cJSON_CreateBool(value));
}

static void add_texts(struct writer *w, cJSON *parent, const char *name, const char *const *texts, size_t n)
{
	adopt(w, parent, name, cJSON_CreateStringArray(texts, (int)n));
}

static cJSON *add_mount(struct writer *w, cJSON *mounts, const char *destination, const char *type,
			const char *source, const char *options)
{
	cJSON *mount = add_object(w, mounts, NULL), *list;

	add_text(w, mount, "destination", destination);
	add_text(w, mount, "type", type);
	add_text(w, mount, "source", source);
	list = add_array(w, mount, "options");
	for (const char *p = options; *p;) {
		size_t n = strcspn(p, ",");
		char one[128];

		(void)snprintf(one, sizeof one, "%.*s", (int)n, p);
		add_text(w, list, NULL, one);
		p += n + (p[n] == ',');
	}
	return list;
}

/* A path as overlayfs wants it in its options. */
static int append_escaped(struct buffer *out, const char *path)
{
	for (; *path; path++) {
		if ((strchr("\\:,", *path) && buffer_append(out, "\\", 1)) || buffer_append(out, path, 1))
			return -1;
	}
	return 0;
}

static int add_option(struct writer *w, cJSON *list, size_t *total, const char *key, const char *box,
		      const char *folder, const char *const *paths, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(OPTIONS_MAX);
	int failed = buffer_text(&text, key);

	if (box)
		failed = failed || append_escaped(&text, box) || buffer_text(&text, folder);
	for (size_t i = 0; !failed && paths[i]; i++)
		failed = (i || box ? buffer_text(&text, i ? ":" : "/") : 0) || append_escaped(&text, paths[i]);
	*total += text.length + 1;
	if (failed || *total > OPTIONS_MAX)
		return error_set(err, ENAMETOOLONG, "the state directory's path is too long for an overlay's options");
	add_text(w, list, NULL, text.data);
	return 0;
}

static int add_overlay(struct writer *w, cJSON *mounts, const struct bundle *b,
		       const struct bundle_overlay *o, struct error *err)
{
	cJSON *list = add_mount(w, mounts, o->destination, "overlay", "overlay",
				b->user ? "nosuid,nodev,userxattr" : "nosuid,nodev");
	const char *const name[] = { o->name, NULL };
	size_t total = 16;

	if (add_option(w, list, &total, "lowerdir=", NULL, NULL, o->lowers, err) ||
	    add_option(w, list, &total, "upperdir=", b->box, "/up", name, err) ||
	    add_option(w, list, &total, "workdir=", b->box, "/work", name, err))
		return error_wrap(err, "%s", o->destination);
	return 0;
}

static int add_mounts(struct writer *w, cJSON *config, const struct bundle *b, struct error *err)
{
	cJSON *mounts = add_array(w, config, "mounts");
	size_t i;

	/* Those at the top first; those inside the kernel's file systems or others later. */
	for (i = 0; i < b->overlay_count && !strchr(b->overlays[i].destination + 1, '/'); i++)
		if (add_overlay(w, mounts, b, &b->overlays[i], err))
			return -1;
	for (size_t k = 0; k < COUNT(fixed_mounts); k++) {
		const struct fixed_mount *m = &fixed_mounts[k];
		cJSON *list = add_mount(w, mounts, m->destination, m->type, m->type, m->options);

		/* The group tty is not mapped in a namespace with one id. */
		if (!strcmp(m->type, "devpts") && (!b->user || b->ids.groups.count >= TTY))
			add_text(w, list, NULL, "gid=5");
	}
	/* A new sysfs belongs to a network namespace: without an own one a user may not mount it. */
	if (b->user && b->host_network)
		add_mount(w, mounts, "/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro");
	else
		add_mount(w, mounts, "/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro");
	for (; i < b->overlay_count; i++)
		if (add_overlay(w, mounts, b, &b->overlays[i], err))
			return -1;
	add_mount(w, mounts, BUNDLE_GUEST, "none", b->guest, "bind,ro,nosuid,nodev");
	for (size_t k = 0; k < b->bind_count; k++)
		add_mount(w, mounts, b->binds[k].destination, "none", b->binds[k].source,
			  b->binds[k].device     ? "bind,rw,nosuid,noexec" :
			  b->binds[k].writable ? "rbind,rw,nosuid,nodev" : "rbind,ro,nosuid,nodev");
	return 0;
}

static void add_process(struct writer *w, cJSON *config, const struct bundle *b)
{
	static const char *const sets[] = { "bounding", "effective", "permitted" };
	cJSON *process = add_object(w, config, "process"), *object;
	const char *args[] = { BUNDLE_GUEST, NULL };
	char seconds[24];

	(void)snprintf(seconds, sizeof seconds, "%llu", (unsigned long long)b->timeout);
	args[1] = seconds;
	add_bool(w, process, "terminal", false);
	object = add_object(w, process, "user");
	add_number(w, object, "uid", 0);
	add_number(w, object, "gid", 0);
	add_text(w, process, "cwd", "/");
	add_bool(w, process, "noNewPrivileges", true);
	add_texts(w, process, "args", args, 2);
	object = add_object(w, process, "capabilities");
	for (size_t i = 0; i < COUNT(sets); i++)
		add_texts(w, object, sets[i], bundle_capabilities, COUNT(bundle_capabilities) - 1);
	if (b->user) {
		/* Counted in the sandbox's own user namespace, so each has its own. */
		object = add_object(w, add_array(w, process, "rlimits"), NULL);
		add_text(w, object, "type", "RLIMIT_NPROC");
		add_number(w, object, "soft", BUNDLE_PIDS);
		add_number(w, object, "hard", BUNDLE_PIDS);
	}
}

static void add_range(struct writer *w, cJSON *list, unsigned inside, unsigned first, unsigned count)
{
	cJSON *map = add_object(w, list, NULL);

	add_number(w, map, "containerID", inside);
	add_number(w, map, "hostID", first);
	add_number(w, map, "size", count);
}

static void add_mapping(struct writer *w, cJSON *linux_, const char *name, const struct ids_map *ids)
{
	cJSON *list = add_array(w, linux_, name);

	add_range(w, list, 0, ids->own, 1);
	if (ids->count)
		add_range(w, list, 1, ids->first, ids->count);
}

static void allow_device(struct writer *w, cJSON *devices, const char *path)
{
	struct stat st;
	cJSON *one;

	if (stat(path, &st) || (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)))
		return; /* the mount will say so */
	one = add_object(w, devices, NULL);
	add_bool(w, one, "allow", true);
	add_text(w, one, "type", S_ISCHR(st.st_mode) ? "c" : "b");
	add_number(w, one, "major", major(st.st_rdev));
	add_number(w, one, "minor", minor(st.st_rdev));
	add_text(w, one, "access", "rw");
}

static void add_resources(struct writer *w, cJSON *linux_, const struct bundle *b)
{
	cJSON *resources = add_object(w, linux_, "resources"), *object, *devices;

	/* As a user, anything in here (and a cgroupsPath) makes runc refuse. */
	if (b->user)
		return;
	add_text(w, linux_, "cgroupsPath", b->cgroup);
	devices = add_array(w, resources, "devices");
	object = add_object(w, devices, NULL);
	add_bool(w, object, "allow", false);
	add_text(w, object, "access", "rwm");
	for (size_t i = 0; i < b->bind_count; i++)
		if (b->binds[i].device)
			allow_device(w, devices, b->binds[i].source);
	add_number(w, add_object(w, resources, "pids"), "limit", BUNDLE_PIDS);
	if (b->memory)
		add_number(w, add_object(w, resources, "memory"), "limit", (double)b->memory);
	if (b->cpu > 0) {
		object = add_object(w, resources, "cpu");
		add_number(w, object, "period", 100000);
		add_number(w, object, "quota", (double)(long long)(b->cpu * 100000));
	}
}

/* A new one, or that of a process. */
static void add_namespace(struct writer *w, cJSON *namespaces, const char *type, const char *link, pid_t of)
{
	cJSON *namespace = add_object(w, namespaces, NULL);
	char path[64];

	add_text(w, namespace, "type", type);
	if (!of)
		return;
	(void)snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)of, link);
	add_text(w, namespace, "path", path);
}

static void add_linux(struct writer *w, cJSON *config, const struct bundle *b)
{
	static const char *const always[] = { "pid", "ipc", "uts", "mount", "cgroup" };
	cJSON *linux_ = add_object(w, config, "linux"), *namespaces = add_array(w, linux_, "namespaces");

	for (size_t i = 0; i < COUNT(always); i++)
		add_namespace(w, namespaces, always[i], NULL, 0);
	if (!b->host_network)
		add_namespace(w, namespaces, "network", "net", b->space);
	if (b->user) {
		add_namespace(w, namespaces, "user", "user", b->space);
		add_mapping(w, linux_, "uidMappings", &b->ids.users);
		add_mapping(w, linux_, "gidMappings", &b->ids.groups);
	}
	add_texts(w, linux_, "maskedPaths", masked, COUNT(masked));
	add_texts(w, linux_, "readonlyPaths", readonly, COUNT(readonly));
	add_resources(w, linux_, b);
	adopt(w, linux_, "seccomp", seccomp_profile());
}

char *bundle_render(const struct bundle *b, struct error *err)
{
	struct writer w = { false };
	cJSON *config = cJSON_CreateObject(), *root;
	cleanup_free char *path = NULL;
	char *text = NULL;

	if (asprintf(&path, "%s/root", b->box) < 0)
		path = NULL;
	add_text(&w, config, "ociVersion", "1.0.2");
	add_process(&w, config, b);
	root = add_object(&w, config, "root");
	add_text(&w, root, "path", path ? path : "");
	add_bool(&w, root, "readonly", false);
	add_text(&w, config, "hostname", b->hostname);
	if (!add_mounts(&w, config, b, err)) {
		add_linux(&w, config, b);
		text = w.failed || !path ? NULL : cJSON_PrintUnformatted(config);
		if (!text)
			error_memory(err);
	}
	cJSON_Delete(config);
	return text;
}
