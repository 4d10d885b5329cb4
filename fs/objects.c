/* Two hash tables (by kind and name, by serial) and for each kind an array in order of serial. */
#include "fs/objects.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"

#define FOLDERS_OPEN 128 /* descriptors kept at most */
#define JSON_MAX (4u << 20)

static struct {
	struct state *state;
	struct object **by_name, **by_serial; /* chains; `buckets` of each */
	size_t buckets, objects;
	struct {
		struct object **list; /* with a name, in order of serial */
		uint32_t count, capacity;
		struct timespec changed;
	} kinds[OBJECT_KINDS];
	struct object *open[FOLDERS_OPEN];
	uint32_t clock;
	uint64_t freed;
} all;

static size_t hash_name(enum object_kind kind, const char *name)
{
	uint32_t h = 2166136261u ^ (uint32_t)kind;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 16777619u;
	return h;
}

static size_t hash_serial(uint64_t serial)
{
	return (size_t)(serial * UINT64_C(0x9E3779B97F4A7C15) >> 32);
}

static void chain_in(struct object *object)
{
	struct object **serial = &all.by_serial[hash_serial(object->serial) & (all.buckets - 1)];
	struct object **name = &all.by_name[hash_name(object->kind, object->name) & (all.buckets - 1)];

	object->next_serial = *serial;
	*serial = object;
	if (object->removed)
		return;
	object->next_name = *name;
	*name = object;
}

static void unchain_name(struct object *object)
{
	struct object **o = &all.by_name[hash_name(object->kind, object->name) & (all.buckets - 1)];

	for (; *o; o = &(*o)->next_name)
		if (*o == object) {
			*o = object->next_name;
			return;
		}
}

static void unchain_serial(struct object *object)
{
	struct object **o = &all.by_serial[hash_serial(object->serial) & (all.buckets - 1)];

	for (; *o; o = &(*o)->next_serial)
		if (*o == object) {
			*o = object->next_serial;
			return;
		}
}

/* Twice the buckets, as soon as there is an object for each. */
static int grow(void)
{
	size_t old = all.buckets, buckets = old ? 2 * old : 64;
	struct object **serials = all.by_serial, **by_name, **by_serial;

	if (all.objects < old)
		return 0;
	by_name = calloc(buckets, sizeof *by_name);
	by_serial = calloc(buckets, sizeof *by_serial);
	if (!by_name || !by_serial) {
		free(by_name);
		free(by_serial);
		return old ? 0 : -1; /* longer chains are no error */
	}
	free(all.by_name);
	all.by_name = by_name;
	all.by_serial = by_serial;
	all.buckets = buckets;
	for (size_t i = 0; i < old; i++)
		for (struct object *o = serials[i], *next; o; o = next) {
			next = o->next_serial;
			chain_in(o);
		}
	free(serials);
	return 0;
}

static int list_in(struct object *object)
{
	uint32_t *count = &all.kinds[object->kind].count, *capacity = &all.kinds[object->kind].capacity, i;
	struct object **list = all.kinds[object->kind].list;

	if (*count == *capacity) {
		uint32_t more = *capacity ? 2 * *capacity : 16;

		list = realloc(list, more * sizeof *list);
		if (!list)
			return -1;
		all.kinds[object->kind].list = list;
		*capacity = more;
	}
	(void)clock_gettime(CLOCK_REALTIME, &all.kinds[object->kind].changed);
	for (i = *count; i > 0 && list[i - 1]->serial > object->serial; i--)
		list[i] = list[i - 1];
	list[i] = object;
	(*count)++;
	return 0;
}

static void unlist(struct object *object)
{
	uint32_t *count = &all.kinds[object->kind].count;
	struct object **list = all.kinds[object->kind].list;

	(void)clock_gettime(CLOCK_REALTIME, &all.kinds[object->kind].changed);
	for (uint32_t i = 0; i < *count; i++)
		if (list[i] == object) {
			memmove(&list[i], &list[i + 1], (*count - i - 1) * sizeof *list);
			(*count)--;
			return;
		}
}

struct state *objects_state(void)
{
	return all.state;
}

struct object *objects_find(enum object_kind kind, const char *name)
{
	struct object *o = NULL;

