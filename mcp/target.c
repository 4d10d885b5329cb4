/* What a path given to `mcp` and `exec` means: see target.h. */
#include "mcp/target.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define INFO_MAX (4u << 20)

static void delete_json(cJSON **json) { cJSON_Delete(*json); }
#define cleanup_json __attribute__((cleanup(delete_json)))

static const char *text_member(const cJSON *object, const char *name)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsString(value) ? value->valuestring : NULL;
}

/* A folder in a mount says in info.json what it shows. 1: found, 0: it is none. */
static int from_mount(struct target *t, int folder, struct error *err)
{
	struct buffer text cleanup_buffer = BUFFER(INFO_MAX);
	struct error none;
	cJSON *info cleanup_json = NULL;
	const char *kind, *path, *name;

	if (file_read(folder, "info.json", &text, &none) < 0)
		return 0;
	info = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	kind = text_member(info, "kind");
	path = text_member(info, "folder");
	name = text_member(info, "name");
	if (!kind || !path)
		return 0;
	for (int k = 0; k < OBJECT_KINDS; k++) {
		if (strcmp(kind, object_noun[k]) != 0)
			continue;
		t->kind = (enum object_kind)k;
		t->folder = file_open_folder(AT_FDCWD, path, err);
		if (t->folder < 0)
			return -1;
		t->name = strdup(name ? name : "");
		return t->name ? 1 : error_memory(err);
	}
	return 0;
}

/* STATE/sandboxes/7: the folder above says the kind. */
static int from_state(struct target *t, const char *path, int *folder, struct error *err)
{
	char *real cleanup_free = realpath(path, NULL), *serial, *kind;

	if (!real)
		return error_errno(err, "%s", path);
	serial = strrchr(real, '/');
	*serial++ = '\0';
	kind = strrchr(real, '/');
	for (int k = 0; kind && k < OBJECT_KINDS; k++) {
		if (strcmp(kind + 1, object_folder[k]) != 0 || !*serial ||
		    serial[strspn(serial, "0123456789")] != '\0' ||
		    (faccessat(*folder, "want", F_OK, 0) < 0 && faccessat(*folder, "status", F_OK, 0) < 0))
			continue;
		t->kind = (enum object_kind)k;
		t->name = strdup(serial);
		if (!t->name)
			return error_memory(err);
		t->folder = steal_fd(folder);
		return 0;
	}
	return error_set(err, EINVAL, "%s is neither a sandbox nor a notebook", path);
}

int target_open(struct target *t, const char *path, struct error *err)
{
	int folder cleanup_close = file_open_folder(AT_FDCWD, path, err);
	int found;

	*t = (struct target){ .folder = -1 };
	if (folder < 0)
		return -1;
	found = from_mount(t, folder, err);
	if (found > 0 || (found == 0 && from_state(t, path, &folder, err) == 0))
		return 0;
	target_close(t);
	return -1;
}

void target_close(struct target *t)
{
	if (t->folder >= 0)
		(void)close(steal_fd(&t->folder));
	free(t->name);
	t->name = NULL;
}
