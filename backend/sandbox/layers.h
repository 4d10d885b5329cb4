/* Python packages as layers: folders that become lower layers of a sandbox's /opt/interpfs.
 *
 *      STATE/layers/HASH/             the venv with pip, or one set of packages above it
 *      STATE/layers/.build-HASH/      the box in which one is being made
 *      STATE/layers/.lock-HASH        held by the one who makes it
 *      STATE/jupyter/KEY/HASH/        Jupyter Server for one interpreter (KEY): server/ (a venv of
 *                                     its own), kernel/ (ipykernel), data/, launch.py, serve.py
 *
 * A layer's name is the hash of what it is made of, so the second sandbox that asks for the same
 * waits for nothing. A layer is made once, inside a box with network, and published by rename.
 * A running overlay gains no layers; Jupyter therefore comes by a bind: every box has
 * STATE/jupyter/KEY at /run/interpfs/jupyter, and a finished HASH is renamed into it. */
#ifndef INTERPFS_BACKEND_SANDBOX_LAYERS_H
#define INTERPFS_BACKEND_SANDBOX_LAYERS_H

#include <cjson/cJSON.h>

#include "backend/sandbox/backend.h"
#include "backend/sandbox/image.h"
#include "backend/sandbox/making.h"
#include "backend/sandbox/python.h"
#include "base/error.h"

#define LAYER_HASH_SIZE MAKING_HASH_SIZE
#define LAYERS_MAX 2

/* Host folders, topmost first, NULL-terminated. */
struct layer_chain {
	char *paths[LAYERS_MAX + 1];
};

/* The layers for an interpreter and a list of requirements (NULL or empty: none), made where they
 * are not there yet. -1 with pip's own sentence when it fails; ECANCELED. */
int layers_find(struct sandbox *s, const char *runtime, const struct python *python, const struct image *image,
		const cJSON *packages, struct layer_chain *chain, struct error *err);
void layers_free(struct layer_chain *chain);

/* The folder that every box of that interpreter has bound; made when it is not there. Owned. */
char *layers_jupyter_folder(const struct state *state, const struct python *python, struct error *err);

/* Jupyter Server for that interpreter, made when it is not there yet. */
int layers_jupyter(struct sandbox *s, const char *runtime, const struct python *python, const struct image *image,
		   const struct layer_chain *chain, const cJSON *packages, struct sandbox_jupyter *jupyter,
		   struct error *err);

/* For a box above layers: uv, where the host has it on its PATH; and "pip install ARGUMENTS" in their venv.
 * -1 with EIO when pip refused. */
int layers_bind_uv(struct build *b, bool *uv, struct error *err);
int layers_install(struct build *b, bool uv, const cJSON *arguments, struct error *err);

/* The name of a layer. kind tells layers of different make apart; below may be
 * "". The order of the requirements does not matter. */
int layer_hash(const char *kind, const struct python *python, const char *below, const cJSON *packages,
	       char out[LAYER_HASH_SIZE], struct error *err);

#endif
