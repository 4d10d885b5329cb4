/* Starting and ending a container (box.h). The order matters at each step, since the runner may
 * be killed at any:
 *
 *      ctl/runtime   "PROGRAM" that is about to make it    → box_reap knows whom to ask
 *      (runtime)     makes namespaces, groups, state       → box_reap: delete -f, kill, rmdir
 *      ctl/pid       "PID STARTTIME BOOTID" of the guest   → box_adopt finds it again
 *
 * The runtime dies with the runner; the guest does not. The guest's socket is bound here, handed
 * over as descriptor 3, and has no path inside. Descriptor 5 is a pipe's end that nobody else
 * keeps: at its other end the network's helper sees the guest's end, whoever else is alive. The first request is queued before the runtime
 * runs, so the first answer says that it is ready, without polling. */
#include "backend/sandbox/box.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backend/sandbox/cgroup.h"
#include "backend/sandbox/spawn.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

#define START_MS 20000
#define ANSWER_MS 5000
#define RUNTIME_MS 10000
#define FAILED_MS 500      /* for a runtime to say why */
#define KILL_MS 5000
#define RUNTIME_LOG_MAX 65536

int box_init(struct box *box, const char *state, const char *path, const char *id, struct error *err)
{
	*box = (struct box){ .folder = -1, .ctl = -1, .pidfd = -1 };
	box->path = strdup(path);
	box->id = strdup(id);
	if (!box->path || !box->id || asprintf(&box->runtimes, "%s/runtime", state) < 0) {
		box->runtimes = NULL;
		box_free(box);
		return error_memory(err);
	}
	return 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

void box_free(struct box *box)
{
	free(box->path);
	free(box->id);
	free(box->runtimes);
	box->path = box->id = box->runtimes = NULL;
	close_fd(&box->folder);
	close_fd(&box->ctl);
	close_fd(&box->pidfd);
}

/* ---- the folder ---- */

static int make_links(int root, struct error *err)
{
	static const char *const names[] = { "bin", "sbin", "lib", "lib32", "lib64", "libx32" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char host[16], target[256];
		ssize_t n;

		(void)snprintf(host, sizeof host, "/%s", names[i]);
		n = readlink(host, target, sizeof target - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		if (symlinkat(target, root, names[i]) && errno != EEXIST)
			return error_errno(err, "cannot make the sandbox's /%s", names[i]);
	}
	return 0;
}

int box_make(struct box *box, struct error *err)
{
	static const struct { const char *path; mode_t mode; } folders[] = {
		{ "ctl", 0700 }, { "bundle", 0700 }, { "up", 0700 }, { "work", 0700 }, { "mask", 0700 },
		{ "root", 0755 }, { "root/proc", 0755 }, { "root/sys", 0755 }, { "root/dev", 0755 },
		{ "root/run", 0755 }, { "root/tmp", 01777 }, { "root/root", 0700 }, { "root/home", 0755 },
		{ "root/var", 0755 }, { "root/var/lib", 0755 }, { "root/var/tmp", 01777 },
		{ "root/var/cache", 0755 }, { "root/var/log", 0755 }, { "root/srv", 0755 },
		{ "root/mnt", 0755 }, { "root/opt", 0755 }, { "root/etc", 0755 }, { "root/usr", 0755 },
		{ "root/workspace", 0755 },
	};
	cleanup_close int root = -1;

	if (file_make_folders(AT_FDCWD, box->path, 0700, err))
		return -1;
	close_fd(&box->folder);
	close_fd(&box->ctl);
	box->folder = file_open_folder(AT_FDCWD, box->path, err);
	if (box->folder < 0)
		return -1;
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
		if (!mkdirat(box->folder, folders[i].path, folders[i].mode)) {
			if (fchmodat(box->folder, folders[i].path, folders[i].mode, 0))
				return error_errno(err, "cannot make the sandbox's %s", folders[i].path);
		} else if (errno != EEXIST) {
			return error_errno(err, "cannot make the sandbox's %s", folders[i].path);
		}
	}
	box->ctl = file_open_folder(box->folder, "ctl", err);
	root = box->ctl < 0 ? -1 : file_open_folder(box->folder, "root", err);
	return root < 0 ? -1 : make_links(root, err);
}

/* Where a path inside lies on the host: its first part decides. */
static int private_folder(struct box *box, const char **inside, struct error *err)
{
	static const char *const overlays[] = { "/usr", "/etc", "/opt" };
	static const char *const links[] = { "/bin/", "/sbin/", "/lib/", "/lib64/" }; /* into /usr */
	static const char *const kernel[] = { "/proc", "/sys", "/dev", "/run" };
	const char *p = *inside;
	bool usr = false;

	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		usr = usr || !strncmp(p, links[i], strlen(links[i]));
	for (size_t i = 0; i < sizeof overlays / sizeof *overlays; i++) {
		size_t n = usr ? 0 : strlen(overlays[i]);
		char folder[16];

		if (!usr && (strncmp(p, overlays[i], n) || p[n] != '/'))
			continue;
		(void)snprintf(folder, sizeof folder, "up%s", overlays[i]);
		if (file_make_folder(box->folder, folder, 0755, err))
			return -1;
		*inside = p + n;
		return file_open_folder(box->folder, folder, err);
	}
	for (size_t i = 0; i < sizeof kernel / sizeof *kernel; i++) {
		size_t n = strlen(kernel[i]);

		if (!strncmp(p, kernel[i], n) && (p[n] == '/' || !p[n]))
			return error_set(err, EROFS, "%s is the kernel's inside a sandbox: nothing can be put there", p);
	}
	return file_open_folder(box->folder, "root", err);
}

static int open_in(int folder, const char *path, int flags, mode_t mode)
{
	struct open_how how = { .flags = (unsigned)flags | O_CLOEXEC, .mode = flags & O_CREAT ? mode : 0,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, folder, path, &how, sizeof how);
}

/* The folders before path's last part, one step at a time, each resolved inside. */
static int make_parents(int folder, const char *path, struct error *err)
{
	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		cleanup_free char *way = strndup(path, (size_t)(slash - path));
		char *last = way ? strrchr(way, '/') : NULL;
		cleanup_close int parent = -1;

		if (!last)
			return error_memory(err);
		if (!last[1])
			continue;
		*last = '\0';
		parent = open_in(folder, *way ? way : "/", O_PATH | O_DIRECTORY, 0);
		if (parent < 0 || (mkdirat(parent, last + 1, 0755) && errno != EEXIST))
			return error_errno(err, "cannot make the folder of %s", path);
	}
	return 0;
}

