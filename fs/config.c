/* See config.h. What is decided here is decided in memory at once, so that whatever the kernel asks
 * next sees it; the storage thread writes it down in the same order. */
#include "fs/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "fs/coming.h"
#include "fs/files.h"
#include "fs/mount.h"
#include "fs/supervise.h"
#include "fs/workspaces.h"

void verdict_clear(struct verdict *verdict)
{
	cJSON_Delete(verdict->fields);
	cJSON_Delete(verdict->references);
	memset(verdict, 0, sizeof *verdict);
}

static const char *sha_in_force(struct object *object)
{
	if (!object->sha) {
		cJSON *spec = object_spec(object);
		const char *sha = json_string(spec, "text_sha256");

		object->sha = strdup(sha ? sha : "");
		cJSON_Delete(spec);
	}
	return object->sha ? object->sha : "";
}

bool config_exists(struct object *object)
{
	return sha_in_force(object)[0] != '\0';
}

static bool runs(const struct object *object)
{
	return object->want.what == WANT_RUN && !object_at_rest(object);
}

/* "line 3: there is no workspace 'x'; …" */
static int at_line(const char *text, size_t n, const struct fault *fault, struct error *err)
{
	size_t line = judge_line(text, n, fault);

	if (line)
		(void)error_wrap(err, "line %zu", line);
	return -1;
}

static int refuse_frozen(const char *text, size_t n, const char *field, struct error *err)
{
	const struct fault fault = { field, -1 };

	(void)error_set(err, EBUSY, "%s cannot change while it runs: stop it first", field);
	return at_line(text, n, &fault, err);
}

static int judge_config(const struct node *node, const char *text, size_t n, struct verdict *v)
{
	struct fault fault = { NULL, -1 };
	const char *frozen = NULL;

	if (judge(node->row->fields, text, n, true, &v->fields, &v->error) < 0)
		return -1;
	if (!v->fields)
		return 0;
	v->references = cJSON_CreateObject();
	if (!v->references)
		return error_memory(&v->error);
	if (node->row->complete && node->row->complete(text, n, v->fields, &fault, &v->error) < 0)
		return at_line(text, n, &fault, &v->error);
	if (node->row->check && node->row->check(node, v->fields, true, v->references, &fault, &v->error) < 0)
		return at_line(text, n, &fault, &v->error);
	if (node->object && runs(node->object)) {
		cJSON *spec = object_spec(node->object);
		const cJSON *old = cJSON_GetObjectItemCaseSensitive(spec, "fields");

		if (old)
			frozen = judge_frozen(node->row->fields, old, v->fields);
		cJSON_Delete(spec);
	}
	return frozen ? refuse_frozen(text, n, frozen, &v->error) : 0;
}

void config_judge(const struct node *node, const char *text, size_t n, struct verdict *v)
{
	int r = 0;

	verdict_clear(v);
	if (node->row->fields)
		r = judge_config(node, text ? text : "", n, v);
	else if (node->row->judge)
		r = node->row->judge(node, text ? text : "", n, true, &v->error);
	if (r < 0) {
		v->code = v->error.code ? v->error.code : EINVAL;
		cJSON_Delete(v->fields);
		cJSON_Delete(v->references);
		v->fields = v->references = NULL;
	}
}

/* Whether a field has a line of its own in the text. */
static bool is_mentioned(const char *text, size_t n, const char *name)
{
	size_t length = strlen(name);

	for (const char *line = text; line; line = memchr(line, '\n', (size_t)(text + n - line))) {
		line += line != text;
		if ((size_t)(text + n - line) > length && !strncmp(line, name, length) && line[length] == ':')
			return true;
	}
	return false;
}

