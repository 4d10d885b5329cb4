#include "backend/sandbox/masks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/sandbox/etc.h"
#include "backend/sandbox/mask.h"
#include "base/cleanup.h"
#include "base/clock.h"

#define LIST_MAX (4u << 20)
#define FRESH_MS 250

const char *const masks_folders[MASKS] = { "usr", "etc", "opt" };

/* /etc is small and changes a file at a time: it is looked through at each start. */
static int find(struct masks *m, const char *name, struct buffer *list, struct error *err)
{
	cleanup_free char *host = NULL, *cache = NULL, *local = NULL;
	const char *state = m->state;

	if (asprintf(&host, "/%s", name) < 0 || asprintf(&cache, "%s/mask-%s", state, name) < 0 ||
	    asprintf(&local, "%s/mask-usr-local", state) < 0)
		return error_memory(err);
	if (!strcmp(name, "etc") && !geteuid()) {
		free(m->etc);
		m->etc = etc_take(state, host, err);
		if (m->etc || err->code)
			return m->etc ? 0 : -1;
	}
	if (!strcmp(name, "etc"))
		return mask_find(host, "", NULL, list, err);
	if (strcmp(name, "usr") != 0)
		return mask_find_cached(host, "", NULL, cache, list, err);
	return mask_find_usr(cache, list, err) || mask_find_cached("/usr/local", "local/", NULL, local, list, err) ? -1 : 0;
}

static void *find_all(void *context)
{
	struct masks *m = context;

	for (size_t i = 0; i < MASKS; i++) {
		struct masks_found *f = &m->found[i];

		f->list = BUFFER(LIST_MAX);
		f->failed = find(m, masks_folders[i], &f->list, &f->err) < 0;
	}
	m->since = clock_ms();
	return NULL;
}

static void join(struct masks *m)
{
	if (m->running)
		(void)pthread_join(m->thread, NULL);
	m->running = false;
}

static void begin(struct masks *m)
{
	for (size_t i = 0; i < MASKS; i++)
		buffer_free(&m->found[i].list);
	m->running = !pthread_create(&m->thread, NULL, find_all, m);
	if (!m->running)
		(void)find_all(m);
}

int masks_begin(struct masks *m, const char *state, struct error *err)
{
	masks_end(m);
	m->state = strdup(state);
	if (!m->state)
		return error_memory(err);
	begin(m);
	return 0;
}

const struct buffer *masks_take(struct masks *m, int i, struct error *err)
{
	join(m);
	if (clock_ms() > m->since + FRESH_MS) {
		begin(m);
		join(m);
	}
	if (!m->found[i].failed)
		return &m->found[i].list;
	*err = m->found[i].err;
	return NULL;
}

const char *masks_shown(const struct masks *m, int i)
{
	static const char *const hosts[MASKS] = { "/usr", "/etc", "/opt" };

	return !strcmp(masks_folders[i], "etc") && m->etc ? m->etc : hosts[i];
}

void masks_end(struct masks *m)
{
	join(m);
	free(m->etc);
	m->etc = NULL;
	for (size_t i = 0; i < MASKS; i++)
		buffer_free(&m->found[i].list);
	free(m->state);
	m->state = NULL;
}
