/* See show.h. Small files are read when they are asked for; nothing is kept. */
#include "fs/show.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "fs/files.h"
#include "fs/mount.h"
#include "fs/numbered.h"

#define SPEC_MAX (4u << 20)

struct object *show_reference(const cJSON *spec, const char *name)
{
	const cJSON *all = cJSON_GetObjectItemCaseSensitive(spec, "references");
	const cJSON *one = cJSON_GetObjectItemCaseSensitive(all, name);
	const cJSON *serial = cJSON_GetObjectItemCaseSensitive(one, "serial");
	struct object *object;

	if (!cJSON_IsNumber(serial) || serial->valuedouble < 1)
		return NULL;
	object = objects_by_serial((uint64_t)serial->valuedouble);
	return object && !object->removed ? object : NULL;
}

int show_references(const cJSON *spec, struct buffer *out)
{
	static const char *const names[] = { "notebook", "sandbox", "snapshot", "workspace" };
	size_t before = out->length;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const struct object *object = show_reference(spec, names[i]);

		if (object && buffer_format(out, "%s%s/%s", out->length > before ? "," : "",
					    object_folder[object->kind], object->name) < 0)
			return -1;
	}
	return 0;
}

bool has_file(const struct node *node, const char *path)
{
	int folder = node->object ? object_folder_fd(node->object) : -1;
	struct stat st;

	return folder >= 0 && !fstatat(folder, path, &st, AT_SYMLINK_NOFOLLOW) && st.st_size > 0;
}

/* ---- values ---- */

int show_state(const struct node *node, struct buffer *out, struct error *err)
{
	return buffer_format(out, "%s\n", object_state(node->object)) < 0 ? error_memory(err) : 0;
}

struct timespec show_state_time(struct object *object)
{
	double since = object->status.since;

	if (strcmp(object_state(object), object->status.state) && object->wanted.tv_sec)
		return object->wanted; /* decided, and not yet taken up */
	if (since <= 0)
		return object_made(object);
	return (struct timespec){ (time_t)since, (long)((since - (double)(time_t)since) * 1e9) };
}

void measure_state(const struct node *node, struct stat *st)
{
	st->st_size = (off_t)strlen(object_state(node->object)) + 1;
	st->st_mtim = show_state_time(node->object);
}

void measure_error(const struct node *node, struct stat *st)
{
	static const char *const files[] = { "refusal", "failure" };
	cleanup_buffer struct buffer text = BUFFER(64u << 10);
	int folder = object_folder_fd(node->object);
	struct error err;
	struct stat found;

	if (!show_error(node, &text, &err))
		st->st_size = (off_t)text.length;
	if (node->object->told.tv_sec) {
		st->st_mtim = node->object->told;
		return;
	}
	for (int i = 0; folder >= 0 && text.length && i < 2; i++)
		if (!fstatat(folder, files[i], &found, AT_SYMLINK_NOFOLLOW)) {
			st->st_mtim = found.st_mtim;
			return;
		}
}

int show_error(const struct node *node, struct buffer *out, struct error *err)
{
	static const char *const files[] = { "refusal", "failure" };
	int folder = object_folder_fd(node->object);

	if (refusal_unstored(node->object))
		return buffer_text(out, refusal_unstored(node->object)) < 0 ? error_memory(err) : 0;
	for (int i = 0; folder >= 0 && i < 2; i++) {
		cleanup_buffer struct buffer text = BUFFER(64u << 10);
		struct error unread;

		if (file_read(folder, files[i], &text, &unread) < 0 || !text.length)
			continue;
		if (buffer_append(out, text.data, text.length) < 0
		    || (text.data[text.length - 1] != '\n' && buffer_text(out, "\n") < 0))
			return error_memory(err);
		return 0;
	}
	return 0;
}

static bool is_later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static int print_json(const cJSON *json, struct buffer *out, struct error *err)
{
	cleanup_free char *text = cJSON_Print(json);

	return !text || buffer_format(out, "%s\n", text) < 0 ? error_memory(err) : 0;
}

/* Moves the members of `from` into `to`, unless `to` has them. */
static void merge(cJSON *to, cJSON *from)
{
	for (cJSON *member = from ? from->child : NULL, *next; member; member = next) {
		next = member->next;
		if (cJSON_GetObjectItemCaseSensitive(to, member->string))
			continue;
		(void)cJSON_DetachItemViaPointer(from, member);
		if (!cJSON_AddItemToObject(to, member->string, member))
			cJSON_Delete(member);
	}
}

