/* The root of the tree. */
#include "fs/tree.h"

#include "fs/rows.h"

static int render_readme(const struct node *node, struct buffer *out, struct error *err)
{
	(void)node;
	return tree_help(out, err);
}

static int visit_status(void *context, struct object *object)
{
	return buffer_format(context, "%s\t%s\t%s\n", object_noun[object->kind], object->name, object->status.state);
}

static int render_status(const struct node *node, struct buffer *out, struct error *err)
{
	(void)node;
	for (int kind = 0; kind < OBJECT_KINDS; kind++)
		if (objects_each((enum object_kind)kind, visit_status, out))
			return error_memory(err);
	return 0;
}

static struct row rows[] = {
	{ .name = "README", .kind = FILE_VALUE, .help = "what this tree is", .render = render_readme },
	{ .name = "status", .kind = FILE_VALUE, .help = "one line an object", .render = render_status },
	{ .name = "log", .kind = FILE_LOG, .help = "what interpfs itself did" },
	{ .name = "error", .kind = FILE_VALUE, .help = "why the last mkdir, rename or new was refused" },
	{ .name = "sandboxes", .kind = FILE_DIRECTORY, .help = "sandboxes, a folder each", .listing = LIST_OBJECTS,
	  .objects = OBJECT_SANDBOX, .child = &sandbox_row },
	{ .name = NULL },
};

struct row root_row = { .name = "", .kind = FILE_DIRECTORY, .help = "the tree", .rows = rows };
