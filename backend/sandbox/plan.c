#include "backend/sandbox/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/cgroup.h"
#include "backend/sandbox/etc.h"
#include "backend/sandbox/image.h"
#include "backend/sandbox/mask.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/program.h"

#define ETC_FILE_MAX (1u << 20)
#define CONFIG_MAX (4u << 20)
#define NAMED "named" /* in BOX/ctl: its files of /etc were written; they may lie in a part by now */
#define SYSTEM_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Makes room for one more; NULL without memory. */
static void *grown(void *array, size_t count, size_t size)
{
	return reallocarray(array, count + 2, size);
}

static char *keep(struct plan *plan, char *owned)
{
	char **more = owned ? grown(plan->strings, plan->string_count, sizeof *more) : NULL;

	if (!more) {
		free(owned);
		return NULL;
	}
	plan->strings = more;
	plan->strings[plan->string_count++] = owned;
	return owned;
}

static char *kept_format(struct plan *plan, const char *format, ...) __attribute__((format(printf, 2, 3)));

static char *kept_format(struct plan *plan, const char *format, ...)
{
	va_list args;
	char *text = NULL;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	return keep(plan, text);
}

int plan_env(struct plan *plan, const char *name, const char *value, struct error *err)
{
	char *text = kept_format(plan, "%s=%s", name, value), **more;
	size_t n = strlen(name);

	if (!text)
		return error_memory(err);
	for (size_t i = 0; i < plan->env_count; i++)
		if (!strncmp(plan->env[i], name, n) && plan->env[i][n] == '=') {
			plan->env[i] = text;
			return 0;
		}
	more = grown(plan->env, plan->env_count, sizeof *more);
	if (!more)
		return error_memory(err);
	plan->env = more;
	plan->env[plan->env_count++] = text;
	plan->env[plan->env_count] = NULL;
	return 0;
}

int plan_bind(struct plan *plan, const char *source, const char *destination, bool writable, struct error *err)
{
	struct bundle_bind *more = grown(plan->binds, plan->bind_count, sizeof *more);
	char *from = kept_format(plan, "%s", source), *to = kept_format(plan, "%s", destination);

	if (more)
		plan->binds = more;
	if (!more || !from || !to)
		return error_memory(err);
	plan->binds[plan->bind_count++] = (struct bundle_bind){ from, to, writable, false };
	return 0;
}

int plan_device(struct plan *plan, const char *source, const char *destination, struct error *err)
{
	for (size_t i = 0; i < plan->bind_count; i++)
		if (plan->binds[i].device && !strcmp(plan->binds[i].destination, destination))
			return 0;
	if (plan_bind(plan, source, destination, true, err))
		return -1;
	plan->binds[plan->bind_count - 1].device = true;
	return 0;
}

/* Whether it is a folder itself. Whoever was root in the box that it comes from may have put a link there,
 * which an overlay would follow into the host's files. */
static bool is_folder(const char *path)
{
	struct stat st;

	return !lstat(path, &st) && S_ISDIR(st.st_mode);
}

/* The folder path/name, kept; NULL when there is none. */
static int find_below(struct plan *plan, const char *path, const char *name, const char **found, struct error *err)
{
	char *below = kept_format(plan, "%s/%s", path, name);

	if (!below)
		return error_memory(err);
	*found = is_folder(below) ? below : NULL;
	return 0;
}

int plan_overlay(struct plan *plan, const char *destination, const char *name, const char *const *lowers,
		 struct error *err)
{
	struct bundle_overlay *more = grown(plan->overlays, plan->overlay_count, sizeof *more);
	char *to = kept_format(plan, "%s", destination), *own = kept_format(plan, "%s", name);
	char *const *part = plan->parts;
	const char **list;
	size_t n = 0, i = 0;

	if (more)
		plan->overlays = more;
	while (lowers[n])
		n++;
	while (part && part[i])
		i++;
	list = calloc(n + i + 1, sizeof *list);
	if (!keep(plan, (char *)list) || !more || !to || !own)
		return error_memory(err);
	for (n = 0; part && *part; part++) {
		if (find_below(plan, *part, name, &list[n], err))
			return -1;
		n += list[n] != NULL;
	}
	for (; *lowers; lowers++) {
		list[n] = kept_format(plan, "%s", *lowers);
		if (!list[n++])
			return error_memory(err);
	}
	plan->overlays[plan->overlay_count++] = (struct bundle_overlay){ to, own, list };
	return 0;
}

