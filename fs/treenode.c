/* The table of nodes: hashed by number and by (parent, name), one lock. Under it descriptors are
 * duplicated and closed, but nothing waits for a disk. */
#include "fs/treenode.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/inside.h"
#include "fs/treefile.h"

#define TREES 1024

/* Counted, so that a root can be let go of while a job still uses it. */
struct tree_base {
	int fd;
	unsigned users;
	bool quick; /* a disk of this machine: what the kernel has of it in memory needs no network and no other program */
};

static struct {
	pthread_mutex_t lock;
	struct tree_node **numbers, **names;
	size_t size, count;    /* size: a power of two */
	uint64_t next_number;
	uint64_t renames;      /* how often a path may have changed */
	struct tree *trees[TREES]; /* chains by object: each session has one */
} table = { .lock = PTHREAD_MUTEX_INITIALIZER, .next_number = 1 };

static size_t hash_number(uint64_t number) { return (size_t)((number * UINT64_C(0x9E3779B97F4A7C15)) >> 20); }

static size_t hash_name(const struct tree_node *parent, const char *name)
{
	uint64_t h = parent->number * UINT64_C(0x9E3779B97F4A7C15);

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001B3);
	return (size_t)(h ^ h >> 29);
}

static void put_number(struct tree_node *node)
{
	struct tree_node **slot = &table.numbers[hash_number(node->number) & (table.size - 1)];

	node->next_number = *slot;
	*slot = node;
}

static void put_name(struct tree_node *node)
{
	struct tree_node **slot = &table.names[hash_name(node->parent, node->name) & (table.size - 1)];

	node->next_name = *slot;
	*slot = node;
}

static int grow(void)
{
	size_t size = table.size ? table.size * 2 : 256;
	struct tree_node **numbers, **names, **old = table.numbers;
	size_t old_size = table.size;

	if (table.size && table.count < table.size)
		return 0;
	numbers = calloc(size, sizeof(struct tree_node *));
	names = calloc(size, sizeof(struct tree_node *));
	if (!numbers || !names) {
		free(numbers);
		free(names);
		return table.size ? 0 : -1;
	}
	free(table.names);
	table.numbers = numbers;
	table.names = names;
	table.size = size;
	for (size_t i = 0; i < old_size; i++)
		for (struct tree_node *node = old[i], *next; node; node = next) {
			next = node->next_number;
			put_number(node);
			if (node->name)
				put_name(node);
		}
	free(old);
	return 0;
}

static void take_out(struct tree_node **at, const struct tree_node *node, bool by_name)
{
	while (*at && *at != node)
		at = by_name ? &(*at)->next_name : &(*at)->next_number;
	if (*at)
		*at = by_name ? node->next_name : node->next_number;
}

static struct tree_node *find_name(const struct tree_node *parent, const char *name)
{
	struct tree_node *node = table.size ? table.names[hash_name(parent, name) & (table.size - 1)] : NULL;

	while (node && (node->parent != parent || strcmp(node->name, name)))
		node = node->next_name;
	return node;
}

static struct tree_node *find_number(uint64_t number)
{
	struct tree_node *node = table.size ? table.numbers[hash_number(number) & (table.size - 1)] : NULL;

	while (node && node->number != number)
		node = node->next_number;
	return node;
}

static void lose_name(struct tree_node *node)
{
	take_out(&table.names[hash_name(node->parent, node->name) & (table.size - 1)], node, true);
	free(node->name);
	node->name = NULL;
	table.renames++;
}

static void base_put(struct tree_base *base)
{
	if (base && !--base->users) {
		(void)close(base->fd);
		free(base);
	}
}

static struct tree **trees_of(uint16_t row, uint64_t serial) { return &table.trees[(serial * 31 + row) % TREES]; }

static void free_tree(struct tree *tree)
{
	struct tree **at = trees_of(tree->row, tree->serial);

	while (*at && *at != tree)
		at = &(*at)->next;
	if (*at)
		*at = tree->next;
	base_put(tree->base);
	free(tree);
}