	if (all.buckets)
		o = all.by_name[hash_name(kind, name) & (all.buckets - 1)];
	while (o && (o->kind != kind || strcmp(o->name, name)))
		o = o->next_name;
	return o;
}

struct object *objects_by_serial(uint64_t serial)
{
	struct object *o = NULL;

	if (all.buckets)
		o = all.by_serial[hash_serial(serial) & (all.buckets - 1)];
	while (o && o->serial != serial)
		o = o->next_serial;
	return o;
}

uint64_t objects_freed(void)
{
	return all.freed;
}

uint32_t objects_count(enum object_kind kind)
{
	return all.kinds[kind].count;
}

int objects_each(enum object_kind kind, int (*visit)(void *context, struct object *object), void *context)
{
	for (uint32_t i = 0; i < all.kinds[kind].count; i++) {
		int r;

		if (i + 8 < all.kinds[kind].count) { /* they lie anywhere: most of a listing is waiting for memory */
			__builtin_prefetch(all.kinds[kind].list[i + 8]);
			__builtin_prefetch(all.kinds[kind].list[i + 4]->name);
		}
		r = visit(context, all.kinds[kind].list[i]);
		if (r)
			return r;
	}
	return 0;
}

struct timespec objects_changed(enum object_kind kind)
{
	return all.kinds[kind].changed;
}

struct object *objects_latest(enum object_kind kind)
{
	uint32_t n = all.kinds[kind].count;

	return n ? all.kinds[kind].list[n - 1] : NULL;
}

struct object *objects_add(enum object_kind kind, const char *name, uint64_t serial)
{
	struct object *object = calloc(1, sizeof *object);

	if (!object)
		return NULL;
	*object = (struct object){ .kind = kind, .serial = serial, .name = strdup(name), .folder = -1 };
	(void)clock_gettime(CLOCK_REALTIME, &object->changed);
	if (!object->name || grow() < 0 || list_in(object) < 0) {
		free(object->name);
		free(object);
		return NULL;
	}
	chain_in(object);
	all.objects++;
	object_refresh(object);
	return object;
}

int objects_rename(struct object *object, const char *name)
{
	char *copy = strdup(name);

	if (!copy)
		return -1;
	unchain_name(object);
	unchain_serial(object);
	free(object->name);
	object->name = copy;
	chain_in(object);
	(void)clock_gettime(CLOCK_REALTIME, &all.kinds[object->kind].changed);
	return 0;
}

static void close_folder(struct object *object)
{
	if (object->folder < 0)
		return;
	(void)close(object->folder);
	object->folder = -1;
	for (size_t i = 0; i < FOLDERS_OPEN; i++)
		if (all.open[i] == object)
			all.open[i] = NULL;
}

static void forget(struct object *object)
{
	unchain_serial(object);
	close_folder(object);
	all.objects--;
	all.freed++;
	free(object->name);
	free(object->unstored);
	free(object->sha);
	free(object);
}

void objects_remove(struct object *object)
{
	if (object->removed)
		return;
	unchain_name(object);
	unlist(object);
	object->removed = true;
	if (!object->pins)
		forget(object);
}

void object_pin(struct object *object)
{
	if (object)
		object->pins++;
}

void object_unpin(struct object *object)
{
	if (object && !--object->pins && object->removed)
		forget(object);
}

int object_folder_fd(struct object *object)
{
	size_t slot = 0;
	struct error err;

	object->used = ++all.clock;
	if (object->folder >= 0)
		return object->folder;
	object->folder = object_open(all.state, object->kind, object->serial, &err);
	if (object->folder < 0) {
		errno = err.code;
		return -1;
	}
	for (size_t i = 0; i < FOLDERS_OPEN && all.open[slot]; i++)
		if (!all.open[i] || all.open[i]->used < all.open[slot]->used)
			slot = i;
	if (all.open[slot])
		close_folder(all.open[slot]);
	all.open[slot] = object;
	return object->folder;
}

cJSON *object_json(struct object *object, const char *path)
{
	cleanup_buffer struct buffer text = BUFFER(JSON_MAX);
	int folder = object_folder_fd(object);
	struct error err;

	if (folder < 0 || file_read(folder, path, &text, &err) < 0 || !text.data)
		return NULL;
	return cJSON_ParseWithLength(text.data, text.length);
}

cJSON *object_spec(struct object *object) { return object_json(object, "spec.json"); }

