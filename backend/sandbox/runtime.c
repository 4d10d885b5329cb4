/* The probe is a box like any other: overlays in the state directory, the namespaces, the seccomp
 * profile and the guest that sandboxes will have. So what cannot work is found here, with one
 * sentence, before any sandbox is tried. The answer is kept in STATE/runtime.json with the boot
 * and the program that it holds for. */
#include "backend/sandbox/runtime.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/sandbox/box.h"
#include "backend/sandbox/cgroup.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/program.h"

#define SMALL_FILE_MAX 65536

static cJSON *read_json(int dir, const char *path)
{
	cleanup_buffer struct buffer text = BUFFER(SMALL_FILE_MAX);
	struct error ignored;

	if (file_read(dir, path, &text, &ignored) || !text.length)
		return NULL;
	return cJSON_ParseWithLength(text.data, text.length);
}

/* What the user asked for; NULL: nothing. Owned. */
static char *asked_runtime(const struct state *state)
{
	const char *named = getenv("INTERPFS_RUNTIME");
	cJSON *options;
	char *copy;

	if (named && *named)
		return strdup(named);
	options = read_json(state->fd, "options.json");
	named = json_string(options, "runtime");
	copy = named && *named ? strdup(named) : NULL;
	cJSON_Delete(options);
	return copy;
}

/* What the kept answer holds for: this boot, this program file, this user. Owned. */
static char *answer_stamp(const char *program)
{
	cleanup_buffer struct buffer boot = BUFFER(128);
	struct error ignored;
	struct stat st;
	char *stamp;

	if (stat(program, &st) || file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &boot, &ignored) ||
	    !boot.length ||
	    asprintf(&stamp, "%.36s %u %s %lld.%09ld", boot.data, (unsigned)geteuid(), program,
		     (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec) < 0)
		return NULL;
	return stamp;
}

static char *kept_answer(const struct state *state, const char *asked)
{
	cJSON *answer = read_json(state->fd, "runtime.json");
	const char *program = json_string(answer, "program");
	const char *stamp = json_string(answer, "stamp");
	const char *for_ = json_string(answer, "asked");
	cleanup_free char *now = program ? answer_stamp(program) : NULL;
	char *copy = NULL;

	if (now && stamp && !strcmp(now, stamp) && !strcmp(for_ ? for_ : "", asked ? asked : ""))
		copy = strdup(program);
	cJSON_Delete(answer);
	return copy;
}

static void keep_answer(const struct state *state, const char *asked, const char *program)
{
	cleanup_free char *stamp = answer_stamp(program), *text = NULL;
	cJSON *answer = cJSON_CreateObject();
	struct error ignored;

	if (stamp && answer && cJSON_AddStringToObject(answer, "program", program) &&
	    cJSON_AddStringToObject(answer, "stamp", stamp) &&
	    cJSON_AddStringToObject(answer, "asked", asked ? asked : ""))
		text = cJSON_PrintUnformatted(answer);
	if (text) /* losing it costs a tenth of a second */
		(void)file_replace(state->fd, "runtime.json", text, strlen(text), 0600, false, &ignored);
	cJSON_Delete(answer);
}

/* Whether this process may make a user namespace; a child tries. */
static bool may_make_user_namespace(void)
{
	pid_t child = fork();
	int status = 1;

	if (!child)
		_exit(unshare(CLONE_NEWUSER) ? 1 : 0);
	return child > 0 && waitpid(child, &status, 0) == child && !status;
}

int runtime_disk(int folder, const char *path, struct error *err)
{
	struct statfs fs;

	if (fstatfs(folder, &fs))
		return error_errno(err, "cannot look at the state directory");
	if (fs.f_type == OVERLAYFS_SUPER_MAGIC || fs.f_type == NFS_SUPER_MAGIC || fs.f_type == FUSE_SUPER_MAGIC)
		return error_set(err, ENOTSUP, "the state directory %s is on %s, where a sandbox's file system cannot be "
				 "made: mount with -o state=DIR, with DIR on a disk of this machine", path,
				 fs.f_type == NFS_SUPER_MAGIC ? "NFS" : fs.f_type == FUSE_SUPER_MAGIC ? "FUSE" : "an overlay");
	return 0;
}