/* References with the names of today. */
static cJSON *references_now(cJSON *spec)
{
	cJSON *all = cJSON_DetachItemFromObjectCaseSensitive(spec, "references");
	cJSON *one;

	cJSON_ArrayForEach(one, all) {
		const cJSON *serial = cJSON_GetObjectItemCaseSensitive(one, "serial");
		const struct object *object = cJSON_IsNumber(serial) ? objects_by_serial((uint64_t)serial->valuedouble) : NULL;
		cJSON *name = object && !object->removed ? cJSON_CreateString(object->name) : NULL;

		if (name && !cJSON_ReplaceItemInObjectCaseSensitive(one, "name", name))
			cJSON_Delete(name);
	}
	return all;
}

static int folder_path(const struct object *object, char **path)
{
	return asprintf(path, "%s/%s/%llu", objects_state()->path, object_folder[object->kind],
			(unsigned long long)object->serial);
}

int show_info(const struct node *node, struct buffer *out, struct error *err)
{
	struct object *object = node->object;
	cleanup_json cJSON *info = cJSON_CreateObject(), *spec = object_spec(object), *runners = object_json(object, "info.json");
	cJSON *config = spec ? cJSON_DetachItemFromObjectCaseSensitive(spec, "fields") : cJSON_CreateNull();
	cJSON *references = spec ? references_now(spec) : NULL;
	cleanup_free char *folder = NULL;

	if (!references)
		references = cJSON_CreateObject();
	if (!info || folder_path(object, &folder) < 0
	    || !cJSON_AddStringToObject(info, "kind", object_noun[object->kind])
	    || !cJSON_AddStringToObject(info, "name", object->name)
	    || !cJSON_AddNumberToObject(info, "serial", (double)object->serial)
	    || !cJSON_AddStringToObject(info, "folder", folder)
	    || !cJSON_AddStringToObject(info, "state", object_state(object))
	    || !cJSON_AddNumberToObject(info, "since", object->status.since)
	    || !cJSON_AddNumberToObject(info, "generation", (double)object->want.generation)) {
		cJSON_Delete(config);
		cJSON_Delete(references);
		return error_memory(err);
	}
	if (!cJSON_AddItemToObject(info, "config", config))
		cJSON_Delete(config);
	if (!cJSON_AddItemToObject(info, "references", references))
		cJSON_Delete(references);
	merge(info, runners);
	return print_json(info, out, err);
}

/* What it is made of: the config in force, what the runner found, and the state. */
void measure_info(const struct node *node, struct stat *st)
{
	static const char *const files[] = { "spec.json", "info.json" };
	cleanup_buffer struct buffer text = BUFFER(SPEC_MAX);
	int folder = object_folder_fd(node->object);
	struct stat found;
	struct error err;

	measure_state(node, st);
	for (int i = 0; folder >= 0 && i < 2; i++)
		if (!fstatat(folder, files[i], &found, AT_SYMLINK_NOFOLLOW) && is_later(found.st_mtim, st->st_mtim))
			st->st_mtim = found.st_mtim;
	if (!show_info(node, &text, &err))
		st->st_size = (off_t)text.length;
}

/* {"mcpServers":{NAME:{"command":"/…/interpfs","args":["mcp",FOLDER]}}} for an object, or for one of its
 * interfaces (number 0: for itself). */
static int put_server(const struct object *object, const char *name, unsigned number, struct buffer *out, struct error *err)
{
	cleanup_json cJSON *whole = cJSON_CreateObject();
	cJSON *servers = whole ? cJSON_AddObjectToObject(whole, "mcpServers") : NULL;
	cJSON *server = servers && object ? cJSON_AddObjectToObject(servers, name ? name : object->name) : NULL;
	cJSON *arguments, *one;
	cleanup_free char *folder = NULL, *below = NULL;
	char program[4096];
	ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);

	if (n < 0)
		return error_errno(err, "/proc/self/exe");
	program[n] = '\0';
	if (servers && !object)
		return print_json(whole, out, err);
	if (!server || folder_path(object, &folder) < 0 ||
	    (number && asprintf(&below, "%s/interfaces/%u", folder, number) < 0) || !cJSON_AddStringToObject(server, "command", program))
		return error_memory(err);
	arguments = cJSON_AddArrayToObject(server, "args");
	for (int i = 0; i < 2; i++) {
		one = cJSON_CreateString(i ? number ? below : folder : "mcp");
		if (!cJSON_AddItemToArray(arguments, one)) {
			cJSON_Delete(one);
			return error_memory(err);
		}
	}
	return print_json(whole, out, err);
}

