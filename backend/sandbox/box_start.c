/* Starting a container, and finding it again (box.h). The order matters at each step, since the
 * runner may be killed at any:
 *
 *      ctl/runtime   "PROGRAM" that is about to make it    → box_reap knows whom to ask
 *      (runtime)     makes namespaces, groups, state       → box_reap: delete -f, kill, rmdir
 *      ctl/pid       "PID STARTTIME BOOTID" of the guest   → box_adopt finds it again
 *
 * The runtime dies with the runner; the guest does not. Descriptor 5 is a pipe's end that nobody
 * else keeps: at its other end the network's helper sees the guest's end, whoever else is alive. */
#include "backend/sandbox/box_own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/sandbox/spawn.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

/* These end what hangs: a runtime or a sandbox that is only slow, on a busy machine, is neither given up nor lost. */
#define START_MS 60000
#define ANSWER_MS 60000
#define FAILED_MS 500      /* for a runtime to say why */

/* The last line that a runtime wrote, without its own decoration. */
static void runtime_sentence(struct box *box, const char *program, struct error *err)
{
	cleanup_buffer struct buffer log = BUFFER(RUNTIME_LOG_MAX);
	struct error ignored;
	const char *line, *message;

	if (file_read(box->ctl, "runtime.log", &log, &ignored))
		return;
	line = buffer_last_line(&log);
	message = strstr(line, "msg=\"");
	if (message) {
		line = message + 5;
		if (log.data[log.length - 1] == '"')
			log.data[log.length - 1] = '\0';
	}
	if (*line)
		error_set(err, err->code, "%s: %.600s", box_runtime_name(program), line);
}

/* What commands see of variables, each with a NUL behind, as a file on no disk. */
static int pack_environment(const char *const *env, struct error *err)
{
	cleanup_close int fd = memfd_create("environment", MFD_CLOEXEC);

	if (fd < 0)
		return error_errno(err, "cannot keep the sandbox's environment");
	for (; *env; env++)
		if (file_write_all(fd, *env, strlen(*env) + 1, err))
			return -1;
	return steal_fd(&fd);
}

