/* Walking the tables: numbers, names, listings, paths. Knows rows, not what files do. */
#include "fs/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fs/files.h"
#include "fs/notify.h"
#include "fs/numbered.h"

#define ROWS_MAX 1024u
#define INDEX_MAX ((1u << 24) - 1)
#define SERIAL_MAX ((UINT64_C(1) << 27) - 1)

static struct {
	struct row *rows[ROWS_MAX]; /* by number */
	unsigned count;
	struct row *object[OBJECT_KINDS];
	uint16_t first[OBJECT_KINDS], last[OBJECT_KINDS]; /* the numbers of the rows below it */
	uint8_t bits;
} tree = { .count = 1 };

static int number_row(struct row *row, struct error *err)
{
	if (row->number)
		return 0; /* a table that stands in two places has one set of numbers */
	if (tree.count == ROWS_MAX)
		return error_set(err, E2BIG, "the tree has more than %u rows", ROWS_MAX);
	if (!row->mode)
		row->mode = file_kinds[row->kind]->mode;
	row->number = (uint16_t)tree.count;
	tree.rows[tree.count++] = row;
	row->bit = tree.bits && tree.bits < 64 ? tree.bits++ : 0;
	for (struct row *r = row->rows; r && r->name; r++)
		if (number_row(r, err) < 0)
			return -1;
	if (!row->child)
		return 0;
	row->child->passing = row->found;
	if (row->listing == LIST_OBJECTS && row->child->kind == FILE_DIRECTORY) {
		int kind = (int)row->objects;

		tree.object[kind] = row->child;
		tree.first[kind] = (uint16_t)tree.count;
		tree.bits = 1;
		if (number_row(row->child, err) < 0)
			return -1;
		tree.bits = 0;
		tree.last[kind] = (uint16_t)(tree.count - 1);
		return 0;
	} else {
		uint8_t bits = tree.bits;

		tree.bits = 0; /* one bit cannot stand for many files */
		if (number_row(row->child, err) < 0)
			return -1;
		tree.bits = bits;
	}
	return 0;
}

int tree_number(struct error *err)
{
	return number_row(&root_row, err);
}

struct row *tree_object_row(enum object_kind kind)
{
	return tree.object[kind];
}

uint64_t tree_inode(const struct node *node)
{
	uint64_t serial = node->object ? node->object->serial : 0;

	return (serial & SERIAL_MAX) << 35 | (uint64_t)(node->index & INDEX_MAX) << 11 |
	       (uint64_t)node->follow << 10 | node->row->number;
}

int tree_node(uint64_t inode, struct node *node)
{
	unsigned number = inode & (ROWS_MAX - 1);
	uint64_t serial = inode >> 35 & SERIAL_MAX;

	if (inode >> 62 || !number || number >= tree.count)
		return -1;
	*node = (struct node){ .row = tree.rows[number], .follow = inode >> 10 & 1, .index = inode >> 11 & INDEX_MAX };
	if (serial && !(node->object = objects_by_serial(serial)))
		return -1;
	if (node->row->kind == FILE_CTL) /* there it only makes each LOOKUP's inode a new one */
		node->index = node->row->call ? node->index & NUMBERED_MAX : 0;
	return 0;
}

int tree_path(const struct node *node, char *path, size_t size)
{
	const char *from = node->row->file ? node->row->file : node->row->name;
	const char *hash = strchr(from, '#');
	int n;

	if (hash)
		n = snprintf(path, size, "%.*s%u%s", (int)(hash - from), from, node->index, hash + 1);
	else
		n = snprintf(path, size, "%s", from);
	return n < 0 || (size_t)n >= size ? -1 : 0;
}

int tree_folder(const struct node *node)
{
	return node->object ? object_folder_fd(node->object) : objects_state()->fd;
}

static bool is_present(const struct node *node)
{
	return !node->row->present || node->row->present(node);
}

static bool is_follow(const struct row *row, const char *name)
{
	size_t n = strlen(row->name);

	return row->kind == FILE_LOG && !strncmp(name, row->name, n) && !strcmp(name + n, ".follow");
}

/* "12" or "12.json" as the pattern "#" or "#.json" says; 0 when it is not such a name. */
static uint32_t parse_number(const char *pattern, const char *name)
{
	const char *hash = strchr(pattern, '#');
	char *end;
	unsigned long n;

	if (*name < '1' || *name > '9')
		return 0;
	errno = 0;
	n = strtoul(name, &end, 10);
	if (errno || n > INDEX_MAX || strcmp(end, hash ? hash + 1 : ""))
		return 0;
	return (uint32_t)n;
}

