#include "backend/sandbox/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"

#define SPEC_MAX (4u << 20)

const struct sandbox_backend *const sandbox_backends[] = { &sandbox_local, &sandbox_docker, NULL };

const struct sandbox_backend *sandbox_backend_find(const char *name, struct error *err)
{
	for (size_t i = 0; sandbox_backends[i]; i++)
		if (!strcmp(sandbox_backends[i]->name, name))
			return sandbox_backends[i];
	(void)error_set(err, ENOTSUP, "backend '%s' is not supported by this version", name);
	return NULL;
}

const cJSON *sandbox_field(const struct sandbox *s, const char *field)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(s->fields, field);

	return cJSON_IsNull(value) ? NULL : value;
}

const char *sandbox_text(const struct sandbox *s, const char *field)
{
	return cJSON_GetStringValue(sandbox_field(s, field));
}

double sandbox_number(const struct sandbox *s, const char *field, double fallback)
{
	const cJSON *value = sandbox_field(s, field);

	return cJSON_IsNumber(value) ? value->valuedouble : fallback;
}

void sandbox_say(const struct sandbox *s, const char *line)
{
	s->host->log(s->host->context, line, strlen(line));
	s->host->log(s->host->context, "\n", 1);
}

void sandbox_hostname(const char *name, char out[64])
{
	size_t n = 0;

	for (; *name && n < 63; name++)
		out[n++] = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", *name) ? *name : '-';
	out[n] = '\0';
	if (!n || out[0] == '-')
		(void)snprintf(out, 64, "sandbox");
}

int sandbox_workspace(const struct sandbox *s, size_t part, char **path, const char **inside, struct error *err)
{
	static const struct { const char *folder, *inside; } parts[SANDBOX_WORKSPACE_PARTS] = {
		{ "libraries", "/workspace/libraries" }, { "skills", "/workspace/skills" },
		{ "files", "/workspace/files" }, { "modules", "/workspace/.modules" },
	};
	const cJSON *workspace = cJSON_GetObjectItemCaseSensitive(s->references, "workspace");
	const cJSON *serial = cJSON_GetObjectItemCaseSensitive(workspace, "serial");

	*path = NULL;
	*inside = parts[part].inside;
	if (!cJSON_IsNumber(serial))
		return 0;
	if (asprintf(path, "%s/workspaces/%" PRIu64 "/%s", s->state->path, (uint64_t)serial->valuedouble,
		     parts[part].folder) < 0) {
		*path = NULL;
		return error_memory(err);
	}
	return file_make_folders(AT_FDCWD, *path, 0755, err) ? -1 : 1;
}

char *sandbox_host_path(const char *path, struct error *err)
{
	const char *home = getenv("HOME");
	char *whole = NULL;

	if (path[0] == '~' && (path[1] == '/' || !path[1]) && home)
		whole = asprintf(&whole, "%s%s", home, path + 1) < 0 ? NULL : whole;
	else if (path[0] == '/')
		whole = strdup(path);
	else {
		(void)error_set(err, EINVAL, "the path '%s' is neither absolute nor below ~", path);
		return NULL;
	}
	if (!whole)
		(void)error_memory(err);
	return whole;
}

int sandbox_add_limit(cJSON *info, const char *name, double asked, double in_force, const char *how)
{
	cJSON *limit = cJSON_AddObjectToObject(info, name);

	if (!limit ||
	    !(asked > 0 ? cJSON_AddNumberToObject(limit, "asked", asked) : cJSON_AddNullToObject(limit, "asked")) ||
	    !(in_force > 0 ? cJSON_AddNumberToObject(limit, "in_force", in_force) : cJSON_AddNullToObject(limit, "in_force")) ||
	    !(how ? cJSON_AddStringToObject(limit, "how", how) : cJSON_AddNullToObject(limit, "how")))
		return -1;
	return 0;
}

const char *sandbox_judge_limit(double asked, double in_force)
{
	if (asked <= 0)
		return in_force > 0 ? "enforced" : NULL;
	return in_force > 0 && in_force <= asked * 1.001 + 4096 ? "enforced" : "not available";
}

uint64_t sandbox_snapshot_serial(const struct sandbox *s)
{
	const cJSON *snapshot = cJSON_GetObjectItemCaseSensitive(s->references, object_noun[OBJECT_SNAPSHOT]);
	const cJSON *serial = cJSON_GetObjectItemCaseSensitive(snapshot, "serial");

	return cJSON_IsNumber(serial) && serial->valuedouble >= 1 ? (uint64_t)serial->valuedouble : 0;
}

int sandbox_keeps(const struct sandbox *s, const char *field, bool *same, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(SPEC_MAX);
	uint64_t serial = sandbox_snapshot_serial(s);
	cleanup_close int folder = -1;
	const cJSON *theirs;
	cJSON *spec;

	*same = false;
	if (!serial)
		return 0;
	folder = object_open(s->state, OBJECT_SNAPSHOT, serial, err);
	if (folder < 0 || file_read(folder, "spec.json", &text, err))
		return error_wrap(err, "from_snapshot");
	spec = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	theirs = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(spec, "fields"), field);
	*same = cJSON_Compare(theirs, cJSON_GetObjectItemCaseSensitive(s->fields, field), true);
	cJSON_Delete(spec);
	return 0;
}
