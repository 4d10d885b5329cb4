/* A container that is there only while something is made in it: above an image, with network, its commands'
 * output in a sandbox's log. */
#include "backend/sandbox/docker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/sandbox/tar.h"
#include "base/cleanup.h"
#include "base/file.h"

#define DEADLINE_S 3600
#define LOCK_POLL_MS 50
#define CERTIFICATES "run/interpfs-certificates.pem"

int docker_lock(struct sandbox *s, const char *hash, struct error *err)
{
	cleanup_free char *path = NULL;
	bool told = false;
	int fd;

	if (asprintf(&path, "%s/docker/lock-%s", s->state->path, hash) < 0)
		return error_memory(err);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, "cannot lock %s", path);
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		static const char text[] = "another sandbox is making the same; waiting for it\n";
		int failed = errno != EWOULDBLOCK && errno != EINTR ? error_errno(err, "cannot lock %s", path) : 0;

		if (!failed && !told)
			s->host->log(s->host->context, text, sizeof text - 1);
		told = true;
		if (failed || s->host->pump(s->host->context, LOCK_POLL_MS, err)) {
			(void)close(fd);
			return -1;
		}
	}
	return fd;
}

/* mounts is taken. */
static cJSON *build_body(const struct sandbox *s, const char *image, bool writable, cJSON *mounts, struct error *err)
{
	cJSON *body, *mount = docker_store_mount(s, writable);

	if (!cJSON_AddItemToArray(mounts, mount)) {
		cJSON_Delete(mount);
		cJSON_Delete(mounts);
		(void)error_memory(err);
		return NULL;
	}
	body = docker_guest_body(s, mounts, docker_labels(s, "build"), err);
	if (body && cJSON_AddStringToObject(body, "Image", image))
		return body;
	cJSON_Delete(body);
	if (body)
		(void)error_memory(err);
	return NULL;
}

/* What this machine trusts, where its user has said so: an index may be behind a proxy of the house. */
static int send_certificates(struct docker_build *b, struct error *err)
{
	static const char *const names[] = { "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE" };
	cleanup_free char *path = docker_path(b->name, "/archive?path=/");
	cleanup_tar struct tar *tar = tar_new(err);
	struct engine_request request = { .method = "PUT", .path = path, .read = tar_read, .context = tar };
	const char *file = NULL;
	struct stat st;

	for (size_t i = 0; i < sizeof names / sizeof *names && !file; i++)
		file = getenv(names[i]);
	if (!file || *file != '/' || stat(file, &st) || !S_ISREG(st.st_mode))
		return 0;
	if (!tar || !path)
		return tar ? error_memory(err) : -1;
	if (tar_add_file(tar, file, CERTIFICATES, 0644, err) || engine_call(docker_own(b->sandbox)->engine, &request, NULL, err))
		return -1;
	b->commands.certificates = "/" CERTIFICATES;
	return 0;
}

static int set_deadline(struct guest *guest, struct error *err)
{
	struct guest_answer answer = { false, 0 };

	return guest_deadline(guest, DEADLINE_S, &guest_answer_callbacks, &answer, err)
		       ? guest_await(guest, &answer, -1, LOCK_POLL_MS * 100, err) : -1;
}

int docker_build_open(struct docker_build *b, struct sandbox *s, const char *hash, const char *image, bool writable,
		      cJSON *mounts, struct error *err)
{
	cleanup_free char *path = NULL;
	struct guest *guest;
	cJSON *body;

	b->sandbox = s;
	commands_open(&b->commands, s);
	b->commands.elsewhere = true;
	(void)snprintf(b->name, sizeof b->name, "interpfs-%s-build-%.16s", s->state->id, hash);
	if (docker_delete(s, b->name, err)) {
		cJSON_Delete(mounts);
		return -1;
	}
	body = build_body(s, image, writable, mounts ? mounts : cJSON_CreateArray(), err);
	if (!body)
		return -1;
	if (asprintf(&path, "/containers/create?name=%s", b->name) < 0) {
		cJSON_Delete(body);
		return error_memory(err);
	}
	if (docker_call(s, "POST", path, body, NULL, err) || send_certificates(b, err) ||
	    docker_run_guest(s, b->name, &guest, err))
		return -1;
	if (set_deadline(guest, err)) {
		guest_detach(guest);
		return -1;
	}
	return commands_attach(&b->commands, guest, err);
}

int docker_build_commit(struct docker_build *b, const char *tag, char **id, struct error *err)
{
	static const char *const clean[] = { "rm", "-f", "/" CERTIFICATES, NULL };
	int result = b->commands.certificates ? commands_must(&b->commands, clean, NULL, err) : 0;

	/* Killed, not asked: everything that it was to write has been written. */
	commands_detach(&b->commands);
	if (result || docker_kill(b->sandbox, b->name, err))
		return -1;
	return docker_commit(b->sandbox, b->name, tag, "build", id, err);
}

void docker_build_close(struct docker_build *b)
{
	struct error ignored;

	commands_close(&b->commands);
	(void)docker_delete(b->sandbox, b->name, &ignored);
}