int box_open(struct box *box, const char *inside, int flags, mode_t mode, struct error *err)
{
	cleanup_close int folder = private_folder(box, &inside, err);
	int fd;

	if (folder < 0)
		return -1;
	if ((flags & O_CREAT) && make_parents(folder, inside, err))
		return -1;
	fd = open_in(folder, inside, flags, mode);
	return fd < 0 ? error_errno(err, "cannot open %s", inside) : fd;
}

int box_put(struct box *box, const char *inside, const void *data, size_t n, mode_t mode, struct error *err)
{
	const char *slash = strrchr(inside, '/');
	cleanup_free char *parent = slash ? strndup(inside, (size_t)(slash - inside) + 1) : NULL;
	cleanup_close int folder = -1;
	cleanup_free char *below = NULL;

	if (!parent)
		return error_memory(err);
	/* "/etc/hosts" → the folder up/etc; deeper ones are made on the way. */
	if (asprintf(&below, "%s.", parent) < 0)
		return error_memory(err);
	folder = box_open(box, below, O_PATH | O_DIRECTORY, 0, err);
	return folder < 0 ? -1 : file_replace(folder, slash + 1, data, n, mode, false, err);
}

/* ---- the guest's socket ---- */

/* /proc/self/fd/N/guest.sock: a socket's name has 108 bytes at most, a folder's path has not. */
static struct sockaddr_un guest_address(const struct box *box)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/guest.sock", box->ctl);
	return address;
}

