/* A container that somebody else has started becomes a sandbox, and stays theirs: `adopt`. A guest is put
 * into it as a file with a name that nobody guesses and run there by the engine, as the container's own
 * user (backend/guest/engine.c: `adopted`). When the sandbox ends, the guest ends what it has started and
 * goes, and so does its file; the container runs on.
 *
 *      ADOPTED, in the sandbox's folder: {"container": its whole id, "name", "file", "token", "exec", "left"}
 *
 * It is written before anything is put in. "file" is "" while nothing of ours is there, "exec" while the
 * guest has not begun; "left" is a file in a container that was stopped, for when it runs again. Everything that comes from the container is foreign; what the engine tells of it (its
 * name, its labels) others have chosen. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "backend/sandbox/tar.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "base/program.h"

#define ADOPTED "adopted"
#define RECORD_MAX 4096
#define ANSWER_MS 10000
#define GONE_MS 20000 /* for what hangs: a guest that was asked to end, its file, its container */
#define LOOK_MS 10
/* What is below it could be a file system that never answers: others may have any right there. */
#define NO_ROOT "not available: the container is somebody else's"

struct adopted {
	char container[72], name[128], file[96], token[33], exec[72], left[96];
};

static const struct { const char *name; size_t offset, size; } members[] = {
#define MEMBER(m) { #m, offsetof(struct adopted, m), sizeof ((struct adopted *)0)->m }
	MEMBER(container), MEMBER(name), MEMBER(file), MEMBER(token), MEMBER(exec), MEMBER(left),
};
#define MEMBERS (sizeof members / sizeof *members)

/* false: there is none. */
static bool read_record(int folder, struct adopted *a)
{
	cleanup_buffer struct buffer text = BUFFER(RECORD_MAX);
	cleanup_json cJSON *json = NULL;
	struct error ignored;

	*a = (struct adopted){ .container = "" };
	if (file_read(folder, ADOPTED, &text, &ignored) || !text.length)
		return false;
	json = cJSON_ParseWithLength(text.data, text.length);
	for (size_t i = 0; i < MEMBERS; i++)
		(void)snprintf((char *)a + members[i].offset, members[i].size, "%s", json_word(json, members[i].name));
	return *a->container;
}

static int write_record(const struct sandbox *s, const struct adopted *a, struct error *err)
{
	cleanup_json cJSON *json = cJSON_CreateObject();
	cleanup_free char *text = NULL;

	for (size_t i = 0; i < MEMBERS; i++)
		if (!cJSON_AddStringToObject(json, members[i].name, (const char *)a + members[i].offset))
			return error_memory(err);
	text = cJSON_PrintUnformatted(json);
	return text ? file_replace(s->folder, ADOPTED, text, strlen(text), 0600, true, err) : error_memory(err);
}

bool docker_is_adopted(const struct sandbox *s)
{
	return sandbox_text(s, "adopt") || !faccessat(s->folder, ADOPTED, F_OK, 0);
}

void docker_adopted_forget(struct sandbox *s)
{
	(void)unlinkat(s->folder, ADOPTED, 0);
}

int docker_adopted_lacks(const char *what, struct error *err)
{
	return error_set(err, ENOTSUP, "a container that was adopted has no %s: it is not ours to change", what);
}

/* ---- which container ---- */

static int inspect(const struct sandbox *s, const char *container, bool uncancelled, struct engine_answer *answer,
		   struct error *err)
{
	cleanup_free char *escaped = engine_escape(container), *path = escaped ? docker_path(escaped, "/json") : NULL;
	struct engine_request request = { .method = "GET", .path = path, .uncancelled = uncancelled };

	return path ? engine_call(docker_own(s)->engine, &request, answer, err) : error_memory(err);
}

static bool runs(const cJSON *container)
{
	return cJSON_IsTrue(docker_member(container, "State", "Running"));
}

static int check_state(const cJSON *container, const char *asked, struct error *err)
{
	const char *status = json_word(docker_member(container, "State", NULL), "Status");
	const char *pids = json_word(docker_member(container, "HostConfig", NULL), "PidMode");

	if (cJSON_IsTrue(docker_member(container, "State", "Paused")) || !strcmp(status, "paused"))
		return error_set(err, EBUSY, "adopt: the container %s is paused: have it go on first", asked);
	if (!runs(container))
		return error_set(err, ENOTCONN, "adopt: the container %s does not run (it is %.20s): start it first", asked,
				 *status ? status : "stopped");
	/* Which processes are the container's cannot be told there. */
	if (*pids && strcmp(pids, "private") != 0)
		return error_set(err, ENOTSUP, "adopt: the container %s has not its own processes (its PidMode is %.40s)", asked, pids);
	return 0;
}

