#include "backend/proxy/proxy.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/passing.h"
#include "commands.h"

/* backend/sandbox/gate.c hands them over. */
#define LISTENING 3 /* or a socket over which connections come, one a message */
#define FOLDER 4
#define CONFIG 5

#define CONFIG_MAX (8u << 20)
#define CONNECTIONS 512
#define STACK (512u << 10)
#define SAID 64
#define SAY_AGAIN 60
#define LINE_MAX_ 400

static struct proxy proxy;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t one_less = PTHREAD_COND_INITIALIZER;
static int serving; /* connections; under lock */

/* ---- what is said ---- */

static uint64_t hash_of(const char *text)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a */

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 1099511628211u;
	return hash;
}

/* Whether it has not been said within a minute. A sandbox that tries for ever fills no log. */
static bool is_new(const char *text)
{
	static struct { uint64_t hash; time_t when; } said[SAID];
	uint64_t hash = hash_of(text);
	struct timespec now;
	bool fresh;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	(void)pthread_mutex_lock(&lock);
	fresh = said[hash % SAID].hash != hash || now.tv_sec - said[hash % SAID].when >= SAY_AGAIN;
	if (fresh) {
		said[hash % SAID].hash = hash;
		said[hash % SAID].when = now.tv_sec;
	}
	(void)pthread_mutex_unlock(&lock);
	return fresh;
}

void proxy_say(const char *format, ...)
{
	char text[LINE_MAX_ + 1];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof text - 1, format, args);
	va_end(args);
	if (n < 0 || !is_new(text))
		return;
	n = (int)strlen(text);
	for (int i = 0; i < n; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 127)
			text[i] = '?';
	text[n++] = '\n';
	if (write(STDOUT_FILENO, text, (size_t)n) < 0)
		return; /* the runner is busy or gone: what is said is for people, and not waited for */
}

/* ---- what it is told ---- */

static char **texts(const cJSON *list)
{
	char **all = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *all);
	const cJSON *item;
	size_t n = 0;

	cJSON_ArrayForEach(item, list)
		if (all && cJSON_IsString(item) && !(all[n++] = strdup(item->valuestring)))
			return NULL;
	return all;
}

static int take_secrets(const cJSON *list)
{
	const cJSON *item;

	proxy.secrets = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *proxy.secrets);
	if (!proxy.secrets)
		return -1;
	cJSON_ArrayForEach(item, list) {
		struct proxy_secret *s = &proxy.secrets[proxy.secret_count++];

		*s = (struct proxy_secret){ strdup(json_word(item, "name")), strdup(json_word(item, "placeholder")),
					    strdup(json_word(item, "value")),
					    texts(cJSON_GetObjectItemCaseSensitive(item, "hosts")) };
		if (!s->name || !s->placeholder || !*s->placeholder || !s->value || !s->hosts)
			return -1;
	}
	return 0;
}

/* One line of JSON: {"hosts": […], "secrets": [{"name", "placeholder", "value", "hosts"}], "trusted": PATH}. */
static int take_config(struct error *err)
{
	cleanup_buffer struct buffer text = BUFFER(CONFIG_MAX);
	cJSON *config;
	const char *trusted;
	int result = 0;

	while (!text.length || text.data[text.length - 1] != '\n') {
		ssize_t n;

		if (buffer_reserve(&text, 65536) < 0)
			return error_memory(err);
		n = read(CONFIG, text.data + text.length, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(err, EPROTO, "it was told nothing");
		text.length += (size_t)n;
	}
	config = cJSON_ParseWithLength(text.data, text.length);
	explicit_bzero(text.data, text.length);
	proxy.hosts = texts(cJSON_GetObjectItemCaseSensitive(config, "hosts"));
	trusted = json_word(config, "trusted");
	proxy.outside = SSL_CTX_new(TLS_client_method());
	if (!config || !proxy.hosts || !proxy.outside ||
	    take_secrets(cJSON_GetObjectItemCaseSensitive(config, "secrets")) < 0)
		result = error_memory(err);
	else if (SSL_CTX_set_default_verify_paths(proxy.outside) != 1 ||
		 (*trusted && SSL_CTX_load_verify_file(proxy.outside, trusted) != 1))
		result = error_set(err, EIO, "the certificates of authorities in %s cannot be read", trusted);
	else
		SSL_CTX_set_verify(proxy.outside, SSL_VERIFY_PEER, NULL);
	cJSON_Delete(config); /* values of secrets stay in its freed memory: the process is undumpable */
	return result ? result : proxy.secret_count ? authority_open(&proxy.authority, FOLDER, err) : 0;
}

/* ---- connections ---- */

static void leave(void)
{
	(void)pthread_mutex_lock(&lock);
	serving--;
	(void)pthread_cond_signal(&one_less);
	(void)pthread_mutex_unlock(&lock);
}

static void *serve(void *fd)
{
	connection_serve(&proxy, (int)(intptr_t)fd);
	leave();
	return NULL;
}

static int take_connection(void)
{
	union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int))]; } control;
	char byte;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
	int fd = -1, listens = 0;
	socklen_t size = sizeof listens;

	if (!getsockopt(LISTENING, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) && listens)
		return accept4(LISTENING, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (recvmsg(LISTENING, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) > 0)
		(void)passing_take(&message, &fd, 1);
	return fd;
}

static void accept_one(const pthread_attr_t *attributes)
{
	int fd = take_connection();
	pthread_t thread;

	if (fd < 0)
		return;
	(void)pthread_mutex_lock(&lock);
	while (serving >= CONNECTIONS)
		(void)pthread_cond_wait(&one_less, &lock);
	serving++;
	(void)pthread_mutex_unlock(&lock);
	if (pthread_create(&thread, attributes, serve, (void *)(intptr_t)fd)) {
		(void)close(fd);
		leave();
	}
}

/* Until the runner has gone. */
static void accept_all(void)
{
	pthread_attr_t attributes;

	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attributes, STACK);
	for (;;) {
		struct pollfd p[2] = { { .fd = LISTENING, .events = POLLIN }, { .fd = CONFIG, .events = POLLIN } };

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents || (p[0].revents & (POLLERR | POLLHUP | POLLNVAL)))
			break;
		if (p[0].revents)
			accept_one(&attributes);
	}
	(void)pthread_attr_destroy(&attributes);
}

int command_proxy(int argc, char **argv)
{
	struct rlimit none = { 0, 0 }, files;
	struct error err;

	(void)argc;
	(void)argv;
	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)signal(SIGPIPE, SIG_IGN);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	if (fcntl(LISTENING, F_SETFL, O_NONBLOCK) < 0 || fcntl(STDOUT_FILENO, F_SETFL, O_NONBLOCK) < 0) {
		fputs("interpfs proxy: a sandbox's runner starts it\n", stderr);
		return 64;
	}
	if (take_config(&err) < 0) {
		proxy_say("the way out cannot be opened: %s", err.text);
		return 1;
	}
	accept_all();
	(void)close(LISTENING);
	(void)pthread_mutex_lock(&lock);
	while (serving)
		(void)pthread_cond_wait(&one_less, &lock);
	(void)pthread_mutex_unlock(&lock);
	return 0;
}