/* Frees the node if nobody needs it, and then perhaps its parent. */
static void drop_if_unused(struct tree_node *node)
{
	while (node && !node->lookups && !node->pins && !node->opens) {
		struct tree_node *parent = node->parent;

		if (node->name)
			lose_name(node);
		take_out(&table.numbers[hash_number(node->number) & (table.size - 1)], node, false);
		table.count--;
		if (node->held >= 0)
			(void)close(node->held);
		if (node->tree)
			free_tree(node->tree);
		free(node);
		if (parent)
			parent->pins--;
		node = parent;
	}
}

static struct tree_node *make_node(struct tree_node *parent, const char *name, const struct stat *found)
{
	struct tree_node *node;

	if (grow() < 0)
		return NULL;
	node = calloc(1, sizeof *node);
	if (!node || (name && !(node->name = strdup(name)))) {
		free(node);
		return NULL;
	}
	node->number = TREEFILE_INODE | table.next_number++;
	node->parent = parent;
	node->held = -1;
	node->device = found->st_dev;
	node->file = found->st_ino;
	node->type = found->st_mode & S_IFMT;
	if (parent)
		parent->pins++;
	put_number(node);
	if (name)
		put_name(node);
	table.count++;
	return node;
}

static struct tree *tree_of(const struct tree_node *node)
{
	while (node->parent)
		node = node->parent;
	return node->tree;
}

struct tree *node_tree(const struct tree_node *node)
{
	struct tree *tree;

	pthread_mutex_lock(&table.lock);
	tree = tree_of(node);
	pthread_mutex_unlock(&table.lock);
	return tree;
}

unsigned node_depth(const struct tree_node *node)
{
	unsigned depth = 0;

	pthread_mutex_lock(&table.lock);
	for (; node->parent; node = node->parent)
		depth++;
	pthread_mutex_unlock(&table.lock);
	return depth;
}

static struct tree *find_tree(uint16_t row, uint64_t serial)
{
	struct tree *tree = *trees_of(row, serial);

	while (tree && (tree->row != row || tree->serial != serial))
		tree = tree->next;
	return tree;
}

static struct tree *make_tree(const struct tree *like, const struct stat *found)
{
	struct tree *tree = malloc(sizeof *tree), **chain = trees_of(like->row, like->serial);

	if (!tree)
		return NULL;
	*tree = *like;
	tree->base = NULL;
	tree->top = make_node(NULL, NULL, found);
	if (!tree->top) {
		free(tree);
		return NULL;
	}
	tree->top->tree = tree;
	tree->next = *chain;
	*chain = tree;
	return tree;
}

static bool is_quick(int fd)
{
	static const unsigned long types[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC, TMPFS_MAGIC };
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if ((unsigned long)fs.f_type == types[i])
			return true;
	return false;
}

struct tree_node *tree_enter(const struct tree *like, int fd, const struct stat *found)
{
	struct tree *tree;
	struct tree_base *base = NULL;

	if (fd >= 0) {
		base = malloc(sizeof *base);
		if (!base) {
			(void)close(fd);
			return NULL;
		}
		*base = (struct tree_base){ .fd = fd, .users = 1, .quick = is_quick(fd) };
	}
	pthread_mutex_lock(&table.lock);
	tree = find_tree(like->row, like->serial);
	if (!tree)
		tree = make_tree(like, found);
	if (!tree) {
		base_put(base);
		pthread_mutex_unlock(&table.lock);
		return NULL;
	}
	if (base) {
		base_put(tree->base);
		tree->base = base;
		tree->top->device = found->st_dev;
		tree->top->file = found->st_ino;
	}
	tree->top->lookups++;
	pthread_mutex_unlock(&table.lock);
	return tree->top;
}

bool tree_has_root(uint16_t row, uint64_t serial)
{
	const struct tree *tree;
	bool has;

	pthread_mutex_lock(&table.lock);
	tree = find_tree(row, serial);
	has = tree && tree->base;
	pthread_mutex_unlock(&table.lock);
	return has;
}