/* What stands in the way of any runtime. */
static int check_machine(const struct state *state, struct error *err)
{
	if (geteuid() && !may_make_user_namespace())
		return error_set(err, EPERM, "this machine does not let an ordinary user isolate processes (user "
				 "namespaces): as root, sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000 "
				 "(on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0), or mount as root");
	return runtime_disk(state->fd, state->path, err);
}

static int probe_in(struct box *box, const char *program, const char *guest_program, struct error *err)
{
	static const char *const usr[] = { "/usr", NULL }, *const etc[] = { "/etc", NULL };
	static const char *const env[] = { NULL };
	const struct bundle_overlay overlays[] = { { "/usr", "usr", usr }, { "/etc", "etc", etc } };
	cleanup_free char *group = NULL;
	const struct network network = { .kind = NETWORK_NONE };
	struct uplink uplink = UPLINK;
	struct bundle bundle = {
		.box = box->path, .guest = guest_program, .hostname = "probe", .user = geteuid() != 0,
		.ids = { .users = { .own = geteuid() }, .groups = { .own = getegid() } }, .timeout = 60,
		.overlays = overlays, .overlay_count = 2,
	};
	const struct box_start start = { .runtime = program, .bundle = &bundle, .uplink = &uplink, .env = env };
	struct guest *guest;

	if (asprintf(&group, CGROUP_PARENT "/%s", box->id) < 0) {
		group = NULL;
		return error_memory(err);
	}
	bundle.cgroup = group;
	if (box_make(box, err) || uplink_begin(&uplink, &network, NULL, err))
		return -1;
	if (box_start(box, &start, &guest, err)) {
		uplink_end(&uplink);
		return -1;
	}
	guest_detach(guest);
	return box_end(box, 0, err);
}

static int probe(const struct state *state, const char *program, const char *guest_program, struct error *err)
{
	char path[4096], id[64];
	struct box box;
	struct error ignored;
	int result;

	(void)snprintf(id, sizeof id, "interpfs-%s-probe%d", state->id, (int)getpid());
	if (snprintf(path, sizeof path, "%s/probe.%d", state->path, (int)getpid()) >= (int)sizeof path)
		return error_set(err, ENAMETOOLONG, "the state directory's path is too long");
	if (box_init(&box, state->path, path, id, err))
		return -1;
	result = probe_in(&box, program, guest_program, err);
	(void)box_reap(&box, &ignored);
	(void)box_remove(&box, &ignored);
	box_free(&box);
	return result;
}

char *runtime_find(const struct state *state, struct error *passed_over, struct error *err)
{
	static const char *const known[] = { "crun", "runc" };
	cleanup_free char *asked = asked_runtime(state), *guest_program = NULL;
	char *kept = kept_answer(state, asked);
	const char *const *names = asked ? (const char *const *)&asked : known;
	size_t count = asked ? 1 : sizeof known / sizeof *known, tried = 0;
	struct error last = { .code = 0 };

	if (passed_over)
		passed_over->code = 0;
	if (kept)
		return kept;
	guest_program = program_guest();
	if (!guest_program || access(guest_program, X_OK)) {
		error_set(err, ENOENT, "%s is missing: build or install interpfs again",
			  guest_program ? guest_program : "interpfs-guest");
		return NULL;
	}
	if (check_machine(state, err))
		return NULL;
	for (size_t i = 0; i < count; i++) {
		char *program = *names[i] == '/' ? strdup(names[i]) : program_find(names[i]);

		if (!program)
			continue;
		tried++;
		if (!probe(state, program, guest_program, &last)) {
			keep_answer(state, asked, program);
			if (passed_over)
				*passed_over = last;
			return program;
		}
		free(program);
	}
	if (tried)
		error_set(err, last.code, "no sandbox can be isolated here: %.800s", last.text);
	else if (asked)
		error_set(err, ENOENT, "the container runtime '%s' is not installed", asked);
	else
		error_set(err, ENOENT, "neither crun nor runc is installed, one of which isolates sandboxes: apt-get install runc");
	return NULL;
}
