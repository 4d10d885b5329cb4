/* Values that every kind of object shows. */
#include <errno.h>

#include "base/file.h"
#include "fs/rows.h"

int show_state(const struct node *node, struct buffer *out, struct error *err)
{
	return buffer_format(out, "%s\n", node->object->status.state) < 0 ? error_memory(err) : 0;
}

/* Why the last write was refused, until one is accepted; else why the object failed. */
int show_error(const struct node *node, struct buffer *out, struct error *err)
{
	int folder = object_folder_fd(node->object);

	if (folder < 0)
		return error_errno(err, "error");
	if (!file_read(folder, "refusal", out, err) || !file_read(folder, "failure", out, err))
		return 0;
	return err->code == ENOENT ? 0 : -1;
}