/* What interpfs has made is somebody's already. */
static int check_owner(const struct sandbox *s, const cJSON *container, const char *asked, struct error *err)
{
	const cJSON *labels = docker_member(container, "Config", "Labels");
	const char *state = json_word(labels, DOCKER_STATE), *kind = json_word(labels, DOCKER_KIND);
	char name[256];

	if (!*state)
		return 0;
	if (strcmp(state, s->state->id) != 0)
		return error_set(err, EBUSY, "adopt: the container %s is of another state directory of interpfs", asked);
	if (strcmp(kind, "sandbox") != 0)
		return error_set(err, EBUSY, "adopt: something is being made in the container %s by interpfs itself", asked);
	if (things_name(s->state, strtoull(json_word(labels, DOCKER_SERIAL), NULL, 10), name))
		return error_set(err, EBUSY, "adopt: the container %s is that of sandboxes/%s: use that", asked, name);
	return error_set(err, EBUSY, "adopt: the container %s was made by interpfs for a sandbox that is gone", asked);
}

struct search {
	const struct sandbox *s;
	const char *container;
	uint64_t found;
};

static int has_adopted(void *context, uint64_t serial)
{
	struct search *search = context;
	struct adopted other;
	struct error ignored;
	cleanup_close int folder = serial == search->s->serial ? -1 : object_open(search->s->state, OBJECT_SANDBOX, serial, &ignored);

	if (folder < 0 || !read_record(folder, &other) || !*other.file || strcmp(other.container, search->container) != 0)
		return 0;
	search->found = serial;
	return 1;
}

/* One at a time: two would be in each other's way at /run/interpfs. */
static int check_others(const struct sandbox *s, const char *container, const char *asked, struct error *err)
{
	struct search search = { s, container, 0 };
	char name[256];

	if (state_each_serial(s->state, OBJECT_SANDBOX, has_adopted, &search, err) < 0)
		return -1;
	if (!search.found)
		return 0;
	(void)things_name(s->state, search.found, name);
	return error_set(err, EBUSY, "adopt: the container %s is adopted by sandboxes/%s already: stop that first", asked, name);
}

static bool is_hex(const char *text)
{
	return *text && !text[strspn(text, "0123456789abcdef")];
}

