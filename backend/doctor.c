/* `interpfs doctor`: tries everything that a first run needs and, for each thing that is missing,
 * prints the one command that mends it.
 *
 *      ok       fuse        /dev/fuse
 *      advice   network     neither slirp4netns nor pasta …
 *                           sudo apt-get install -y slirp4netns
 *
 * What can be tried is tried, where the state would be: a folder of a moment is made there, and a
 * container started in it. Exits 0 when a sandbox, a notebook and a mount will work, 1 when one of
 * them will not. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/sandbox/backend.h"
#include "backend/sandbox/ids.h"
#include "backend/sandbox/network.h"
#include "backend/sandbox/python.h"
#include "backend/sandbox/runtime.h"
#include "backend/sandbox/spawn.h"
#include "backend/sandbox/unused.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/curl.h"
#include "base/error.h"
#include "base/file.h"
#include "base/program.h"
#include "commands.h"
#include "fs/state.h"

#define PYTHON_MS 20000

enum verdict { OK, ADVICE, MISSING };

struct finding {
	enum verdict verdict;
	char what[1024]; /* what was found, or what is wrong; "": nothing to say */
	char mend[512];  /* the command that mends it, "" when there is none */
};

/* The state directory that is looked at. */
static struct {
	char *path;
	bool given;
} asked;

static void find(struct finding *f, enum verdict verdict, const char *mend, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void find(struct finding *f, enum verdict verdict, const char *mend, const char *format, ...)
{
	va_list args;

	f->verdict = verdict;
	va_start(args, format);
	(void)vsnprintf(f->what, sizeof f->what, format, args);
	va_end(args);
	(void)snprintf(f->mend, sizeof f->mend, "%s", mend);
}

static void check_device(struct finding *f)
{
	struct stat st;

	if (stat("/dev/fuse", &st) < 0) {
		find(f, MISSING, "sudo modprobe fuse", "there is no /dev/fuse: %s", strerror(errno));
		return;
	}
	if (access("/dev/fuse", R_OK | W_OK) < 0) {
		find(f, MISSING, "sudo chmod 0666 /dev/fuse", "/dev/fuse has mode %04o: you may not open it",
		     st.st_mode & 07777);
		return;
	}
	if ((st.st_mode & 0666) != 0666) {
		find(f, ADVICE, "sudo chmod 0666 /dev/fuse",
		     "/dev/fuse has mode %04o: ordinary users cannot mount", st.st_mode & 07777);
		return;
	}
	find(f, OK, "", "/dev/fuse");
}

static void check_helper(struct finding *f)
{
	cleanup_free char *path = program_find("fusermount3");
	char mend[400];
	struct stat st;

	(void)snprintf(mend, sizeof mend, "sudo chown root '%.150s' && sudo chmod u+s '%.150s'", path ? path : "", path ? path : "");
	if (!path)
		find(f, MISSING, "sudo apt-get install -y fuse3", "fusermount3 is missing: ordinary users can neither mount nor unmount");
	else if (geteuid() && (stat(path, &st) < 0 || !(st.st_mode & S_ISUID) || st.st_uid))
		find(f, MISSING, mend, "%s is not setuid root: ordinary users cannot mount", path);
	else if (geteuid() && !getpwuid(geteuid()))
		find(f, MISSING, "sudo useradd --uid \"$(id -u)\" NAME",
		     "user %u has no name on this machine, without which %s does nothing", (unsigned)geteuid(), path);
	else
		find(f, OK, "", "%s", path);
}

static void check_namespaces(struct finding *f)
{
	int status = 0;
	pid_t pid;

	if (geteuid() == 0) {
		find(f, OK, "", "root needs no user namespace");
		return;
	}
	pid = fork();
	if (pid == 0)
		_exit(unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ? errno & 0xff : 0);
	if (pid < 0 || waitpid(pid, &status, 0) < 0) {
		find(f, MISSING, "", "could not be tried: %s", strerror(errno));
		return;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		bool restricted = access("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", F_OK) == 0;

		find(f, MISSING,
		     restricted ? "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
				: "sudo sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000",
		     "this machine gives you no user namespace: %s", strerror(WEXITSTATUS(status)));
		return;
	}
	find(f, OK, "", "user namespaces");
}

/* For images on the backend local, whose files belong to many. */
static void check_ids(struct finding *f)
{
	static const char command[] = ": sudo ";
	struct ids ids;
	struct error err;
	int status = 0;
	pid_t pid;

	if (!geteuid())
		return;
	if (ids_find(&ids, &err)) {
		char *mend = strstr(err.text, command);

		if (mend)
			*mend = '\0';
		find(f, ADVICE, mend ? mend + 2 : "", "%s: an `image` has one user, root", err.text);
		return;
	}
	pid = fork();
	if (!pid)
		_exit(ids_enter(&err) ? 0 : 1);
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status)
		find(f, ADVICE, "sudo apt-get install --reinstall -y uidmap", "newuidmap gives you no range of ids: an `image` has one user, root");
	else
		find(f, OK, "", "%u subordinate ids, from %u", (unsigned)ids.users.count, (unsigned)ids.users.first);
}