static pid_t spawn_runtime(struct box *box, const struct box_start *start, int listener, int *pidfd, struct error *err)
{
	cleanup_free char *root = NULL, *bundle = NULL;
	cleanup_close int record = openat(box->ctl, "exit", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	cleanup_close int log = openat(box->ctl, "runtime.log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	cleanup_close int environment = pack_environment(start->env, err);
	char *argv[] = { (char *)(uintptr_t)start->runtime, "--root", NULL, "run", "-d", "--preserve-fds", "4",
			 "-b", NULL, box->id, NULL };
	struct spawn what = { .argv = argv, .output = log, .passed = { listener, record, start->uplink->alive[1], environment },
			      .cpus = start->cpus };

	if (environment < 0)
		return -1;
	if (record < 0 || log < 0)
		return error_errno(err, "cannot write the sandbox's records");
	if (asprintf(&root, "%s/%s", box->runtimes, box_runtime_name(start->runtime)) < 0)
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

int box_start_uplink(struct box *box, struct uplink *uplink, struct error *err)
{
	int log = openat(box->ctl, "network.log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

	return log < 0 ? error_errno(err, "cannot write the sandbox's records") : uplink_start(uplink, log, err);
}

/* The processes that can hold the box: finds the guest, waits for the network. */
static int finish_start(struct box *box, const struct box_start *start, struct error *err)
{
	cleanup_close int second = box_connect(box, err);
	cleanup_free char *pid_file = NULL;

	if (second < 0)
		return -1;
	if (asprintf(&pid_file, "%s/ctl/network.pid", box->path) < 0)
		return error_memory(err);
	box->pid = box_peer(second);
	if (box->pid <= 1 || box->pid == getpid())
		return error_set(err, EPROTO, "the sandbox's first process cannot be identified");
	box->pidfd = (int)syscall(SYS_pidfd_open, box->pid, 0);
	if (box->pidfd < 0)
		return error_errno(err, "cannot watch the sandbox's first process");
	failpoint("sandbox-started");
	if (box_record(box, err))
		return -1;
	failpoint("sandbox-recorded");
	if (uplink_finish(start->uplink, box->pid, pid_file, &box->helper, err))
		return -1;
	return box->helper ? box_record_helper(box, err) : 0;
}

/* What the runtime reads, and who it is that reads it. */
static int write_bundle(struct box *box, const struct box_start *start, struct error *err)
{
	cleanup_free char *config = bundle_render(start->bundle, err);

	if (!config || make_overlay_folders(box, start->bundle, err) ||
	    file_replace(box->ctl, "runtime", start->runtime, strlen(start->runtime), 0600, false, err))
		return -1;
	return file_replace(box->folder, "bundle/config.json", config, strlen(config), 0600, false, err);
}

/* Runs the runtime until the guest has answered and the runtime has ended. */
static int run(struct box *box, const struct box_start *start, struct guest *guest, struct guest_answer *answer,
	       int *listener, struct error *err)
{
	cleanup_close int pidfd = -1;
	struct error ignored;
	int status, result;
	pid_t runtime;

	failpoint("sandbox-runtime");
	runtime = guest_ping(guest, &guest_answer_callbacks, answer, err)
			  ? spawn_runtime(box, start, *listener, &pidfd, err) : -1;
	box_close_fd(listener); /* the guest has it: where it is gone, so is the link */
	box_close_fd(&start->uplink->alive[1]);
	if (runtime < 0)
		return -1;
	result = guest_await(guest, answer, pidfd, START_MS, err);
	if (!result)
		result = finish_start(box, start, err);
	if (spawn_wait(runtime, pidfd, result ? FAILED_MS : RUNTIME_MS, &status, result ? &ignored : err))
		result = -1;
	if (result && !box->pid)
		runtime_sentence(box, start->runtime, err);
	return result;
}

/* The guest's socket and a first connection to it, which waits there until the guest runs. */
static int open_link(struct box *box, int *listener, struct guest **guest, struct error *err)
{
	int connection;

	*listener = box_listen(box, err);
	connection = *listener < 0 ? -1 : box_connect(box, err);
	return connection < 0 ? -1 : box_attach(box, connection, guest, err);
}

int box_start(struct box *box, const struct box_start *start, struct guest **guest, struct error *err)
{
	cleanup_close int listener = -1;
	struct guest_answer answer = { false, 0 }; /* until the guest is detached or has answered */
	struct error ignored;
	int result;

	*guest = NULL;
	result = write_bundle(box, start, err) || open_link(box, &listener, guest, err) ||
		 run(box, start, *guest, &answer, &listener, err) ? -1 : 0;
	(void)unlinkat(box->folder, "bundle/config.json", 0); /* only a start needs it */
	if (!result)
		return 0;
	uplink_end(start->uplink);
	guest_detach(*guest);
	*guest = NULL;
	if (box->pid)
		(void)box_end(box, 0, &ignored);
	(void)box_reap(box, &ignored);
	return -1;
}

int box_adopt(struct box *box, struct guest **guest, struct error *err)
{
	struct guest_answer answer = { false, 0 };
	struct error ignored;
	int connection;

	*guest = NULL;
	box->pid = box_recorded(box);
	if (!box->pid)
		return 0;
	connection = box_connect(box, &ignored);
	/* Somebody else at its socket, or one that does not answer: box_reap will end it. */
	if (connection < 0 || box_peer(connection) != box->pid) {
		if (connection >= 0)
			(void)close(connection);
		box->pid = 0;
		return 0;
	}
	if (box_attach(box, connection, guest, err))
		return -1;
	if (guest_ping(*guest, &guest_answer_callbacks, &answer, &ignored) &&
	    !guest_await(*guest, &answer, -1, ANSWER_MS, &ignored))
		return 1;
	guest_detach(*guest);
	*guest = NULL;
	box->pid = 0;
	return 0;
}
