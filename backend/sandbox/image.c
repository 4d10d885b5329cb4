#include "backend/sandbox/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/build.h"
#include "backend/sandbox/layers.h"
#include "backend/sandbox/unused.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"

#define TEXT_MAX (2u << 20)
#define PACKAGES_MAX 1024
#define RECORD "image" /* in the sandbox's ctl */

const char image_install_script[] =
	"if command -v apt-get >/dev/null; then\n"
	"  apt-get update\n"
	"  apt-get install --yes --no-install-recommends -- \"$@\"\n"
	"  apt-get clean\n"
	"  rm -rf /var/lib/apt/lists/*\n"
	"elif command -v apk >/dev/null; then apk add --no-cache \"$@\"\n"
	"elif command -v dnf >/dev/null; then dnf install -y \"$@\"\n"
	"elif command -v microdnf >/dev/null; then microdnf install -y \"$@\"\n"
	"elif command -v zypper >/dev/null; then zypper --non-interactive install \"$@\"\n"
	"else echo 'error: the image has none of apt-get, apk, dnf, microdnf, zypper' >&2; exit 1\n"
	"fi\n";

/* The host's system as an image stands on it: another release, or other packages, make other images. */
static int append_host(struct buffer *out, struct error *err)
{
	static const char *const told[] = { "/etc/os-release", "/var/lib/dpkg/status" };

	for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
		struct stat st = { .st_size = 0 };

		(void)stat(told[i], &st);
		if (buffer_format(out, "%s %lld %lld.%09ld\n", told[i], (long long)st.st_size,
				  (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec))
			return error_memory(err);
	}
	return 0;
}

static int append_list(struct buffer *out, const char *name, const cJSON *list, struct error *err)
{
	cleanup_free char *text = cJSON_PrintUnformatted(list);

	return list && (!text || buffer_format(out, "%s %s\n", name, text)) ? error_memory(err) : 0;
}

/* asked: the hash of what the config asks for; m->hash also of the host that it is made on. */
static int name_it(const cJSON *packages, const cJSON *setup, const struct image *image, struct making *m,
		   char asked[MAKING_HASH_SIZE], struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(TEXT_MAX);

	if (buffer_text(&text, "image 1\n"))
		return error_memory(err);
	if (append_list(&text, "packages", packages, err) || append_list(&text, "setup", setup, err))
		return -1;
	if (image->base && buffer_format(&text, "base %s\n", image->base_hash))
		return error_memory(err);
	making_hash(text.data, text.length, asked);
	if (!image->base && append_host(&text, err))
		return -1;
	making_hash(text.data, text.length, m->hash);
	return 0;
}

/* ---- the commands ---- */

/* Of a system of the config's own, by what it has. */
static int install_any(struct build *b, const cJSON *packages, struct error *err)
{
	const char *argv[PACKAGES_MAX + 8] = { "/bin/sh", "-ec", image_install_script, "install" };
	const cJSON *item;
	size_t n = 4;

	if (cJSON_GetArraySize(packages) > PACKAGES_MAX)
		return error_set(err, E2BIG, "system_packages: there are more than %d", PACKAGES_MAX);
	cJSON_ArrayForEach(item, packages)
		argv[n++] = item->valuestring;
	argv[n] = NULL;
	return n > 4 ? commands_must(&b->commands, argv, "system_packages", err) : 0;
}

static int install(struct build *b, const cJSON *packages, struct error *err)
{
	static const char *const update[] = { "apt-get", "update", NULL };
	const char *argv[PACKAGES_MAX + 8] = { "apt-get", "install", "--yes", "--no-install-recommends", "--" };
	const cJSON *item;
	size_t n = 5;

	if (cJSON_GetArraySize(packages) > PACKAGES_MAX)
		return error_set(err, E2BIG, "system_packages: there are more than %d", PACKAGES_MAX);
	cJSON_ArrayForEach(item, packages)
		argv[n++] = item->valuestring;
	argv[n] = NULL;
	if (n == 5)
		return 0;
	return commands_must(&b->commands, update, "system_packages", err) || commands_must(&b->commands, argv, "system_packages", err) ? -1 : 0;
}

int image_set_up(struct commands *c, const cJSON *setup, struct error *err)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, setup) {
		const char *const argv[] = { "/bin/sh", "-ec", item->valuestring, NULL };

		commands_log(c, "setup: ");
		commands_log(c, item->valuestring);
		commands_log(c, "\n");
		if (commands_must(c, argv, "setup", err))
			return -1;
	}
	return 0;
}

