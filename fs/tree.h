/* The tree as tables: one row a file.
 *
 * A directory is a table of rows; a row says name, kind, mode, help, where its bytes are, and
 * what it takes. README, the manual and a test that every row is documented come from the same
 * rows. A new file is a row; a new directory is a file with a table. The kinds (fs/value.c,
 * fs/document.c, …) are implemented once and know nothing of single files.
 *
 * An inode is computed, never allocated: (row, serial of the object, index). The serial is on
 * disk and never used again, so the number is the same after a restart and an old descriptor
 * never joins a new object of the same name.
 *
 *      63 62 61        35 34     11 10 9    0
 *       0  0   serial       index    f  row       row 1 with nothing else is the root
 *       1  0   number of a scratch file or of a file in a listed folder (fs/scratch.c)
 *       1  1   a node of a tree that lies on disk (fs/treefile.c, its own numbers)
 *
 * f marks X.follow, which has no row of its own: every row of kind log has one beside it.
 * Callbacks run in the loop: none of them may block for longer than a read of a small file. */
#ifndef INTERPFS_FS_TREE_H
#define INTERPFS_FS_TREE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"
#include "fs/judge.h"
#include "fs/objects.h"

enum file_kind {
	FILE_DIRECTORY,
	FILE_VALUE,     /* read only: `render`, or else the bytes of the backing file, or nothing */
	FILE_DOCUMENT,  /* text, judged; stored in the backing file */
	FILE_INBOX,     /* acts on every close that wrote something */
	FILE_NEW,       /* sessions/new: makes the next object of `objects` from a document */
	FILE_CTL,       /* `commands` */
	FILE_LOG,       /* the backing file, which grows; X.follow beside it */
	FILE_CALL,      /* a conversation `call` with the object's runner for each open */
	FILE_TREE,      /* a folder on disk, served as it is (fs/treefile.c) */
	FILE_LINK,      /* `render` makes its target */
	FILE_HOLD,      /* stops the object when its last writer closes */
	FILE_KEPT,      /* of a listed folder: files can be made there, and are kept (fs/kept.h) */
};

struct row;

/* What a callback is asked about. */
struct node {
	const struct row *row;
	struct object *object; /* NULL outside objects; borrowed, and valid for this call */
	uint32_t index;        /* N of cells/N, the number of an interface, and of everything below it; else 0 */
	bool follow;
};

/* What may be written to a ctl. The table ends with a NULL name. */
enum command_how {
	COMMAND_RUNNER,  /* the whole line goes to the object's runner, which answers */
	COMMAND_WAIT,    /* wait, wait SECONDS */
	COMMAND_START,   /* want run, if it does not run; for a session also a turn without a message */
	COMMAND_STOP,    /* want stopped, and waits until it has */
	COMMAND_RESTART, /* want run again, and waits until it is ready */
	COMMAND_SNAPSHOT,/* snapshot NAME: until it has been taken */
	COMMAND_HERE,    /* `run`, in the loop */
};

struct command {
	const char *name;
	const char *arguments; /* "SECONDS", "" without */
	const char *help;      /* one sentence without a full stop */
	enum command_how how;
	int (*run)(const struct node *node, const char *arguments, struct error *err);
};

enum listing {
	LIST_ROWS,     /* nothing but `rows` */
	LIST_OBJECTS,  /* the objects of kind `objects`; each is the directory `child` (mkdir, rmdir and
	                  rename work) or a tree (they do not) */
	LIST_NUMBERS,  /* 1, 2, …: the numbered entries of the backing folder, with child->name's ending
	                  ("#" or "#.json"); each is `child`, its number is node->index */
	LIST_NAMED,    /* the folders of the backing folder that the links in its names/ lead to; each is
	                  `child`, its number is node->index (fs/numbered.h: mkdir and rmdir work) */
	LIST_FILES,    /* the regular files of the backing folder, each a `child` */
};

struct row {
	const char *name;      /* NULL ends a table; of a `child` only for the documentation: "NAME", "#.json" */
	enum file_kind kind;
	mode_t mode;           /* permission bits; 0: the kind's own (value 0444, document 0644, log 0444,
	                          inbox, ctl, call, hold 0600, directory 0755) */
	const char *help;      /* one line for README, manual and doctor */

	/* Where its bytes are, relative to the object's folder (to the state directory outside
	 * objects). NULL: its name. '#' stands for the index: "cells/#/output". */
	const char *file;
	bool unlisted;         /* found by name, not listed */

	/* Whether it is there now; NULL: always. May not look further than memory or one stat. */
	bool (*present)(const struct node *node);