/* What lies under this name in the directory's backing folder. */
static int stat_member(const struct node *directory, const char *name, struct stat *st)
{
	char path[PATH_MAX], member[PATH_MAX];
	int folder = tree_folder(directory);

	if (folder < 0 || tree_path(directory, path, sizeof path) < 0 ||
	    (size_t)snprintf(member, sizeof member, "%s/%s", path, name) >= sizeof member)
		return -1;
	return fstatat(folder, member, st, AT_SYMLINK_NOFOLLOW);
}

int tree_find(const struct node *directory, const char *name, struct node *child)
{
	const struct row *row = directory->row;
	struct stat st;

	*child = (struct node){ .object = directory->object, .index = directory->index };
	for (struct row *r = row->rows; r && r->name; r++) {
		child->follow = is_follow(r, name);
		if (!child->follow && strcmp(r->name, name) != 0)
			continue;
		child->row = r;
		if (is_present(child))
			return 0;
		break;
	}
	child->follow = false;
	child->row = row->child;
	switch (row->listing) {
	case LIST_OBJECTS:
		child->object = objects_find(row->objects, name);
		if (child->object)
			return 0;
		break;
	case LIST_NUMBERS:
		child->index = parse_number(row->child->name, name);
		if (child->index && !stat_member(directory, name, &st))
			return 0;
		break;
	case LIST_NAMED:
		child->index = numbered_find(directory, name);
		if (child->index)
			return 0;
		break;
	case LIST_FILES:
		if (name[0] != '.' && !stat_member(directory, name, &st) && S_ISREG(st.st_mode))
			return 0;
		break;
	case LIST_ROWS:
		break;
	}
	errno = ENOENT;
	return -1;
}

struct visit {
	const struct node *directory;
	int (*visit)(void *context, const char *name, const struct node *child);
	void *context;
};

static int visit_object(void *context, struct object *object)
{
	struct visit *v = context;
	struct node child = { .row = v->directory->row->child, .object = object };

	return v->visit(v->context, object->name, &child);
}

static int compare_numbers(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int list_folder(struct visit *v)
{
	const struct row *row = v->directory->row;
	struct node child = { .row = row->child, .object = v->directory->object, .index = v->directory->index };
	cleanup_free uint32_t *numbers = NULL;
	size_t count = 0, room = 0;
	cleanup_dir DIR *dir = NULL;
	char path[PATH_MAX];
	struct dirent *entry;
	int folder = tree_folder(v->directory), r;

	if (folder < 0 || tree_path(v->directory, path, sizeof path) < 0)
		return 0;
	dir = file_list(folder, path, 0);
	if (!dir)
		return 0; /* nothing has been put there yet */
	while ((entry = readdir(dir))) {
		uint32_t n;

		if (row->listing == LIST_FILES) {
			if (entry->d_name[0] != '.' && entry->d_type == DT_REG &&
			    (r = v->visit(v->context, entry->d_name, &child)))
				return r;
			continue;
		}
		if (!(n = parse_number(row->child->name, entry->d_name)))
			continue;
		if (count == room) {
			uint32_t *more = realloc(numbers, (room = room ? 2 * room : 64) * sizeof *numbers);

			if (!more)
				return 0;
			numbers = more;
		}
		numbers[count++] = n;
	}
	if (count)
		qsort(numbers, count, sizeof *numbers, compare_numbers);
	for (size_t i = 0; i < count; i++) {
		const char *hash = strchr(row->child->name, '#');
		char name[NAME_MAX + 1];

		(void)snprintf(name, sizeof name, "%u%s", numbers[i], hash ? hash + 1 : "");
		child.index = numbers[i];
		if ((r = v->visit(v->context, name, &child)))
			return r;
	}
	return 0;
}

int tree_list(const struct node *directory, int (*visit)(void *context, const char *name,
	      const struct node *child), void *context)
{
	const struct row *row = directory->row;
	struct visit v = { directory, visit, context };
	int r;

	for (struct row *child = row->rows; child && child->name; child++) {
		struct node node = { .row = child, .object = directory->object, .index = directory->index };

		if (child->unlisted || !is_present(&node))
			continue;
		if ((r = visit(context, child->name, &node)))
			return r;
	}
	if (row->listing == LIST_OBJECTS)
		return objects_each(row->objects, visit_object, &v);
	if (row->listing == LIST_NAMED)
		return numbered_list(directory, visit, context);
	if (row->listing != LIST_ROWS)
		return list_folder(&v);
	return 0;
}

/* Its name there: of one of many by its number. */
static int put_name(const struct node *node, const struct row *row, const struct row *above, struct buffer *out)
{
	char name[NAME_MAX + 1];

	if (!above || above->listing != LIST_NAMED)
		return above && above->listing == LIST_NUMBERS ? buffer_format(out, "%u/", node->index) : buffer_format(out, "%s/", row->name);
	return buffer_format(out, "%s/", numbered_name(node, above->file ? above->file : above->name, name) ? "?" : name);
}

/* 1: it is below this row, and out says where; 0: it is not, and out is as it was. */
static int find_place(const struct node *node, const struct row *row, const struct row *above, struct buffer *out)
{
	size_t before = out->length;
	int found = row == node->row;

	if (row->kind != FILE_DIRECTORY || (above && put_name(node, row, above->child == row ? above : NULL, out) < 0))
		return 0;
	for (const struct row *r = row->rows; !found && r && r->name; r++)
		found = find_place(node, r, row, out);
	/* Of objects each is a tree of its own. */
	if (!found && row->child && row->listing != LIST_OBJECTS)
		found = find_place(node, row->child, row, out);
	if (!found)
		out->length = before;
	return found;
}

int tree_place(const struct node *directory, struct buffer *out)
{
	const struct object *object = directory->object;

	if (object && buffer_format(out, "%s/%s/", object_folder[object->kind], object->name) < 0)
		return -1;
	return find_place(directory, object ? tree_object_row(object->kind) : &root_row, NULL, out) ? 0 : -1;
}

static int help_rows(const struct row *rows, const char *above, struct buffer *out);

static int help_row(const struct row *row, const char *above, struct buffer *out)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof path, "%s%s%s", above, row->name, row->kind == FILE_DIRECTORY ? "/" : "");
	if (buffer_format(out, "%s\t%s\n", path, row->help ? row->help : "") < 0)
		return -1;
	if (row->rows && help_rows(row->rows, path, out) < 0)
		return -1;
	return row->child && row->child->kind == FILE_DIRECTORY ? help_row(row->child, path, out) : 0;
}

