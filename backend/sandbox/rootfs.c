#include "backend/sandbox/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/sandbox/rootfs_own.h"
#include "backend/sandbox/spawn.h"
#include "backend/sandbox/unused.h"
#include "backend/sandbox/untar.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "base/program.h"

#define RECORD "root"            /* in the sandbox's ctl */
#define ENTRIES_MAX 5000000u
#define SPARE (256u << 20)       /* bytes of the disk that an image leaves free */
#define BLOW_UP 200              /* so many times an archive's size, and … */
#define BLOW_UP_FREE (64u << 20) /* … this much, it may unpack to */
#define WAIT_MS 10000

struct unpacking {
	struct sandbox *sandbox;
	const struct ids *ids; /* NULL: all is the user's, or root has all ids */
	bool of_here;
	int into;          /* the folder in the making */
	uint64_t room;
	unsigned left_out, foreign;
};

/* ---- unpacking ---- */

/* What a file's first bytes say that it is packed with; NULL: nothing. */
static const char *packer(int fd)
{
	static const struct { const char *bytes, *program; size_t n; } known[] = {
		{ "\x1f\x8b", "gzip", 2 }, { "\x28\xb5\x2f\xfd", "zstd", 4 }, { "\xfd" "7zXZ", "xz", 5 }, { "BZh", "bzip2", 3 },
	};
	char begin[8] = { 0 };

	if (pread(fd, begin, sizeof begin, 0) < 0)
		return NULL;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (!memcmp(begin, known[i].bytes, known[i].n))
			return known[i].program;
	return NULL;
}

/* `sh -c SCRIPT PROGRAM ARGUMENT` with what it reads as descriptor 3, what it says as 4. */
static pid_t run(const char *script, const char *program, const char *argument, int input, int says, int *output, int *pidfd,
		 struct error *err)
{
	char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, (char *)(uintptr_t)script, (char *)(uintptr_t)program,
			 (char *)(uintptr_t)argument, NULL };
	struct spawn what = { .argv = argv, .passed = { input, says, -1, -1 } };
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return error_errno(err, "image");
	what.output = ends[1];
	pid = spawn(&what, pidfd, err);
	(void)close(ends[1]);
	if (pid < 0)
		(void)close(ends[0]);
	else
		*output = ends[0];
	return pid;
}

static int unpack_into(struct unpacking *u, const char *name, bool whiteouts, int fd, struct error *err)
{
	cleanup_close int root = file_open_folder(u->into, name, err);
	struct untar t = { .root = root, .owners = !geteuid() || u->ids, .ids = u->ids, .of_here = u->of_here, .whiteouts = whiteouts, .room = u->room, .entries = ENTRIES_MAX,
			   .progress = rootfs_pump, .context = u->sandbox };
	int result = root < 0 ? -1 : untar(&t, fd, err);

	u->room = t.room;
	u->left_out += t.left_out;
	u->foreign += t.foreign;
	return result ? error_wrap(err, "image") : 0;
}

static int unpack_file(struct unpacking *u, const char *name, bool whiteouts, int fd, struct error *err)
{
	const char *packed = packer(fd);
	cleanup_free char *program = packed ? program_find(packed) : NULL;
	cleanup_close int pidfd = -1, output = -1;
	struct error ignored;
	struct stat st;
	uint64_t most, kept;
	int status, result;
	pid_t pid;

	if (!packed)
		return unpack_into(u, name, whiteouts, fd, err);
	if (!program)
		return error_set(err, ENOENT, "image: it is packed with %s, which is not on this machine: install it", packed);
	if (fstat(fd, &st))
		return error_errno(err, "image");
	/* What unpacks to thousands of times its size is made to fill a disk. A small layer is no bound of the next. */
	most = (uint64_t)st.st_size * BLOW_UP + BLOW_UP_FREE;
	kept = u->room > most ? u->room - most : 0;
	pid = run("exec \"$0\" -dc <&3 2>/dev/null", program, NULL, fd, -1, &output, &pidfd, err);
	if (pid < 0)
		return -1;
	u->room -= kept;
	result = unpack_into(u, name, whiteouts, output, err);
	u->room += kept;
	(void)close(steal_fd(&output));
	if (spawn_wait(pid, pidfd, result ? 0 : WAIT_MS, &status, &ignored) && !result)
		result = error_set(err, EIO, "image: %s did not end", packed);
	return result;
}

