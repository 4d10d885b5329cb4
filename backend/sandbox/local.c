/* The backend `local`: this machine, without a daemon, an account or an image. A sandbox's box is
 * STATE/sandboxes/SERIAL/box; its files stay in it while it is stopped. What it sees is put
 * together in local_plan.c. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/cgroup.h"
#include "backend/sandbox/gate.h"
#include "backend/sandbox/gpu.h"
#include "backend/sandbox/loading.h"
#include "backend/sandbox/local_own.h"
#include "backend/sandbox/local_snapshot.h"
#include "backend/sandbox/local_things.h"
#include "backend/sandbox/making.h"
#include "backend/sandbox/python_inside.h"
#include "backend/sandbox/rootfs.h"
#include "backend/sandbox/runtime.h"
#include "backend/sandbox/unused.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define RECORD_MAX (1u << 20)

static struct local *own(const struct sandbox *s)
{
	return s->own;
}

static int add_limits_told(cJSON *info)
{
	static const char *const names[] = { "memory", "cpu", "pids" };
	static const char *const of_user[] = { "not available", "advisory", "enforced" };
	cJSON *limits = cJSON_AddObjectToObject(info, "limits");

	for (size_t i = 0; i < 3; i++)
		if (!cJSON_AddStringToObject(limits, names[i], geteuid() ? of_user[i] : "enforced"))
			return -1;
	return 0;
}

static int local_probe(struct state *state, cJSON *info, struct error *err)
{
	cleanup_free char *runtime = NULL;
	struct network network;
	int result;

	if (!cJSON_AddNumberToObject(info, "cpus", (double)sysconf(_SC_NPROCESSORS_ONLN)) ||
	    !cJSON_AddNumberToObject(info, "memory", (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE)) ||
	    gpus_tell(info))
		return error_memory(err);
	runtime = runtime_find(state, NULL, err);
	if (!runtime || network_choose("full", &network, err))
		return -1;
	result = cJSON_AddStringToObject(info, "runtime", runtime) && cJSON_AddStringToObject(info, "network", network_told(&network)) &&
				 !add_limits_told(info)
			 ? 0 : error_memory(err);
	network_free(&network);
	return result;
}

static int local_open(struct sandbox *s, struct error *err)
{
	cleanup_free char *path = NULL;
	struct local *l = calloc(1, sizeof *l);

	if (!l || asprintf(&path, "%s/box", s->folder_path) < 0) {
		free(l);
		return error_memory(err);
	}
	if (box_init(&l->box, s->state->path, path, s->id, err)) {
		free(l);
		return -1;
	}
	l->uplink = (struct uplink)UPLINK;
	s->own = l;
	return 0;
}

static void forget_plan(struct local *l)
{
	free(l->runtime);
	l->runtime = NULL;
	uplink_end(&l->uplink);
	masks_end(&l->masks);
	network_free(&l->network);
	python_free(&l->python);
	image_free(&l->image);
	parts_free(&l->parts);
	layers_free(&l->layers);
	sandbox_models_free(&l->models);
}

static void local_close(struct sandbox *s)
{
	struct local *l = own(s);

	if (!l)
		return;
	forget_plan(l);
	cJSON_Delete(l->gpus);
	box_free(&l->box);
	free(l);
	s->own = NULL;
}

/* ---- what it is made of ---- */

static int find_python(struct sandbox *s, struct local *l, bool needed, struct error *err)
{
	cleanup_free char *cache = NULL;
	const char *version = sandbox_text(s, "python_version");
	struct error why;

	if (asprintf(&cache, "%s/pythons.json", s->state->path) < 0)
		return error_memory(err);
	if (l->image.base ? !python_find_inside(s, l->runtime, &l->image, version, &l->python, &why)
			  : !python_find(version, cache, &l->python, &why))
		return 0;
	if (why.code == ECANCELED) {
		*err = why;
		return -1;
	}
	if (!needed && !version) {
		char line[ERROR_TEXT_SIZE + 64];

		(void)snprintf(line, sizeof line, "no Python inside: %s", why.text);
		sandbox_say(s, line);
		return 0;
	}
	*err = why;
	return -1;
}

