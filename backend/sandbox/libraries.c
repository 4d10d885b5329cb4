#include "backend/sandbox/libraries.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "backend/sandbox/build.h"
#include "backend/sandbox/making.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"

#define RESULT "result.json"
#define TEXT_MAX (4u << 20)
#define DEEP 64
#define TRIES 5

static const cJSON *entries_of(const cJSON *wanted)
{
	return cJSON_GetObjectItemCaseSensitive(wanted, "entries");
}

/* STATE/workspaces/N[/NAME], owned: 1; 0 without a workspace; -1. */
static int workspace_path(const struct sandbox *s, const char *name, char **path, struct error *err)
{
	const cJSON *workspace = cJSON_GetObjectItemCaseSensitive(s->references, "workspace");
	const cJSON *serial = cJSON_GetObjectItemCaseSensitive(workspace, "serial");

	*path = NULL;
	if (!cJSON_IsNumber(serial))
		return 0;
	if (asprintf(path, "%s/workspaces/%" PRIu64 "/%s", s->state->path, (uint64_t)serial->valuedouble, name) < 0) {
		*path = NULL;
		return error_memory(err);
	}
	return 1;
}

bool libraries_wanted(const struct sandbox *s)
{
	cleanup_free char *path = NULL;
	struct error ignored;

	return workspace_path(s, "distributions.json", &path, &ignored) > 0 && !access(path, F_OK);
}

int libraries_folder_of(const struct sandbox *s, const char *key, char **folder, struct error *err)
{
	cleanup_free char *packages = NULL;
	int found = workspace_path(s, "packages", &packages, err);

	*folder = NULL;
	if (found <= 0)
		return found;
	if (!key) {
		*folder = steal_pointer(&packages);
	} else if (asprintf(folder, "%s/%s", packages, key) < 0) {
		*folder = NULL;
		return error_memory(err);
	}
	if (!file_make_folders(AT_FDCWD, *folder, 0755, err))
		return 1;
	free(*folder);
	*folder = NULL;
	return -1;
}

int libraries_folder(const struct libraries *l, char **folder, struct error *err)
{
	const char *top = l->chain->paths[0] ? strrchr(l->chain->paths[0], '/') : NULL;
	char key[LAYER_HASH_SIZE], below[2 * LAYER_HASH_SIZE];

	*folder = NULL;
	if (!top || !l->python->exe)
		return 0;
	(void)snprintf(below, sizeof below, "%.32s%s", top + 1, l->image->path ? l->image->hash : "");
	return layer_hash("libraries 1", l->python, below, NULL, key, err) ? -1 : libraries_folder_of(l->sandbox, key, folder, err);
}

/* ---- what is wanted ---- */

static int read_json(int dir, const char *path, cJSON **json, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(TEXT_MAX);

	*json = NULL;
	if (file_read(dir, path, &text, err))
		return -1;
	*json = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	return *json ? 0 : error_set(err, EBADMSG, "%s is damaged", path);
}

/* NULL in *wanted: nothing. */
static int read_wanted(const struct sandbox *s, cJSON **wanted, struct error *err)
{
	cleanup_free char *path = NULL;
	int found = workspace_path(s, "distributions.json", &path, err);

	*wanted = NULL;
	if (found <= 0)
		return found;
	return read_json(AT_FDCWD, path, wanted, err) && err->code != ENOENT ? -1 : 0;
}

/* All that a set is made of; "try" tells a set that failed from the next attempt at it. */
static int name_set(const cJSON *wanted, char hash[MAKING_HASH_SIZE], const char *folder, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(TEXT_MAX);
	const cJSON *entry;

	if (buffer_format(&text, "set 1 %s %.0f\n", folder, cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(wanted, "try"))))
		return error_memory(err);
	cJSON_ArrayForEach(entry, entries_of(wanted))
		if (buffer_format(&text, "%s %s\n%s\n", json_word(entry, "kind"), json_word(entry, "sha256"), json_word(entry, "name")))
			return error_memory(err);
	making_hash(text.data, text.length, hash);
	return 0;
}

