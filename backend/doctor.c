/* `interpfs doctor`: looks at everything that a first run needs and, for each thing that is
 * missing, prints the one command that mends it.
 *
 *      ok       fuse        /dev/fuse, fusermount3
 *      missing  network     neither slirp4netns nor pasta …
 *                           sudo apt-get install -y slirp4netns
 *
 * Exits 0 when a sandbox, a notebook and a mount will work, 1 when one of them will not. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/program.h"
#include "commands.h"
#include "fs/state.h"

enum verdict { OK, ADVICE, MISSING };

struct finding {
	enum verdict verdict;
	char what[512];  /* what was found, or what is wrong */
	char mend[512];  /* the command that mends it, "" when there is none */
};

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

/* One of several programs, in the order of preference. */
static void check_program(struct finding *f, enum verdict otherwise, const char *mend,
			  const char *const *names, const char *complaint)
{
	for (const char *const *name = names; *name; name++) {
		cleanup_free char *path = program_find(*name);

		if (path) {
			find(f, OK, "", "%s", path);
			return;
		}
	}
	find(f, otherwise, mend, "%s", complaint);
}

static void check_helper(struct finding *f)
{
	static const char *const names[] = { "fusermount3", NULL };

	check_program(f, MISSING, "sudo apt-get install -y fuse3", names,
		      "fusermount3 is missing: ordinary users can neither mount nor unmount");
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

static void check_runtime(struct finding *f)
{
	static const char *const names[] = { "crun", "runc", NULL };

	check_program(f, MISSING, "sudo apt-get install -y runc", names,
		      "neither crun nor runc is on PATH: local sandboxes cannot start");
}

static void check_network(struct finding *f)
{
	static const char *const names[] = { "slirp4netns", "pasta", NULL };

	check_program(f, ADVICE, "sudo apt-get install -y slirp4netns", names,
		      "neither slirp4netns nor pasta: sandboxes with `network: full` share the host's network");
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
	static const char *const names[] = { "python3", NULL };

	check_program(f, MISSING, "sudo apt-get install -y python3 python3-venv", names,
		      "python3 is missing: no packages and no notebooks");
}

/* Runs python3 with a line of code; true when it exits 0. */
static bool python_says_yes(const char *code)
{
	cleanup_free char *python = program_find("python3");
	int status = 0;
	pid_t pid;

	if (!python)
		return false;
	pid = fork();
	if (pid == 0) {
		int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (nowhere < 0 || dup2(nowhere, 1) < 0 || dup2(nowhere, 2) < 0)
			_exit(126);
		execl(python, python, "-I", "-c", code, (char *)NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status);
}

static void check_venv(struct finding *f)
{
	if (!python_says_yes("import venv, ensurepip"))
		find(f, MISSING, "sudo apt-get install -y python3-venv",
		     "python3 has no venv module: packages and Jupyter cannot be installed in a sandbox");
	else
		find(f, OK, "", "venv");
}

static void check_installer(struct finding *f)
{
	cleanup_free char *uv = program_find("uv");

	if (uv)
		find(f, OK, "", "%s", uv);
	else if (python_says_yes("import pip"))
		find(f, OK, "", "pip (uv would be faster: pip install uv)");
	else
		find(f, MISSING, "sudo apt-get install -y python3-pip",
		     "neither uv nor pip: packages and Jupyter cannot be installed in a sandbox");
}

static void check_state(struct finding *f)
{
	cleanup_free char *path = state_default_path();
	struct statfs fs;
	char probe[4096];

	if (!path) {
		find(f, MISSING, "export HOME=…", "there is no home folder to keep the state in");
		return;
	}
	(void)snprintf(probe, sizeof probe, "%s", path);
	while (statfs(probe, &fs) < 0) {
		char *slash = strrchr(probe, '/');

		if (!slash || slash == probe)
			break;
		*slash = '\0';
	}
	if (fs.f_type == OVERLAYFS_SUPER_MAGIC || fs.f_type == NFS_SUPER_MAGIC)
		find(f, MISSING, "interpfs mount -o state=/somewhere/on/a/local/disk DIR",
		     "%s is on %s, which cannot hold a sandbox's files", path,
		     fs.f_type == NFS_SUPER_MAGIC ? "NFS" : "an overlay");
	else
		find(f, OK, "", "%s, %llu GB free", path,
		     (unsigned long long)fs.f_bavail * (unsigned long long)fs.f_bsize / 1000000000ull);
}

static void check_keys(struct finding *f)
{
	if (getenv("ANTHROPIC_API_KEY") || getenv("ANTHROPIC_AUTH_TOKEN"))
		find(f, OK, "", "a key for claude is set");
	else
		find(f, ADVICE, "export ANTHROPIC_API_KEY=…",
		     "ANTHROPIC_API_KEY is not set: sessions with `provider: claude` will be refused (replay works)");
}

static const struct {
	const char *name;
	void (*check)(struct finding *f);
} checks[] = {
	{ "fuse", check_device },      { "fusermount3", check_helper }, { "namespaces", check_namespaces },
	{ "runtime", check_runtime },  { "network", check_network },    { "guest", check_guest },
	{ "python", check_python },    { "venv", check_venv },          { "installer", check_installer },
	{ "state", check_state },      { "keys", check_keys },
};

int command_doctor(int argc, char **argv)
{
	static const char *const words[] = { "ok", "advice", "missing" };
	int missing = 0;

	if (argc == 2 && !strcmp(argv[1], "--help")) {
		puts("usage: interpfs doctor\n\n"
		     "Says of each thing that a first run needs whether it is there, and of what is missing the\n"
		     "command that mends it. Exits with 0 when a mount, a sandbox and a notebook will work, else 1.");
		return 0;
	}
	if (argc > 1) {
		fprintf(stderr, "interpfs doctor: takes no argument, got '%s'\n", argv[1]);
		return 64;
	}
	for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
		struct finding f = { .verdict = MISSING };

		checks[i].check(&f);
		printf("%-8s %-12s %s\n", words[f.verdict], checks[i].name, f.what);
		if (f.mend[0])
			printf("%-8s %-12s   %s\n", "", "", f.mend);
		missing += f.verdict == MISSING;
	}
	if (fflush(stdout))
		return 1;
	return missing ? 1 : 0;
}