/* A folder of the plan's image, owned; NULL when there is no image, or no such folder in it. */
static int find_in_image(const struct plan *plan, const char *part, const char *name, char **path, struct error *err)
{
	*path = NULL;
	if (!plan->image)
		return 0;
	if (asprintf(path, "%s/%s/%s", plan->image, part, name) < 0) {
		*path = NULL;
		return error_memory(err);
	}
	if (!is_folder(*path)) {
		free(*path);
		*path = NULL;
	}
	return 0;
}

/* A folder of the / below that is the config's own, kept; NULL without. */
static int find_in_base(struct plan *plan, const char *name, const char **path, struct error *err)
{
	*path = NULL;
	return plan->base ? find_below(plan, plan->base, name, path, err) : 0;
}

/* /usr, /etc or /opt of a system of the config's own. */
static int add_base_folder(struct plan *plan, const char *name, const char *empty, struct error *err)
{
	cleanup_free char *image = NULL;
	const char *lowers[3] = { NULL }, *base, *inside = kept_format(plan, "/%s", name);
	size_t n = 0;

	if (!inside)
		return error_memory(err);
	if (find_in_image(plan, "up", name, &image, err) || find_in_base(plan, name, &base, err))
		return -1;
	if (image)
		lowers[n++] = image;
	lowers[n] = base ? base : empty;
	return plan_overlay(plan, inside, name, lowers, err);
}

/* One of the host's folders below its mask, and below what an image changes of it. */
static int add_host_folder(struct plan *plan, int i, struct error *err)
{
	const char *name = masks_folders[i], *lowers[4] = { NULL };
	cleanup_free char *host = NULL, *mask = NULL, *image = NULL;
	const struct buffer *hidden;
	size_t n = 0;

	if (asprintf(&host, "/%s", name) < 0 || asprintf(&mask, "%s/mask/%s", plan->box->path, name) < 0)
		return error_memory(err);
	if (access(host, F_OK))
		return 0;
	hidden = masks_take(plan->masks, i, err);
	if (!hidden || (hidden->length && mask_make(host, hidden, mask, err)))
		return -1;
	if (find_in_image(plan, "up", name, &image, err))
		return -1;
	if (image)
		lowers[n++] = image;
	if (hidden->length)
		lowers[n++] = mask;
	lowers[n] = masks_shown(plan->masks, i);
	if (strcmp(lowers[n], host) != 0 && etc_use(plan->box->ctl, lowers[n], err))
		return -1;
	return plan_overlay(plan, host, name, lowers, err);
}

/* A folder of / that is the box's own, above what an image has in its place, or above nothing. */
static int add_own_folder(struct plan *plan, const char *name, bool in_image, const char *empty, struct error *err)
{
	cleanup_free char *image = NULL, *inside = NULL;
	const char *lowers[3] = { NULL }, *base;
	char upper[BOX_UPPER_SIZE];
	size_t n = 0;

	if (!box_has_upper(plan->box, name) || !box_upper(name, upper))
		return 0;
	if (asprintf(&inside, "/%s", name) < 0)
		return error_memory(err);
	if (plan->base ? find_in_image(plan, "up", upper, &image, err)
		       : in_image && find_in_image(plan, "root", name, &image, err))
		return -1;
	if (find_in_base(plan, name, &base, err))
		return -1;
	if (image)
		lowers[n++] = image;
	if (base || !n)
		lowers[n] = base ? base : empty;
	return plan_overlay(plan, inside, upper, lowers, err);
}

struct tops {
	struct plan *plan;
	const char *empty;
};

static int add_top(void *context, const char *name, struct error *err)
{
	const struct tops *tops = context;

	return add_own_folder(tops->plan, name, false, tops->empty, err);
}

/* The rest of / in a box that is above an image or parts, or was once. */
static int add_own_folders(struct plan *plan, const struct state *state, struct error *err)
{
	cleanup_free char *empty = NULL;
	struct tops tops = { .plan = plan };

	if (asprintf(&empty, "%s/empty", state->path) < 0)
		return error_memory(err);
	tops.empty = empty;
	if (file_make_folder(AT_FDCWD, empty, 0755, err))
		return -1;
	for (const char *const *name = box_own_folders; *name; name++)
		if (add_own_folder(plan, *name, true, empty, err))
			return -1;
	return box_each_top(plan->box, add_top, &tops, err);
}

