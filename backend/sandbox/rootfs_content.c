/* What an image is called, by its content, and the files of an OCI image's layout, whose bytes are held
 * against their digests. */
#include "backend/sandbox/rootfs_own.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/inside.h"
#include "base/json.h"

#define JSON_MAX (4u << 20)
#define NEST_MAX 4 /* an index of an index */

int rootfs_pump(void *context, struct error *err)
{
	struct sandbox *s = context;

	return s->host->pump(s->host->context, 0, err);
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
			result = rootfs_pump(s, err);
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

int rootfs_name_file(struct sandbox *s, const char *roots, const char *path, int fd, char hash[MAKING_HASH_SIZE], struct error *err)
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

int rootfs_name_folder(struct sandbox *s, const char *path, char hash[MAKING_HASH_SIZE], struct error *err)
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
			result = rootfs_pump(s, err);
	}
	if (fts)
		(void)fts_close(fts);
	digest_end(&d, digest);
	if (!result)
		making_hash(line, (size_t)snprintf(line, sizeof line, "folder 1 %s", digest), hash);
	return result;
}

/* ---- OCI ---- */

int rootfs_open(int layout, const char *path, struct error *err)
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
int rootfs_open_blob(struct sandbox *s, int layout, const char *digest, struct error *err)
{
	char path[96], found[65];
	int fd;

	if (strncmp(digest, "sha256:", 7) || strlen(digest) != 71 || strspn(digest + 7, "0123456789abcdef") != 64)
		return error_set(err, EINVAL, "image: '%.80s' is no digest of SHA-256", digest);
	(void)snprintf(path, sizeof path, "blobs/sha256/%s", digest + 7);
	fd = rootfs_open(layout, path, err);
	if (fd < 0)
		return -1;
	if (!digest_file(s, fd, found, err) && strcmp(found, digest + 7))
		(void)error_set(err, EBADMSG, "image: %s is damaged: its bytes are others", path);
	else if (!strcmp(found, digest + 7))
		return fd;
	(void)close(fd);
	return -1;
}

int rootfs_read_json(int fd, cJSON **json, struct error *err)
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

		if (!platform || (!strcmp(json_word(platform, "architecture"), architecture()) && !strcmp(json_word(platform, "os"), "linux")))
			best = best ? best : one;
	}
	if (!best)
		return error_set(err, ENOENT, "image: it has nothing for this machine (linux, %s)", architecture());
	blob = rootfs_open_blob(s, layout, json_word(best, "digest"), err);
	if (blob < 0 || rootfs_read_json(blob, &found, err))
		return -1;
	(void)snprintf(digest, 72, "%s", json_word(best, "digest"));
	if (cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(found, "manifests")))
		return depth < NEST_MAX ? find_manifest(s, layout, found, depth + 1, digest, manifest, err)
					: error_set(err, EINVAL, "image: its indexes are too deep");
	*manifest = found;
	found = NULL;
	return 0;
}

int rootfs_read_layout(struct sandbox *s, int layout, char digest[72], cJSON **manifest, struct error *err)
{
	cleanup_close int fd = rootfs_open(layout, "index.json", err);
	cleanup_json cJSON *index = NULL;

	return fd < 0 || rootfs_read_json(fd, &index, err) ? -1 : find_manifest(s, layout, index, 0, digest, manifest, err);
}
