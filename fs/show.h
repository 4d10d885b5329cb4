/* What the directories of objects have in common: state, error, info.json, mcp.json, links, and
 * references to one another by name. */
#ifndef INTERPFS_FS_SHOW_H
#define INTERPFS_FS_SHOW_H

#include <cjson/cJSON.h>

#include "fs/tree.h"

/* Renders of values and links. */
int show_state(const struct node *node, struct buffer *out, struct error *err);
int show_error(const struct node *node, struct buffer *out, struct error *err); /* refusal, else failure */
int show_info(const struct node *node, struct buffer *out, struct error *err);
int show_mcp(const struct node *node, struct buffer *out, struct error *err);
int show_interface_mcp(const struct node *node, struct buffer *out, struct error *err);
int show_session_mcp(const struct node *node, struct buffer *out, struct error *err);
int show_sandbox_link(const struct node *node, struct buffer *out, struct error *err);
int show_notebook_link(const struct node *node, struct buffer *out, struct error *err);
int show_workspace_link(const struct node *node, struct buffer *out, struct error *err);
/* When the state became what it is. */
struct timespec show_state_time(struct object *object);
/* Their sizes, and when what they say last changed. */
void measure_state(const struct node *node, struct stat *st);
void measure_error(const struct node *node, struct stat *st);
void measure_info(const struct node *node, struct stat *st);
bool show_has_sandbox(const struct node *node);
bool show_has_notebook(const struct node *node);
bool show_has_workspace(const struct node *node);

/* What its references call `name`, as it is now; NULL when there is none (any more). */
struct object *show_reference(const cJSON *spec, const char *name);
/* "notebook probe, sandbox lab" by today's names, "" without. */
int show_references(const cJSON *spec, struct buffer *out);

/* Looks a name up and adds {"kind","serial","name"} to references; a null name adds nothing.
 * ENOENT: "there is no sandbox 'labb'; did you mean 'lab'?" */
int refer(enum object_kind kind, const cJSON *name, cJSON *references, struct error *err);
int refer_to(struct object *object, cJSON *references, struct error *err);

/* Whether the object's folder holds a file that is not empty. */
bool has_file(const struct node *node, const char *path);

/* The tables of the directories. */
extern struct row sandbox_row, workspace_row, notebook_row, session_row, snapshot_row, interface_row;
extern struct row model_row; /* of the root's models/ */
int model_may_drop(const struct node *node, const char *name, struct error *err);
extern struct row session_new_rows[];  /* what stands beside the sessions: new, latest */

#endif