/* The box's own /etc files. As a user the host's belong to nobody, so root inside could not
 * change them: those that programs change are copied. */
static int put_etc(struct plan *plan, const char *hostname, const struct network *network, struct error *err)
{
	static const char *const copied[] = { "/etc/passwd", "/etc/group" };
	cleanup_free char *hosts = NULL, *resolver = network_resolver(network), *name = NULL;
	struct stat st;
	bool begun = plan->parts && *plan->parts; /* with what changed of them */

	if (asprintf(&hosts, "127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 %s\n", hostname) < 0)
		return error_memory(err);
	if (asprintf(&name, "%s\n", hostname) < 0)
		return error_memory(err);
	if (resolver && box_put(plan->box, "/etc/resolv.conf", resolver, strlen(resolver), 0644, err))
		return -1;
	if (!fstatat(plan->box->folder, "up/etc/hosts", &st, AT_SYMLINK_NOFOLLOW) || !fstatat(plan->box->ctl, NAMED, &st, 0))
		return 0; /* an earlier start's, perhaps changed inside since */
	for (size_t i = 0; !begun && !plan->base && geteuid() && i < sizeof copied / sizeof *copied; i++) {
		cleanup_buffer struct buffer text = BUFFER(ETC_FILE_MAX);

		if (file_read(AT_FDCWD, copied[i], &text, err) ||
		    box_put(plan->box, copied[i], text.data ? text.data : "", text.length, 0644, err))
			return -1;
	}
	if (box_put(plan->box, "/etc/hostname", name, strlen(name), 0644, err))
		return -1;
	return box_put(plan->box, "/etc/hosts", hosts, strlen(hosts), 0644, err) ||
	       file_replace(plan->box->ctl, NAMED, "", 0, 0600, false, err) ? -1 : 0;
}

/* The package manager's records, so that apt works for root; and for a user the folders that
 * "pip install --prefix /usr/local" and the like write to. */
static int add_records(struct plan *plan, struct error *err)
{
	static const char *const of_root[] = { "/var/lib/apt/lists/partial", "/var/cache/apt/archives/partial",
					       "/var/lib/dpkg", NULL };
	static const char *const of_user[] = { "/usr/local/bin", "/usr/local/lib", "/usr/local/share",
					       "/usr/local/include", "/usr/local/etc", NULL };
	static const char host[] = "/var/lib/dpkg";
	const char *const *folders = geteuid() ? of_user : of_root, *lowers[3] = { host };
	cleanup_free char *image = NULL;

	if (plan->base)
		return 0; /* it has its own */
	for (; *folders; folders++)
		if (box_folder(plan->box, *folders, err))
			return -1;
	if (geteuid() || access(host, F_OK))
		return 0;
	if (find_in_image(plan, "up", "var-lib-dpkg", &image, err))
		return -1;
	if (image) {
		lowers[0] = image;
		lowers[1] = host;
	}
	return plan_overlay(plan, host, "var-lib-dpkg", lowers, err);
}

/* The system below: the host's, or the config's own. */
static int add_folders(struct plan *plan, const struct state *state, struct box *box, struct error *err)
{
	cleanup_free char *empty = NULL, *up = NULL;

	if (!plan->base) {
		for (int i = 0; i < MASKS; i++)
			if (add_host_folder(plan, i, err))
				return -1;
		return plan->image ? box_make_uppers(box, false, err) : 0;
	}
	if (asprintf(&empty, "%s/empty", state->path) < 0) {
		empty = NULL;
		return error_memory(err);
	}
	if (plan->image && asprintf(&up, "%s/up", plan->image) < 0) {
		up = NULL;
		return error_memory(err);
	}
	if (file_make_folder(AT_FDCWD, empty, 0755, err) || box_stand_on(box, plan->base, up, err))
		return -1;
	for (int i = 0; i < MASKS; i++)
		if (add_base_folder(plan, masks_folders[i], empty, err))
			return -1;
	return 0;
}

