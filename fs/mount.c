/* interpfs mount: sets everything up in the order in which it depends on each other, serves, and
 * takes it down again. What runs goes on when the mount ends; the next one finds it.
 *
 * As a daemon it is a child that tells its parent through a pipe when the kernel has spoken to it:
 * then the mount can be used, and the parent exits 0. */
#include "fs/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <libgen.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/program.h"
#include "commands.h"
#include "fs/config.h"
#include "fs/backends.h"
#include "fs/files.h"
#include "fs/mountpoint.h"
#include "fs/ipynb.h"
#include "fs/notify.h"
#include "fs/objects.h"
#include "fs/options.h"
#include "fs/snapshots.h"
#include "fs/supervise.h"
#include "fs/treefile.h"
#include "fs/workspaces.h"

static struct {
	struct mount_options options;
	struct state state;
	struct supervisor *supervisor;
	struct loop_watch runners;
	struct fuse_session *session;
	int ready;    /* the pipe to the parent, -1 without one */
	bool served;  /* it was mounted */
} mounted = { .ready = -1, .state = { .fd = -1, .lock = -1 } };

struct supervisor *mount_supervisor(void)
{
	return mounted.supervisor;
}

struct timespec mount_began(void)
{
	static struct timespec began;

	if (!began.tv_sec)
		(void)clock_gettime(CLOCK_REALTIME, &began);
	return began;
}

const char *mount_point(void)
{
	return mounted.options.directory;
}