	/* Value and link: appends the content (a value's newline included). NULL: the backing file. With
	 * `file`, a value is made from that file alone; without, it may show anything of its object. */
	int (*render)(const struct node *node, struct buffer *out, struct error *err);
	/* Value, instead of render, where it may be long: writes the content to a file. Its object's folder
	 * is a descriptor; in a thread of the pool, so nothing of the mount's memory may be touched. */
	int (*assemble)(int folder, int out, struct error *err);
	/* What it renders depends on its own object's status and files alone, so the kernel may keep it
	 * until the object changes. */
	bool own;
	bool turns;            /* log: a full one gets another name, and the next begins under this one */
	bool lists;            /* what it renders tells of all objects: fs/coming.h */
	const char *sampled;   /* what it shows is asked of that backend: fs/backends.h */
	/* Size and time of what render would append, where rendering costs more than a stat may.
	 * NULL: it is rendered. */
	void (*measure)(const struct node *node, struct stat *st);

	/* Document, new: judged by these fields when not NULL; such a document is the object's
	 * `config`, whose acceptance writes spec.json and want. */
	const struct field *fields;
	/* Fills in what a text leaves out, from what it names; before `check`, with the same `fault`. May be NULL. */
	int (*complete)(const char *text, size_t n, cJSON *fields, struct fault *fault, struct error *err);
	/* Resolves what fields refer to: adds members such as "sandbox": {"kind","serial","name"} to
	 * `references`, or refuses with a sentence (without the line) and says which field is at fault.
	 * final false: more lines may come; what they could make right is not refused. May be NULL. */
	int (*check)(const struct node *node, const cJSON *fields, bool final, cJSON *references, struct fault *fault,
		     struct error *err);
	/* A plain document (prompt, init.py), and an inbox: whether this text is acceptable now.
	 * final as in judge(). May be NULL. */
	int (*judge)(const struct node *node, const char *text, size_t n, bool final, struct error *err);

	/* Inbox: NULL puts the text into the object's inbox/ as a message and wants a run;
	 * otherwise it is the request of this call to the runner ("markdown", "edit #"). */
	const char *call;      /* and for FILE_CALL: the call's name; ctl: what its lines begin with */
	bool exit_line;        /* call: a last line `[exit N]` when N is not 0 */

	const struct command *commands;
	const char *refusals;  /* document and ctl: where a refusal of them is kept, as `file`; NULL: the object's */

	const char *unmade;    /* LIST_OBJECTS: why mkdir makes none; NULL: it does */
	struct row *rows;      /* directory */
	enum listing listing;
	enum object_kind objects;
	bool found;            /* LIST_NAMED: what is in it is not made by mkdir, nor removed by rmdir … */
	/* … but may be dropped by it, with all that is in it: whether this one may now, -1 with why not. */
	int (*drops)(const struct node *child, const char *name, struct error *err);
	struct row *child;
	/* Of a child that mkdir makes: furnishes a new object's folder before the mount shows it. In the
	 * storage thread. May be NULL. */
	int (*made)(int folder, struct error *err);

	/* Tree: opens the folder that is served (O_PATH or O_RDONLY, the caller closes), or -1. NULL: the
	 * backing folder. read_only: nothing in it can be changed through the mount. */
	int (*root)(const struct node *node, struct error *err);
	bool read_only;

	/* Filled in by tree_number(). */
	uint16_t number;
	uint8_t bit;           /* of object->known; 0: it has none */
	bool passing;          /* of a `found` directory: runners make it and remove it, and give its number to another */
};

extern struct row root_row; /* fs/root.c */

/* Numbers every row that can be reached from the root. Once, before anything else. */
int tree_number(struct error *err);

/* The inode of a node, and back. tree_node is -1 when there is no such row or object (any more);
 * for a removed object whose descriptors are still open, node->object has `removed` set. */
uint64_t tree_inode(const struct node *node);
int tree_node(uint64_t inode, struct node *node);

/* The directory that an object of this kind is: its row in the table of the tree. */
struct row *tree_object_row(enum object_kind kind);

/* Finds a child by name. 0, or -1 with ENOENT. `child` of a LIST_FILES directory has the
 * directory's own child row; its name is the caller's to remember. */
int tree_find(const struct node *directory, const char *name, struct node *child);

/* Calls visit for everything that ls shows, until it returns non-zero; returns that or 0. */
int tree_list(const struct node *directory, int (*visit)(void *context, const char *name,
	      const struct node *child), void *context);

/* The backing path with '#' replaced. 0, or -1 when it does not fit. */
int tree_path(const struct node *node, char *path, size_t size);
/* The folder that it is relative to: borrowed, -1 with errno when it cannot be opened. */
int tree_folder(const struct node *node);

/* Appends where a directory is, as a person would write it: "sandboxes/lab/interfaces/tools/"; "" for the root. */
int tree_place(const struct node *directory, struct buffer *out);

/* Appends the help of each row of the tree, "PATH<tab>help" a line: for README and the manual. */
int tree_help(struct buffer *out, struct error *err);

/* Says that what a row shows has changed for an object (NULL outside objects): attributes are
 * forgotten, followers and pollers woken. path is as in row->file; a directory's path means its
 * listing. From the loop only. */
void tree_changed(struct object *object, const char *path);
/* The same for everything of an object. */
void tree_all_changed(struct object *object);

#endif