/* Of what is tried: a state directory that lasts a moment, path NULL when none could be made, and
 * the interpreter. */
static struct {
	struct state state;
	struct python python;
} tried = { .state = { .fd = -1, .lock = -1 } };

/* The deepest folder of a path that exists. Owned. */
static char *existing_part(const char *path)
{
	char *part = strdup(path), *slash;

	while (part && access(part, F_OK) < 0 && errno == ENOENT && (slash = strrchr(part, '/')))
		slash[slash == part] = '\0';
	return part;
}

static int try_state(const char *path, struct statvfs *disk, struct error *err)
{
	cleanup_free char *folder = existing_part(path), *scratch = NULL;
	cleanup_close int fd = -1;

	if (!folder || asprintf(&scratch, "%s/.interpfs-doctor.XXXXXX", folder) < 0) {
		scratch = NULL;
		return error_memory(err);
	}
	fd = file_open_folder(AT_FDCWD, folder, err);
	if (fd < 0 || runtime_disk(fd, path, err) < 0)
		return -1;
	if (!mkdtemp(scratch))
		return error_errno(err, "%s: nothing can be made in %s", path, folder);
	if (state_open(&tried.state, scratch, err) < 0) {
		struct error ignored;

		(void)file_remove_tree(AT_FDCWD, scratch, &ignored);
		return -1;
	}
	return fstatvfs(fd, disk) < 0 ? error_errno(err, "%s", folder) : 0;
}

static void check_state(struct finding *f)
{
	const char *path = asked.path;
	struct statvfs disk;
	struct error err;

	if (!path)
		find(f, MISSING, "export HOME=…", "there is no home folder to keep the state in");
	else if (try_state(path, &disk, &err) < 0)
		find(f, MISSING, "export XDG_STATE_HOME=/somewhere/on/a/local/disk", "%s", err.text);
	else
		find(f, OK, "", "%s, %llu GB free", path,
		     (unsigned long long)disk.f_bavail * (unsigned long long)disk.f_frsize / 1000000000ull);
}

static void check_runtime(struct finding *f)
{
	cleanup_free char *runc = program_find("runc"), *found = NULL;
	struct error passed_over, err;

	if (!tried.state.path) {
		find(f, ADVICE, "", "not tried, since it needs the state directory");
		return;
	}
	found = runtime_find(&tried.state, &passed_over, &err);
	if (found && passed_over.code)
		find(f, OK, "", "%s (this machine does not suit the faster one: %.300s)", found, passed_over.text);
	else if (found)
		find(f, OK, "", "%s", found);
	else
		find(f, MISSING, runc ? "" : "sudo apt-get install -y runc", "%s", err.text);
}

static void check_network(struct finding *f)
{
	struct network network = { .program = NULL };
	bool tun = !access("/dev/net/tun", R_OK | W_OK);
	struct error err;

	if (network_choose("full", &network, &err) < 0)
		find(f, MISSING, "", "%s", err.text);
	else if (network.program)
		find(f, OK, "", "%s", network.program);
	else
		find(f, ADVICE, tun ? "sudo apt-get install -y slirp4netns" : "sudo modprobe tun && sudo chmod 0666 /dev/net/tun",
		     "%s: sandboxes with `network: full` share the host's network",
		     tun ? "neither slirp4netns nor pasta" : "/dev/net/tun cannot be opened");
	network_free(&network);
}

