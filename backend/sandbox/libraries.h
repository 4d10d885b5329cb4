/* What a workspace has pip install: the wheels, sdists and requirements.txt in its libraries/, and the
 * packages of its config. All of them together are one set, made once for an interpreter and what lies
 * below it, whatever the number of sandboxes:
 *
 *      STATE/workspaces/N/distributions.json   what is wanted (the workspace's runner writes it)
 *      STATE/workspaces/N/packages/KEY/        bound at PLAN_PACKAGES in each sandbox of that make
 *          HASH/       one set: what pip left of /opt/interpfs/venv, and result.json
 *          current     -> HASH/venv/lib/python3.11/site-packages: on Python's path
 *          bin         -> HASH/venv/bin: on the PATH
 *
 * A running overlay gains no layers, but a folder that it has bound gains another set by a link. Pip is
 * given all at once, so that it finds versions that agree. Where there are none it is given one after the
 * other with those that went well: one that fails keeps none of the others from being used. */
#ifndef INTERPFS_BACKEND_SANDBOX_LIBRARIES_H
#define INTERPFS_BACKEND_SANDBOX_LIBRARIES_H

#include <cjson/cJSON.h>

#include "backend/sandbox/backend.h"
#include "backend/sandbox/commands.h"
#include "backend/sandbox/layers.h"
#include "backend/sandbox/making.h"

#define LIBRARIES_INSIDE "/workspace/libraries"

/* What a set is made for. Everything is borrowed. */
struct libraries {
	struct sandbox *sandbox;
	/* Makes a set: pip's own commands where the workspace's libraries/ are at LIBRARIES_INSIDE (libraries_try), then
	 * libraries_publish. */
	int (*make)(const struct libraries *l, const struct making *m, const cJSON *wanted, struct error *err);
	void *context;
	/* for libraries_make_in_box, a box of this machine */
	const char *runtime;
	const struct python *python;
	const struct image *image;
	const struct layer_chain *chain;
};

/* The folder that such a sandbox has bound, made where it is not there: 1 with its path (owned by the
 * caller), 0 without a workspace, -1. */
int libraries_folder(const struct libraries *l, char **folder, struct error *err);

/* The same for a key that says all that sets there are made for; NULL: the folder that all of them are in. */
int libraries_folder_of(const struct sandbox *s, const char *key, char **folder, struct error *err);

int libraries_make_in_box(const struct libraries *l, const struct making *m, const cJSON *wanted, struct error *err);
/* install() is given pip's arguments; -1 with what it said. */
struct libraries_pip {
	struct commands *commands;
	int (*install)(void *context, const cJSON *arguments, struct error *err);
	void *context;
};
/* Fills told, an array, with what came of each. */
int libraries_try(const struct libraries_pip *pip, const cJSON *wanted, cJSON *told, struct error *err);
/* `made`, with venv/ in it, becomes the set. EAGAIN where a library was changed meanwhile. */
int libraries_publish(const struct libraries *l, const struct making *m, const char *made, const cJSON *wanted, cJSON *told,
		      struct error *err);

/* Whether its workspace has pip install anything. */
bool libraries_wanted(const struct sandbox *s);

/* Brings a folder to what is wanted now. *result, the caller's: {"entries":[{"name","kind","why"}]}, why null
 * for what is installed. -1 when none of it could be tried; ECANCELED. */
int libraries_install(const struct libraries *l, const char *folder, cJSON **result, struct error *err);

#endif