/* The interpreter and the layers for a list of packages. */
static int find_layers(struct sandbox *s, struct local *l, const cJSON *packages, bool needed, struct error *err)
{
	if (find_python(s, l, needed, err))
		return -1;
	if (!l->python.exe || !layers_find(s, l->runtime, &l->python, &l->image, packages, &l->layers, err))
		return 0;
	if (needed || err->code == ECANCELED)
		return -1;
	/* Without a venv the sandbox still has the interpreter itself. */
	sandbox_say(s, err->text);
	return 0;
}

/* What the workspace wants installed is there before the first command. Whatever fails of it is said in the
 * workspace's `installed`; the sandbox goes on. */
static int install_libraries(struct sandbox *s, struct local *l, struct error *err)
{
	const struct libraries wanted = local_libraries_of(s, l);
	cleanup_free char *folder = NULL;
	cJSON *result = NULL;
	int done;

	if (!libraries_wanted(s))
		return 0;
	done = libraries_folder(&wanted, &folder, err);
	if (done > 0)
		done = libraries_install(&wanted, folder, &result, err);
	cJSON_Delete(result);
	if (done >= 0 || err->code == ECANCELED)
		return done < 0 ? -1 : 0;
	sandbox_say(s, err->text);
	return 0;
}

static int copy_file(struct box *box, const char *from, const char *to, struct error *err)
{
	cleanup_close int source = open(from, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), target = -1;
	char piece[65536];
	struct stat st;
	ssize_t n;

	if (source < 0 || fstat(source, &st))
		return error_errno(err, "local_files: %s", from);
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "local_files: %s is not a file%s", from,
				 S_ISDIR(st.st_mode) ? "; folders belong to local_dirs" : "");
	if (*to != '/' || to[strlen(to) - 1] == '/')
		return error_set(err, EINVAL, "local_files: '%s' is not the absolute path of a file", to);
	target = box_open(box, to, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, (st.st_mode & 0777) | 0600, err);
	if (target < 0)
		return error_wrap(err, "local_files");
	while ((n = read(source, piece, sizeof piece)) > 0)
		if (file_write_all(target, piece, (size_t)n, err))
			return error_wrap(err, "local_files: %s", to);
	return n < 0 ? error_errno(err, "local_files: %s", from) : 0;
}

/* Once in a sandbox's life: what it did with its copies is kept over a restart. */
static int copy_files(struct sandbox *s, struct local *l, struct error *err)
{
	const cJSON *pair;
	struct stat st;

	if (!fstatat(l->box.ctl, "filled", &st, AT_SYMLINK_NOFOLLOW))
		return 0;
	cJSON_ArrayForEach(pair, sandbox_field(s, "local_files"))
	{
		const char *from = cJSON_GetStringValue(cJSON_GetArrayItem(pair, 0));
		const char *to = cJSON_GetStringValue(cJSON_GetArrayItem(pair, 1));
		cleanup_free char *source = from && to ? sandbox_host_path(from, err) : NULL;

		if (!from || !to)
			return error_set(err, EINVAL, "local_files: each is [here, there]");
		if (!source || copy_file(&l->box, source, to, err))
			return -1;
	}
	return file_replace(l->box.ctl, "filled", "", 0, 0600, false, err);
}

/* The parts below its files: those of its snapshot, when it begins, and those that snapshots of it have made. */
static int stand_on_parts(struct sandbox *s, struct local *l, struct error *err)
{
	uint64_t serial = sandbox_snapshot_serial(s);
	struct stat st;

	if (serial && fstatat(l->box.folder, PARTS_BELOW, &st, AT_SYMLINK_NOFOLLOW)) {
		/* The guest's record: it has run. */
		if (!fstatat(l->box.ctl, "exit", &st, AT_SYMLINK_NOFOLLOW))
			return error_set(err, EBUSY, "from_snapshot: it has files of its own already: make another sandbox for the snapshot");
		if (local_begin_from(s, &l->box, serial, err))
			return error_wrap(err, "from_snapshot");
	}
	if (parts_read(&l->parts, s->state->path, l->box.folder, err))
		return -1;
	return l->parts.count ? parts_furnish(&l->parts, &l->box, false, err) : 0;
}

