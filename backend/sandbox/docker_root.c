/* A container's root as a folder of this machine: that of its first process, by the number that the engine
 * tells. Whether the number means the same here (an engine in a virtual machine has numbers of its own) is seen
 * by what the engine has bound at the process's /etc/hostname, a file in a folder that is named by the
 * container's id. The process is looked at and kept as a descriptor of its folder in /proc, which is never
 * another's, whoever has its number later. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#define MOUNTS_MAX (4u << 20)

/* "ID PARENT DEVICE ROOT POINT …": whether ROOT has `id` in it where POINT is `point`. */
static bool is_bound(char *line, const char *point, const char *id)
{
	char *field[5], *rest = line;

	for (size_t i = 0; i < 5; i++)
		if (!(field[i] = strsep(&rest, " ")))
			return false;
	return !strcmp(field[4], point) && strstr(field[3], id);
}

static bool is_container(int process, const char *id)
{
	cleanup_buffer struct buffer mounts = BUFFER(MOUNTS_MAX);
	struct error ignored;
	char *rest, *line;

	if (!id || strlen(id) < 32 || file_read(process, "mountinfo", &mounts, &ignored) || !mounts.length)
		return false;
	rest = mounts.data;
	while ((line = strsep(&rest, "\n")))
		if (is_bound(line, "/etc/hostname", id))
			return true;
	return false;
}

/* As whom what is root inside has its files. */
static int check_owner(int process, struct error *err)
{
	cleanup_buffer struct buffer map = BUFFER(65536);
	unsigned inside, outside;

	if (file_read(process, "uid_map", &map, err))
		return -1;
	if (!map.length || sscanf(map.data, "%u %u", &inside, &outside) != 2 || inside)
		return error_set(err, EPERM, "nobody here is root there");
	if (outside != geteuid())
		return error_set(err, EPERM, "what is root there is the user %u here, and this mount is of the user %u", outside, (unsigned)geteuid());
	return 0;
}

/* The kernel may refuse it for reasons of its own: a FUSE file system of another user namespace. */
static int check_root(int process, struct error *err)
{
	cleanup_close int root = openat(process, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	return root < 0 || fstat(root, &st) ? error_errno(err, "its root cannot be opened") : 0;
}

static int find_process(const struct sandbox *s, const struct docker_found *found, struct error *err)
{
	const cJSON *pid = docker_member(found->json, "State", "Pid");
	cleanup_close int process = -1;
	char path[32];

	if (!engine_is_here(docker_own(s)->engine))
		return error_set(err, EOPNOTSUPP, "the engine is on another machine");
	(void)snprintf(path, sizeof path, "/proc/%d", cJSON_IsNumber(pid) ? pid->valueint : 0);
	process = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (process < 0 || !is_container(process, json_string(found->json, "Id")))
		return error_set(err, EOPNOTSUPP, "the engine's processes are not to be seen on this machine");
	if (check_owner(process, err) || check_root(process, err))
		return -1;
	return steal_fd(&process);
}

void docker_lead_to_root(struct sandbox *s, const struct docker_found *found, struct guest *guest)
{
	struct error why;
	struct docker *d = docker_own(s);
	int process = find_process(s, found, &why);

	d->no_root[0] = '\0';
	if (process < 0)
		(void)snprintf(d->no_root, sizeof d->no_root, "not available: %.200s", why.text);
	guest_lead_to_root(guest, process, d->no_root);
}