/* A field that cannot change while the object runs, and that the text has changed for good. */
static const char *find_frozen(const struct node *node, const char *text, size_t n, const cJSON *fields)
{
	cJSON *spec = object_spec(node->object);
	const cJSON *old = cJSON_GetObjectItemCaseSensitive(spec, "fields");
	const char *frozen = NULL;

	for (const struct field *f = node->row->fields; old && f->name && !frozen; f++) {
		const cJSON *now = cJSON_GetObjectItemCaseSensitive(fields, f->name);
		const cJSON *then = cJSON_GetObjectItemCaseSensitive(old, f->name);

		/* A list or a mapping may go on in the next line. */
		if (!f->alive && now && then && !cJSON_IsArray(now) && !cJSON_IsObject(now) &&
		    is_mentioned(text, n, f->name) && !cJSON_Compare(now, then, true))
			frozen = f->name;
	}
	cJSON_Delete(spec);
	return frozen;
}

int config_early(const struct node *node, const char *text, size_t n, struct error *err)
{
	const char *end = n ? memrchr(text, '\n', n) : NULL, *frozen;
	cJSON *fields = NULL, *references = NULL;
	struct fault fault = { NULL, -1 };
	struct error unfinished;
	int result = 0;

	if (!end || n > JUDGE_EARLY_MAX || text[strspn(text, " \n")] == '{')
		return 0;
	n = (size_t)(end - text) + 1;
	if (judge(node->row->fields, text, n, true, &fields, &unfinished) < 0 || !fields)
		return 0; /* the rest may make it right */
	references = cJSON_CreateObject();
	if (node->row->complete && node->row->complete(text, n, fields, &fault, err) < 0)
		result = at_line(text, n, &fault, err);
	else if (references && node->row->check && node->row->check(node, fields, false, references, &fault, err) < 0)
		result = at_line(text, n, &fault, err);
	else if (node->object && runs(node->object) && (frozen = find_frozen(node, text, n, fields)))
		result = refuse_frozen(text, n, frozen, err);
	cJSON_Delete(references);
	cJSON_Delete(fields);
	return result;
}

/* What is on its way to the disk. */
struct step {
	struct object *object; /* pinned */
	int folder;
	char *spec;            /* spec.json's new text, NULL to leave it */
	char *message;         /* a new file of inbox/ */
	char *kept;            /* the path of a message that becomes one */
	enum want_what what;   /* WANT_NOTHING: want stays */
	struct want want;
	void (*finish)(void *data, int result, const struct error *error);
	void *data;
};

static void step_free(struct step *s)
{
	object_unpin(s->object);
	if (s->folder >= 0)
		(void)close(s->folder);
	free(s->spec);
	free(s->message);
	free(s->kept);
	free(s);
}

/* The next number of inbox/, from a text or from a kept file. Messages are in order of their closes. */
static int put_message(int folder, const char *text, const char *kept, struct error *err)
{
	unsigned long last = 0;
	cleanup_dir DIR *dir = NULL;
	struct dirent *entry;
	char path[64];

	if (file_make_folder(folder, "inbox", 0700, err) < 0)
		return -1;
	dir = file_list(folder, "inbox", 0);
	if (!dir)
		return error_errno(err, "inbox");
	while ((entry = readdir(dir))) {
		unsigned long n = strtoul(entry->d_name, NULL, 10);

		if (n > last)
			last = n;
	}
	(void)snprintf(path, sizeof path, "inbox/%06lu.json", last + 1);
	if (!kept)
		return file_replace(folder, path, text, strlen(text), 0600, true, err);
	if (renameat(folder, kept, folder, path) < 0)
		return error_errno(err, "%s", kept);
	return file_sync_folder(folder, "inbox", err);
}

static int step_work(void *data, struct error *err)
{
	struct step *s = data;

	if (s->spec && file_replace(s->folder, "spec.json", s->spec, strlen(s->spec), 0600, true, err) < 0)
		return -1;
	failpoint("mount-spec");
	if ((s->message || s->kept) && put_message(s->folder, s->message, s->kept, err) < 0)
		return -1;
	failpoint("mount-want");
	if (s->what != WANT_NOTHING &&
	    supervise_want(objects_state(), s->object->kind, s->object->serial, s->what, &s->want, err) < 0)
		return -1;
	return 0;
}