/* Whether a file is still the one whose bytes the set is named by. */
static bool unchanged(int libraries, const cJSON *entry)
{
	const char *stamp = json_word(entry, "stamp");
	char now[128];
	struct stat st;

	if (!*stamp)
		return true; /* a package of the config */
	if (fstatat(libraries, json_word(entry, "name"), &st, 0))
		return false;
	(void)snprintf(now, sizeof now, "%lld.%09ld %lld %llu", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
		       (long long)st.st_size, (unsigned long long)st.st_ino);
	return !strcmp(now, stamp);
}

static int check_unchanged(const char *libraries, const cJSON *wanted, struct error *err)
{
	cleanup_close int folder = file_open_folder(AT_FDCWD, libraries, err);
	const cJSON *entry;

	if (folder < 0)
		return -1;
	cJSON_ArrayForEach(entry, entries_of(wanted))
		if (!unchanged(folder, entry))
			return error_set(err, EAGAIN, "%s was changed while it was installed", json_word(entry, "name"));
	return 0;
}

/* ---- pip ---- */

static int add_text(cJSON *list, const char *text, struct error *err)
{
	cJSON *item = cJSON_CreateString(text);

	if (item && cJSON_AddItemToArray(list, item))
		return 0;
	cJSON_Delete(item);
	return error_memory(err);
}

/* An entry as pip's arguments. */
static int add_arguments(cJSON *arguments, const cJSON *entry, struct error *err)
{
	const char *name = json_word(entry, "name"), *kind = json_word(entry, "kind");
	cleanup_free char *path = NULL;

	if (!strcmp(kind, "package"))
		return add_text(arguments, name, err);
	if (!strcmp(kind, "requirements") && add_text(arguments, "-r", err))
		return -1;
	if (asprintf(&path, LIBRARIES_INSIDE "/%s", name) < 0) {
		path = NULL;
		return error_memory(err);
	}
	return add_text(arguments, path, err);
}

/* Installs those of the entries that `told` does not say to have failed, and `more` (NULL: none). 0 also
 * where pip refused: then why says what it said. -1 when the box is gone or nobody wants it any more. */
static int try(const struct libraries_pip *pip, const cJSON *wanted, const cJSON *told, const cJSON *more, char *why, size_t size,
	       struct error *err)
{
	cleanup_json cJSON *arguments = cJSON_CreateArray();
	const cJSON *entry, *result = told ? told->child : NULL;

	why[0] = '\0';
	if (!arguments)
		return error_memory(err);
	cJSON_ArrayForEach(entry, entries_of(wanted)) {
		bool failed = result && cJSON_IsString(cJSON_GetObjectItemCaseSensitive(result, "why"));

		if (told && !result && entry != more)
			break; /* its turn comes */
		if (!failed && add_arguments(arguments, entry, err))
			return -1;
		result = result ? result->next : NULL;
	}
	if (!pip->install(pip->context, arguments, err))
		return 0;
	if (err->code != EIO || pip->commands->lost || !pip->commands->ended || pip->commands->code)
		return -1;
	(void)snprintf(why, size, "%s", err->text);
	return 0;
}

static int tell(cJSON *told, const cJSON *entry, const char *why, struct error *err)
{
	cJSON *line = cJSON_CreateObject();

	if (cJSON_AddStringToObject(line, "name", json_word(entry, "name")) &&
	    cJSON_AddStringToObject(line, "kind", json_word(entry, "kind")) &&
	    (*why ? cJSON_AddStringToObject(line, "why", why) : cJSON_AddNullToObject(line, "why")) &&
	    cJSON_AddItemToArray(told, line))
		return 0;
	cJSON_Delete(line);
	return error_memory(err);
}

int libraries_try(const struct libraries_pip *pip, const cJSON *wanted, cJSON *told, struct error *err)
{
	const cJSON *entry;
	char why[ERROR_TEXT_SIZE];
	bool together;

	if (try(pip, wanted, NULL, NULL, why, sizeof why, err))
		return -1;
	together = !*why || cJSON_GetArraySize(entries_of(wanted)) == 1;
	cJSON_ArrayForEach(entry, entries_of(wanted))
		if ((!together && try(pip, wanted, told, entry, why, sizeof why, err)) || tell(told, entry, why, err))
			return -1;
	return 0;
}

