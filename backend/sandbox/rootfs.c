#include "backend/sandbox/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/sandbox/making.h"
#include "backend/sandbox/spawn.h"
#include "backend/sandbox/untar.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/inside.h"
#include "base/program.h"

#define RECORD "root"            /* in the sandbox's ctl */
#define JSON_MAX (4u << 20)
#define NEST_MAX 4               /* an index of an index */
#define ENTRIES_MAX 5000000u
#define SPARE (256u << 20)       /* bytes of the disk that an image leaves free */
#define BLOW_UP 200              /* so many times an archive's size, and … */
#define BLOW_UP_FREE (64u << 20) /* … this much, it may unpack to */
#define WAIT_MS 10000

static void cleanup_json_(cJSON **json) { cJSON_Delete(*json); }
#define cleanup_json __attribute__((cleanup(cleanup_json_)))

struct unpacking {
	struct sandbox *sandbox;
	int into;          /* the folder in the making */
	uint64_t room;
	unsigned left_out;
};

static int pump(void *context, struct error *err)
{
	struct sandbox *s = context;

	return s->host->pump(s->host->context, 0, err);
}

static void say(struct sandbox *s, const char *text)
{
	s->host->log(s->host->context, text, strlen(text));
	s->host->log(s->host->context, "\n", 1);
}

/* ---- what it is called ---- */

struct digest {
	EVP_MD_CTX *context;
};

static int digest_begin(struct digest *d, struct error *err)
{
	d->context = EVP_MD_CTX_new();
	return d->context && EVP_DigestInit_ex(d->context, EVP_sha256(), NULL) ? 0 : error_memory(err);
}

static void digest_add(struct digest *d, const void *data, size_t n)
{
	(void)EVP_DigestUpdate(d->context, data, n);
}

/* 64 digits. */
static void digest_end(struct digest *d, char out[65])
{
	unsigned char bytes[EVP_MAX_MD_SIZE] = { 0 };
	unsigned n = 0;

	if (d->context)
		(void)EVP_DigestFinal_ex(d->context, bytes, &n);
	for (size_t i = 0; i < 32; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	EVP_MD_CTX_free(d->context);
	d->context = NULL;
}

static int digest_file(struct sandbox *s, int fd, char out[65], struct error *err)
{
	cleanup_free char *piece = malloc(1 << 20);
	struct digest d = { NULL };
	ssize_t n = -1;
	int result = piece ? digest_begin(&d, err) : error_memory(err);
	uint64_t told = 0;

	while (!result && (n = read(fd, piece, 1 << 20)) > 0) {
		digest_add(&d, piece, (size_t)n);
		told += (uint64_t)n;
		if (told % (16u << 20) == 0)
			result = pump(s, err);
	}
	if (!result && n < 0)
		result = error_errno(err, "image");
	digest_end(&d, out);
	if (!result && lseek(fd, 0, SEEK_SET) < 0)
		result = error_errno(err, "image");
	return result;
}

/* What a file is, so that its bytes need not be read again. */
static void stamp_of(const char *path, const struct stat *st, char out[MAKING_HASH_SIZE])
{
	char text[PATH_MAX + 128];
	int n = snprintf(text, sizeof text, "%s %llu %llu %lld %lld.%09ld", path, (unsigned long long)st->st_dev,
			 (unsigned long long)st->st_ino, (long long)st->st_size, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);

	making_hash(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1, out);
}

static int name_file(struct sandbox *s, const char *roots, const char *path, int fd, char hash[MAKING_HASH_SIZE], struct error *err)
{
	cleanup_buffer struct buffer known = BUFFER(128);
	cleanup_free char *stamps = NULL;
	char stamp[MAKING_HASH_SIZE], digest[65], text[96];
	cleanup_close int folder = -1;
	struct error ignored;
	struct stat st;

	if (fstat(fd, &st))
		return error_errno(err, "%s", path);
	stamp_of(path, &st, stamp);
	if (asprintf(&stamps, "%s/stamps", roots) < 0) {
		stamps = NULL;
		return error_memory(err);
	}
	if (file_make_folder(AT_FDCWD, stamps, 0700, err))
		return -1;
	folder = file_open_folder(AT_FDCWD, stamps, err);
	if (folder < 0)
		return -1;
	if (!file_read(folder, stamp, &known, &ignored) && known.length == MAKING_HASH_SIZE - 1 &&
	    strspn(known.data, "0123456789abcdef") == known.length) {
		memcpy(hash, known.data, MAKING_HASH_SIZE);
		return 0;
	}
	if (s->host->building(s->host->context, err) || digest_file(s, fd, digest, err))
		return -1;
	making_hash(text, (size_t)snprintf(text, sizeof text, "tar 1 %s", digest), hash);
	return file_replace(folder, stamp, hash, MAKING_HASH_SIZE - 1, 0600, false, err);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int name_folder(struct sandbox *s, const char *path, char hash[MAKING_HASH_SIZE], struct error *err)
{
	cleanup_free char *copy = strdup(path);
	char *paths[] = { copy, NULL }, digest[65], line[PATH_MAX + 160];
	struct digest d = { NULL };
	unsigned count = 0;
	FTSENT *entry;
	FTS *fts;
	int result = copy ? digest_begin(&d, err) : error_memory(err);

	fts = result ? NULL : fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, by_name);
	if (!result && !fts)
		result = error_errno(err, "%s", path);
	while (!result && (errno = 0, entry = fts_read(fts))) {
		const struct stat *st = entry->fts_statp;
		int n;

		if (entry->fts_info == FTS_DP)
			continue;
		if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS) {
			result = error_set(err, entry->fts_errno, "image: %.300s: %s", entry->fts_path, strerror(entry->fts_errno));
			break;
		}
		n = snprintf(line, sizeof line, "%s %o %u %u %lld %lld.%09ld\n", entry->fts_path + strlen(path), st->st_mode, st->st_uid,
			     st->st_gid, S_ISDIR(st->st_mode) ? 0 : (long long)st->st_size, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
		digest_add(&d, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1);
		if (++count % 10000 == 0)
			result = pump(s, err);
	}
	if (fts)
		(void)fts_close(fts);
	digest_end(&d, digest);
	if (!result)
		making_hash(line, (size_t)snprintf(line, sizeof line, "folder 1 %s", digest), hash);
	return result;
}

/* ---- OCI ---- */

static const char *text_of(const cJSON *object, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

	return text ? text : "";
}

static int open_file(int layout, const char *path, struct error *err)
{
	int fd = inside_open(layout, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, INSIDE_NO_LINKS);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		int code = fd < 0 ? errno : EINVAL;

		if (fd >= 0)
			(void)close(fd);
		return error_set(err, code, "image: %.200s: %s", path, fd < 0 ? strerror(code) : "it is no file");
	}
	return fd;
}

