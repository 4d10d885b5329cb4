#include "backend/sandbox/making.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/sha256.h"

#define LOCK_POLL_MS 50

void making_hash(const char *text, size_t n, char out[MAKING_HASH_SIZE])
{
	sha256_hex(text, n, out, MAKING_HASH_SIZE);
}

void making_done(struct making *m)
{
	if (m->lock >= 0)
		(void)close(m->lock);
	free(m->final);
	free(m->lock_path);
}

int making_claim(struct making *m, struct sandbox *s, const char *folder, struct error *err)
{
	bool told = false;

	m->lock = -1;
	m->lock_path = NULL;
	if (asprintf(&m->final, "%s/%s", folder, m->name ? m->name : m->hash) < 0) {
		m->final = NULL;
		return error_memory(err);
	}
	if (!access(m->final, F_OK))
		return 0;
	if (asprintf(&m->lock_path, "%s/layers/.lock-%s", s->state->path, m->hash) < 0) {
		m->lock_path = NULL;
		return error_memory(err);
	}
	m->lock = open(m->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (m->lock < 0)
		return error_errno(err, "cannot lock a layer");
	if (s->host->building(s->host->context, err))
		return -1;
	while (flock(m->lock, LOCK_EX | LOCK_NB)) {
		const char *text = m->waits ? m->waits : "another sandbox is installing the same packages; waiting for it\n";

		if (errno != EWOULDBLOCK && errno != EINTR)
			return error_errno(err, "cannot lock a layer");
		if (!told)
			s->host->log(s->host->context, text, strlen(text));
		told = true;
		if (m->waiting)
			m->waiting(m->context);
		if (s->host->pump(s->host->context, LOCK_POLL_MS, err))
			return -1;
	}
	return access(m->final, F_OK) ? 1 : 0;
}

bool making_recall(struct making *m, int kept, const char *record, const char *folder, const char *asked)
{
	cleanup_buffer struct buffer text = BUFFER(256);
	cleanup_free char *path = NULL;
	struct error ignored;
	size_t n = MAKING_HASH_SIZE - 1;

	if (file_read(kept, record, &text, &ignored) || text.length != 2 * n + 2 || strncmp(text.data, asked, n))
		return false;
	if (strspn(text.data + n + 1, "0123456789abcdef") != n || asprintf(&path, "%s/%.*s", folder, (int)n, text.data + n + 1) < 0)
		return false;
	if (access(path, F_OK))
		return false;
	memcpy(m->hash, text.data + n + 1, n);
	m->hash[n] = '\0';
	return true;
}

int making_remember(const struct making *m, int kept, const char *record, const char *asked, struct error *err)
{
	char text[2 * MAKING_HASH_SIZE + 2];
	int n = snprintf(text, sizeof text, "%s %s\n", asked, m->hash);

	return file_replace(kept, record, text, (size_t)n, 0600, false, err);
}

int making_open(const struct making *m, struct build *b, struct sandbox *s, const struct image *image, struct error *err)
{
	cleanup_free char *path = NULL;
	char id[96];

	if (asprintf(&path, "%s/layers/.build-%s", s->state->path, m->hash) < 0) {
		path = NULL;
		return error_memory(err);
	}
	(void)snprintf(id, sizeof id, "interpfs-%s-build-%.16s", s->state->id, m->hash);
	return build_open(b, s, path, id, image, err);
}

int making_publish(const struct making *m, const char *from, struct error *err)
{
	cleanup_close int layer = file_open_folder(AT_FDCWD, from, err);

	/* What a sandbox will be made of must not be lost by a power cut when its name is not. */
	if (layer < 0 || syncfs(layer))
		return layer < 0 ? -1 : error_errno(err, "cannot sync a layer");
	failpoint("layer-built");
	if (rename(from, m->final))
		return error_errno(err, "cannot publish a layer");
	return file_sync_folder(AT_FDCWD, m->final, err);
}

/* ---- what died in the middle ---- */

static void sweep_one(const struct state *state, const char *hash)
{
	cleanup_free char *path = NULL, *lock_path = NULL;
	cleanup_close int lock = -1;
	struct error ignored;
	struct box box;
	char id[96];

	if (asprintf(&path, "%s/layers/.build-%s", state->path, hash) < 0 ||
	    asprintf(&lock_path, "%s/layers/.lock-%s", state->path, hash) < 0)
		return;
	lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB))
		return;
	(void)snprintf(id, sizeof id, "interpfs-%s-build-%.16s", state->id, hash);
	if (box_init(&box, state->path, path, id, &ignored))
		return;
	(void)box_reap(&box, &ignored);
	(void)box_remove(&box, &ignored);
	box_free(&box);
}

void making_sweep(const struct state *state)
{
	cleanup_free char *path = NULL;
	cleanup_dir DIR *dir = NULL;
	const struct dirent *entry;

	if (asprintf(&path, "%s/layers", state->path) < 0)
		return;
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, ".build-", 7) && strlen(entry->d_name) == 7 + MAKING_HASH_SIZE - 1)
			sweep_one(state, entry->d_name + 7);
}
