/* The nodes of trees that lie on disk, as the kernel knows them: a number, a parent and a name.
 *
 * A node holds no descriptor unless it is open: 50,000 files below a root cost memory only. What
 * it stands for is found again by its path below the root, with openat2 and no link followed on
 * the way, and must be the same file as when it was looked up; if the sandbox has put another one
 * there, the kernel is told ESTALE and looks again. Any thread. */
#ifndef INTERPFS_FS_TREENODE_H
#define INTERPFS_FS_TREENODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct tree_node;

/* One tree that the kernel knows: a row of one object. */
struct tree {
	uint16_t row;           /* row->number */
	uint64_t serial;        /* the object's, 0 outside objects */
	bool sandbox;           /* the inside of a sandbox: hostile, see fs/treefile.c */
	bool read_only;
	bool watched;           /* somebody wants to know of changes (treefile_changed) */
	bool writers_elsewhere; /* others than the mount change it: nothing is cached for long */
	struct tree_node *top;
	struct tree_base *base; /* NULL: not there now */
	struct tree *next;
};

struct tree_node {
	uint64_t number;        /* the inode */
	struct tree *tree;      /* of the top alone; else its ancestors' */
	struct tree_node *parent;
	char *name;             /* NULL: it has no name any more (or is the top) */
	uint64_t lookups;       /* the kernel's, which it gives back with FORGET */
	uint32_t pins;          /* children and jobs */
	uint32_t opens;
	int held;               /* a descriptor of it while it is open, else -1 */
	_Atomic bool dirty;     /* written since somebody was told */
	bool empty;             /* /proc and /sys of a sandbox: nothing is shown in it */
	dev_t device;
	ino_t file;
	mode_t type;
	struct tree_node *next_number, *next_name;
};

/* The tree of a row and serial, made if need be with `flags` copied from *like. top is looked up
 * once more. fd becomes the root (taken; an older root is let go), -1 keeps what there is. NULL
 * without memory (fd is closed). */
struct tree_node *tree_enter(const struct tree *like, int fd, const struct stat *found);
bool tree_has_root(uint16_t row, uint64_t serial);
/* Lets go of the root: everything below answers ENOTCONN. */
void tree_leave(uint16_t row, uint64_t serial);

struct tree *node_tree(const struct tree_node *node);
unsigned node_depth(const struct tree_node *node); /* how many folders lie above it, the top has 0 */

struct tree_node *node_pin(uint64_t number); /* NULL: unknown */
void node_unpin(struct tree_node *node);
void node_forget(uint64_t number, uint64_t lookups);

/* Opens what the node stands for. A descriptor, or -errno: ENOTCONN without a root, ESTALE when it
 * is not the same file any more, ENOENT when it is gone. O_PATH of an open file is its own. */
int node_open(struct tree_node *node, int flags);
/* On the same disk of this machine as its tree's root: what the kernel has in memory of it can be had without waiting. */
bool node_is_quick(const struct tree_node *node);
/* node_open() of one that is quick; -EAGAIN where the disk would have to be waited for. */
int node_open_at_once(struct tree_node *node, int flags);
/* Its path below the root, "." for the top. 0 or -errno. */
int node_path(struct tree_node *node, char *path, size_t size);
/* The root's descriptor (duplicated), or -ENOTCONN. */
int node_root(struct tree_node *node);

/* The child that was found under this name; made if it is not known, or was another file. It is
 * looked up once more. NULL without memory. */
struct tree_node *node_child(struct tree_node *parent, const char *name, const struct stat *found);

void node_hold(struct tree_node *node, int fd);  /* opened; fd is duplicated if need be */
void node_release(struct tree_node *node);       /* closed */

/* The disk did it; the table follows. */
void node_removed(struct tree_node *parent, const char *name);
void node_renamed(struct tree_node *from, const char *name, struct tree_node *to, const char *new_name,
		  bool exchange);

#endif