void mount_log(const char *format, ...)
{
	cleanup_close int fd = openat(mounted.state.fd, "log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
	char line[2048];
	time_t now = time(NULL);
	struct tm utc;
	struct error err;
	size_t n;
	va_list args;

	if (fd < 0 || !gmtime_r(&now, &utc))
		return;
	n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%SZ ", &utc);
	va_start(args, format);
	if (vsnprintf(line + n, sizeof line - n - 1, format, args) < 0)
		line[n] = '\0';
	va_end(args);
	n = strlen(line);
	line[n++] = '\n';
	if (!file_write_all(fd, line, n, &err) && mounted.session)
		tree_changed(NULL, "log");
}

/* What runners say. */

static void runner_changed(void *context, enum object_kind kind, uint64_t serial, const char *path,
			   int64_t size, int64_t mtime_ns)
{
	struct object *object = objects_by_serial(serial);

	(void)context;
	(void)mtime_ns;
	if (!object)
		return;
	if (kind == OBJECT_NOTEBOOK)
		ipynb_changed(object, path, size);
	if (kind == OBJECT_NOTEBOOK && path && !strcmp(path, "held"))
		workspace_held(object);
	if (path && !strcmp(path, "failure")) {
		if (size >= 0)
			accept_again(object); /* `error` tells what went wrong last */
		(void)clock_gettime(CLOCK_REALTIME, &object->told);
	}
	if (path) {
		tree_changed(object, path);
	} else {
		object_refresh(object);
		tree_all_changed(object);
		files_object_changed(object);
	}
}

static void runner_status(void *context, enum object_kind kind, uint64_t serial, const struct status *status)
{
	struct object *object = objects_by_serial(serial);

	(void)context;
	if (kind == OBJECT_SNAPSHOT)
		snapshot_status(serial, status);
	if (!object)
		return;
	if (strcmp(object->status.state, status->state) && (!strcmp(status->state, "failed") || !strcmp(status->state, "died")))
		accept_again(object); /* as in runner_changed, where the mount wrote the failure itself */
	if (kind == OBJECT_SANDBOX && strcmp(object->status.state, status->state) && status_settled(kind, status->state))
		workspace_user_rests(object);
	object->status = *status;
	files_object_changed(object);
	treefile_object_changed(object);
	if (kind == OBJECT_SANDBOX && !strcmp(status->state, "stopped"))
		snapshot_due(object);
	tree_changed(NULL, "status");
}

/* A line on an object: what it is called, and its serial, which no other one ever has. */
static void runner_log(void *context, enum object_kind kind, uint64_t serial, const char *text)
{
	const struct object *object = serial ? objects_by_serial(serial) : NULL;

	(void)context;
	if (object)
		mount_log("%s/%s (%llu): %s", object_folder[kind], object->name, (unsigned long long)serial, text);
	else if (serial)
		mount_log("%s %llu: %s", object_noun[kind], (unsigned long long)serial, text);
	else
		mount_log("%s", text);
}

static void object_gone(void *context, enum object_kind kind, uint64_t serial)
{
	struct object *object = objects_by_serial(serial);

	runner_log(context, kind, serial, "removed");
	if (object && object->removed) {
		object_unpin(object); /* rmdir kept its name until now */
	} else if (object) { /* it was removed before this mount, half */
		objects_remove(object);
		tree_changed(NULL, object_folder[kind]);
	}
}

static void config_was_not_judged(void *context, enum object_kind kind, uint64_t serial)
{
	struct object *object = objects_by_serial(serial);

	(void)context;
	(void)kind;
	if (object)
		config_unjudged(object);
}

static void runners_speak(struct loop_watch *watch, uint32_t events)
{
	(void)watch;
	(void)events;
	supervise_step(mounted.supervisor);
}

/* Setting up. */

void mount_is_ready(void)
{
	int null;

	if (mounted.ready < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		(void)dup2(null, 0);
		(void)dup2(null, 1);
		(void)dup2(null, 2);
		if (null > 2)
			(void)close(null);
	}
	(void)!write(mounted.ready, "", 1);
	(void)close(mounted.ready);
	mounted.ready = -1;
}

/* Who unmounts and mounts again at once meets the daemon before, which is on its way out: it has the
 * lock still, and its mount is gone. */
static bool lock_is_let_go(void)
{
	cleanup_buffer struct buffer lock = BUFFER(PATH_MAX + 64);
	struct error ignored;
	char *where;

	if (file_read(mounted.state.fd, "lock", &lock, &ignored) < 0 || !lock.data || !(where = strchr(lock.data, ' ')))
		return false;
	where[1 + strcspn(where + 1, "\n")] = '\0';
	return !mountpoint_taken(where + 1);
}

static int lock_state(struct error *err)
{
	enum { LOCK_TRIES = 1500 }; /* a daemon that ends on a busy machine, half a minute */
	static const struct timespec pause = { .tv_nsec = 20000000 };

	for (int tries = 0; state_lock(&mounted.state, mounted.options.directory, err) < 0; tries++) {
		if (err->code != EBUSY || tries == LOCK_TRIES || !lock_is_let_go())
			return -1;
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

static int open_state(struct error *err)
{
	cleanup_free char *path = NULL;

	if (!mounted.options.state) {
		path = state_default_path();
		if (!path)
			return error_set(err, ENOENT, "there is no home for the state: say -o state=DIR");
	}
	if (state_open(&mounted.state, mounted.options.state ? mounted.options.state : path, err) < 0 ||
	    mountpoint_refuse_inside(mounted.options.directory, mounted.state.path, err) < 0)
		return -1;
	return lock_state(err);
}

static int open_runners(struct error *err)
{
	static const struct supervise_callbacks callbacks = {
		.changed = runner_changed, .status = runner_status, .gone = object_gone,
		.unjudged = config_was_not_judged, .log = runner_log,
	};

	if (mounted.options.runtime && setenv("INTERPFS_RUNTIME", mounted.options.runtime, 1) < 0)
		return error_errno(err, "runtime");
	if (supervise_open(&mounted.supervisor, &mounted.state, &callbacks, NULL, err) < 0)
		return -1;
	if (mounted.options.env_file &&
	    supervise_env_file(mounted.supervisor, mounted.options.env_file, err) < 0)
		return -1;
	mounted.runners = (struct loop_watch){ .fd = supervise_fd(mounted.supervisor), .ready = runners_speak };
	return loop_watch(&mounted.runners, EPOLLIN, err);
}

static void leave(struct loop_post *post)
{
	(void)post;
	fuse_session_exit(mounted.session);
}

static void stopped(void)
{
	static struct loop_post left = { .call = leave };

	notify_end(&left);
}

static void let_go(struct loop_post *post)
{
	int ends[2];

	(void)post;
	/* Closing /dev/fuse has the kernel abort the connection. What lies on the folder now is another's:
	 * libfuse unmounts nothing where its descriptor polls as broken, as a pipe without a reader does. */
	if (!pipe2(ends, O_CLOEXEC)) {
		(void)close(ends[0]);
		(void)dup2(ends[1], fuse_session_fd(mounted.session));
		(void)close(ends[1]);
	}
	fuse_session_exit(mounted.session);
}

/* Unmounted, though somebody (a lazy unmount's last user, another mount namespace) has it still: the
 * state is needed for the next mount, so it ends for them, too. */
static void unmounted_here(void)
{
	static struct loop_post gone = { .call = let_go };

	notify_end(&gone);
}

static int open_session(struct error *err)
{
	const struct mount_options *o = &mounted.options;
	cleanup_free char *source = NULL;
	cleanup_free char *options = NULL;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int r;

	if (asprintf(&source, "fsname=%s", o->source) < 0) {
		source = NULL;
		return error_memory(err);
	}
	/* Escaped: what follows a comma in it would be an option. */
	r = fuse_opt_add_opt_escaped(&options, source) || fuse_opt_add_opt(&options, "subtype=interpfs") ||
	    (o->read_only && fuse_opt_add_opt(&options, "ro")) || fuse_opt_add_arg(&args, "interpfs") ||
	    fuse_opt_add_arg(&args, "-o") || fuse_opt_add_arg(&args, options) ||
	    (o->debug && fuse_opt_add_arg(&args, "-d"));
	if (!r)
		mounted.session = fuse_session_new(&args, &mount_operations, sizeof mount_operations, NULL);
	fuse_opt_free_args(&args);
	if (!mounted.session)
		return error_set(err, EINVAL, "libfuse could not begin");
	mountpoint_clean(o->directory);
	if (mountpoint_taken(o->directory))
		return error_set(err, EBUSY, "%s has a mount of interpfs on it already; fusermount3 -u ends it", o->directory);
	if (fuse_session_mount(mounted.session, o->directory))
		return error_set(err, EIO, "%s could not be mounted (interpfs doctor may tell why)", o->directory);
	return mountpoint_watch(o->directory, unmounted_here, err);
}

static void set_limits(void)
{
	struct rlimit limit;

	program_keep_private();
	(void)signal(SIGPIPE, SIG_IGN); /* whoever read our messages may have gone */
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	(void)mallopt(M_ARENA_MAX, 2);
}

/* A kernel that is set to give up on unanswered requests would end a mount on which one waits. */
static void check_request_timeout(void)
{
	struct buffer text = BUFFER(64);
	struct error err;

	if (!file_read(AT_FDCWD, "/proc/sys/fs/fuse/default_request_timeout", &text, &err) && text.data &&
	    strtoul(text.data, NULL, 10))
		mount_log("fs.fuse.default_request_timeout is %lu s: a reader who waits longer ends the mount; "
			  "sysctl fs.fuse.default_request_timeout=0 mends it", strtoul(text.data, NULL, 10));
	buffer_free(&text);
}

static int serve(struct error *err)
{
	set_limits();
	(void)mount_began();
	files_open();
	if (tree_number(err) < 0 || open_state(err) < 0 || loop_open(err) < 0 || storage_start(err) < 0 ||
	    backends_open(&mounted.state, err) < 0 || objects_load(&mounted.state, err) < 0 || open_runners(err) < 0 || open_session(err) < 0)
		return -1;
	if (notify_start(mounted.session, err) < 0 || treefile_start(mounted.session, err) < 0 ||
	    supervise_scan(mounted.supervisor, err) < 0 || workspace_make_default(err) < 0)
		return -1;
	messages_recover();
	check_request_timeout();
	mount_log("mounted on %s", mounted.options.directory);
	mounted.served = true;
	return loop_run(mounted.session, stopped, err);
}

static void take_down(void)
{
	treefile_stop(); /* what it wrote is told, and that is put down */
	loop_take_posts();
	storage_stop();
	if (mounted.session) {
		mountpoint_unwatch();
		fuse_session_unmount(mounted.session);
		notify_stop();
		fuse_session_destroy(mounted.session);
		mounted.session = NULL;
	}
	if (mounted.supervisor) {
		loop_unwatch(&mounted.runners);
		supervise_close(mounted.supervisor);
		mounted.supervisor = NULL;
	}
	loop_close();
	if (mounted.served)
		mount_log("unmounted from %s", mounted.options.directory);
	if (mounted.state.fd >= 0)
		state_close(&mounted.state);
}

static int run(void)
{
	struct error err;
	int r = serve(&err);

	if (r < 0) {
		(void)fprintf(stderr, "interpfs: %s\n", err.text);
		if (mounted.state.lock >= 0)
			mount_log("%s", err.text);
	}
	take_down();
	return r < 0 ? 1 : 0;
}

/* The parent's part: 0 once the mount can be used, else the child's failure. */
static int wait_until_ready(int fd, pid_t child)
{
	char byte;
	ssize_t n;
	int status;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return 1;
}

static int run_as_daemon(void)
{
	int ends[2];
	pid_t child;

	/* A shell's `exec 3<> …` or flock would last as long as the mount, and as what it starts. */
	(void)syscall(SYS_close_range, 3, ~0u, 0);
	if (pipe2(ends, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		perror("interpfs");
		return 1;
	}
	if (child) {
		(void)close(ends[1]);
		return wait_until_ready(ends[0], child);
	}
	(void)close(ends[0]);
	mounted.ready = ends[1];
	(void)setsid();
	if (chdir("/") < 0) /* never inside a mount of its own */
		return 1;
	return run();
}

static const char usage[] =
	"usage: interpfs mount [-f] [-d] [-o OPTIONS] DIR\n\n"
	"Shows a state directory as files on DIR, and returns when it can be used. fusermount3 -u DIR ends\n"
	"the mount; what runs goes on, and the next mount shows it again.\n\n"
	"  -f                stay in the foreground\n"
	"  -d                stay in the foreground and print every request\n"
	"  -o state=DIR      where everything is kept (else $XDG_STATE_HOME/interpfs, usually\n"
	"                    ~/.local/state/interpfs; for root /var/lib/interpfs)\n"
	"  -o env_file=FILE  take secrets from lines NAME=VALUE too, not only from the environment\n"
	"  -o runtime=NAME   the container runtime of local sandboxes (else crun or runc)\n"
	"  -o ro             refuse every change\n";

int command_mount(int argc, char **argv)
{
	char *name = basename(argv[0]), *directory;
	struct error err;
	int status;

	argv[0] = name;
	if (argc == 2 && !strcmp(argv[1], "--help")) {
		fputs(usage, stdout);
		return 0;
	}
	if (options_parse(&mounted.options, argc, argv, &err) < 0) {
		(void)fprintf(stderr, "interpfs: %s\n", err.text);
		return 1;
	}
	if (mounted.options.fake)
		return 0;
	directory = mountpoint_resolve(mounted.options.directory, &err);
	if (!directory) {
		(void)fprintf(stderr, "interpfs: %s\n", err.text);
		options_free(&mounted.options);
		return 32;
	}
	free(mounted.options.directory);
	mounted.options.directory = directory;
	status = mounted.options.foreground ? run() : run_as_daemon();
	options_free(&mounted.options);
	return status ? 32 : 0;
}