static void check_guest(struct finding *f)
{
	cleanup_free char *path = program_guest();

	if (path && !access(path, X_OK))
		find(f, OK, "", "%s", path);
	else
		find(f, MISSING, "make", "interpfs-guest is not where it should be: %s", path ? path : "?");
}

static void check_python(struct finding *f)
{
	struct error err;

	if (python_find(NULL, NULL, &tried.python, &err) < 0)
		find(f, MISSING, "sudo apt-get install -y python3 python3-venv", "%s: no packages and no notebooks", err.text);
	else
		find(f, OK, "", "%s (%s)", tried.python.exe, tried.python.version);
}

/* Runs the interpreter with a line of code; true when it exits 0. */
static bool python_says_yes(const char *code)
{
	char *argv[] = { tried.python.exe, (char[]){ "-I" }, (char[]){ "-c" }, (char *)(uintptr_t)code, NULL };
	cleanup_buffer struct buffer out = BUFFER(65536);
	struct error ignored;
	int status;

	return !spawn_run(argv, PYTHON_MS, &out, &status, &ignored) && !status;
}

static void check_venv(struct finding *f)
{
	if (!tried.python.exe)
		return;
	if (python_says_yes("import venv"))
		find(f, OK, "", "venv");
	else
		find(f, MISSING, "sudo apt-get install -y python3-venv",
		     "python3 has no venv module: packages and Jupyter cannot be installed in a sandbox");
}

static void check_installer(struct finding *f)
{
	cleanup_free char *uv = program_find("uv");

	if (!tried.python.exe)
		return;
	if (uv)
		find(f, OK, "", "%s", uv);
	else if (python_says_yes("import ensurepip") || python_says_yes("import pip"))
		find(f, OK, "", "pip (uv would be faster: pip install uv)");
	else
		find(f, MISSING, "sudo apt-get install -y python3-venv",
		     "neither uv nor pip: packages and Jupyter cannot be installed in a sandbox");
}

static void keep_silent(void *context, const char *backend, const struct error *err)
{
	struct finding *f = context;

	find(f, ADVICE, "", "%s: %s", backend, err->text);
}

/* What a crash left behind of the state directory that is looked at. */
static void count_strays(struct state *state, struct finding *f)
{
	cleanup_things struct things things = { .count = 0 };
	struct error err;
	size_t strays, at = 0;

	if (things_find(state, &things, keep_silent, f, &err) < 0)
		find(f, ADVICE, "", "%s", err.text);
	strays = things_strays(&things);
	if (!strays && !f->what[0])
		find(f, OK, "", "nothing is left behind");
	if (!strays)
		return;
	while (*things.list[at].owner)
		at++;
	find(f, ADVICE, "interpfs doctor --reap", "%zu left behind (interpfs ps lists them): %s %s on %s, %s", strays,
	     thing_kinds[things.list[at].kind], things.list[at].id, things.list[at].backend->name, things.list[at].stray);
	if (asked.given)
		(void)snprintf(f->mend, sizeof f->mend, "interpfs doctor -o state=%.400s --reap", asked.path);
}

static void check_strays(struct finding *f)
{
	struct state state = { .fd = -1, .lock = -1 };
	struct error err;

	if (!asked.path || things_open_state(&state, asked.path, &err))
		return; /* there was no mount yet */
	count_strays(&state, f);
	state_close(&state);
}

static void check_curl(struct finding *f)
{
	struct error err;

	if (!curl_load(&err))
		find(f, OK, "", "libcurl");
	else
		find(f, MISSING, "sudo apt-get install -y libcurl4", "%s: no sessions, and no docker or podman", err.text);
}

static void check_keys(struct finding *f)
{
	if (getenv("ANTHROPIC_API_KEY") || getenv("ANTHROPIC_AUTH_TOKEN"))
		find(f, OK, "", "a key for claude is set");
	else
		find(f, ADVICE, "export ANTHROPIC_API_KEY=…",
		     "ANTHROPIC_API_KEY is not set: sessions with `provider: claude` will fail (replay works)");
}