/* Before anything is put into it. */
static int stand_on_image(struct local *l, struct error *err)
{
	cleanup_free char *root = NULL, *up = NULL;

	if (asprintf(&root, "%s/root", l->image.base) < 0)
		return error_memory(err);
	if (l->image.path && asprintf(&up, "%s/up", l->image.path) < 0)
		return error_memory(err);
	return box_stand_on(&l->box, root, up, err);
}

/* What an image's files are owned by is entered before there are threads, and after the runtime was tried. */
static int take_ids(struct sandbox *s, struct local *l, struct error *err)
{
	struct error ignored;

	l->runtime = runtime_find(s->state, NULL, err);
	if (!l->runtime)
		return -1;
	(void)ids_enter(&ignored);
	return 0;
}

static int local_prepare(struct sandbox *s, struct error *err)
{
	struct local *l = own(s);
	const cJSON *packages = sandbox_field(s, "python_packages");
	const char *network = gate_is_wanted(s) ? "listed" : sandbox_text(s, "network");

	forget_plan(l);
	cgroup_hurry();
	if (sandbox_text(s, "image") && take_ids(s, l, err))
		return -1;
	if (masks_begin(&l->masks, s->state->path, err))
		return -1;
	if (!l->runtime)
		l->runtime = runtime_find(s->state, NULL, err);
	if (!l->runtime || network_choose(network ? network : "full", &l->network, err))
		return -1;
	if (box_make(&l->box, err) || stand_on_parts(s, l, err) || rootfs_find(s, l->box.ctl, &l->image, err) ||
	    image_find(s, l->runtime, l->box.ctl, sandbox_field(s, "system_packages"), sandbox_field(s, "setup"), &l->image, err))
		return -1;
	if (l->image.base && stand_on_image(l, err))
		return -1;
	if ((l->image.path || l->parts.count) && box_make_uppers(&l->box, false, err))
		return -1;
	if (find_layers(s, l, packages, cJSON_GetArraySize(packages) > 0, err) ||
	    install_libraries(s, l, err) || sandbox_models_find(s, l->runtime, &l->models, err) || uplink_begin(&l->uplink, &l->network, &l->image.ids, err))
		return -1;
	return copy_files(s, l, err);
}

/* ---- the start ---- */

/* For an agent with a shell: load_VAR.py beside its files. */
static int put_loaders(struct sandbox *s, struct local *l, struct error *err)
{
	const char *mode = sandbox_text(s, "execution_mode");
	const cJSON *model;

	cJSON_ArrayForEach(model, sandbox_field(s, "models")) {
		cleanup_buffer struct buffer program = BUFFER(LOADING_MAX);
		cleanup_free char *path = NULL;

		if (!mode || strcmp(mode, "cli") != 0)
			return 0;
		if (asprintf(&path, "/workspace/load_%s.py", json_string(model, "var_name")) < 0) {
			path = NULL;
			return error_memory(err);
		}
		if (loading_program(model, &program, err) || box_put(&l->box, path, program.data, program.length, 0644, err))
			return -1;
	}
	return 0;
}

static int local_start(struct sandbox *s, struct guest **guest, struct error *err)
{
	struct local *l = own(s);
	struct plan plan = { .masks = &l->masks };
	int cpus = geteuid() ? (int)ceil(sandbox_number(s, "cpu", 0)) : 0;
	int result = box_start_uplink(&l->box, &l->uplink, err) || local_plan(&plan, s, l, err) ||
		     put_loaders(s, l, err) ? -1 : 0;

	if (!result)
		result = plan_start(&plan, l->runtime, &l->uplink, cpus, guest, err);
	plan_free(&plan);
	return result;
}

