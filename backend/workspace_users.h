/* Those who use a workspace while its runner looks at it: live sandboxes, which are asked to install what
 * is wanted (the call `libraries`), and live notebooks, whose kernels say which objects of changed
 * libraries they still hold (the file `held`). */
#ifndef INTERPFS_BACKEND_WORKSPACE_USERS_H
#define INTERPFS_BACKEND_WORKSPACE_USERS_H

#include <cjson/cJSON.h>

#include "backend/runner.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/talk.h"

enum user_state { USER_ASKED, USER_DONE, USER_FAILED, USER_GONE, USER_LOST };

struct workspace_user {
	struct workspace_user *next;
	char *name;
	enum user_state state;
	struct talk talk;
	struct buffer answer;
	cJSON *result;               /* DONE: what libraries.h says */
	char why[ERROR_TEXT_SIZE];   /* FAILED */
};

/* Asks every live sandbox that uses the runner's workspace. The list is freed with workspace_users_free,
 * which also tells those that have not answered that nobody waits. */
int workspace_users_ask(struct runner *r, struct workspace_user **users, struct error *err);
void workspace_users_free(struct runner *r, struct workspace_user *users);

/* Takes what has come on a descriptor; whether a user's answer is complete. */
bool workspace_users_take(struct runner *r, struct workspace_user *users, int fd);
/* Whether any is in that state. */
bool workspace_users_are(const struct workspace_user *users, enum user_state state);

/* Appends what came of one entry, a line a sandbox; `otherwise` is where it lies, for when there is none. */
int workspace_users_put(const struct workspace_user *users, const char *name, const char *kind, const char *otherwise,
			struct buffer *out);
/* Appends a line for each library of which a kernel holds what it was before. */
int workspace_held_put(struct runner *r, struct buffer *out);

/* A name in a line of its own: no blanks at which the line could be split, no controls; and a sentence. */
int workspace_put_word(struct buffer *out, const char *word);
int workspace_put_sentence(struct buffer *out, const char *text);

#endif