static int fill(struct build *b, const cJSON *packages, const cJSON *setup, struct error *err)
{
	static const char *const clean[] = { "/bin/sh", "-c", "apt-get clean && rm -rf /var/lib/apt/lists/* /tmp/* /var/tmp/*", NULL };

	if ((b->plan.base ? install_any : install)(b, packages, err) || image_set_up(&b->commands, setup, err))
		return -1;
	return cJSON_GetArraySize(packages) && !b->plan.base ? commands_must(&b->commands, clean, "system_packages", err) : 0;
}

/* ---- what the box left ---- */

/* Moves it into one folder that is published whole. What each box has of its own is not part of it. */
static int gather(struct build *b, const char *into, struct error *err)
{
	static const char *const parts[] = { "up", "root" };
	static const char *const own[] = { "up/etc/hosts", "up/etc/hostname", "up/etc/resolv.conf", "root/tmp", "root/run" };
	cleanup_close int box = file_open_folder(AT_FDCWD, b->box.path, err), to = -1;

	if (box < 0)
		return -1;
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		if (file_remove_tree(box, own[i], err))
			return -1;
	/* Above a system of the config's own all folders lie in up/, also those that setup has made in /. */
	if (b->plan.base && box_make_uppers(&b->box, true, err))
		return -1;
	if (file_make_folder(AT_FDCWD, into, 0700, err))
		return -1;
	to = file_open_folder(AT_FDCWD, into, err);
	for (size_t i = 0; to >= 0 && i < sizeof parts / sizeof *parts; i++)
		if (renameat(box, parts[i], to, parts[i]))
			return error_errno(err, "cannot keep an image");
	return to < 0 ? -1 : 0;
}

/* apt fetches as a user of its own, whom a namespace with one id does not have. */
static int make_apt_root(struct build *b, const struct image *image, struct error *err)
{
	static const char text[] = "APT::Sandbox::User \"root\";\n";

	if (!geteuid() || image->ids.users.count)
		return 0;
	return box_folder(&b->box, "/etc/apt/apt.conf.d", err) ||
	       box_put(&b->box, "/etc/apt/apt.conf.d/99interpfs", text, strlen(text), 0644, err) ? -1 : 0;
}

static int make(struct sandbox *s, const char *runtime, const cJSON *packages, const cJSON *setup, const struct image *image,
		const struct making *m, struct error *err)
{
	cleanup_free char *made = NULL;
	struct build b;
	int result = making_open(m, &b, s, image, err);

	if (!result && asprintf(&made, "%s/made", b.box.path) < 0) {
		made = NULL;
		result = error_memory(err);
	}
	if (!result)
		result = make_apt_root(&b, image, err) || build_start(&b, runtime, err) ? -1 : 0;
	failpoint("image-building");
	if (!result)
		result = fill(&b, packages, setup, err) || build_stop(&b, err) || gather(&b, made, err) ||
			 making_publish(m, made, err) ? -1 : 0;
	build_close(&b);
	return result;
}

int image_find(struct sandbox *s, const char *runtime, int kept, const cJSON *packages, const cJSON *setup,
	       struct image *image, struct error *err)
{
	char asked[MAKING_HASH_SIZE];
	struct making m = MAKING;
	cleanup_free char *folder = NULL, *layers = NULL;
	cleanup_close int using = -1;
	int result;

	image->path = NULL;
	if (!cJSON_GetArraySize(packages) && !cJSON_GetArraySize(setup))
		return 0;
	if (geteuid() && !image->base)
		return error_set(err, EPERM, "system_packages and setup need root on this backend: mount as root, name an image, or "
				 "use backend: docker");
	if (asprintf(&folder, "%s/images", s->state->path) < 0 || asprintf(&layers, "%s/layers", s->state->path) < 0)
		return error_memory(err);
	if (file_make_folder(AT_FDCWD, folder, 0700, err) || file_make_folder(AT_FDCWD, layers, 0700, err) ||
	    name_it(packages, setup, image, &m, asked, err))
		return -1;
	using = unused_hold(s->state, err);
	if (using < 0)
		return -1;
	(void)making_recall(&m, kept, RECORD, folder, asked);
	result = making_claim(&m, s, folder, err);
	if (result > 0)
		result = make(s, runtime, packages, setup, image, &m, err);
	if (!result)
		result = making_remember(&m, kept, RECORD, asked, err);
	if (!result) {
		unused_touch(m.final);
		memcpy(image->hash, m.hash, sizeof m.hash);
		image->path = steal_pointer(&m.final);
	}
	making_done(&m);
	return result;
}

void image_free(struct image *image)
{
	free(image->path);
	free(image->base);
	*image = (struct image){ .path = NULL };
}