static int local_adopt(struct sandbox *s, struct guest **guest, struct error *err)
{
	struct local *l = own(s);
	struct stat st;

	*guest = NULL;
	if (stat(l->box.path, &st))
		return 0;
	if (sandbox_text(s, "image")) /* whoever is root inside may have given / itself away */
		ids_enter_if_marked(s->state);
	return box_make(&l->box, err) ? -1 : box_adopt(&l->box, guest, err);
}

static int local_ended(const struct sandbox *s)
{
	return own(s)->box.pidfd;
}

/* ---- the end ---- */

/* The last line of the guest's own record (docs/guest-protocol.md). */
static enum sandbox_end_kind read_end(struct box *box, char why[256])
{
	cleanup_buffer struct buffer record = BUFFER(RECORD_MAX);
	struct error ignored;
	const char *last;

	why[0] = '\0';
	if (box->ctl >= 0)
		(void)file_read(box->ctl, "exit", &record, &ignored);
	last = buffer_last_line(&record);
	if (strstr(last, " timeout"))
		return SANDBOX_TIMEOUT;
	if (strstr(last, " idle"))
		return SANDBOX_IDLE;
	if (strstr(last, " stopped"))
		return SANDBOX_STOPPED;
	(void)snprintf(why, 256, "%s", strstr(last, " terminated")
			? "the sandbox's first process was told to end by somebody outside"
			: "the sandbox's first process was killed (out of memory, or from outside)");
	return SANDBOX_DIED;
}

static int local_end(struct sandbox *s, int timeout_ms, enum sandbox_end_kind *kind, char why[256], struct error *err)
{
	struct local *l = own(s);

	if (box_end(&l->box, timeout_ms, err) || box_reap(&l->box, err))
		return -1;
	*kind = read_end(&l->box, why);
	return 0;
}

static int local_remove(struct sandbox *s, struct error *err)
{
	struct local *l = own(s);
	struct error ignored;
	bool parts = false;

	ids_enter_if_marked(s->state);
	making_sweep(s->state);
	if (local_leave_parts(s, &parts, err) || box_remove(&l->box, err))
		return -1;
	if (parts && parts_sweep(s->state->path, err))
		return -1;
	(void)unused_sweep(s->state, UNUSED_KEPT_S, NULL, &ignored); /* the next one does it, or doctor, who says why not */
	return 0;
}

/* ---- what is in force ---- */

static int describe_limits(const struct sandbox *s, const struct local *l, cJSON *info)
{
	struct cgroup_limits limits;
	struct rlimit processes;
	double cpu = sandbox_number(s, "cpu", 0), memory = sandbox_number(s, "memory", 0);
	const char *how;
	cpu_set_t set;

	cgroup_read(l->box.pid, &limits);
	if (geteuid() && !prlimit(l->box.pid, RLIMIT_NPROC, NULL, &processes) && processes.rlim_cur == BUNDLE_PIDS)
		limits.pids = processes.rlim_cur;
	how = cpu > 0 && !(limits.cpu > 0 && limits.cpu <= cpu * 1.001) ? "not available" : sandbox_judge_limit(cpu, limits.cpu);
	if (how && !strcmp(how, "not available") && !sched_getaffinity(l->box.pid, sizeof set, &set) &&
	    CPU_COUNT(&set) <= (int)ceil(cpu)) {
		limits.cpu = CPU_COUNT(&set);
		how = "advisory";
	}
	if (sandbox_add_limit(info, "memory", memory, (double)limits.memory, sandbox_judge_limit(memory, (double)limits.memory)) ||
	    sandbox_add_limit(info, "cpu", cpu, limits.cpu, how) ||
	    sandbox_add_limit(info, "pids", BUNDLE_PIDS, (double)limits.pids, sandbox_judge_limit(BUNDLE_PIDS, (double)limits.pids)))
		return -1;
	return 0;
}