/* By tar, which knows what a tree is made of. */
static int unpack_folder(struct unpacking *u, const char *path, struct error *err)
{
	static const char script[] = "exec \"$0\" -C \"$1\" --one-file-system --numeric-owner -cf - . 2>&4";
	cleanup_free char *program = program_find("tar");
	cleanup_buffer struct buffer said = BUFFER(4096);
	cleanup_close int pidfd = -1, output = -1, words = openat(u->into, "words", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct error ignored;
	int status = 0, result;
	pid_t pid;

	if (!program)
		return error_set(err, ENOENT, "image: there is no tar on this machine: install it");
	if (words < 0)
		return error_errno(err, "image");
	pid = run(script, program, path, -1, words, &output, &pidfd, err);
	if (pid < 0)
		return -1;
	result = unpack_into(u, "root", false, output, err);
	(void)close(steal_fd(&output));
	if (spawn_wait(pid, pidfd, result ? 0 : WAIT_MS, &status, &ignored) && !result)
		result = error_set(err, EIO, "image: tar did not end");
	/* 1: a file was changed meanwhile. */
	if (!result && (!WIFEXITED(status) || WEXITSTATUS(status) > 1)) {
		(void)file_read(u->into, "words", &said, &ignored);
		result = error_set(err, EIO, "image: %.*s", (int)strcspn(said.data ? said.data : "tar failed", "\n"), said.data ? said.data : "tar failed");
	}
	(void)unlinkat(u->into, "words", 0);
	return result;
}

static int write_config(struct unpacking *u, const cJSON *config, struct error *err)
{
	const cJSON *env = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(config, "config"), "Env");
	cleanup_json cJSON *kept = cJSON_CreateObject();
	cleanup_free char *text = NULL;

	if (!kept || (env && !cJSON_AddItemReferenceToObject(kept, "env", (cJSON *)(uintptr_t)env)) || !(text = cJSON_PrintUnformatted(kept)))
		return error_memory(err);
	return file_replace(u->into, "config.json", text, strlen(text), 0600, false, err);
}

static int unpack_layout(struct unpacking *u, int layout, struct error *err)
{
	cleanup_json cJSON *manifest = NULL, *config = NULL;
	cleanup_close int about = -1;
	const cJSON *layer;
	char digest[72];

	if (rootfs_read_layout(u->sandbox, layout, digest, &manifest, err))
		return -1;
	cJSON_ArrayForEach(layer, cJSON_GetObjectItemCaseSensitive(manifest, "layers")) {
		cleanup_close int blob = rootfs_open_blob(u->sandbox, layout, json_word(layer, "digest"), err);

		if (blob < 0 || unpack_file(u, "root", true, blob, err))
			return -1;
	}
	about = rootfs_open_blob(u->sandbox, layout, json_word(cJSON_GetObjectItemCaseSensitive(manifest, "config"), "digest"), err);
	return about < 0 || rootfs_read_json(about, &config, err) ? -1 : write_config(u, config, err);
}

/* What `docker save` wrote before it wrote layouts: manifest.json names files. */
static int unpack_saved(struct unpacking *u, int saved, struct error *err)
{
	cleanup_close int fd = rootfs_open(saved, "manifest.json", err), about = -1;
	cleanup_json cJSON *list = NULL, *config = NULL;
	const cJSON *image, *layer;

	if (fd < 0 || rootfs_read_json(fd, &list, err))
		return -1;
	image = cJSON_GetArrayItem(list, 0);
	cJSON_ArrayForEach(layer, cJSON_GetObjectItemCaseSensitive(image, "Layers")) {
		cleanup_close int one = rootfs_open(saved, cJSON_IsString(layer) ? layer->valuestring : "", err);

		if (one < 0 || unpack_file(u, "root", true, one, err))
			return -1;
	}
	about = rootfs_open(saved, json_word(image, "Config"), err);
	return about < 0 || rootfs_read_json(about, &config, err) ? -1 : write_config(u, config, err);
}

static bool has(int folder, const char *path)
{
	struct stat st;

	return !fstatat(folder, path, &st, AT_SYMLINK_NOFOLLOW);
}