static void step_finish(void *data, int result, const struct error *error)
{
	struct step *s = data;
	struct object *object = s->object;

	if (s->spec)
		object->workspace = 0;
	if (result) {
		refuse(object, error);
		if (s->spec) { /* what is in force is on the disk */
			free(object->sha);
			object->sha = NULL;
		}
		if (s->what != WANT_NOTHING)
			object->want.generation--; /* it never came to be */
		files_object_changed(object);
	} else {
		if (s->spec)
			workspace_users_changed();
		if (s->what != WANT_NOTHING && s->want.generation > object->want.generation)
			object->want.generation = s->want.generation;
	}
	if (!object->removed)
		supervise_poke(mount_supervisor(), object->kind, object->serial);
	if (s->finish)
		s->finish(s->data, result, error);
	if (!--object->deciding)
		coming_arrived();
	step_free(s);
}

/* Takes spec, message and kept, also when it fails. */
static int submit(struct object *object, char *spec, char *message, char *kept, enum want_what what,
		  void (*finish)(void *data, int result, const struct error *error), void *data)
{
	struct step *s = calloc(1, sizeof *s);
	int folder = object_folder_fd(object);

	if (!s) {
		free(spec);
		free(message);
		free(kept);
		return -1;
	}
	*s = (struct step){ .object = object, .spec = spec, .message = message, .kept = kept, .what = what, .finish = finish,
			    .data = data, .folder = folder < 0 ? -1 : fcntl(folder, F_DUPFD_CLOEXEC, 0) };
	object_pin(object);
	if (s->folder < 0 || in_storage(step_work, step_finish, s) < 0) {
		step_free(s);
		return -1;
	}
	object->deciding++;
	supervise_expect(mount_supervisor(), object->kind, object->serial);
	if (what != WANT_NOTHING) {
		object->want.generation++;
		object->want.what = what;
		(void)clock_gettime(CLOCK_REALTIME, &object->wanted);
		files_object_changed(object);
	}
	return 0;
}

int object_want(struct object *object, enum want_what what, void (*finish)(void *data, int result,
		const struct error *error), void *data)
{
	return submit(object, NULL, NULL, NULL, what, finish, data);
}

int object_message(struct object *object, cJSON *json, void (*finish)(void *data, int result,
		   const struct error *error), void *data)
{
	char *text = json ? cJSON_PrintUnformatted(json) : NULL;

	cJSON_Delete(json);
	return text ? submit(object, NULL, text, NULL, WANT_RUN, finish, data) : -1;
}

int object_message_kept(struct object *object, const char *path)
{
	char *kept = strdup(path);

	return kept ? submit(object, NULL, NULL, kept, WANT_RUN, NULL, NULL) : -1;
}

static int recover(void *context, struct object *object)
{
	int folder = object_folder_fd(object);
	cleanup_dir DIR *dir = folder < 0 ? NULL : file_list(folder, "inbox", 0);
	struct stat wanted = { .st_mtim = { 0, 0 } }, st;
	bool unwanted = false;
	struct dirent *entry;

	(void)context;
	if (!dir)
		return 0;
	(void)fstatat(folder, "want", &wanted, 0);
	while ((entry = readdir(dir))) {
		char path[300];

		(void)snprintf(path, sizeof path, "inbox/%s", entry->d_name);
		if (!strncmp(path, MESSAGE_KEPT, sizeof MESSAGE_KEPT - 1) && path[strlen(path) - 1] != '~')
			(void)object_message_kept(object, path);
		else if (entry->d_name[0] != '.' && !fstatat(dirfd(dir), entry->d_name, &st, 0) &&
			 (st.st_mtim.tv_sec > wanted.st_mtim.tv_sec || (st.st_mtim.tv_sec == wanted.st_mtim.tv_sec &&
			  st.st_mtim.tv_nsec > wanted.st_mtim.tv_nsec)))
			unwanted = true;
	}
	if (unwanted && object_at_rest(object))
		(void)object_want(object, WANT_RUN, NULL, NULL);
	return 0;
}

void messages_recover(void)
{
	(void)objects_each(OBJECT_SESSION, recover, NULL);
}