static int make_names(struct adopted *a, struct error *err)
{
	unsigned char bytes[(sizeof a->token - 1) / 2];

	if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
		return error_errno(err, "a name for the guest");
	for (size_t i = 0; i < sizeof bytes; i++)
		(void)snprintf(a->token + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

/* Where the file is put, best first: most have /run; of nothing but one program, / is left. */
static const char *const places[] = { "/run", "/tmp", "/var/tmp", "/", NULL };

static void name_file(struct adopted *a, const char *place)
{
	(void)snprintf(a->file, sizeof a->file, "%s/interpfs-guest-%s", strcmp(place, "/") ? place : "", a->token);
}

/* Taken under a lock, until the record says so. */
static int take(struct sandbox *s, const cJSON *container, const char *asked, struct error *err)
{
	struct adopted a = { .container = "" }, before;
	const char *id = json_word(container, "Id"), *name = json_word(container, "Name");
	cleanup_close int lock = -1;

	if (!is_hex(id) || strlen(id) >= sizeof a.container)
		return error_set(err, EPROTO, "adopt: the engine does not tell the id of the container %s", asked);
	(void)snprintf(a.container, sizeof a.container, "%s", id);
	(void)snprintf(a.name, sizeof a.name, "%s", *name == '/' ? name + 1 : name);
	if (file_make_folder(s->state->fd, "docker", 0700, err))
		return -1;
	lock = docker_lock(s, "adopt", err);
	if (lock < 0 || check_others(s, id, asked, err) || make_names(&a, err))
		return -1;
	name_file(&a, places[0]);
	if (read_record(s->folder, &before) && !strcmp(before.container, a.container))
		memcpy(a.left, before.left, sizeof a.left);
	return write_record(s, &a, err);
}

static void tell(const struct sandbox *s)
{
	struct adopted a;
	char id[sizeof a.container + 2];

	if (!read_record(s->folder, &a))
		return;
	(void)snprintf(id, sizeof id, "%s\n", a.container);
	s->host->value(s->host->context, "id", id);
}

int docker_adopted_prepare(struct sandbox *s, struct error *err)
{
	cleanup_answer struct engine_answer answer = { 0, NULL };
	const char *asked = sandbox_text(s, "adopt");
	struct error why;

	if (inspect(s, asked, false, &answer, &why))
		return why.code == ENOENT ? error_set(err, ENOENT, "adopt: there is no container %s on %s", asked, engine_told(docker_own(s)->engine))
					  : error_set(err, why.code, "adopt: %s", why.text);
	if (check_owner(s, answer.json, asked, err) || check_state(answer.json, asked, err) || docker_record_engine(s, err) ||
	    take(s, answer.json, asked, err))
		return -1;
	tell(s);
	return 0;
}

/* ---- the guest ---- */

/* What Docker unpacks there is below what is mounted, for nobody to see. */
static bool is_hidden(const struct sandbox *s, const cJSON *container, const char *place)
{
	const cJSON *mount;

	if (engine_is_podman(docker_own(s)->engine))
		return false;
	if (cJSON_GetObjectItemCaseSensitive(docker_member(container, "HostConfig", "Tmpfs"), place))
		return true;
	cJSON_ArrayForEach(mount, docker_member(container, "Mounts", NULL))
		if (!strcmp(json_word(mount, "Type"), "tmpfs") && !strcmp(json_word(mount, "Destination"), place))
			return true;
	return false;
}

static int upload(const struct sandbox *s, const struct adopted *a, struct error *err)
{
	cleanup_tar struct tar *tar = tar_new(err);
	cleanup_free char *program = program_guest(), *path = NULL;
	struct engine_request request = { .method = "PUT", .read = tar_read, .context = tar };
	const char *name = strrchr(a->file, '/') + 1;

	if (!tar)
		return -1;
	if (!program || asprintf(&path, "/containers/%s/archive?path=%.*s", a->container,
				 name - a->file > 1 ? (int)(name - a->file) - 1 : 1, a->file) < 0) {
		path = NULL;
		return error_memory(err);
	}
	request.path = path;
	return tar_add_file(tar, program, name, 0755, err) ? -1 : engine_call(docker_own(s)->engine, &request, NULL, err);
}

enum guest_life { GUEST_UNKNOWN, GUEST_RUNS, GUEST_ENDED };

/* What the engine says of the guest's exec; it forgets one that has ended after some minutes. */
static enum guest_life look(const struct sandbox *s, const struct adopted *a, int *exit)
{
	cleanup_answer struct engine_answer answer = { 0, NULL };
	cleanup_free char *path = NULL;
	struct engine_request request = { .method = "GET", .uncancelled = true };
	struct error ignored;

	*exit = -1;
	if (!*a->exec || asprintf(&path, "/exec/%s/json", a->exec) < 0)
		return GUEST_UNKNOWN;
	request.path = path;
	if (engine_call(docker_own(s)->engine, &request, &answer, &ignored))
		return GUEST_UNKNOWN;
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer.json, "Running")))
		return GUEST_RUNS;
	*exit = (int)json_number(answer.json, "ExitCode", -1);
	return GUEST_ENDED;
}

static enum guest_life await(const struct sandbox *s, const struct adopted *a, int timeout_ms, int *exit)
{
	long long end = clock_ms() + timeout_ms;
	enum guest_life life;

	while ((life = look(s, a, exit)) == GUEST_RUNS && clock_ms() < end)
		(void)poll(NULL, 0, LOOK_MS);
	return life;
}

static int begin(struct sandbox *s, struct adopted *a, struct guest **guest, struct error *err)
{
	const char *const words[] = { a->file, "adopted", a->token, NULL };
	cleanup_free char *exec = NULL;
	int exit;

	if (docker_make_exec(s, a->container, words, false, &exec, err))
		return -1;
	(void)snprintf(a->exec, sizeof a->exec, "%s", exec);
	if (write_record(s, a, err))
		return -1;
	failpoint("docker-adopting");
	if (!docker_link_exec(s, a->exec, false, guest, err))
		return 0;
	/* What the engine says of a program that it cannot run comes where the guest's words would. */
	if (err->code == ECANCELED || await(s, a, LOOK_MS, &exit) != GUEST_ENDED)
		return -1;
	return error_set(err, ENOEXEC, "the guest cannot be run as %s (status %d)", a->file, exit);
}

static bool has_file(const struct sandbox *s, const struct adopted *a, const char *file)
{
	cleanup_free char *path = NULL;
	struct engine_request request = { .method = "HEAD", .uncancelled = true };
	struct error ignored;

	if (asprintf(&path, "/containers/%s/archive?path=%s", a->container, file) < 0)
		return false;
	request.path = path;
	return !engine_call(docker_own(s)->engine, &request, NULL, &ignored);
}