/* ---- the set ---- */

/* Where a newer version took the place of what lies below, the overlay remembers what is gone: here it
 * would only be files that nothing can read. */
static void drop_whiteouts(int above, const char *name, int depth)
{
	cleanup_dir DIR *dir = file_list(above, name, O_NOFOLLOW);
	const struct dirent *entry;
	struct stat st;

	while (dir && (entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (entry->d_type == DT_DIR && depth < DEEP)
			drop_whiteouts(dirfd(dir), entry->d_name, depth + 1);
		else if (entry->d_type == DT_CHR && !fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) && st.st_rdev == makedev(0, 0))
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	}
}

/* The box has ended. What a setup.py left in the file's place goes. */
static int write_result(const char *made, cJSON *told, struct error *err)
{
	cleanup_close int folder = file_open_folder(AT_FDCWD, made, err);
	cleanup_json cJSON *result = cJSON_CreateObject();
	cleanup_free char *text = NULL;

	if (folder < 0)
		return -1;
	if (!result || !cJSON_AddItemReferenceToObject(result, "entries", told) || !(text = cJSON_Print(result)))
		return error_memory(err);
	drop_whiteouts(folder, ".", 0);
	return file_remove_tree(folder, RESULT, err) ? -1 : file_replace(folder, RESULT, text, strlen(text), 0644, false, err);
}

int libraries_publish(const struct libraries *l, const struct making *m, const char *made, const cJSON *wanted, cJSON *told,
		      struct error *err)
{
	cleanup_free char *libraries = NULL;

	return workspace_path(l->sandbox, "libraries", &libraries, err) < 0 || check_unchanged(libraries, wanted, err) ||
			       write_result(made, told, err) || making_publish(m, made, err)
		       ? -1 : 0;
}

struct box_pip {
	struct build *build;
	bool uv;
};

static int install_in_box(void *context, const cJSON *arguments, struct error *err)
{
	const struct box_pip *p = context;

	return layers_install(p->build, p->uv, arguments, err);
}

int libraries_make_in_box(const struct libraries *l, const struct making *m, const cJSON *wanted, struct error *err)
{
	struct sandbox *s = l->sandbox;
	struct build b;
	cleanup_free char *made = NULL, *libraries = NULL;
	cleanup_json cJSON *told = cJSON_CreateArray();
	struct box_pip in = { &b, false };
	const struct libraries_pip pip = { &b.commands, install_in_box, &in };
	int result = making_open(m, &b, s, l->image, err);

	if (!result && (!told || asprintf(&made, "%s/up/opt-interpfs", b.box.path) < 0)) {
		made = NULL;
		result = error_memory(err);
	}
	if (!result)
		result = workspace_path(s, "libraries", &libraries, err) < 0 ||
			 plan_layers(&b.plan, (const char *const *)l->chain->paths, err) || plan_python(&b.plan, l->python, err) ||
			 layers_bind_uv(&b, &in.uv, err) || plan_bind(&b.plan, libraries, LIBRARIES_INSIDE, false, err) ||
			 build_start(&b, l->runtime, err) ? -1 : 0;
	failpoint("libraries-building");
	b.commands.cwd = LIBRARIES_INSIDE; /* to which requirements are relative */
	if (!result)
		result = libraries_try(&pip, wanted, told, err) || build_stop(&b, err) || libraries_publish(l, m, made, wanted, told, err)
				 ? -1 : 0;
	build_close(&b);
	return result;
}

static int set_link(int folder, const char *name, const char *target, struct error *err)
{
	cleanup_free char *temporary = NULL;

	if (asprintf(&temporary, ".%s~%d", name, (int)getpid()) < 0) {
		temporary = NULL;
		return error_memory(err);
	}
	(void)unlinkat(folder, temporary, 0);
	if (symlinkat(target, folder, temporary) || renameat(folder, temporary, folder, name))
		return error_errno(err, "%s", name);
	return 0;
}