/* How many users an image has, of an ordinary user; and how there would be more. */
static int tell_ids(const struct local *l, cJSON *info)
{
	cleanup_buffer struct buffer text = BUFFER(ERROR_TEXT_SIZE + 128);
	struct error why;

	if (!l->image.base || !geteuid())
		return 0;
	if (l->image.ids.users.count)
		return cJSON_AddNumberToObject(info, "ids", (double)l->image.ids.users.count + 1) ? 0 : -1;
	if (buffer_text(&text, "1, root's: "))
		return -1;
	if (ids_enter(&why) ? buffer_text(&text, "it began when there was no range of ids; a new sandbox has one")
			    : buffer_text(&text, why.text))
		return -1;
	return cJSON_AddStringToObject(info, "ids", text.data) ? 0 : -1;
}

static int local_describe(struct sandbox *s, cJSON *info, struct error *err)
{
	struct local *l = own(s);
	cJSON *python;

	if (!cJSON_AddStringToObject(info, "backend", "local") || !cJSON_AddNumberToObject(info, "pid", l->box.pid) ||
	    !cJSON_AddStringToObject(info, "runtime", l->runtime) ||
	    !cJSON_AddStringToObject(info, "network", network_told(&l->network)))
		return error_memory(err);
	if (l->gpus && !cJSON_AddItemReferenceToObject(info, "gpus", l->gpus))
		return error_memory(err);
	python = l->python.exe ? cJSON_AddObjectToObject(info, "python") : cJSON_AddNullToObject(info, "python");
	if (!python || (l->python.exe && (!cJSON_AddStringToObject(python, "version", l->python.version) ||
					  !cJSON_AddStringToObject(python, "interpreter", l->python.exe) ||
					  !cJSON_AddStringToObject(python, "inside", l->layers.paths[0]
								   ? PLAN_VENV "/bin/python" : l->python.exe))))
		return error_memory(err);
	return tell_ids(l, info) || describe_limits(s, l, info) ? error_memory(err) : 0;
}

/* A sandbox that was adopted has not been prepared. */
static int find_again(struct sandbox *s, struct local *l, struct error *err)
{
	if (!l->runtime && !(l->runtime = runtime_find(s->state, NULL, err)))
		return -1;
	if (l->layers.paths[0])
		return 0;
	if (rootfs_find(s, l->box.ctl, &l->image, err) ||
	    image_find(s, l->runtime, l->box.ctl, sandbox_field(s, "system_packages"), sandbox_field(s, "setup"), &l->image, err))
		return -1;
	return find_layers(s, l, sandbox_field(s, "python_packages"), true, err);
}

static int local_jupyter(struct sandbox *s, struct sandbox_jupyter *jupyter, struct error *err)
{
	struct local *l = own(s);

	if (find_again(s, l, err))
		return -1;
	return layers_jupyter(s, l->runtime, &l->python, &l->image, &l->layers, sandbox_field(s, "notebook_packages"), jupyter, err);
}

static int local_libraries(struct sandbox *s, cJSON **result, struct error *err)
{
	struct local *l = own(s);
	cleanup_buffer struct buffer folder = BUFFER(PATH_MAX);
	struct libraries wanted;

	if (file_read(l->box.ctl, "packages", &folder, err))
		return err->code == ENOENT ? error_set(err, ENOENT, "there is no Python inside, or it was started by an older version")
					   : -1;
	if (find_again(s, l, err))
		return -1;
	wanted = local_libraries_of(s, l);
	return libraries_install(&wanted, folder.data, result, err);
}

const struct sandbox_backend sandbox_local = {
	.name = "local",
	.probe = local_probe,
	.open = local_open,
	.close = local_close,
	.prepare = local_prepare,
	.start = local_start,
	.adopt = local_adopt,
	.ended = local_ended,
	.end = local_end,
	.remove = local_remove,
	.describe = local_describe,
	.jupyter = local_jupyter,
	.snapshot = local_snapshot,
	.measure = local_measure,
	.drop = local_drop,
	.libraries = local_libraries,
	.list = local_list,
	.reap = local_reap,
};
