/* What a path given to `mcp` and `exec` means: see target.h. */
#include "mcp/target.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define INFO_MAX (4u << 20)

static int from_state(struct target *t, const char *path, int *folder, struct error *err);

/* An interface's folder in a mount has no info.json; its mcp.json says where it is. 1: found, 0: it is none. */
static int from_interface(struct target *t, int folder, struct error *err)
{
	struct buffer text cleanup_buffer = BUFFER(65536);
	struct error none;
	cJSON *whole cleanup_json = NULL;
	const cJSON *servers;
	const char *path;
	int real cleanup_close = -1;

	if (file_read(folder, "mcp.json", &text, &none) < 0)
		return 0;
	whole = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	servers = cJSON_GetObjectItemCaseSensitive(whole, "mcpServers");
	path = servers && servers->child ?
		cJSON_GetStringValue(cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(servers->child, "args"), 1)) : NULL;
	if (!path)
		return 0;
	real = file_open_folder(AT_FDCWD, path, err);
	return real < 0 || from_state(t, path, &real, err) < 0 ? -1 : 1;
}

/* A folder in a mount says in info.json what it shows. 1: found, 0: it is none. */
static int from_mount(struct target *t, int folder, struct error *err)
{
	struct buffer text cleanup_buffer = BUFFER(INFO_MAX);
	struct error none;
	cJSON *info cleanup_json = NULL;
	const char *kind, *path;

	if (file_read(folder, "info.json", &text, &none) < 0)
		return from_interface(t, folder, err);
	info = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	kind = json_string(info, "kind");
	path = json_string(info, "folder");
	if (!kind || !path)
		return 0;
	for (int k = 0; k < OBJECT_KINDS; k++) {
		if (strcmp(kind, object_noun[k]) != 0)
			continue;
		t->kind = (enum object_kind)k;
		t->folder = file_open_folder(AT_FDCWD, path, err);
		if (t->folder < 0)
			return -1;
		return 1;
	}
	return 0;
}

static bool is_number(const char *text)
{
	return *text && !text[strspn(text, "0123456789")];
}

/* STATE/sandboxes/7/interfaces/3 is left as STATE/sandboxes/7, whose folder is then the one. */
static int take_interface(struct target *t, char *real, int *folder, struct error *err)
{
	char *number = strrchr(real, '/'), *word;
	unsigned long n = number && is_number(number + 1) ? strtoul(number + 1, NULL, 10) : 0;
	size_t length = sizeof "/interfaces" - 1;

	if (!n || n > 4095 || (size_t)(number - real) < length || strncmp(word = number - length, "/interfaces", length) != 0)
		return 0;
	*word = '\0';
	(void)close(steal_fd(folder));
	*folder = file_open_folder(AT_FDCWD, real, err);
	t->interface = (unsigned)n;
	return *folder < 0 ? -1 : 0;
}

/* STATE/sandboxes/7: the folder above says the kind. */
static int from_state(struct target *t, const char *path, int *folder, struct error *err)
{
	char *real cleanup_free = realpath(path, NULL), *serial, *kind;

	if (!real)
		return error_errno(err, "%s", path);
	if (take_interface(t, real, folder, err) < 0)
		return -1;
	serial = strrchr(real, '/');
	*serial++ = '\0';
	kind = strrchr(real, '/');
	for (int k = 0; kind && k < OBJECT_KINDS; k++) {
		if (strcmp(kind + 1, object_folder[k]) != 0 || !is_number(serial) ||
		    (faccessat(*folder, "want", F_OK, 0) < 0 && faccessat(*folder, "status", F_OK, 0) < 0))
			continue;
		t->kind = (enum object_kind)k;
		t->folder = steal_fd(folder);
		return 0;
	}
	return error_set(err, EINVAL, "%s is neither a sandbox nor a notebook, nor an interface of one", path);
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
}

int target_connect(const struct target *t, struct talk *talk, struct error *err)
{
	struct status status;
	struct want want;
	struct stat st;
	char text[ERROR_TEXT_SIZE];

	if (talk_connect(talk, t->folder, err) == 0)
		return 0;
	if (err->code != ENOTCONN)
		return -1;
	if (fstat(t->folder, &st) < 0 || want_read(t->folder, &want, err) < 0 || status_read(t->folder, &status, err) < 0)
		return -1;
	if (!st.st_nlink || want.what == WANT_REMOVED)
		return error_set(err, ENOENT, "the %s has been removed", object_noun[t->kind]);
	if (want.what == WANT_RUN && (want.generation > status.generation || !status_resting(t->kind, status.state)))
		return error_set(err, EAGAIN, "nothing of the %s runs, though it should; is it mounted?", object_noun[t->kind]);
	if (want.what == WANT_NOTHING)
		return error_set(err, ENOTCONN, "the %s has no config yet; write it first", object_noun[t->kind]);
	status_sentence(t->kind, &status, t->folder, text, sizeof text);
	return error_set(err, ENOTCONN, "%s; write start to its ctl", text);
}