static const struct {
	const char *name;
	void (*check)(struct finding *f);
} checks[] = {
	{ "fuse", check_device },    { "fusermount3", check_helper }, { "namespaces", check_namespaces },
	{ "ids", check_ids },
	{ "guest", check_guest },    { "state", check_state },        { "runtime", check_runtime },
	{ "network", check_network }, { "python", check_python },     { "venv", check_venv },
	{ "installer", check_installer }, { "libcurl", check_curl }, { "keys", check_keys },
	{ "strays", check_strays },
};

static void tell_silent(void *context, const char *backend, const struct error *err)
{
	(void)context;
	fprintf(stderr, "interpfs doctor: %s: %s\n", backend, err->text);
}

static void forget_tried(void)
{
	cleanup_free char *path = tried.state.path;
	struct error err;

	tried.state.path = NULL;
	state_close(&tried.state);
	python_free(&tried.python);
	if (path && file_remove_tree(AT_FDCWD, path, &err) < 0)
		fprintf(stderr, "interpfs doctor: %s\n", err.text);
}

/* Removes what is left behind. How many could not be. */
static int reap_all(struct state *state, struct error *err)
{
	cleanup_things struct things things = { .count = 0 };
	int left = things_find(state, &things, tell_silent, NULL, err);

	for (size_t i = 0; left >= 0 && i < things.count; i++) {
		struct thing *thing = &things.list[i];
		struct error why;
		int result;

		if (*thing->owner)
			continue;
		result = things_reap(state, thing, &why);
		if (result <= 0)
			printf("%-8s %-8s %-8s %s%s%s\n", result ? "failed" : "removed", thing->backend->name, thing_kinds[thing->kind],
			       thing->id, result ? ": " : "", result ? why.text : "");
		left += result < 0;
	}
	return left;
}

static void tell_unused(const char *path)
{
	printf("%-8s %-8s %-8s %s\n", "removed", "local", "unused", path);
}

static int reap(void)
{
	struct state state = { .fd = -1, .lock = -1 };
	struct error err;
	int left = -1;

	if (!asked.path)
		(void)error_set(&err, ENOENT, "there is no home folder; name the state directory with -o state=DIR");
	else if (!things_open_state(&state, asked.path, &err))
		left = reap_all(&state, &err);
	if (left >= 0 && unused_sweep(&state, 0, tell_unused, &err))
		left = -1;
	if (left < 0)
		fprintf(stderr, "interpfs doctor: %s\n", err.text);
	state_close(&state);
	return fflush(stdout) || left ? 1 : 0;
}

static int check_all(void)
{
	static const char *const words[] = { "ok", "advice", "missing" };
	int missing = 0;

	for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
		struct finding f = { .verdict = MISSING };

		checks[i].check(&f);
		if (!f.what[0])
			continue; /* what it stands on is missing, which was said */
		missing += f.verdict == MISSING;
		printf("%-8s %-12s %s\n", words[f.verdict], checks[i].name, f.what);
		if (f.mend[0])
			printf("%-8s %-12s   %s\n", "", "", f.mend);
		(void)fflush(stdout);
	}
	forget_tried();
	return fflush(stdout) || missing ? 1 : 0;
}

int command_doctor(int argc, char **argv)
{
	int taken = 1 + things_take_state(argc - 1, argv + 1, &asked.path), status;

	asked.given = taken > 1;
	if (argc == 2 && !strcmp(argv[1], "--help")) {
		puts("usage: interpfs doctor [-o state=DIR] [--reap]\n\n"
		     "Says of each thing that a first run needs whether it is there, and of what is missing the\n"
		     "command that mends it. Exits with 0 when a mount, a sandbox and a notebook will work, else 1.\n"
		     "--reap removes what crashes left behind of the state directory's: containers, control groups,\n"
		     "processes and mounts that no sandbox has any more; and systems and images that were made of\n"
		     "`image`, `system_packages` and `setup` and that no sandbox and no snapshot stands on. It touches\n"
		     "nothing that others started.");
		status = 0;
	} else if (argc == taken + 1 && !strcmp(argv[taken], "--reap")) {
		status = reap();
	} else if (argc > taken) {
		fprintf(stderr, "interpfs doctor: takes -o state=DIR and --reap, got '%s'\n", argv[taken]);
		status = 64;
	} else {
		status = check_all();
	}
	free(asked.path);
	return status;
}
