/* Open files and the kinds that they are of; private to the mount's own parts.
 *
 * A kind is a struct of functions, each in a file of its own: value.c document.c inbox.c new.c
 * ctl.c log.c call.c hold.c kept.c scratch.c. Absent members are filled in once (files_open) so that
 * callers never test for NULL. A request is answered or parked by the function that gets it. */
#ifndef INTERPFS_FS_FILES_H
#define INTERPFS_FS_FILES_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "base/buffer.h"
#include "base/error.h"
#include "fs/loop.h"
#include "fs/objects.h"
#include "fs/storage.h"
#include "fs/tree.h"

#define CACHED 3600.0 /* seconds that the kernel may remember what a notice would correct */

/* One open(2). */
struct handle {
	uint32_t number;        /* fi->fh */
	const struct kind *kind;
	struct node node;       /* its object is pinned */
	struct named *named;    /* a scratch file or a listed one; pinned */
	int flags;              /* of open(2) */
	int opener;             /* the thread group that opened it */
	int fd;                 /* what is read, -1 without */
	struct buffer text;     /* the kind's: a snapshot, what was written, a request */
	off_t position;         /* log, follow: where this open last read to */
	void *data;             /* the kind's */
	struct fuse_pollhandle *poll;
	struct parked *parked;  /* its requests that wait, oldest first */
	struct handle *next, **link; /* all open files */
};

struct kind {
	mode_t mode;            /* permission bits of a row that says none */
	bool flushes;           /* FLUSH matters to it */
	/* Size and time of what a reader who opens now would get. */
	void (*stat)(const struct node *node, struct stat *st);
	int (*open)(struct handle *h, struct error *err);
	void (*read)(struct handle *h, fuse_req_t request, size_t size, off_t offset);
	void (*write)(struct handle *h, fuse_req_t request, const char *data, size_t n, off_t offset);
	void (*flush)(struct handle *h, fuse_req_t request);
	void (*sync)(struct handle *h, fuse_req_t request);
	/* 0 or an errno. */
	int (*truncate)(struct handle *h, off_t size);
	unsigned (*poll)(struct handle *h);
	/* What it shows has changed, or its object has: answer what is parked. */
	void (*changed)(struct handle *h);
	void (*release)(struct handle *h);
};

extern struct kind *const file_kinds[];   /* by enum file_kind */
extern struct kind value_kind, document_kind, inbox_kind, new_kind, ctl_kind, log_kind, follow_kind,
	call_kind, hold_kind, scratch_kind, kept_kind;

/* handles */
void files_open(void);                               /* fills absent members */
struct handle *handle_make(const struct kind *kind, const struct node *node, int flags, fuse_req_t request);
struct handle *handle_of(uint64_t number);           /* NULL when there is none */
void handle_free(struct handle *h);
struct handle *handle_first(void);
bool handle_writes(const struct handle *h);
/* Whether the kernel may keep the bytes from open to open: it is told at an open when they have
 * changed, and every read gets what is so then, never an older open's snapshot. */
bool handle_caches(const struct handle *h);
/* Fills in what open and create reply. */
void handle_reply(struct handle *h, struct fuse_file_info *fi);

/* serve.c */
extern const struct fuse_lowlevel_ops mount_operations;
/* entries.c */
/* -1: the inode is no node of the tables (any more). For an alias: its document. */
int node_of(fuse_ino_t inode, struct node *node, struct named **named);
double cache_time(const struct node *node);           /* of its attributes */
void note_known(const struct node *node, double time); /* the kernel has them now, for so long */
/* An entry as lookup and create reply it; the kernel's knowledge is noted. */
void entry_of(const struct node *node, struct fuse_entry_param *entry);
void entry_of_named(struct named *named, struct fuse_entry_param *entry);
void entry_lookup(fuse_req_t request, fuse_ino_t parent, const char *name);
/* attributes.c */
void attributes_of(const struct node *node, struct stat *st);
void attributes_of_named(struct named *named, struct stat *st);
void reply_attributes(fuse_req_t request, fuse_ino_t inode, const struct fuse_file_info *fi);
void node_setattr(fuse_req_t request, fuse_ino_t inode, const struct stat *st, int set,
		  const struct fuse_file_info *fi);
void node_readlink(fuse_req_t request, fuse_ino_t inode);
void node_access(fuse_req_t request, fuse_ino_t inode, int mask);
/* opens.c: a node for CREATE and OPEN: the handle, or NULL with err. */
struct handle *open_node(const struct node *node, struct named *named, int flags, fuse_req_t request,
			 struct error *err);
void open_inode(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi);