/* blobs/sha256/HEX, whose bytes are checked. */
static int open_blob(struct sandbox *s, int layout, const char *digest, struct error *err)
{
	char path[96], found[65];
	int fd;

	if (strncmp(digest, "sha256:", 7) || strlen(digest) != 71 || strspn(digest + 7, "0123456789abcdef") != 64)
		return error_set(err, EINVAL, "image: '%.80s' is no digest of SHA-256", digest);
	(void)snprintf(path, sizeof path, "blobs/sha256/%s", digest + 7);
	fd = open_file(layout, path, err);
	if (fd < 0)
		return -1;
	if (!digest_file(s, fd, found, err) && strcmp(found, digest + 7))
		(void)error_set(err, EBADMSG, "image: %s is damaged: its bytes are others", path);
	else if (!strcmp(found, digest + 7))
		return fd;
	(void)close(fd);
	return -1;
}

static int read_json(int fd, cJSON **json, struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(JSON_MAX);
	char piece[65536];
	ssize_t n;

	*json = NULL;
	while ((n = read(fd, piece, sizeof piece)) > 0)
		if (buffer_append(&text, piece, (size_t)n))
			return error_errno(err, "image");
	if (n < 0)
		return error_errno(err, "image");
	*json = text.length ? cJSON_ParseWithLength(text.data, text.length) : NULL;
	return *json ? 0 : error_set(err, EBADMSG, "image: it has a file that should be JSON");
}

static const char *architecture(void)
{
	static struct utsname name;
	static const char *const same[][2] = { { "x86_64", "amd64" }, { "aarch64", "arm64" }, { "armv7l", "arm" } };

	if (uname(&name))
		return "";
	for (size_t i = 0; i < sizeof same / sizeof *same; i++)
		if (!strcmp(name.machine, same[i][0]))
			return same[i][1];
	return name.machine;
}

/* The manifest for this machine: of an index's, or of an index in it. Owned. */
static int find_manifest(struct sandbox *s, int layout, cJSON *index, int depth, char digest[72], cJSON **manifest, struct error *err)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(index, "manifests"), *one, *best = NULL;
	cleanup_close int blob = -1;
	cleanup_json cJSON *found = NULL;

	cJSON_ArrayForEach(one, list) {
		const cJSON *platform = cJSON_GetObjectItemCaseSensitive(one, "platform");

		if (!platform || (!strcmp(text_of(platform, "architecture"), architecture()) && !strcmp(text_of(platform, "os"), "linux")))
			best = best ? best : one;
	}
	if (!best)
		return error_set(err, ENOENT, "image: it has nothing for this machine (linux, %s)", architecture());
	blob = open_blob(s, layout, text_of(best, "digest"), err);
	if (blob < 0 || read_json(blob, &found, err))
		return -1;
	(void)snprintf(digest, 72, "%s", text_of(best, "digest"));
	if (cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(found, "manifests")))
		return depth < NEST_MAX ? find_manifest(s, layout, found, depth + 1, digest, manifest, err)
					: error_set(err, EINVAL, "image: its indexes are too deep");
	*manifest = found;
	found = NULL;
	return 0;
}