/* What an OCI image says of variables; PATH and HOME among them. */
static int add_image_env(struct plan *plan, const struct image *image, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(CONFIG_MAX);
	cleanup_free char *path = NULL;
	const cJSON *item;
	cJSON *config;
	int result = 0;

	if (asprintf(&path, "%s/config.json", image->base) < 0) {
		path = NULL;
		return error_memory(err);
	}
	if (file_read(AT_FDCWD, path, &text, err))
		return err->code == ENOENT ? 0 : -1;
	config = cJSON_ParseWithLength(text.data ? text.data : "", text.length);
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(config, "env")) {
		cleanup_free char *name = cJSON_IsString(item) ? strdup(item->valuestring) : NULL;
		char *value = name ? strchr(name, '=') : NULL;

		if (!value || value == name)
			continue;
		*value++ = '\0';
		result = result ? result : plan_env(plan, name, value, err);
		if (!result && !strcmp(name, "PATH") && !(plan->path = kept_format(plan, "%s", value)))
			result = error_memory(err);
	}
	cJSON_Delete(config);
	return result;
}

int plan_system(struct plan *plan, const struct state *state, struct box *box, const struct image *image,
		const char *hostname, const struct uplink *uplink, struct error *err)
{
	static const char *const env[][2] = {
		{ "PATH", SYSTEM_PATH }, { "HOME", "/root" }, { "LANG", "C.UTF-8" }, { "TERM", "dumb" },
	};
	char *guest_program = keep(plan, program_guest());

	plan->box = box;
	plan->image = image ? image->path : NULL;
	plan->base = image && image->base ? kept_format(plan, "%s/root", image->base) : NULL;
	plan->path = SYSTEM_PATH;
	if (!guest_program || (image && image->base && !plan->base))
		return error_memory(err);
	if (add_folders(plan, state, box, err) || add_own_folders(plan, state, err))
		return -1;
	for (size_t i = 0; i < sizeof env / sizeof *env; i++)
		if (plan_env(plan, env[i][0], env[i][1], err))
			return -1;
	if (plan->base && add_image_env(plan, image, err))
		return -1;
	plan->bundle = (struct bundle){
		.box = box->path,
		.guest = guest_program,
		.hostname = kept_format(plan, "%s", hostname),
		.user = geteuid() != 0,
		.ids = uplink->ids ? *uplink->ids : (struct ids){ .users = { .own = geteuid() }, .groups = { .own = getegid() } },
		.host_network = uplink->network->kind == NETWORK_HOST,
		.space = uplink_space(uplink),
		.cgroup = kept_format(plan, CGROUP_PARENT "/%s", box->id),
	};
	if (!plan->bundle.hostname || !plan->bundle.cgroup)
		return error_memory(err);
	return put_etc(plan, hostname, uplink->network, err) ? -1 : add_records(plan, err);
}

int plan_layers(struct plan *plan, const char *const *layers, struct error *err)
{
	const char *path = kept_format(plan, PLAN_VENV "/bin:" PLAN_PACKAGES "/bin:%s", plan->path);

	if (!path)
		return error_memory(err);
	/* As a user /opt itself is the host's root's: the mount point is made from outside. */
	if (box_folder(plan->box, PLAN_LAYERS, err) ||
	    plan_overlay(plan, PLAN_LAYERS, "opt-interpfs", layers, err) ||
	    plan_env(plan, "PATH", path, err))
		return -1;
	return plan_env(plan, "VIRTUAL_ENV", PLAN_VENV, err);
}

int plan_python(struct plan *plan, const struct python *python, struct error *err)
{
	if (python->prefix && plan_bind(plan, python->prefix, python->prefix, false, err))
		return -1;
	return python->exec_prefix ? plan_bind(plan, python->exec_prefix, python->exec_prefix, false, err) : 0;
}

int plan_start(struct plan *plan, const char *runtime, struct uplink *uplink, int cpus,
	       struct guest **guest, struct error *err)
{
	const struct box_start start = { .runtime = runtime, .bundle = &plan->bundle, .uplink = uplink,
					 .env = (const char *const *)plan->env, .cpus = cpus };

	plan->bundle.overlays = plan->overlays;
	plan->bundle.overlay_count = plan->overlay_count;
	plan->bundle.binds = plan->binds;
	plan->bundle.bind_count = plan->bind_count;
	return box_start(plan->box, &start, guest, err);
}

void plan_free(struct plan *plan)
{
	for (size_t i = 0; i < plan->string_count; i++)
		free(plan->strings[i]);
	free(plan->strings);
	free(plan->env);
	free(plan->binds);
	free(plan->overlays);
	*plan = (struct plan){ .box = NULL };
}