static int listen_guest(struct box *box, struct error *err)
{
	struct sockaddr_un address = guest_address(box);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return error_errno(err, "cannot make the guest's socket");
	if ((unlinkat(box->ctl, "guest.sock", 0) && errno != ENOENT) ||
	    bind(fd, (const struct sockaddr *)&address, sizeof address) || listen(fd, 16)) {
		error_errno(err, "cannot make the guest's socket");
		(void)close(fd);
		return -1;
	}
	return fd;
}

static int connect_guest(struct box *box, struct error *err)
{
	struct sockaddr_un address = guest_address(box);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && !connect(fd, (const struct sockaddr *)&address, sizeof address))
		return fd;
	error_errno(err, "cannot reach the sandbox's first process");
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

/* Who listens there, as the kernel knows it. 0 when it cannot be told. */
static pid_t peer_of(int fd)
{
	struct ucred who;
	socklen_t size = sizeof who;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) ? 0 : who.pid;
}

struct answer {
	bool ended;
	int code;
};

static void answered(void *context, int code, int exit_, const char *text)
{
	struct answer *answer = context;

	(void)exit_;
	(void)text;
	*answer = (struct answer){ .ended = true, .code = code };
}

static void nothing_passed(void *context, int fd)
{
	(void)context;
	(void)close(fd);
}

static void no_output(void *context, int channel, const void *data, size_t n)
{
	(void)context;
	(void)channel;
	(void)data;
	(void)n;
}

static const struct guest_callbacks ping_callbacks = { no_output, nothing_passed, answered };

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Steps the link until the ping's answer has come. other (-1: none) becoming readable with
 * *stop set by the caller's check ends the waiting. */
static int await_answer(struct guest *guest, struct answer *answer, int runtime, int timeout_ms, struct error *err)
{
	int64_t end = now_ms() + timeout_ms;
	bool runtime_ended = false;

	while (!answer->ended) {
		struct pollfd p[2] = { { .fd = guest_fd(guest), .events = guest_events(guest) },
				       { .fd = runtime_ended ? -1 : runtime, .events = POLLIN } };
		int64_t left = end - now_ms();
		siginfo_t info = { .si_pid = 0 };

		if (left <= 0)
			return error_set(err, ETIMEDOUT, "the sandbox did not answer in time");
		if (poll(p, 2, (int)left) < 0 && errno != EINTR)
			return error_errno(err, "waiting for the sandbox");
		if (p[0].revents && guest_step(guest, err))
			return -1;
		if (!p[1].revents || answer->ended)
			continue;
		runtime_ended = true;
		if (!waitid(P_PIDFD, (id_t)runtime, &info, WEXITED | WNOWAIT) &&
		    (info.si_code != CLD_EXITED || info.si_status))
			return error_set(err, EIO, "the container runtime failed");
	}
	return answer->code ? error_set(err, answer->code, "the sandbox's first process refused") : 0;
}

/* ---- who it is ---- */

static uint64_t start_time(pid_t pid)
{
	cleanup_buffer struct buffer stat = BUFFER(4096);
	struct error ignored;
	char path[64], *p;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (file_read(AT_FDCWD, path, &stat, &ignored) || !stat.length)
		return 0;
	p = strrchr(stat.data, ')'); /* the command's name may hold anything */
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p + 1, NULL, 10) : 0;
}

static int boot_id(char out[64], struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(128);

	if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &text, err))
		return -1;
	(void)snprintf(out, 64, "%.*s", (int)strcspn(text.data ? text.data : "", "\n"), text.data ? text.data : "");
	return 0;
}