static int read_layout(struct sandbox *s, int layout, char digest[72], cJSON **manifest, struct error *err)
{
	cleanup_close int fd = open_file(layout, "index.json", err);
	cleanup_json cJSON *index = NULL;

	return fd < 0 || read_json(fd, &index, err) ? -1 : find_manifest(s, layout, index, 0, digest, manifest, err);
}

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
	struct untar t = { .root = root, .owners = !geteuid(), .whiteouts = whiteouts, .room = u->room, .entries = ENTRIES_MAX,
			   .progress = pump, .context = u->sandbox };
	int result = root < 0 ? -1 : untar(&t, fd, err);

	u->room = t.room;
	u->left_out += t.left_out;
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

	if (read_layout(u->sandbox, layout, digest, &manifest, err))
		return -1;
	cJSON_ArrayForEach(layer, cJSON_GetObjectItemCaseSensitive(manifest, "layers")) {
		cleanup_close int blob = open_blob(u->sandbox, layout, text_of(layer, "digest"), err);

		if (blob < 0 || unpack_file(u, "root", true, blob, err))
			return -1;
	}
	about = open_blob(u->sandbox, layout, text_of(cJSON_GetObjectItemCaseSensitive(manifest, "config"), "digest"), err);
	return about < 0 || read_json(about, &config, err) ? -1 : write_config(u, config, err);
}

/* What `docker save` wrote before it wrote layouts: manifest.json names files. */
static int unpack_saved(struct unpacking *u, int saved, struct error *err)
{
	cleanup_close int fd = open_file(saved, "manifest.json", err), about = -1;
	cleanup_json cJSON *list = NULL, *config = NULL;
	const cJSON *image, *layer;

	if (fd < 0 || read_json(fd, &list, err))
		return -1;
	image = cJSON_GetArrayItem(list, 0);
	cJSON_ArrayForEach(layer, cJSON_GetObjectItemCaseSensitive(image, "Layers")) {
		cleanup_close int one = open_file(saved, cJSON_IsString(layer) ? layer->valuestring : "", err);

		if (one < 0 || unpack_file(u, "root", true, one, err))
			return -1;
	}
	about = open_file(saved, text_of(image, "Config"), err);
	return about < 0 || read_json(about, &config, err) ? -1 : write_config(u, config, err);
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

static int name_it(struct sandbox *s, const char *roots, const char *path, int fd, enum kind kind, struct making *m, struct error *err)
{
	cleanup_json cJSON *manifest = NULL;
	char digest[72], text[96];

	switch (kind) {
	case KIND_TAR:
		return name_file(s, roots, path, fd, m->hash, err);
	case KIND_FOLDER:
		return name_folder(s, path, m->hash, err);
	case KIND_LAYOUT:
		break;
	}
	if (read_layout(s, fd, digest, &manifest, err))
		return -1;
	making_hash(text, (size_t)snprintf(text, sizeof text, "oci 1 %s", digest), m->hash);
	return 0;
}

static int unpack(struct unpacking *u, const char *path, int fd, enum kind kind, struct error *err)
{
	struct statvfs disk;
	char line[128];
	int result;

	if (fstatvfs(u->into, &disk))
		return error_errno(err, "image");
	u->room = (uint64_t)disk.f_bavail * disk.f_frsize;
	u->room = u->room > SPARE ? u->room - SPARE : 0;
	if (file_make_folder(u->into, "root", 0755, err))
		return -1;
	say(u->sandbox, "unpacking the image");
	result = kind == KIND_TAR ? unpack_archive(u, fd, err)
	       : kind == KIND_LAYOUT ? unpack_layout(u, fd, err) : unpack_folder(u, path, err);
	if (result)
		return -1;
	if (!has(u->into, "root/usr") && !has(u->into, "root/bin"))
		return error_set(err, EINVAL, "image: %s holds no system: there is neither usr nor bin in it", path);
	(void)snprintf(line, sizeof line, "%u devices and the like of the image were left out", u->left_out);
	if (u->left_out)
		say(u->sandbox, line);
	return 0;
}

static int make(struct sandbox *s, const char *roots, const char *path, int fd, enum kind kind, const struct making *m, struct error *err)
{
	struct unpacking u = { .sandbox = s, .into = -1 };
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

int rootfs_find(struct sandbox *s, int kept, struct image *image, struct error *err)
{
	const char *named = sandbox_text(s, "image");
	char asked[MAKING_HASH_SIZE];
	struct making m = { .lock = -1, .waits = "another sandbox is unpacking the same image; waiting for it\n" };
	cleanup_free char *roots = NULL, *layers = NULL, *path = NULL;
	cleanup_close int fd = -1;
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
	making_hash(path, strlen(path), asked);
	if (!making_recall(&m, kept, RECORD, roots, asked) &&
	    (look(path, &fd, &kind, err) || name_it(s, roots, path, fd, kind, &m, err)))
		return -1;
	result = making_claim(&m, s, roots, err);
	if (result > 0 && fd < 0) /* it was there a moment ago */
		result = look(path, &fd, &kind, err) ? -1 : 1;
	if (result > 0)
		result = make(s, roots, path, fd, kind, &m, err);
	if (!result)
		result = making_remember(&m, kept, RECORD, asked, err);
	if (!result) {
		memcpy(image->base_hash, m.hash, sizeof m.hash);
		image->base = steal_pointer(&m.final);
	}
	making_done(&m);
	return result;
}