/* The guest does it itself, where its user may. Whether a program could be run there. */
static bool remove_file(struct sandbox *s, const struct adopted *a, const char *file)
{
	const char *const words[] = { file, "remove", NULL };
	long long end = clock_ms() + GONE_MS;
	cleanup_free char *id = NULL;
	struct error ignored;
	bool there = has_file(s, a, file);

	if (!there || docker_make_exec(s, a->container, words, true, &id, &ignored) || docker_run_exec(s, id, &ignored))
		return false;
	/* Podman does not tell when one of which nobody hears has ended. */
	while ((there = has_file(s, a, file)) && clock_ms() < end)
		(void)poll(NULL, 0, LOOK_MS);
	return !there;
}

static int remove_left(struct sandbox *s, struct adopted *a, struct error *err)
{
	if (!*a->left)
		return 0;
	(void)remove_file(s, a, a->left);
	a->left[0] = '\0';
	return write_record(s, a, err);
}

int docker_adopted_start(struct sandbox *s, struct guest **guest, struct error *err)
{
	cleanup_answer struct engine_answer answer = { 0, NULL };
	struct adopted a;
	char line[160];
	struct error why;
	bool tried = false, put;

	*guest = NULL;
	if (!read_record(s->folder, &a))
		return error_set(err, ENOENT, "adopt: no container was found");
	if (inspect(s, a.container, false, &answer, err))
		return error_wrap(err, "adopt");
	if (remove_left(s, &a, err))
		return -1;
	for (size_t i = 0; places[i]; i++) {
		if (is_hidden(s, answer.json, places[i]))
			continue;
		name_file(&a, places[i]);
		a.exec[0] = '\0';
		if (write_record(s, &a, err))
			return -1;
		failpoint("docker-adopted");
		put = !upload(s, &a, &why);
		if (put && !begin(s, &a, guest, &why)) {
			(void)snprintf(line, sizeof line, "adopts the container %.60s (%.12s), which runs on when this sandbox ends", a.name, a.container);
			sandbox_say(s, line);
			guest_lead_to_root(*guest, -1, NO_ROOT);
			return 0;
		}
		if (put ? why.code != ENOEXEC : why.code == ECANCELED || why.code == ENOMEM || why.code == ETIMEDOUT) {
			*err = why;
			return error_wrap(err, "adopt");
		}
		/* The first refusal says most: what follows may only be missing. */
		if (!tried)
			*err = why;
		tried = true;
	}
	if (!tried)
		(void)error_set(err, EROFS, "each of them is a tmpfs, into which the engine puts nothing");
	return error_wrap(err, "adopt: the guest cannot be put into the container %.60s, at /run, /tmp, /var/tmp or /", a.name);
}

/* One more link to a guest that runs, or may. Its file may have been tidied away. */
static int connect_guest(struct sandbox *s, const struct adopted *a, struct guest **guest, struct error *err)
{
	const char *const words[] = { a->file, "connect", a->token, NULL };

	for (bool again = false;; again = true) {
		cleanup_free char *id = NULL;

		if (!docker_make_exec(s, a->container, words, false, &id, err) && !docker_link_exec(s, id, true, guest, err))
			return 0;
		if (again || err->code == ECANCELED || (!has_file(s, a, a->file) && upload(s, a, err)))
			return -1;
	}
}

int docker_adopted_find(struct sandbox *s, struct guest **guest, struct error *err)
{
	cleanup_answer struct engine_answer answer = { 0, NULL };
	struct adopted a;
	struct error why;
	int exit;

	*guest = NULL;
	if (!read_record(s->folder, &a) || !*a.file)
		return 0;
	if (inspect(s, a.container, false, &answer, &why)) {
		*err = why;
		return why.code == ENOENT ? 0 : -1;
	}
	if (!runs(answer.json) || look(s, &a, &exit) == GUEST_ENDED)
		return 0;
	tell(s);
	if (!connect_guest(s, &a, guest, &why)) {
		guest_lead_to_root(*guest, -1, NO_ROOT);
		return 1;
	}
	*err = why;
	if (why.code == ECANCELED)
		return -1;
	/* The engine answers, and no guest does: it ended, with nobody there to see how. An engine that was started
	 * again may tell for ever that it runs. */
	engine_answer_free(&answer);
	answer = (struct engine_answer){ 0, NULL };
	if (inspect(s, a.container, false, &answer, err))
		return err->code == ENOENT ? 0 : -1;
	if (!runs(answer.json) || why.code == ECONNRESET || look(s, &a, &exit) != GUEST_RUNS)
		return 0;
	*err = why;
	return -1;
}

/* ---- letting go ---- */