static int help_rows(const struct row *rows, const char *above, struct buffer *out)
{
	for (; rows->name; rows++)
		if (!rows->unlisted && help_row(rows, above, out) < 0)
			return -1;
	return 0;
}

int tree_help(struct buffer *out, struct error *err)
{
	return help_rows(root_row.rows, "", out) < 0 ? error_memory(err) : 0;
}

/* Whether a path is the one that a row's pattern means, or one right below it ("images" and
 * "images/cell-1-1.png"). The index is what stands for '#'. 1: the row itself, 2: below it. */
static int match(const char *pattern, const char *path, uint32_t *index)
{
	*index = 0;
	while (*pattern) {
		if (*pattern == '#') {
			char *end;
			unsigned long n;

			if (*path < '1' || *path > '9')
				return 0;
			n = strtoul(path, &end, 10);
			*index = n <= INDEX_MAX ? (uint32_t)n : 0;
			path = end;
			pattern++;
		} else if (*pattern++ != *path++) {
			return 0;
		}
	}
	if (!*path)
		return 1;
	return *path == '/' && !strchr(path + 1, '/') ? 2 : 0;
}

static void forget_attributes(const struct node *node)
{
	struct object *object = node->object;

	if (object && node->row->bit) {
		object->cached &= ~(UINT64_C(1) << node->row->bit);
		if (!(object->known >> node->row->bit & 1))
			return;
		object->known &= ~(UINT64_C(1) << node->row->bit);
	}
	if (node->row->kind != FILE_CTL && node->row->kind != FILE_TREE)
		notify_attributes(tree_inode(node));
}

static void row_changed(struct row *row, struct object *object, const char *path)
{
	struct node node = { .row = row, .object = object };
	int how = match(row->file ? row->file : row->name, path, &node.index);

	if ((row->render || row->assemble) && !row->file && row->kind == FILE_VALUE) { /* it may show anything of its object */
		node.index = 0;
		forget_attributes(&node);
	} else if (how == 1 || (how == 2 && row->kind == FILE_DIRECTORY)) {
		forget_attributes(&node);
		if (how == 1)
			files_changed(&node);
	}
}

void tree_changed(struct object *object, const char *path)
{
	if (!object) {
		struct node node = { .row = NULL };

		for (struct row *row = root_row.rows; row->name; row++)
			if (!strcmp(row->file ? row->file : row->name, path)) {
				node.row = row;
				notify_attributes(tree_inode(&node));
				files_changed(&node);
			}
		return;
	}
	(void)clock_gettime(CLOCK_REALTIME, &object->changed);
	for (unsigned n = tree.first[object->kind]; n <= tree.last[object->kind]; n++)
		if (n)
			row_changed(tree.rows[n], object, path);
}

void tree_all_changed(struct object *object)
{
	(void)clock_gettime(CLOCK_REALTIME, &object->changed);
	for (unsigned n = tree.first[object->kind]; n && n <= tree.last[object->kind]; n++) {
		struct node node = { .row = tree.rows[n], .object = object };

		forget_attributes(&node);
	}
}
