/* A table of slots; an inode is the slot and a count that makes it new. */
#include "fs/named.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_BITS 20
#define SCRATCH_MAX 64u /* in one folder, 1 MiB each */

static struct {
	struct named **slots;
	uint32_t size, hint;
	uint64_t count;
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

struct named *named_find(const struct node *directory, const char *name)
{
	for (uint32_t i = 0; i < table.size; i++) {
		struct named *n = table.slots[i];

		if (n && n->name && same_folder(&n->directory, directory) && !strcmp(n->name, name))
			return n;
	}
	return NULL;
}

int named_each(const struct node *directory, int (*visit)(void *context, const struct named *named),
	       void *context)
{
	for (uint32_t i = 0; i < table.size; i++) {
		struct named *n = table.slots[i];
		int r;

		if (n && n->name && !n->listed && same_folder(&n->directory, directory) &&
		    (r = visit(context, n)))
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

static int find_slot(uint32_t *slot)
{
	uint32_t size = table.size ? 2 * table.size : 32;
	struct named **slots;

	for (uint32_t i = 0; i < table.size; i++)
		if (!table.slots[(table.hint + i) % table.size]) {
			*slot = (table.hint + i) % table.size;
			return 0;
		}
	if (size > 1u << SLOT_BITS)
		return -1;
	slots = realloc(table.slots, size * sizeof *slots);
	if (!slots)
		return -1;
	memset(slots + table.size, 0, (size - table.size) * sizeof *slots);
	*slot = table.size;
	table.slots = slots;
	table.size = size;
	return 0;
}

struct named *named_make(const struct node *directory, const char *name, bool listed)
{
	struct named *named;
	unsigned scratch = 0;
	uint32_t slot;

	if (!listed && named_each(directory, count_one, &scratch) == 0 && scratch >= SCRATCH_MAX) {
		errno = ENOSPC;
		return NULL;
	}
	named = calloc(1, sizeof *named);
	if (!named || !(named->name = strdup(name)) || find_slot(&slot) < 0) {
		if (named)
			free(named->name);
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
	table.slots[slot] = named;
	table.hint = slot + 1;
	return named;
}

/* Frees what has no name that matters, no opens and is not known to the kernel. */
static void settle(struct named *named)
{
	if (named->opens || named->lookups || (named->name && !named->listed))
		return;
	table.slots[named->inode & ((1u << SLOT_BITS) - 1)] = NULL;
	object_unpin(named->directory.object);
	buffer_free(&named->text);
	free(named->name);
	free(named);
}

int named_rename(struct named *named, const char *name)
{
	char *copy = strdup(name);

	if (!copy)
		return -1;
	free(named->name);
	named->name = copy;
	return 0;
}

void named_unlink(struct named *named)
{
	free(named->name);
	named->name = NULL;
	settle(named);
}

void named_become(struct named *named, const struct node *document)
{
	named->directory = *document; /* of the same object: the pin stays */
	named->alias = true;
	named_unlink(named);
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