/* A root, or an image in an archive. */
static int unpack_archive(struct unpacking *u, int fd, struct error *err)
{
	cleanup_close int layout = -1;
	bool oci;
	int result;

	if (unpack_file(u, "root", false, fd, err))
		return -1;
	oci = has(u->into, "root/oci-layout");
	if (!oci && !has(u->into, "root/manifest.json"))
		return 0;
	if (renameat(u->into, "root", u->into, "layout"))
		return error_errno(err, "image");
	layout = file_open_folder(u->into, "layout", err);
	if (layout < 0 || file_make_folder(u->into, "root", 0755, err))
		return -1;
	result = oci ? unpack_layout(u, layout, err) : unpack_saved(u, layout, err);
	return result || file_remove_tree(u->into, "layout", err) ? -1 : 0;
}

/* ---- one ---- */

enum kind { KIND_TAR, KIND_FOLDER, KIND_LAYOUT };

static int look(const char *path, int *fd, enum kind *kind, struct error *err)
{
	struct stat st;

	*fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (*fd < 0 || fstat(*fd, &st))
		return error_errno(err, "image: %s", path);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return error_set(err, EINVAL, "image: %s is neither a folder nor a file", path);
	*kind = S_ISREG(st.st_mode) ? KIND_TAR : has(*fd, "oci-layout") ? KIND_LAYOUT : KIND_FOLDER;
	if (*kind == KIND_FOLDER && !has(*fd, "usr") && !has(*fd, "bin"))
		return error_set(err, EINVAL, "image: %s holds no system: there is neither usr nor bin in it", path);
	return 0;
}

static int name_content(struct sandbox *s, const char *roots, const char *path, int fd, enum kind kind, struct making *m, struct error *err)
{
	cleanup_json cJSON *manifest = NULL;
	char digest[72], text[96];

	switch (kind) {
	case KIND_TAR:
		return rootfs_name_file(s, roots, path, fd, m->hash, err);
	case KIND_FOLDER:
		return rootfs_name_folder(s, path, m->hash, err);
	case KIND_LAYOUT:
		break;
	}
	if (rootfs_read_layout(s, fd, digest, &manifest, err))
		return -1;
	making_hash(text, (size_t)snprintf(text, sizeof text, "oci 1 %s", digest), m->hash);
	return 0;
}

/* With other ids it is another. */
static int name_it(struct sandbox *s, const char *roots, const char *path, int fd, enum kind kind, const struct ids *ids,
		   struct making *m, struct error *err)
{
	char text[MAKING_HASH_SIZE + IDS_TEXT_SIZE], told[IDS_TEXT_SIZE];

	if (name_content(s, roots, path, fd, kind, m, err))
		return -1;
	if (!ids)
		return 0;
	ids_text(ids, told);
	making_hash(text, (size_t)snprintf(text, sizeof text, "%s %s", m->hash, told), m->hash);
	return 0;
}

static int unpack(struct unpacking *u, const char *path, int fd, enum kind kind, struct error *err)
{
	struct statvfs disk;
	char line[192];
	int result;

	if (fstatvfs(u->into, &disk))
		return error_errno(err, "image");
	u->room = (uint64_t)disk.f_bavail * disk.f_frsize;
	u->room = u->room > SPARE ? u->room - SPARE : 0;
	u->of_here = kind == KIND_FOLDER;
	if (u->ids && (ids_write(u->ids, u->sandbox->state->fd, true, err) || ids_write(u->ids, u->into, false, err)))
		return -1;
	if (file_make_folder(u->into, "root", 0755, err))
		return -1;
	sandbox_say(u->sandbox, "unpacking the image");
	result = kind == KIND_TAR ? unpack_archive(u, fd, err)
	       : kind == KIND_LAYOUT ? unpack_layout(u, fd, err) : unpack_folder(u, path, err);
	if (result)
		return -1;
	if (!has(u->into, "root/usr") && !has(u->into, "root/bin"))
		return error_set(err, EINVAL, "image: %s holds no system: there is neither usr nor bin in it", path);
	(void)snprintf(line, sizeof line, "%u devices and the like of the image were left out", u->left_out);
	if (u->left_out)
		sandbox_say(u->sandbox, line);
	(void)snprintf(line, sizeof line, "%u files of the image belong to ids beyond your %u: they are root's now", u->foreign,
		       u->ids ? u->ids->users.count : 0);
	if (u->foreign)
		sandbox_say(u->sandbox, line);
	return 0;
}