void tree_leave(uint16_t row, uint64_t serial)
{
	struct tree *tree;

	pthread_mutex_lock(&table.lock);
	tree = find_tree(row, serial);
	if (tree) {
		base_put(tree->base);
		tree->base = NULL;
	}
	pthread_mutex_unlock(&table.lock);
}

bool node_is_quick(const struct tree_node *node)
{
	const struct tree *tree;
	bool quick;

	pthread_mutex_lock(&table.lock);
	tree = tree_of(node);
	quick = tree->base && tree->base->quick && node->device == tree->top->device;
	pthread_mutex_unlock(&table.lock);
	return quick;
}

struct tree_node *node_pin(uint64_t number)
{
	struct tree_node *node;

	pthread_mutex_lock(&table.lock);
	node = find_number(number);
	if (node)
		node->pins++;
	pthread_mutex_unlock(&table.lock);
	return node;
}

void node_unpin(struct tree_node *node)
{
	pthread_mutex_lock(&table.lock);
	node->pins--;
	drop_if_unused(node);
	pthread_mutex_unlock(&table.lock);
}

void node_forget(uint64_t number, uint64_t lookups)
{
	struct tree_node *node;

	pthread_mutex_lock(&table.lock);
	node = find_number(number);
	if (node) {
		node->lookups -= lookups < node->lookups ? lookups : node->lookups;
		drop_if_unused(node);
	}
	pthread_mutex_unlock(&table.lock);
}

/* The path below the root, built from its end. Returns where it begins, NULL when the node or a
 * folder above it has no name any more (ESTALE), or it is too long. */
static char *build_path(const struct tree_node *node, char path[PATH_MAX])
{
	char *at = path + PATH_MAX - 1;

	*at = '\0';
	if (!node->parent)
		*--at = '.';
	for (; node->parent; node = node->parent) {
		size_t n = node->name ? strlen(node->name) : 0;

		if (!node->name || (size_t)(at - path) < n + 1)
			return NULL;
		if (*at)
			*--at = '/';
		at -= n;
		memcpy(at, node->name, n);
	}
	return at;
}

int node_path(struct tree_node *node, char *path, size_t size)
{
	char whole[PATH_MAX], *at;

	pthread_mutex_lock(&table.lock);
	at = build_path(node, whole);
	pthread_mutex_unlock(&table.lock);
	if (!at)
		return -ESTALE;
	if (strlen(at) >= size)
		return -ENAMETOOLONG;
	memcpy(path, at, strlen(at) + 1);
	return 0;
}

/* Another open of the very file; the magic link is the host's own, not one of the tree's. */
static int reopen(int fd, int flags)
{
	char path[32];
	int again;

	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	again = open(path, flags | O_CLOEXEC);
	return again < 0 ? -errno : again;
}

int node_root(struct tree_node *node)
{
	struct tree_base *base;
	int fd = -ENOTCONN;

	pthread_mutex_lock(&table.lock);
	base = tree_of(node)->base;
	if (base)
		fd = fcntl(base->fd, F_DUPFD_CLOEXEC, 3);
	pthread_mutex_unlock(&table.lock);
	return fd == -1 ? -errno : fd;
}

/* Not the same file: another one has its name now, which the kernel has to look up. */
static int check_same(const struct tree_node *node, int fd)
{
	struct stat now;

	if (fstat(fd, &now) < 0)
		return -errno;
	if (node->parent && (now.st_dev != node->device || now.st_ino != node->file))
		return -ESTALE;
	return 0;
}