void object_refresh(struct object *object)
{
	int folder = object_folder_fd(object);
	struct error err;
	struct want want;
	struct status status;

	if (folder < 0)
		return;
	/* What this mount has decided may still be on its way to the disk. */
	if (!want_read(folder, &want, &err) && want.generation > object->want.generation)
		object->want = want;
	if (!status_read(folder, &status, &err))
		object->status = status;
	if (!object->status.state[0])
		memcpy(object->status.state, "draft", sizeof "draft");
}

static bool caught_up(const struct object *object)
{
	return object->status.generation >= object->want.generation;
}

struct timespec object_made(struct object *object)
{
	char path[PATH_MAX];
	struct stat st;

	if (object->made.tv_sec)
		return object->made;
	/* Its name's link is never written again, not even by a rename. */
	if ((size_t)snprintf(path, sizeof path, "%s/names/%s", object_folder[object->kind], object->name) < sizeof path &&
	    !fstatat(all.state->fd, path, &st, AT_SYMLINK_NOFOLLOW))
		object->made = st.st_mtim;
	else
		object->made = object->changed;
	return object->made;
}

const char *object_state(const struct object *object)
{
	const char *state = *object->status.state ? object->status.state : "draft";

	if (object->kind == OBJECT_WORKSPACE) /* it works from mkdir on, and looks at what comes by itself */
		return strcmp(state, "draft") ? state : "ready";
	return object->want.what == WANT_RUN && !caught_up(object) && status_resting(object->kind, state) ? "starting" : state;
}

bool object_at_rest(const struct object *object)
{
	return caught_up(object) && status_resting(object->kind, object->status.state);
}

bool object_settled(const struct object *object)
{
	return caught_up(object) && status_settled(object->kind, object->status.state);
}

static int load_name(void *context, const char *name, uint64_t serial)
{
	enum object_kind kind = *(enum object_kind *)context;
	struct object *object = objects_add(kind, name, serial);

	if (!object)
		return -2;
	object->changed.tv_sec = (time_t)object->status.since;
	object->changed.tv_nsec = 0;
	return 0;
}

/* When a name last came, went or changed: its folder says so, also to the next mount. */
static struct timespec names_changed(const struct state *state, enum object_kind kind)
{
	struct stat st = { .st_mtim = { 0, 0 } };
	char path[64];

	(void)snprintf(path, sizeof path, "%s/names", object_folder[kind]);
	(void)fstatat(state->fd, path, &st, 0);
	return st.st_mtim;
}

int objects_load(struct state *state, struct error *err)
{
	all.state = state;
	for (int kind = 0; kind < OBJECT_KINDS; kind++) {
		enum object_kind k = (enum object_kind)kind;
		int r = state_each_name(state, k, load_name, &k, err);

		if (r == -2)
			return error_memory(err);
		if (r < 0)
			return error_wrap(err, "%s", object_folder[kind]);
		all.kinds[kind].changed = names_changed(state, k);
	}
	return 0;
}

/* Whether spec.json's references name the serial. */
static bool refers_to(struct object *object, uint64_t serial)
{
	cJSON *spec = object_spec(object);
	const cJSON *reference;
	bool found = false;

	cJSON_ArrayForEach(reference, cJSON_GetObjectItemCaseSensitive(spec, "references")) {
		const cJSON *number = cJSON_GetObjectItemCaseSensitive(reference, "serial");

		if (cJSON_IsNumber(number) && number->valuedouble == (double)serial)
			found = true;
	}
	cJSON_Delete(spec);
	return found;
}

bool object_in_use(struct object *object, struct error *err)
{
	cleanup_buffer struct buffer users = BUFFER(ERROR_TEXT_SIZE);

	for (int kind = 0; kind < OBJECT_KINDS; kind++)
		for (uint32_t i = 0; i < all.kinds[kind].count; i++) {
			struct object *other = all.kinds[kind].list[i];

			if (other == object || object_at_rest(other) || !refers_to(other, object->serial))
				continue;
			(void)buffer_format(&users, "%s%s/%s", users.length ? ", " : "", object_folder[kind], other->name);
		}
	if (!users.length)
		return false;
	(void)error_set(err, EBUSY, "%s/%s is in use by %s", object_folder[object->kind], object->name, users.data);
	return true;
}