static char *spec_text(uint64_t generation, const char *sha, const struct verdict *v)
{
	cJSON *spec = cJSON_CreateObject();
	char *text = NULL;

	if (spec && cJSON_AddNumberToObject(spec, "generation", (double)generation) &&
	    cJSON_AddStringToObject(spec, "text_sha256", sha) &&
	    cJSON_AddItemReferenceToObject(spec, "fields", v->fields) &&
	    cJSON_AddItemReferenceToObject(spec, "references", v->references))
		text = cJSON_PrintUnformatted(spec);
	cJSON_Delete(spec);
	return text;
}

void config_take(struct object *object, const char *text, size_t n, const struct verdict *v)
{
	bool rests = object_at_rest(object), starts;
	char sha[SHA256_HEX_SIZE], *spec;

	if (!v->fields) /* an empty text starts nothing */
		return;
	sha256_hex(text ? text : "", n, sha, sizeof sha);
	if (!strcmp(sha, sha_in_force(object)) && (!rests || object->kind == OBJECT_SESSION))
		return;
	/* A session starts with its first message; a workspace looks again, and a wait waits for that. */
	starts = object->kind != OBJECT_SESSION && (rests || object->want.what != WANT_RUN || object->kind == OBJECT_WORKSPACE);
	spec = spec_text(object->want.generation + starts, sha, v);
	if (!spec || submit(object, spec, NULL, NULL, starts ? WANT_RUN : WANT_NOTHING, NULL, NULL) < 0) {
		struct error err;

		(void)error_memory(&err);
		refuse(object, &err);
		return;
	}
	free(object->sha);
	object->sha = strdup(sha);
}

/* The stored text of an object's config, and its row. 0, or -1 when there is none. */
static int read_config(struct object *object, struct node *node, struct buffer *text)
{
	struct row *directory = tree_object_row(object->kind);
	struct error err;

	*node = (struct node){ .object = object };
	for (struct row *row = directory ? directory->rows : NULL; row && row->name; row++)
		if (row->kind == FILE_DOCUMENT && row->fields)
			node->row = row;
	return node->row && !node_read(node, text, &err) && text->length ? 0 : -1;
}

void config_unjudged(struct object *object)
{
	cleanup_buffer struct buffer text = BUFFER(DOCUMENT_MAX);
	struct verdict v = { .code = 0 };
	struct node node;

	if (read_config(object, &node, &text) < 0)
		return;
	config_judge(&node, text.data, text.length, &v);
	if (v.code)
		refuse(object, &v.error);
	else
		config_take(object, text.data, text.length, &v);
	verdict_clear(&v);
}

/* -1: it is refused; 0: it says nothing; 1: it would be accepted, and *v is what it means. */
static int judge_again(struct object *object, struct buffer *text, struct verdict *v, struct error *err)
{
	struct node node;

	if (read_config(object, &node, text) < 0)
		return 0;
	config_judge(&node, text->data, text->length, v);
	if (!v->code)
		return v->fields ? 1 : 0;
	*err = v->error;
	err->code = v->code;
	return -1;
}

static int say_acceptable(struct error *err)
{
	return error_set(err, EINVAL, "its config was refused, and would be accepted now: write it again");
}

int config_try_again(struct object *object, bool take, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(DOCUMENT_MAX);
	struct verdict v = { .code = 0 };
	int result = judge_again(object, &text, &v, err);

	if (result == 0)
		result = error_set(err, EINVAL, "it has no config yet");
	else if (result > 0 && !take)
		result = say_acceptable(err);
	else if (result > 0)
		config_take(object, text.data, text.length, &v);
	verdict_clear(&v);
	return result < 0 ? -1 : 0;
}

bool config_refused(struct object *object, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(DOCUMENT_MAX);
	struct verdict v = { .code = 0 };
	char sha[SHA256_HEX_SIZE];
	int result = config_exists(object) ? judge_again(object, &text, &v, err) : 0;

	if (result) {
		sha256_hex(text.data, text.length, sha, sizeof sha);
		if (!strcmp(sha, sha_in_force(object)))
			result = 0;
	}
	if (result > 0)
		(void)say_acceptable(err);
	verdict_clear(&v);
	return result != 0;
}
