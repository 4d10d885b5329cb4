/* Configs: a document's text becomes a spec, a spec becomes what is wanted. */
#ifndef INTERPFS_FS_CONFIG_H
#define INTERPFS_FS_CONFIG_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "fs/objects.h"
#include "fs/tree.h"

/* What a text means once it was judged; empty after zeroing. */
struct verdict {
	int code;             /* 0: it may be put into force */
	struct error error;
	cJSON *fields;        /* owned; NULL for an empty text and for a plain document */
	cJSON *references;    /* owned */
};

void verdict_clear(struct verdict *verdict);

/* The final verdict about a document's text; fills in *verdict (code and all). */
void config_judge(const struct node *node, const char *text, size_t n, struct verdict *verdict);

/* What a write can be refused for already: a finished line names what is not there, or changes a field
 * that cannot change while the object runs. 0, or -1. */
int config_early(const struct node *node, const char *text, size_t n, struct error *err);

/* Puts an accepted config into force: spec.json, and the want of a run where it is one. The same
 * bytes do nothing, except that a failed or stopped object starts again. In the loop; the disk's
 * part follows in the storage thread. */
void config_take(struct object *object, const char *text, size_t n, const struct verdict *verdict);

/* Whether a config was ever accepted. */
bool config_exists(struct object *object);

/* Wants the next generation: in memory now, on disk soon, then the runner is told. finish (may be
 * NULL) is called in the loop when it is durable. 0, or -1 without memory. */
int object_want(struct object *object, enum want_what what, void (*finish)(void *data, int result,
		const struct error *error), void *data);

/* Puts a document {"kind",…} durably into the object's inbox/ and wants a run. json is taken. */
int object_message(struct object *object, cJSON *json, void (*finish)(void *data, int result,
		   const struct error *error), void *data);

/* The same with a message that is on the disk already, under a path that begins so. */
#define MESSAGE_KEPT "inbox/.kept-"
int object_message_kept(struct object *object, const char *path);

/* At the mount: messages that were acknowledged and have not come into an inbox, or that no run was
 * wanted for, because a crash came between. */
void messages_recover(void);

/* At the mount: a config that a crash left stored but not in force. */
void config_unjudged(struct object *object);

/* A config that was refused when it was written, judged as things are now: put into force (take), or
 * only told. 0, or -1 with why not. */
int config_try_again(struct object *object, bool take, struct error *err);

/* Whether what was written last is not what is in force; why not, judged as things are now. */
bool config_refused(struct object *object, struct error *err);

#endif
