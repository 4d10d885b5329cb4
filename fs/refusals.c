/* Why something was refused: a file in the object's folder, or the state directory's, until the next
 * accepted write. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "fs/files.h"

static char *root_unstored;

const char *refusal_unstored(const struct object *object)
{
	return object ? object->unstored : root_unstored;
}

void refuse(struct object *object, const struct error *refusal)
{
	const char *path = object ? "refusal" : "error";
	int folder = object ? object_folder_fd(object) : objects_state()->fd;
	char line[ERROR_TEXT_SIZE + 2], **unstored = object ? &object->unstored : &root_unstored;
	struct error err;
	int n = snprintf(line, sizeof line, "%s\n", refusal->text);

	if (object) {
		object->call_refused = false;
		(void)clock_gettime(CLOCK_REALTIME, &object->told);
	}
	free(*unstored);
	*unstored = NULL;
	/* What a full disk does not take is told until the mount ends. */
	if (folder < 0 || n <= 0 || file_replace(folder, path, line, (size_t)n, 0600, false, &err) < 0)
		*unstored = strdup(line);
	tree_changed(object, path);
}

void accept_again(struct object *object)
{
	const char *path = object ? "refusal" : "error";
	int folder = object ? object_folder_fd(object) : objects_state()->fd;
	char **unstored = object ? &object->unstored : &root_unstored;
	bool told = *unstored != NULL;

	if (object)
		object->call_refused = false;
	free(*unstored);
	*unstored = NULL;
	/* Looked at first: even a removal of nothing waits for a disk that is busy. */
	if ((folder < 0 || faccessat(folder, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 || unlinkat(folder, path, 0) < 0) && !told)
		return;
	if (object)
		(void)clock_gettime(CLOCK_REALTIME, &object->told);
	tree_changed(object, path);
}

static int place_of(const struct node *node, char *path, size_t size)
{
	const struct row place = { .file = node->row->refusals, .name = "" };
	const struct node there = { .row = &place, .object = node->object, .index = node->index };

	return tree_path(&there, path, size);
}

void refuse_node(const struct node *node, const struct error *refusal)
{
	int folder = node->object ? object_folder_fd(node->object) : -1;
	char path[128], line[ERROR_TEXT_SIZE + 2];
	struct error err;
	int n = snprintf(line, sizeof line, "%s\n", refusal->text);

	if (!node->row->refusals || folder < 0 || n <= 0 || place_of(node, path, sizeof path) < 0 ||
	    file_replace(folder, path, line, (size_t)n, 0600, false, &err) < 0)
		refuse(node->object, refusal);
	else
		tree_changed(node->object, path);
}

void accept_node(const struct node *node)
{
	int folder = node->object ? object_folder_fd(node->object) : -1;
	char path[128];

	if (!node->row->refusals || folder < 0 || place_of(node, path, sizeof path) < 0)
		accept_again(node->object);
	else if (!unlinkat(folder, path, 0))
		tree_changed(node->object, path);
}