static int record_pid(struct box *box, struct error *err)
{
	char boot[64], line[160];
	int n;

	if (boot_id(boot, err))
		return -1;
	n = snprintf(line, sizeof line, "%d %llu %s\n", (int)box->pid, (unsigned long long)start_time(box->pid), boot);
	return file_replace(box->ctl, "pid", line, (size_t)n, 0600, false, err);
}

/* The recorded first process, when it is still that one. 0 otherwise. Fills in box->pidfd. */
static pid_t recorded_pid(struct box *box)
{
	cleanup_buffer struct buffer text = BUFFER(256);
	struct error ignored;
	char boot[64], recorded[64];
	unsigned long long started;
	int pid, pidfd;

	if (box->ctl < 0 || file_read(box->ctl, "pid", &text, &ignored) || !text.length ||
	    sscanf(text.data, "%d %llu %63s", &pid, &started, recorded) != 3 || pid <= 1 ||
	    boot_id(boot, &ignored) || strcmp(boot, recorded))
		return 0;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return 0;
	/* The descriptor is of whoever has the number now; the start time tells whether it is ours. */
	if (start_time(pid) != started) {
		(void)close(pidfd);
		return 0;
	}
	close_fd(&box->pidfd);
	box->pidfd = pidfd;
	return pid;
}

/* ---- the runtime ---- */

static char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return (char *)(uintptr_t)(slash ? slash + 1 : path);
}

/* "runc --root STATE/runtime/runc" + what is to be done. */
static int run_runtime(struct box *box, const char *program, char *const words[], struct error *err)
{
	cleanup_free char *root = NULL;
	cleanup_buffer struct buffer out = BUFFER(RUNTIME_LOG_MAX);
	char *argv[8] = { (char *)(uintptr_t)program, "--root" };
	int status, n = 2;

	if (asprintf(&root, "%s/%s", box->runtimes, base_name(program)) < 0)
		return error_memory(err);
	argv[n++] = root;
	while (*words && n < 7)
		argv[n++] = *words++;
	if (spawn_run(argv, RUNTIME_MS, &out, &status, err))
		return -1;
	if (status)
		return error_set(err, EIO, "%s: %.400s", base_name(program), out.length ? out.data : "failed");
	return 0;
}

/* The last line that a runtime wrote, without its own decoration. */
static void runtime_sentence(struct box *box, const char *program, struct error *err)
{
	cleanup_buffer struct buffer log = BUFFER(RUNTIME_LOG_MAX);
	struct error ignored;
	char *line, *message;

	if (file_read(box->ctl, "runtime.log", &log, &ignored) || !log.length)
		return;
	while (log.length && log.data[log.length - 1] == '\n')
		log.data[--log.length] = '\0';
	line = strrchr(log.data, '\n');
	line = line ? line + 1 : log.data;
	message = strstr(line, "msg=\"");
	if (message) {
		line = message + 5;
		if (log.data[log.length - 1] == '"')
			log.data[log.length - 1] = '\0';
	}
	if (*line)
		error_set(err, err->code, "%s: %.600s", base_name(program), line);
}