/* A guest that nobody is linked to any more is told to end. false: there is none. */
static bool quit(struct sandbox *s, const struct adopted *a)
{
	struct guest_answer answer = { false, 0 };
	struct guest *guest = NULL;
	struct error ignored;

	if (connect_guest(s, a, &guest, &ignored))
		return false;
	if (guest_quit(guest, &guest_answer_callbacks, &answer, &ignored))
		(void)guest_await(guest, &answer, -1, ANSWER_MS, &ignored);
	guest_detach(guest);
	return true;
}

static bool ended_itself(int exit)
{
	return exit == 0 || exit == 124 || exit == 125;
}

static enum sandbox_end_kind tell_end(const struct adopted *a, const cJSON *container, int exit, char why[256])
{
	const cJSON *state = docker_member(container, "State", NULL);

	if (ended_itself(exit))
		return exit == 0 ? SANDBOX_STOPPED : exit == 124 ? SANDBOX_TIMEOUT : SANDBOX_IDLE;
	if (!container)
		(void)snprintf(why, 256, "the container %.60s was removed", a->name);
	else if (!runs(container) && cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(state, "OOMKilled")))
		(void)snprintf(why, 256, "the container %.60s has ended: it was out of memory", a->name);
	else if (!runs(container))
		(void)snprintf(why, 256, "the container %.60s has ended (status %.0f)", a->name, json_number(state, "ExitCode", -1));
	else if (exit > 0)
		(void)snprintf(why, 256, "its guest was ended in the container %.60s, which runs on (status %d)", a->name, exit);
	else
		(void)snprintf(why, 256, "its guest has ended in the container %.60s, which runs on; nobody saw why", a->name);
	return SANDBOX_DIED;
}

int docker_adopted_end(struct sandbox *s, int timeout_ms, enum sandbox_end_kind *kind, char why[256], struct error *err)
{
	cleanup_answer struct engine_answer answer = { 0, NULL };
	enum guest_life life;
	struct adopted a;
	struct error ignored;
	int exit = -1;

	*kind = SANDBOX_STOPPED;
	why[0] = '\0';
	if (!read_record(s->folder, &a) || !*a.file)
		return 0;
	if (inspect(s, a.container, true, &answer, err) && err->code != ENOENT)
		return -1;
	life = await(s, &a, timeout_ms, &exit);
	if (runs(answer.json)) {
		if (*a.exec && life != GUEST_ENDED && quit(s, &a) && await(s, &a, GONE_MS, &exit) == GUEST_RUNS)
			sandbox_say(s, "its guest does not end, and is left to itself in the container");
		/* What ends takes its guest along, and may be told as running for a moment: no program can be run in it. */
		if (!remove_file(s, &a, a.file) && *a.exec && !ended_itself(exit)) {
			(void)docker_await(s, a.container, "/wait", GONE_MS, &ignored);
			engine_answer_free(&answer);
			answer = (struct engine_answer){ 0, NULL };
			if (inspect(s, a.container, true, &answer, err) && err->code != ENOENT)
				return -1;
		}
	}
	*kind = tell_end(&a, answer.json, exit, why);
	failpoint("docker-let-go");
	if (answer.json && !runs(answer.json))
		memcpy(a.left, a.file, sizeof a.left);
	a.file[0] = a.exec[0] = a.token[0] = '\0';
	return write_record(s, &a, err);
}

int docker_adopted_describe(struct sandbox *s, cJSON *info, struct error *err)
{
	cleanup_answer struct engine_answer answer = { 0, NULL };
	struct adopted a;
	cJSON *adopted;

	if (!read_record(s->folder, &a))
		return error_set(err, ENOENT, "no container was adopted");
	if (inspect(s, a.container, false, &answer, err))
		return -1;
	adopted = cJSON_AddObjectToObject(info, "adopted");
	if (!cJSON_AddStringToObject(adopted, "name", a.name) ||
	    !cJSON_AddStringToObject(adopted, "end", "it is let go of, and runs on") ||
	    !cJSON_AddStringToObject(info, "backend", "docker") ||
	    !cJSON_AddStringToObject(info, "engine", engine_told(docker_own(s)->engine)) ||
	    !cJSON_AddStringToObject(info, "fs", NO_ROOT) || !cJSON_AddStringToObject(info, "container", a.container) ||
	    !cJSON_AddStringToObject(info, "image", json_word(docker_member(answer.json, "Config", NULL), "Image")) ||
	    !cJSON_AddStringToObject(info, "network", json_word(docker_member(answer.json, "HostConfig", NULL), "NetworkMode")) ||
	    !cJSON_AddItemToObject(info, "pid", cJSON_Duplicate(docker_member(answer.json, "State", "Pid"), true)))
		return error_memory(err);
	return 0;
}
