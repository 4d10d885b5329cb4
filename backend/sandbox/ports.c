#include "backend/sandbox/ports.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/sandbox/relay.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"

#define HOST "127.0.0.1:"
#define PATH_SIZE 32

struct port {
	struct relay *relay; /* NULL: it cannot listen */
	int inside;
};

struct ports {
	size_t count;
	struct port list[];
};

static const char *path_of(int inside, char path[PATH_SIZE])
{
	(void)snprintf(path, PATH_SIZE, "ports/%d", inside);
	return path;
}

static int number_of(const cJSON *number)
{
	return cJSON_IsString(number) ? (int)strtol(number->valuestring, NULL, 10) : 0;
}

/* Where it could be reached the last time; 0 when there was none. */
static int read_address(struct runner *runner, int inside)
{
	cleanup_buffer struct buffer text = BUFFER(64);
	struct error ignored;
	char path[PATH_SIZE];
	long port;

	if (file_read(runner_folder(runner), path_of(inside, path), &text, &ignored) < 0 || text.length <= strlen(HOST))
		return 0;
	port = strtol(text.data + strlen(HOST), NULL, 10);
	return port > 0 && port <= UINT16_MAX ? (int)port : 0;
}

static int open_port(struct runner *runner, struct guest *guest, struct port *port, struct error *err)
{
	int outside = read_address(runner, port->inside);
	char inside[16], path[PATH_SIZE], address[32];

	(void)snprintf(inside, sizeof inside, "tcp:%d", port->inside);
	if (relay_open(&port->relay, runner, inside, NULL, &outside, err) < 0)
		return -1;
	relay_attach(port->relay, guest);
	(void)snprintf(address, sizeof address, HOST "%d\n", outside);
	return runner_set_text(runner, path_of(port->inside, path), address, err);
}

/* The addresses of ports that the config no longer has. */
static void remove_others(struct runner *runner, const cJSON *numbers)
{
	cleanup_dir DIR *dir = file_list(runner_folder(runner), "ports", 0);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		int inside = (int)strtol(entry->d_name, NULL, 10);
		const cJSON *number;
		bool wanted = inside <= 0;

		cJSON_ArrayForEach(number, numbers)
			wanted = wanted || number_of(number) == inside;
		if (!wanted && !unlinkat(dirfd(dir), entry->d_name, 0))
			runner_changed(runner, "ports");
	}
}

static bool has(const struct ports *ports, int inside)
{
	for (size_t i = 0; i < ports->count; i++)
		if (ports->list[i].inside == inside)
			return true;
	return false;
}

struct ports *ports_open(struct runner *runner, struct guest *guest, const cJSON *numbers)
{
	int count = cJSON_GetArraySize(numbers);
	struct ports *ports = count ? calloc(1, sizeof *ports + (size_t)count * sizeof ports->list[0]) : NULL;
	const cJSON *number;

	remove_others(runner, numbers);
	if (!ports) {
		if (count)
			runner_log(runner, "ports: out of memory");
		return NULL;
	}
	cJSON_ArrayForEach(number, numbers) {
		struct port *port = &ports->list[ports->count];
		struct error err;

		port->inside = number_of(number);
		if (has(ports, port->inside))
			continue; /* it was named twice */
		ports->count++;
		if (open_port(runner, guest, port, &err) < 0)
			runner_log(runner, "port %d: %s", port->inside, err.text);
	}
	return ports;
}

void ports_close(struct ports *ports)
{
	for (size_t i = 0; ports && i < ports->count; i++)
		relay_close(ports->list[i].relay);
	free(ports);
}

bool ports_descriptor(struct ports *ports, int fd, short revents)
{
	for (size_t i = 0; ports && i < ports->count; i++)
		if (ports->list[i].relay && relay_descriptor(ports->list[i].relay, fd, revents))
			return true;
	return false;
}