static pid_t spawn_runtime(struct box *box, const struct box_start *start, int listener, int alive, int *pidfd,
			   struct error *err)
{
	cleanup_free char *root = NULL, *bundle = NULL;
	cleanup_close int record = openat(box->ctl, "exit", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	cleanup_close int log = openat(box->ctl, "runtime.log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	char *argv[] = { (char *)(uintptr_t)start->runtime, "--root", NULL, "run", "-d", "--preserve-fds", "3",
			 "-b", NULL, box->id, NULL };
	struct spawn what = { .argv = argv, .output = log, .passed = { listener, record, alive }, .cpus = start->cpus };

	if (record < 0 || log < 0)
		return error_errno(err, "cannot write the sandbox's records");
	if (asprintf(&root, "%s/%s", box->runtimes, base_name(start->runtime)) < 0)
		return error_memory(err);
	if (asprintf(&bundle, "%s/bundle", box->path) < 0)
		return error_memory(err);
	argv[2] = root;
	argv[8] = bundle;
	if (file_make_folders(AT_FDCWD, root, 0700, err))
		return -1;
	return spawn(&what, pidfd, err);
}

static int make_overlay_folders(struct box *box, const struct bundle *b, struct error *err)
{
	for (size_t i = 0; i < b->overlay_count; i++) {
		static const char *const tops[] = { "up", "work" };

		for (size_t k = 0; k < 2; k++) {
			char path[320];

			if (snprintf(path, sizeof path, "%s/%s", tops[k], b->overlays[i].name) >= (int)sizeof path)
				return error_set(err, ENAMETOOLONG, "the overlay's name is too long");
			if (file_make_folder(box->folder, path, 0755, err))
				return -1;
		}
	}
	return 0;
}

/* The processes that can hold the box: waits for the runtime, finds the guest, joins the network. */
static int finish_start(struct box *box, const struct box_start *start, int alive, struct error *err)
{
	cleanup_close int log = openat(box->ctl, "network.log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	cleanup_close int second = connect_guest(box, err);

	if (second < 0)
		return -1;
	box->pid = peer_of(second);
	if (box->pid <= 1 || box->pid == getpid())
		return error_set(err, EPROTO, "the sandbox's first process cannot be identified");
	box->pidfd = (int)syscall(SYS_pidfd_open, box->pid, 0);
	if (box->pidfd < 0)
		return error_errno(err, "cannot watch the sandbox's first process");
	failpoint("sandbox-started");
	if (record_pid(box, err))
		return -1;
	failpoint("sandbox-recorded");
	box->helper = network_start(start->network, box->pid, alive, log, err);
	if (box->helper < 0) {
		box->helper = 0;
		return -1;
	}
	return 0;
}

int box_start(struct box *box, const struct box_start *start, struct guest **guest, struct error *err)
{
	cleanup_free char *config = bundle_render(start->bundle, err);
	cleanup_close int listener = -1, pidfd = -1;
	struct answer answer = { false, 0 };
	struct error ignored;
	int connection, status, result, alive[2];
	pid_t runtime;

	*guest = NULL;
	if (!config || make_overlay_folders(box, start->bundle, err) ||
	    file_replace(box->ctl, "runtime", start->runtime, strlen(start->runtime), 0600, false, err) ||
	    file_replace(box->folder, "bundle/config.json", config, strlen(config), 0600, false, err))
		return -1;
	listener = listen_guest(box, err);
	connection = listener < 0 ? -1 : connect_guest(box, err);
	if (connection < 0)
		return -1;
	if (guest_attach(guest, connection, err)) {
		(void)close(connection);
		return -1;
	}
	if (pipe2(alive, O_CLOEXEC)) {
		guest_detach(*guest);
		*guest = NULL;
		return error_errno(err, "cannot start a sandbox");
	}
	failpoint("sandbox-runtime");
	runtime = guest_ping(*guest, &ping_callbacks, &answer, err)
			  ? spawn_runtime(box, start, listener, alive[1], &pidfd, err) : -1;
	close_fd(&listener);
	close_fd(&alive[1]);
	result = runtime < 0 ? -1 : await_answer(*guest, &answer, pidfd, START_MS, err);
	if (!result)
		result = finish_start(box, start, alive[0], err);
	close_fd(&alive[0]);
	if (runtime > 0 && spawn_wait(runtime, pidfd, result ? FAILED_MS : RUNTIME_MS, &status, result ? &ignored : err))
		result = -1;
	(void)unlinkat(box->folder, "bundle/config.json", 0); /* it holds the sandbox's environment */
	if (!result)
		return 0;
	if (runtime > 0 && !box->pid)
		runtime_sentence(box, start->runtime, err);
	guest_detach(*guest);
	*guest = NULL;
	if (box->pid)
		(void)box_end(box, 0, &ignored);
	(void)box_reap(box, &ignored);
	return -1;
}

int box_adopt(struct box *box, struct guest **guest, struct error *err)
{
	struct answer answer = { false, 0 };
	struct error ignored;
	int connection;

	*guest = NULL;
	box->pid = recorded_pid(box);
	if (!box->pid)
		return 0;
	connection = connect_guest(box, &ignored);
	/* Somebody else at its socket, or one that does not answer: box_reap will end it. */
	if (connection < 0 || peer_of(connection) != box->pid) {
		if (connection >= 0)
			(void)close(connection);
		box->pid = 0;
		return 0;
	}
	if (guest_attach(guest, connection, err)) {
		(void)close(connection);
		return -1;
	}
	if (guest_ping(*guest, &ping_callbacks, &answer, &ignored) &&
	    !await_answer(*guest, &answer, -1, ANSWER_MS, &ignored))
		return 1;
	guest_detach(*guest);
	*guest = NULL;
	box->pid = 0;
	return 0;
}

/* ---- the end ---- */

/* Waits for the pidfd, killing after timeout_ms. */
static int await_end(struct box *box, int timeout_ms, struct error *err)
{
	struct pollfd p = { .fd = box->pidfd, .events = POLLIN };
	int n;

	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n <= 0) {
		(void)syscall(SYS_pidfd_send_signal, box->pidfd, SIGKILL, NULL, 0);
		if (poll(&p, 1, KILL_MS) <= 0)
			return error_set(err, EBUSY, "the sandbox's first process cannot be killed");
	}
	(void)waitpid(box->pid, NULL, WNOHANG); /* ours when this runner started it */
	return 0;
}

static char *recorded_runtime(struct box *box)
{
	cleanup_buffer struct buffer text = BUFFER(4096);
	struct error ignored;

	if (box->ctl < 0 || file_read(box->ctl, "runtime", &text, &ignored) || !text.length || text.data[0] != '/')
		return NULL;
	return strdup(text.data);
}

int box_end(struct box *box, int timeout_ms, struct error *err)
{
	cleanup_free char *program = recorded_runtime(box);
	char *words[] = { "delete", box->id, NULL };
	struct error ignored;

	if (!box->pid)
		return 0;
	if (await_end(box, timeout_ms, err))
		return -1;
	if (box->helper > 0) {
		(void)kill(box->helper, SIGKILL); /* it has nothing to put in order */
		(void)waitpid(box->helper, NULL, 0);
		box->helper = 0;
	}
	box->pid = 0;
	close_fd(&box->pidfd);
	if (program && !run_runtime(box, program, words, &ignored)) {
		(void)unlinkat(box->ctl, "pid", 0);
		(void)unlinkat(box->ctl, "runtime", 0);
		return 0;
	}
	return box_reap(box, err);
}

int box_reap(struct box *box, struct error *err)
{
	cleanup_free char *program = NULL;
	char *words[] = { "delete", "-f", box->id, NULL };
	struct error ignored;

	if (box->folder < 0) {
		box->folder = open(box->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		box->ctl = box->folder < 0 ? -1 : openat(box->folder, "ctl", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	program = recorded_runtime(box);
	if (!program)
		return 0; /* nothing was started, or all of it was removed */
	box->pid = recorded_pid(box);
	if (box->pid) {
		if (await_end(box, 0, err))
			return -1;
		box->pid = 0;
		close_fd(&box->pidfd);
	}
	if (!access(program, X_OK))
		(void)run_runtime(box, program, words, &ignored); /* it fails when it knows of none */
	if (cgroup_remove(box->id, err))
		return -1;
	(void)unlinkat(box->folder, "bundle/config.json", 0);
	(void)unlinkat(box->ctl, "pid", 0);
	(void)unlinkat(box->ctl, "runtime", 0);
	return 0;
}

int box_remove(struct box *box, struct error *err)
{
	close_fd(&box->folder);
	close_fd(&box->ctl);
	return file_remove_tree(AT_FDCWD, box->path, err);
}