static int make(struct sandbox *s, const char *roots, const char *path, int fd, enum kind kind, const struct ids *ids, const struct making *m,
		struct error *err)
{
	struct unpacking u = { .sandbox = s, .ids = ids, .into = -1 };
	cleanup_free char *made = NULL;
	struct error ignored;
	int result;

	if (asprintf(&made, "%s/.making-%s", roots, m->hash) < 0) {
		made = NULL;
		return error_memory(err);
	}
	if (file_remove_tree(AT_FDCWD, made, err) || file_make_folder(AT_FDCWD, made, 0700, err))
		return -1;
	u.into = file_open_folder(AT_FDCWD, made, err);
	failpoint("root-unpacking");
	result = u.into < 0 || unpack(&u, path, fd, kind, err) || making_publish(m, made, err) ? -1 : 0;
	if (u.into >= 0)
		(void)close(u.into);
	if (result)
		(void)file_remove_tree(AT_FDCWD, made, &ignored);
	return result;
}

/* Whose its files are, which whoever made it has written: as this process has ids now. */
static int read_ids(const char *final, const struct ids *ids, const struct error *why, struct image *image, struct error *err)
{
	cleanup_close int root = file_open_folder(AT_FDCWD, final, err);
	int found = root < 0 ? -1 : ids_read(&image->ids, root, err);

	if (found <= 0 || (ids && ids_same(ids, &image->ids)))
		return found < 0 ? -1 : 0;
	return ids ? error_set(err, EPERM, "image: files of it belong to the ids from %u on, which are not yours any more (/etc/subuid)",
			       image->ids.users.first)
		   : error_set(err, EPERM, "image: files of it belong to ids of your range, which cannot be had now: %.400s", why->text);
}

int rootfs_find(struct sandbox *s, int kept, struct image *image, struct error *err)
{
	const char *named = sandbox_text(s, "image");
	const struct ids *ids;
	struct error why;
	char asked[MAKING_HASH_SIZE];
	struct making m = { .lock = -1, .waits = "another sandbox is unpacking the same image; waiting for it\n" };
	cleanup_free char *roots = NULL, *layers = NULL, *path = NULL;
	cleanup_close int fd = -1, using = -1;
	enum kind kind = KIND_TAR;
	int result;

	if (!named)
		return 0;
	path = *named == '/' || *named == '~' ? sandbox_host_path(named, err) : NULL;
	if (!path)
		return error_set(err, EINVAL, "image: '%.200s' is no path: on the backend local it is a folder, a .tar or an OCI layout of this "
				 "machine; the backend docker takes names", named);
	if (asprintf(&roots, "%s/roots", s->state->path) < 0 || asprintf(&layers, "%s/layers", s->state->path) < 0)
		return error_memory(err);
	if (file_make_folder(AT_FDCWD, roots, 0700, err) || file_make_folder(AT_FDCWD, layers, 0700, err))
		return -1;
	ids = ids_enter(&why);
	using = unused_hold(s->state, err);
	if (using < 0)
		return -1;
	making_hash(path, strlen(path), asked);
	if (!making_recall(&m, kept, RECORD, roots, asked) &&
	    (look(path, &fd, &kind, err) || name_it(s, roots, path, fd, kind, ids, &m, err)))
		return -1;
	result = making_claim(&m, s, roots, err);
	if (result > 0 && fd < 0) /* it was there a moment ago */
		result = look(path, &fd, &kind, err) ? -1 : 1;
	if (result > 0)
		result = make(s, roots, path, fd, kind, ids, &m, err);
	if (!result)
		result = read_ids(m.final, ids, &why, image, err);
	if (!result)
		result = making_remember(&m, kept, RECORD, asked, err);
	if (!result) {
		unused_touch(m.final);
		memcpy(image->base_hash, m.hash, sizeof m.hash);
		image->base = steal_pointer(&m.final);
	}
	making_done(&m);
	return result;
}