static int open_node(struct tree_node *node, int flags, enum inside_links links)
{
	char path[PATH_MAX], *at;
	struct tree_base *base;
	uint64_t renames;
	int fd, code;

	for (int tries = 0;; tries++) {
		pthread_mutex_lock(&table.lock);
		base = tree_of(node)->base;
		if (!base) {
			pthread_mutex_unlock(&table.lock);
			return -ENOTCONN;
		}
		if (node->held >= 0 && flags & O_PATH) {
			fd = fcntl(node->held, F_DUPFD_CLOEXEC, 3);
			pthread_mutex_unlock(&table.lock);
			return fd < 0 ? -errno : fd;
		}
		at = build_path(node, path);
		if (!at && node->held >= 0) { /* deleted, but open: it is opened once more */
			fd = reopen(node->held, flags);
			pthread_mutex_unlock(&table.lock);
			return fd;
		}
		base->users++;
		renames = table.renames;
		pthread_mutex_unlock(&table.lock);
		fd = at ? inside_open(base->fd, at, flags | O_NOFOLLOW, 0, links) : -1;
		if (fd < 0)
			fd = at ? -errno : -ESTALE;
		pthread_mutex_lock(&table.lock);
		base_put(base);
		renames = table.renames - renames;
		pthread_mutex_unlock(&table.lock);
		if (fd >= 0 && (code = check_same(node, fd)) < 0) {
			(void)close(fd);
			fd = code;
		}
		/* A rename by another thread may have come between path and open. */
		if (fd >= 0 || !renames || tries == 3)
			return fd == -ELOOP || fd == -ENOTDIR ? -ESTALE : fd;
	}
}

int node_open(struct tree_node *node, int flags) { return open_node(node, flags, INSIDE_NO_LINKS); }

int node_open_at_once(struct tree_node *node, int flags) { return open_node(node, flags, INSIDE_AT_ONCE); }

struct tree_node *node_child(struct tree_node *parent, const char *name, const struct stat *found)
{
	struct tree_node *node;

	pthread_mutex_lock(&table.lock);
	node = find_name(parent, name);
	if (node && (node->device != found->st_dev || node->file != found->st_ino
		     || node->type != (found->st_mode & S_IFMT))) {
		lose_name(node);
		node = NULL;
	}
	if (!node) {
		node = make_node(parent, name, found);
		if (node && !parent->parent && parent->tree->sandbox)
			node->empty = !strcmp(name, "proc") || !strcmp(name, "sys");
	}
	if (node)
		node->lookups++;
	pthread_mutex_unlock(&table.lock);
	return node;
}

void node_hold(struct tree_node *node, int fd)
{
	pthread_mutex_lock(&table.lock);
	node->opens++;
	if (node->held < 0)
		node->held = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	pthread_mutex_unlock(&table.lock);
}

void node_release(struct tree_node *node)
{
	pthread_mutex_lock(&table.lock);
	if (!--node->opens && node->held >= 0) {
		(void)close(node->held);
		node->held = -1;
	}
	drop_if_unused(node);
	pthread_mutex_unlock(&table.lock);
}

void node_removed(struct tree_node *parent, const char *name)
{
	struct tree_node *node;

	pthread_mutex_lock(&table.lock);
	node = find_name(parent, name);
	if (node)
		lose_name(node);
	pthread_mutex_unlock(&table.lock);
}

static void move(struct tree_node *node, struct tree_node *to, char *name)
{
	take_out(&table.names[hash_name(node->parent, node->name) & (table.size - 1)], node, true);
	free(node->name);
	node->name = name;
	node->parent->pins--;
	node->parent = to;
	to->pins++;
	put_name(node);
}

void node_renamed(struct tree_node *from, const char *name, struct tree_node *to, const char *new_name, bool exchange)
{
	struct tree_node *node, *other;
	char *copy = strdup(new_name), *back = exchange ? strdup(name) : NULL;

	pthread_mutex_lock(&table.lock);
	node = find_name(from, name);
	other = find_name(to, new_name);
	table.renames++;
	if (node == other) {
		node = other = NULL; /* two names of one file: nothing happens */
	}
	/* Without memory both lose their names and are looked up again. */
	if (other && (!exchange || !copy || !back)) {
		lose_name(other);
		other = NULL;
	}
	if (node && !copy)
		lose_name(node);
	else if (node) {
		move(node, to, copy);
		copy = NULL;
	}
	if (other) {
		move(other, from, back);
		back = NULL;
	}
	pthread_mutex_unlock(&table.lock);
	free(copy);
	free(back);
}
