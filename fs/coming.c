/* See coming.h. */
#include "fs/coming.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "fs/backends.h"
#include "fs/loop.h"
#include "fs/show.h"

#define PATIENCE_MS 5000 /* with a runner that takes no text: what it takes it syncs, on whatever disk */

struct held {
	fuse_req_t request;
	fuse_ino_t inode;
	char *name;
	struct fuse_file_info fi;
	void (*again)(fuse_req_t request, fuse_ino_t inode, const char *name, struct fuse_file_info *fi);
	struct held *next;
};

static struct {
	unsigned count[OBJECT_KINDS];
	struct held *held, **last; /* of all kinds, in the order in which they came */
	struct loop_timer patience; /* ends for the first of those that wait for texts */
} coming;

void coming_begin(enum object_kind kind)
{
	coming.count[kind]++;
}

void coming_arrived(void)
{
	struct held *held = coming.held;

	coming.held = NULL;
	while (held) {
		struct held *next = held->next;

		held->again(held->request, held->inode, held->name, &held->fi); /* may be held once more */
		free(held->name);
		free(held);
		held = next;
	}
}

void coming_end(enum object_kind kind)
{
	if (!--coming.count[kind])
		coming_arrived();
}

static void look_again(struct loop_timer *timer)
{
	(void)timer;
	coming_arrived();
}

void coming_text(struct object *object)
{
	if (!object->texts++)
		object->texts_until = clock_ms() + PATIENCE_MS;
}

void coming_text_taken(struct object *object)
{
	object->texts--;
	object->texts_until = clock_ms() + PATIENCE_MS; /* its runner is not stuck */
}

/* What shows objects: their folder, and the root's status. */
static bool shows(const struct node *node, enum object_kind kind)
{
	if (node->row->kind == FILE_DIRECTORY)
		return node->row->listing == LIST_OBJECTS && node->row->objects == kind;
	return node->row->lists;
}

/* What a text may change that is on its way to its object's runner: what is numbered, what is put together of
 * that, and what the object says of itself. */
static bool awaits_text(const struct node *node)
{
	const struct object *object = node->object;

	return object && object->texts && clock_ms() < object->texts_until && node->row->kind != FILE_CTL &&
	       (node->index || node->row->listing == LIST_NUMBERS || node->row->assemble || node->row->own);
}

/* What shows the config in force, while another is written down. */
static bool awaits_config(const struct node *node)
{
	return node->object && node->object->deciding && node->row->render == show_info;
}

bool coming_holds(const struct node *node, fuse_req_t request, fuse_ino_t inode, const char *name,
		  const struct fuse_file_info *fi,
		  void (*again)(fuse_req_t request, fuse_ino_t inode, const char *name, struct fuse_file_info *fi))
{
	bool text = awaits_text(node), waits = text || awaits_config(node) || (node->row->sampled && backends_come(node));
	struct held *held;

	for (int kind = 0; kind < OBJECT_KINDS; kind++)
		waits = waits || (coming.count[kind] && shows(node, (enum object_kind)kind));
	if (!waits)
		return false;
	held = calloc(1, sizeof *held);
	if (!held || (name && !(held->name = strdup(name)))) {
		free(held);
		fuse_reply_err(request, ENOMEM);
		return true;
	}
	held->request = request;
	held->inode = inode;
	held->again = again;
	if (fi)
		held->fi = *fi;
	if (!coming.held)
		coming.last = &coming.held;
	*coming.last = held;
	coming.last = &held->next;
	if (text && (!coming.patience.armed || coming.patience.at > node->object->texts_until)) {
		coming.patience.fire = look_again;
		loop_set_timer(&coming.patience, node->object->texts_until - clock_ms());
	}
	return true;
}