/* "HASH/venv/lib/python3.11/site-packages", owned; NULL with err. */
static char *find_site(int folder, const char *hash, struct error *err)
{
	cleanup_free char *lib = NULL;
	cleanup_dir DIR *dir = NULL;
	const struct dirent *entry;
	char *site = NULL;

	if (asprintf(&lib, "%s/venv/lib", hash) < 0) {
		lib = NULL;
		(void)error_memory(err);
		return NULL;
	}
	dir = file_list(folder, lib, 0);
	while (dir && !site && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, "python3.", 8) && asprintf(&site, "%s/%s/site-packages", lib, entry->d_name) < 0)
			site = NULL;
	if (!site)
		(void)error_set(err, EBADMSG, "pip has left no %s/python3.N", lib);
	return site;
}

/* The set HASH (NULL: none) is what sandboxes see from now on; the others go. What a kernel has loaded of
 * them it has in memory. */
static int show(int folder, const char *hash, struct error *err)
{
	cleanup_free char *site = hash ? find_site(folder, hash, err) : NULL, *bin = NULL;
	cleanup_dir DIR *dir = NULL;
	const struct dirent *entry;
	struct error ignored;
	int copy;

	if (hash && !site)
		return -1;
	if (!hash) {
		(void)unlinkat(folder, "current", 0);
		(void)unlinkat(folder, "bin", 0);
	} else if (asprintf(&bin, "%s/venv/bin", hash) < 0) {
		bin = NULL;
		return error_memory(err);
	} else if (set_link(folder, "current", site, err) || set_link(folder, "bin", bin, err)) {
		return -1;
	}
	copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir && copy >= 0)
		(void)close(copy);
	while (dir && (entry = readdir(dir)))
		if (strlen(entry->d_name) == MAKING_HASH_SIZE - 1 && (!hash || strcmp(entry->d_name, hash)))
			(void)file_remove_tree(folder, entry->d_name, &ignored); /* it only costs room */
	return 0;
}

/* One attempt. EAGAIN: something else is wanted by now. */
static int bring(const struct libraries *l, const char *path, cJSON **result, struct error *err)
{
	cleanup_json cJSON *wanted = NULL, *then = NULL;
	cleanup_free char *told = NULL;
	cleanup_close int folder = -1;
	char now[MAKING_HASH_SIZE] = "";
	struct making m = MAKING;
	int made;

	if (read_wanted(l->sandbox, &wanted, err))
		return -1;
	folder = file_open_folder(AT_FDCWD, path, err);
	if (folder < 0)
		return -1;
	if (!cJSON_GetArraySize(entries_of(wanted))) {
		*result = cJSON_CreateObject();
		return *result ? show(folder, NULL, err) : error_memory(err);
	}
	if (name_set(wanted, m.hash, path, err))
		return -1;
	made = making_claim(&m, l->sandbox, path, err);
	if (made > 0)
		made = l->make(l, &m, wanted, err);
	/* Another sandbox of its kind may have been told of another set meanwhile: the last one counts. */
	if (!made)
		made = read_wanted(l->sandbox, &then, err) || (then && name_set(then, now, path, err));
	if (!made && strcmp(now, m.hash))
		made = error_set(err, EAGAIN, "the workspace was changed while its libraries were installed");
	if (!made && asprintf(&told, "%s/" RESULT, m.hash) < 0) {
		told = NULL;
		made = error_memory(err);
	}
	if (!made)
		made = show(folder, m.hash, err) || read_json(folder, told, result, err);
	making_done(&m);
	return made ? -1 : 0;
}

int libraries_install(const struct libraries *l, const char *folder, cJSON **result, struct error *err)
{
	int done = -1;

	*result = NULL;
	for (int tries = 0; tries < TRIES; tries++) {
		done = bring(l, folder, result, err);
		if (!done || err->code != EAGAIN)
			break;
	}
	return done;
}