int show_mcp(const struct node *node, struct buffer *out, struct error *err)
{
	return put_server(node->object, NULL, 0, out, err);
}

int show_interface_mcp(const struct node *node, struct buffer *out, struct error *err)
{
	char name[256];

	if (numbered_name(node, "interfaces", name) < 0)
		return error_set(err, ENOENT, "the interface was removed");
	return put_server(node->object, name, node->index, out, err);
}

/* A session's server is that of the notebook, else of the sandbox, that it works in, or its interface. */
int show_session_mcp(const struct node *node, struct buffer *out, struct error *err)
{
	cleanup_json cJSON *spec = object_spec(node->object);
	const struct object *object = show_reference(spec, "notebook"), *server = show_reference(spec, "interface");
	struct node node_of_it = { .row = node->row, .object = (struct object *)server };
	char name[256];

	if (server) {
		const cJSON *one = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(spec, "references"), "interface");

		node_of_it.index = (uint32_t)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(one, "number"));
		if (numbered_name(&node_of_it, "interfaces", name) < 0)
			return error_set(err, ENOENT, "its interface was removed");
		return put_server(server, name, node_of_it.index, out, err);
	}
	return put_server(object ? object : show_reference(spec, "sandbox"), NULL, 0, out, err);
}

/* ---- links ---- */

static struct object *referred(const struct node *node, const char *name)
{
	cleanup_json cJSON *spec = object_spec(node->object);

	return show_reference(spec, name);
}

static int show_link(const struct node *node, const char *name, struct buffer *out, struct error *err)
{
	const struct object *object = referred(node, name);

	if (!object)
		return error_set(err, ENOENT, "there is no %s", name);
	return buffer_format(out, "../../%s/%s", object_folder[object->kind], object->name) < 0 ? error_memory(err) : 0;
}

int show_sandbox_link(const struct node *node, struct buffer *out, struct error *err)
{
	return show_link(node, "sandbox", out, err);
}

int show_notebook_link(const struct node *node, struct buffer *out, struct error *err)
{
	return show_link(node, "notebook", out, err);
}

int show_workspace_link(const struct node *node, struct buffer *out, struct error *err)
{
	return show_link(node, "workspace", out, err);
}

bool show_has_sandbox(const struct node *node) { return referred(node, "sandbox") != NULL; }
bool show_has_notebook(const struct node *node) { return referred(node, "notebook") != NULL; }
bool show_has_workspace(const struct node *node) { return referred(node, "workspace") != NULL; }

/* ---- references ---- */

int refer_to(struct object *object, cJSON *references, struct error *err)
{
	cJSON *one = cJSON_AddObjectToObject(references, object_noun[object->kind]);

	if (!one || !cJSON_AddStringToObject(one, "kind", object_noun[object->kind])
	    || !cJSON_AddNumberToObject(one, "serial", (double)object->serial)
	    || !cJSON_AddStringToObject(one, "name", object->name))
		return error_memory(err);
	return 0;
}

#define NAMES 4096

struct names {
	const char *all[NAMES];
	size_t n;
};

static int take_name(void *context, struct object *object)
{
	struct names *names = context;

	names->all[names->n++] = object->name;
	return names->n == NAMES;
}

int refer(enum object_kind kind, const cJSON *name, cJSON *references, struct error *err)
{
	struct object *object;
	cleanup_free struct names *names = NULL;
	char out[JUDGE_SHOWN];
	const char *near;

	if (!cJSON_IsString(name))
		return 0;
	object = objects_find(kind, name->valuestring);
	if (object)
		return refer_to(object, references, err);
	names = calloc(1, sizeof *names);
	if (!names)
		return error_memory(err);
	(void)objects_each(kind, take_name, names);
	near = judge_nearest(name->valuestring, names->all, names->n);
	(void)judge_shown(name->valuestring, out);
	if (near)
		return error_set(err, ENOENT, "there is no %s '%s'; did you mean '%s'?", object_noun[kind], out, near);
	if (kind == OBJECT_SNAPSHOT)
		return error_set(err, ENOENT, "there is no snapshot '%s'", out);
	return error_set(err, ENOENT, "there is no %s '%s'; mkdir %s/%s makes one", object_noun[kind], out,
			 object_folder[kind], out);
}