void listed_stat(const struct named *named, struct stat *st); /* value.c */
int scratch_resize(struct named *named, off_t size);         /* scratch.c: 0 or an errno */
int text_put(struct buffer *text, const char *data, size_t n, off_t offset); /* 0 or an errno */
int text_resize(struct buffer *text, size_t size);           /* filled up with zeros */
void mount_is_ready(void);                                   /* mount.c: INIT has come */

/* folder.c */
void folder_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode);
void folder_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name);
void folder_unlink(fuse_req_t request, fuse_ino_t parent, const char *name);
void folder_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		   const char *new_name, unsigned flags);
void folder_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
		   struct fuse_file_info *fi);
/* EPERM, and "WHAT PARENT/NAME: WHY" in the root's `error`. */
void folder_refuse(fuse_req_t request, fuse_ino_t parent, const char *what, const char *name, const char *why);
void folder_too_long(fuse_req_t request, fuse_ino_t parent, const char *name);
/* listing.c */
void folder_opendir(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi);
void folder_readdir(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
		    struct fuse_file_info *fi);
void folder_readdirplus(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
			struct fuse_file_info *fi);
void folder_releasedir(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *fi);

/* document.c: what folder.c asks of documents and inboxes. */
bool document_hidden(const struct node *node);
void document_hide(const struct node *node);
void document_appear(const struct node *node);
void document_forget(const struct object *object);      /* it was removed */
bool document_is_open(const struct node *node);
/* Who waits for a text to be on the disk. */
struct awaiting {
	fuse_req_t request;   /* NULL: nobody */
	fuse_ino_t truncated; /* the inode, where the request is a truncate(2), which gets its attributes */
};

/* The whole text at once, by rename or truncate: judged, kept, and in force if it may be. Replies
 * its verdict. */
void document_put(const struct node *node, const char *text, size_t n, struct awaiting awaiting);
bool row_takes_text(const struct row *row);           /* a document or an inbox */

/* Something that a node shows has changed: its open files are told, pollers woken. */
void files_changed(const struct node *node);
/* An object's state or want has changed: the same for everything of it, and what waits for it. */
void files_object_changed(struct object *object);

/* Parked requests: answered later, once, by whoever comes first: an event or a signal. */
struct parked {
	fuse_req_t request;
	struct handle *handle;
	size_t size;            /* of the read, or what a write replies */
	/* It ends by a signal: EINTR was replied already, request is NULL. May be NULL. */
	void (*interrupted)(struct parked *parked);
	void *data;
	bool *gone;              /* requests.c's */
	struct loop_timer timer; /* … since a signal came that it waits on after */
	struct parked *next, **link; /* the handle's, oldest first */
};

/* Parks a request. NULL without memory (ENOMEM was replied), or when the caller was interrupted
 * already (EINTR was replied, and interrupted called). */
struct parked *park(fuse_req_t request, struct handle *h, size_t size, void (*interrupted)(struct parked *parked),
		    void *data);
/* Takes it out of the list and frees it; the caller replies to the request that is returned. */
fuse_req_t unpark(struct parked *parked);

/* Refusals: the sentence goes into the object's (or the root's) `error`, the errno to the caller. */
void refuse(struct object *object, const struct error *err);
void accept_again(struct object *object);             /* the refusal is no more */
/* The same where the row may have a place of its own for it. */
void refuse_node(const struct node *node, const struct error *err);
void accept_node(const struct node *node);
/* The sentence that a full disk did not take, with its newline; NULL when there is none. */
const char *refusal_unstored(const struct object *object);

/* The thread group of a request's thread. */
int caller_group(fuse_req_t request);
/* Whether that process is being ended by a signal (K22): what it wrote is not whole. */
bool caller_is_killed(fuse_req_t request);

/* Reads the backing file, "" when there is none. */
int node_read(const struct node *node, struct buffer *out, struct error *err);

/* Replaces a file of the object's folder (the state directory, for NULL) durably in the storage
 * thread, then replies verdict, or the disk's errno, to who waits. The text is copied. Submits in
 * any case, so that what is submitted later comes later. */
void save(struct object *object, const char *path, const char *text, size_t n, mode_t mode,
	  struct awaiting awaiting, int verdict);
/* The text that is on its way to a node's file without anybody waiting for it (`: > config` has closed
 * it already): whoever reads now reads this. Borrowed until the loop goes on. */
bool save_is_coming(const struct node *node, const char **text, size_t *n);
bool save_is_under_way(const struct object *object); /* the same for any of its files */
/* Tells the object's runner of a document, once what was saved of it is on the disk. */
void save_then_poke(struct object *object);

#endif
