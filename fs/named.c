/* A table of slots; an inode is the slot and a count that makes it new. Names are found by a hash of folder
 * and name: a folder of pictures may have thousands, and each LOOKUP anywhere asks for one. */
#include "fs/named.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_BITS 20
#define SCRATCH_MAX 64u /* in one folder, 1 MiB each */

static struct {
	struct named **slots, **names; /* names: chains; as many as slots, a power of two */
	uint32_t size, hint;
	uint64_t count;
	struct named *scratch;
} table;

struct named *named_by_inode(uint64_t inode)
{
	uint32_t slot = inode & ((1u << SLOT_BITS) - 1);
	struct named *named = slot < table.size ? table.slots[slot] : NULL;

	return named && named->inode == inode ? named : NULL;
}

static bool same_folder(const struct node *a, const struct node *b)
{
	return a->row == b->row && a->object == b->object && a->index == b->index;
}

static struct named **bucket_of(const struct node *directory, const char *name)
{
	uint64_t h = (uint64_t)(uintptr_t)directory->row ^ (uint64_t)(uintptr_t)directory->object << 7 ^ directory->index;

	h *= UINT64_C(0x9E3779B97F4A7C15);
	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001B3);
	return &table.names[(h ^ h >> 29) & (table.size - 1)];
}

static void chain_in(struct named *named)
{
	struct named **bucket = bucket_of(&named->directory, named->name);

	named->next = *bucket;
	*bucket = named;
}

/* It gets its name. */
static void name_in(struct named *named, char *name)
{
	named->name = name;
	chain_in(named);
	if (named->listed)
		return;
	named->next_scratch = table.scratch;
	named->scratch_link = &table.scratch;
	if (table.scratch)
		table.scratch->scratch_link = &named->next_scratch;
	table.scratch = named;
}

/* It loses its name. */
static void name_out(struct named *named)
{
	struct named **at;

	if (!named->name)
		return;
	for (at = bucket_of(&named->directory, named->name); *at != named; at = &(*at)->next)
		;
	*at = named->next;
	free(named->name);
	named->name = NULL;
	if (named->listed)
		return;
	*named->scratch_link = named->next_scratch;
	if (named->next_scratch)
		named->next_scratch->scratch_link = named->scratch_link;
}

struct named *named_find(const struct node *directory, const char *name)
{
	struct named *n = table.size ? *bucket_of(directory, name) : NULL;

	while (n && (!same_folder(&n->directory, directory) || strcmp(n->name, name) != 0))
		n = n->next;
	return n;
}

int named_each(const struct node *directory, int (*visit)(void *context, const struct named *named),
	       void *context)
{
	for (const struct named *n = table.scratch; n; n = n->next_scratch) {
		int r = same_folder(&n->directory, directory) ? visit(context, n) : 0;

		if (r)
			return r;
	}
	return 0;
}

static int count_one(void *context, const struct named *named)
{
	(void)named;
	++*(unsigned *)context;
	return 0;
}

/* Twice the slots and the buckets. */
static int grow(void)
{
	uint32_t old = table.size, size = old ? 2 * old : 32;
	struct named **slots, **names;

	if (size > 1u << SLOT_BITS)
		return -1;
	names = calloc(size, sizeof *names);
	slots = names ? realloc(table.slots, size * sizeof *slots) : NULL;
	if (!slots) {
		free(names);
		return -1;
	}
	memset(slots + old, 0, (size - old) * sizeof *slots);
	free(table.names);
	table.slots = slots;
	table.names = names;
	table.size = size;
	for (uint32_t i = 0; i < old; i++)
		if (slots[i] && slots[i]->name)
			chain_in(slots[i]);
	return 0;
}

static int find_slot(uint32_t *slot)
{
	uint32_t old = table.size;

	for (uint32_t i = 0; i < old; i++)
		if (!table.slots[(table.hint + i) % old]) {
			*slot = (table.hint + i) % old;
			return 0;
		}
	*slot = old;
	return grow();
}

struct named *named_make(const struct node *directory, const char *name, bool listed)
{
	struct named *named;
	unsigned scratch = 0;
	uint32_t slot;
	char *copy;

	if (!listed && named_each(directory, count_one, &scratch) == 0 && scratch >= SCRATCH_MAX) {
		errno = ENOSPC;
		return NULL;
	}
	named = calloc(1, sizeof *named);
	copy = strdup(name);
	if (!named || !copy || find_slot(&slot) < 0) {
		free(copy);
		free(named);
		errno = ENOMEM;
		return NULL;
	}
	named->inode = NAMED_INODE | (++table.count << SLOT_BITS & (NAMED_INODE / 2 - 1)) | slot;
	named->directory = *directory;
	named->listed = listed;
	named->text = BUFFER(DOCUMENT_MAX);
	named->mode = 0600;
	(void)clock_gettime(CLOCK_REALTIME, &named->changed);
	object_pin(directory->object);
	name_in(named, copy);
	table.slots[slot] = named;
	table.hint = slot + 1;
	return named;
}

/* Frees what has no name that matters, no opens and is not known to the kernel. */
static void settle(struct named *named)
{
	uint32_t slot = named->inode & ((1u << SLOT_BITS) - 1);

	if (named->opens || named->lookups || (named->name && !named->listed))
		return;
	name_out(named);
	table.slots[slot] = NULL;
	table.hint = slot;
	object_unpin(named->directory.object);
	buffer_free(&named->text);
	free(named);
}

int named_rename(struct named *named, const char *name, bool listed)
{
	char *copy = strdup(name);

	if (!copy)
		return -1;
	name_out(named);
	named->listed = listed;
	name_in(named, copy);
	return 0;
}

void named_unlink(struct named *named)
{
	name_out(named);
	settle(named);
}

void named_become(struct named *named, const struct node *document)
{
	name_out(named);
	named->directory = *document; /* of the same object: the pin stays */
	named->alias = true;
	settle(named);
}

void named_looked_up(struct named *named)
{
	named->lookups++;
}

void named_forget(uint64_t inode, uint64_t lookups)
{
	struct named *named = named_by_inode(inode);

	if (!named)
		return;
	named->lookups -= lookups < named->lookups ? lookups : named->lookups;
	settle(named);
}

void named_open(struct named *named)
{
	named->opens++;
}

void named_close(struct named *named)
{
	named->opens--;
	settle(named);
}

void named_remove_all(const struct object *object)
{
	for (uint32_t i = 0; i < table.size; i++)
		if (table.slots[i] && table.slots[i]->directory.object == object && table.slots[i]->name)
			named_unlink(table.slots[i]);
}
